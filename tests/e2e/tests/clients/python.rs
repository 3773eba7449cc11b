//! Python's `kubernetes`: typed and dynamic client, watch, patches, server-side apply.

use crate::{World, install, installed, source};
use std::process::Command;

const CLIENT: &str = "kubernetes==37.0.2";

#[test]
fn pythons_client_lists_creates_watches_patches_and_applies() {
    let packages = installed("python-kubernetes-37.0.2", |folder| {
        let mut pip = Command::new("pip");
        pip.args(["install", "--quiet", "--no-compile", "--root-user-action=ignore", CLIENT, "--target"]);
        install(pip.arg(folder));
    });
    let world = World::start();
    let mut python = Command::new("python3");
    python.arg(source().join("client.py")).env("PYTHONPATH", packages);
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    assert_eq!(world.run(&mut python), include_str!("expected/python.txt"));
    let labels = world.kubectl.value(&["get", "cm", "from-python"], "{.metadata.labels}{.data}").unwrap();
    assert_eq!(labels, r#"{"patched":"yes"}{"a":"1","b":"2"}"#);
    world.compare("python");
}
