//! What the API server bears, on its own store and on etcd: runs the program of `tests/load`, which prints rows itself.

use crate::Row;
use anyhow::{Result, ensure};
use e2e::{Etcd, Server};
use std::path::Path;
use std::process::Command;

/// Both stores, one after the other.
pub fn measure(kubectl: &Path) -> Result<Vec<Row>> {
    let Some(program) = std::env::var_os("EVERYNODE_LOAD") else {
        return Ok(vec![Row::new("load", "left out: EVERYNODE_LOAD names no program", "-")]);
    };
    load(program.as_ref(), kubectl, &Server::start()?, "own store")?;
    match Etcd::start() {
        Err(error) => Ok(vec![Row::new("load on etcd", format!("left out: {error}"), "-")]),
        Ok(etcd) => {
            let server = Server::start_with(&["--store", &etcd.endpoints()])?;
            load(program.as_ref(), kubectl, &server, "etcd of three members on this machine")?;
            Ok(Vec::new())
        }
    }
}

fn load(program: &Path, kubectl: &Path, server: &Server, store: &str) -> Result<()> {
    server.wait_until_ready(&server.kubectl(kubectl));
    let mut load = Command::new(program);
    load.arg(server.kubeconfig()).arg(server.pid().to_string()).arg(store);
    let ended = load.status()?;
    ensure!(ended.success(), "{} has failed; the server said:\n{}", program.display(), server.log());
    Ok(())
}
