//! `@kubernetes/client-node`: lists, writes, an informer.

use crate::{World, install, installed, source};
use std::process::Command;

const CLIENT: &str = "@kubernetes/client-node@1.4.0";

#[test]
fn nodes_client_lists_creates_patches_and_informs() {
    let packages = installed("client-node-1.4.0", |folder| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(folder);
        install(npm.arg(CLIENT));
    });
    let world = World::start();
    // Modules are looked for beside the program.
    let program = packages.join("client.mjs");
    std::fs::copy(source().join("client.mjs"), &program).unwrap();
    assert_eq!(world.run(Command::new("node").arg(program)), include_str!("expected/node.txt"));
    world.compare("node");
}
