//! Which Debian packages a command needs, and which of them are missing.
//!
//! What is there is judged by the programs, not by dpkg: a machine with its own containerd needs no Debian one.

use crate::program::{output, run};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// A package and the file that shows that it, or something as good, is there.
struct Package {
    name: &'static str,
    shows: Shows,
}

enum Shows {
    /// A program on PATH (or in the system folders that a user's PATH may lack).
    Program(&'static str),
    /// A file.
    File(&'static str),
}

/// What compiling needs.
const BUILD: &[Package] = &[
    Package { name: "build-essential", shows: Shows::Program("cc") },
    // jemalloc is configured and made; a machine that only links Rust may lack it.
    Package { name: "make", shows: Shows::Program("make") },
];

/// What nodes with real containers need.
const NODES: &[Package] = &[
    Package { name: "containerd", shows: Shows::Program("containerd") },
    Package { name: "runc", shows: Shows::Program("runc") },
    Package { name: "containernetworking-plugins", shows: Shows::File("/usr/lib/cni/bridge") },
    Package { name: "iptables", shows: Shows::Program("iptables") },
    Package { name: "iproute2", shows: Shows::Program("ip") },
    Package { name: "util-linux", shows: Shows::Program("nsenter") },
];

/// What only the tests need.
const TESTS: &[Package] = &[
    Package { name: "bsdutils", shows: Shows::Program("script") },
    Package { name: "busybox-static", shows: Shows::Program("busybox") },
    Package { name: "curl", shows: Shows::Program("curl") },
    Package { name: "docker-registry", shows: Shows::Program("docker-registry") },
    Package { name: "etcd-client", shows: Shows::Program("etcdctl") },
    Package { name: "etcd-server", shows: Shows::Program("etcd") },
    Package { name: "nodejs", shows: Shows::Program("node") },
    Package { name: "npm", shows: Shows::Program("npm") },
    Package { name: "procps", shows: Shows::Program("ps") },
    Package { name: "python3-pip", shows: Shows::Program("pip") },
];

/// Installs what `cargo xtask up` needs and says which. Without root or apt-get it says what to install and
/// goes on: `everynode up` then chooses the simulated runtime by itself.
pub fn for_up() -> Result<()> {
    require(&[BUILD, NODES])
}

/// Installs what the tests need.
pub fn for_tests() -> Result<()> {
    require(&[BUILD, NODES, TESTS])
}

fn require(lists: &[&[Package]]) -> Result<()> {
    let missing: Vec<&str> =
        lists.iter().flat_map(|list| list.iter()).filter(|p| !is_there(p)).map(|p| p.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root()? || !on_path("apt-get") {
        eprintln!("missing, and not installed because this needs root and apt-get: {}", missing.join(" "));
        return Ok(());
    }
    eprintln!("installing Debian packages: {}", missing.join(" "));
    install(&missing)
}

fn install(names: &[&str]) -> Result<()> {
    let apt = |arguments: &[&str]| {
        run(Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-q", "-y", "-o", "Dpkg::Use-Pty=0"])
            .args(arguments))
    };
    apt(&["update"])?;
    let mut arguments = vec!["install", "--no-install-recommends"];
    arguments.extend(names);
    apt(&arguments)?;
    // Debian starts its own registry and etcd; every node and test here brings its own.
    for (package, service) in [("docker-registry", "docker-registry"), ("etcd-server", "etcd")] {
        if names.contains(&package) && on_path("systemctl") {
            let _ = Command::new("systemctl").args(["disable", "--now", service]).output();
        }
    }
    Ok(())
}

fn is_there(package: &Package) -> bool {
    match package.shows {
        Shows::Program(name) => on_path(name),
        Shows::File(path) => Path::new(path).exists(),
    }
}

/// True if a program of this name is on PATH or in a system folder.
pub fn on_path(name: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|dir| Path::new(dir).join(name).is_file())
}

/// True if we are root.
pub fn is_root() -> Result<bool> {
    match output(Command::new("id").arg("-u"))?.trim().parse::<u32>() {
        Ok(id) => Ok(id == 0),
        Err(_) => bail!("`id -u` did not print a number"),
    }
}
