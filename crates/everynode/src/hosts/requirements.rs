//! What this machine must have for nodes with real containers, and what of it is missing.

use super::program;
use std::path::Path;

/// Programs and their Debian packages.
const PROGRAMS: [(&str, &str); 7] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("iptables", "iptables"),
];
/// Where distributions put the plugins of the container network interface.
const PLUGIN_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
const PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];

/// What was found on a machine that has all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The folder of the plugins.
    pub plugins: &'static str,
}

/// What is missing, for one line to the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Not root.
    #[error("this needs root")]
    Root,
    /// A program.
    #[error("{program} is not installed (Debian: apt-get install {package})")]
    Program {
        /// Its name.
        program: &'static str,
        /// Where Debian has it.
        package: &'static str,
    },
    /// The plugins.
    #[error("the CNI plugins are not installed (Debian: apt-get install containernetworking-plugins)")]
    Plugins,
    /// The system does not allow it, for example in a container.
    #[error("namespaces cannot be made here: {0}")]
    Namespaces(String),
}

/// Looks for everything.
pub fn check() -> Result<Found, Missing> {
    if !rustix::process::geteuid().is_root() {
        return Err(Missing::Root);
    }
    for (program, package) in PROGRAMS {
        if !program::is_there(program) {
            return Err(Missing::Program { program, package });
        }
    }
    let complete = |folder: &&str| PLUGINS.iter().all(|name| Path::new(folder).join(name).is_file());
    let plugins = PLUGIN_FOLDERS.into_iter().find(complete).ok_or(Missing::Plugins)?;
    let try_out = ["--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "true"];
    program::run("unshare", &try_out).map_err(|error| Missing::Namespaces(error.to_string()))?;
    Ok(Found { plugins })
}
