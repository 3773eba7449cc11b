//! The container runtime of a node: what its containerd and its pod network are told.
//!
//! Pods have addresses of their own that all nodes know the way to, so the node's bridge hides nothing behind its own
//! address. State lies in `/run`, which ends with the node; images lie in the node's folder and stay.

use super::mounts::overlay_works;
use crate::hosts::protocol::Spec;
use crate::images;
use serde_json::json;
use std::io;
use std::path::Path;

/// Where the runtime answers: the well-known place, because a node has its own `/run`.
pub const SOCKET: &str = "/run/containerd/containerd.sock";
/// Our own files in the node's `/run`.
pub const OWN: &str = "/run/everynode";
/// What containerd is told.
pub const CONFIG: &str = "/run/everynode/containerd.toml";
/// The images that every node has.
pub const IMAGES: &str = "/run/everynode/images.tar";

const CNI: &str = "/etc/cni/net.d/10-everynode.conflist";
const STORED: &str = "/var/lib/containerd";

/// Writes what containerd, the plugins and the import read.
pub fn write_files(spec: &Spec) -> io::Result<()> {
    std::fs::create_dir_all(OWN)?;
    let snapshotter = if overlay_works(Path::new(STORED)) { "overlayfs" } else { "native" };
    std::fs::write(CONFIG, containerd(spec, snapshotter))?;
    std::fs::write(CNI, network(&spec.pods))?;
    std::fs::write(IMAGES, images::archive()?)
}

/// containerd: docs/cri/config.md. `restrict_oom_score_adj`: a machine may not let us lower it. `opt` would be made in the
/// machine's own /opt.
fn containerd(spec: &Spec, snapshotter: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let (plugins, registries) = (spec.plugins.to_string_lossy(), spec.registries.to_string_lossy());
    let (plugins, registries, pause) = (quoted(&plugins), quoted(&registries), quoted(images::PAUSE));
    format!(
        r#"version = 2
root = "{STORED}"
state = "/run/containerd"
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
path = "{STORED}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = {pause}
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = {plugins}
conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = {registries}
"#
    )
}

/// CNI specification 0.4.0. Which addresses are taken is kept in `/run`: with the node all its pods are gone.
fn network(pods: &str) -> String {
    let bridge = json!({
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": true,
        "ipMasq": false,
        "hairpinMode": true,
        "ipam": {
            "type": "host-local",
            "dataDir": "/run/cni/networks",
            "ranges": [[{"subnet": pods}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    });
    let host_ports = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    json!({"cniVersion": "0.4.0", "name": "everynode", "plugins": [bridge, host_ports]}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerd_is_told_the_folders_and_the_sandbox_image() {
        let spec = Spec {
            node: "n1".into(),
            folder: "/data/nodes/n1".into(),
            pods: "10.42.1.0/24".into(),
            plugins: "/usr/lib/cni".into(),
            registries: "/data/with \"quotes\"".into(),
            cgroup: "/everynode/everynode/n1".into(),
            agent: Vec::new(),
        };
        let text = containerd(&spec, "native");
        for line in [
            "bin_dir = \"/usr/lib/cni\"",
            "config_path = \"/data/with \\\"quotes\\\"\"",
            "sandbox_image = \"everynode.dev/pause:1\"",
            "snapshotter = \"native\"",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        let network: serde_json::Value = serde_json::from_str(&network("10.42.1.0/24")).unwrap();
        assert_eq!(network["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.42.1.0/24");
    }
}
