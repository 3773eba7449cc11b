//! The Node object: what this machine is and has.
//!
//! A new object is created with labels and taints from the config. An existing one keeps what users put on it: only
//! the well-known labels and those of the config are set again, taints are never touched.
//!
//! Kubernetes: kubelet_node_status.go, nodestatus/setters.go.

use crate::Config;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeDaemonEndpoints, NodeSpec, NodeStatus,
    NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Kept free for the system, as kubelet's eviction threshold `memory.available<100Mi` keeps it.
const RESERVED_MEMORY_KIB: u64 = 100 * 1024;
/// Of the disk, nine tenths: kubelet's `nodefs.available<10%`.
const USABLE_DISK_TENTHS: u64 = 9;
/// Kubernetes: `nodeStatusMaxImages`.
const MAX_IMAGES: usize = 50;
/// Kubernetes: `MaxNamesPerImageInNodeStatus`.
const MAX_NAMES: usize = 5;
/// A server that does not answer within this is asked again.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Logical processors.
    pub cpus: u64,
    /// Memory.
    pub memory_kib: u64,
    /// The file system that holds the volumes.
    pub disk_kib: u64,
    /// Kernel, operating system, identities.
    pub info: NodeSystemInfo,
}

impl Machine {
    /// Reads `/proc`, `/etc` and the file system below `data_dir`. What cannot be read is empty.
    #[must_use]
    pub fn read(data_dir: &Path, runtime: &str) -> Self {
        let uname = rustix::system::uname();
        let text = |bytes: &std::ffi::CStr| bytes.to_string_lossy().into_owned();
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_string();
        let machine_id = file("/etc/machine-id");
        let system_uuid = file("/sys/class/dmi/id/product_uuid");
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
            memory_kib: memory("MemTotal").unwrap_or(0),
            disk_kib: disk(data_dir).map_or(0, |(total, _)| total / 1024),
            info: NodeSystemInfo {
                architecture: architecture(uname.machine().to_str().unwrap_or_default()).into(),
                operating_system: "linux".into(),
                kernel_version: text(uname.release()),
                os_image: os_image(&file("/etc/os-release")),
                boot_id: file("/proc/sys/kernel/random/boot_id"),
                system_uuid: if system_uuid.is_empty() { machine_id.clone() } else { system_uuid },
                machine_id,
                container_runtime_version: runtime.into(),
                kubelet_version: objects::VERSION.into(),
                kube_proxy_version: String::new(),
                swap: None,
            },
        }
    }

    /// `status.capacity`.
    #[must_use]
    pub fn capacity(&self, max_pods: u32) -> BTreeMap<String, Quantity> {
        amounts(self.cpus, format!("{}Ki", self.memory_kib), format!("{}Ki", self.disk_kib), max_pods)
    }

    /// `status.allocatable`.
    #[must_use]
    pub fn allocatable(&self, max_pods: u32) -> BTreeMap<String, Quantity> {
        let memory = self.memory_kib.saturating_sub(RESERVED_MEMORY_KIB);
        let disk = self.disk_kib.saturating_mul(1024) / 10 * USABLE_DISK_TENTHS;
        amounts(self.cpus, format!("{memory}Ki"), disk.to_string(), max_pods)
    }
}

fn amounts(cpus: u64, memory: String, disk: String, pods: u32) -> BTreeMap<String, Quantity> {
    [("cpu", cpus.to_string()), ("ephemeral-storage", disk), ("memory", memory), ("pods", pods.to_string())]
        .map(|(name, amount)| (name.to_string(), Quantity(amount)))
        .into()
}

/// A line of `/proc/meminfo`, in KiB.
pub(crate) fn memory(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Bytes of a file system: all, and free for users.
pub(crate) fn disk(path: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some((stat.f_blocks.saturating_mul(stat.f_frsize), stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// Go's names.
fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" | "armv6l" => "arm",
        other => other,
    }
}

fn os_image(os_release: &str) -> String {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.unwrap_or("Linux").trim_matches('"').to_string()
}

/// The well-known labels and those of the config.
#[must_use]
pub fn labels(config: &Config, machine: &Machine) -> BTreeMap<String, String> {
    let info = &machine.info;
    let mut labels: BTreeMap<String, String> = [
        ("beta.kubernetes.io/arch", &info.architecture),
        ("beta.kubernetes.io/os", &info.operating_system),
        ("kubernetes.io/arch", &info.architecture),
        ("kubernetes.io/hostname", &config.node_name),
        ("kubernetes.io/os", &info.operating_system),
    ]
    .map(|(name, value)| (name.to_string(), value.clone()))
    .into();
    labels.extend(config.labels.clone());
    labels
}

/// The parts of the status that do not change from minute to minute.
#[must_use]
pub fn status(config: &Config, machine: &Machine, port: Option<u16>) -> NodeStatus {
    let address = |type_: &str, address: String| NodeAddress { type_: type_.into(), address };
    let endpoint = port.map(|port| DaemonEndpoint { port: port.into() });
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", config.address.to_string()),
            address("Hostname", config.node_name.clone()),
        ]),
        capacity: Some(machine.capacity(config.max_pods)),
        allocatable: Some(machine.allocatable(config.max_pods)),
        daemon_endpoints: endpoint.map(|kubelet| NodeDaemonEndpoints { kubelet_endpoint: Some(kubelet) }),
        node_info: Some(machine.info.clone()),
        ..NodeStatus::default()
    }
}

/// The images of a node: the largest, with a few names each.
#[must_use]
pub fn images(mut images: Vec<crate::runtime::Image>) -> Vec<ContainerImage> {
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    images
        .into_iter()
        .take(MAX_IMAGES)
        .map(|image| ContainerImage {
            names: Some(image.digests.into_iter().chain(image.tags).take(MAX_NAMES).collect()),
            size_bytes: i64::try_from(image.size).ok(),
        })
        .collect()
}

/// Creates the Node object, or brings the labels of an existing one up to date, and answers it.
pub async fn register(config: &Config, machine: &Machine, status: NodeStatus) -> Result<Node, RegisterError> {
    let asked = register_with_labels(config, machine, status);
    match tokio::time::timeout(ANSWER_LIMIT, asked).await {
        Ok(Ok(node)) => Ok(node),
        Ok(Err(source)) => {
            Err(RegisterError::Refused { node: config.node_name.clone(), source: Box::new(source) })
        }
        Err(_) => Err(RegisterError::NoAnswer { node: config.node_name.clone() }),
    }
}

/// A node may not give itself a role: where the server says so, it registers without.
async fn register_with_labels(
    config: &Config,
    machine: &Machine,
    status: NodeStatus,
) -> Result<Node, kube::Error> {
    let labels = labels(config, machine);
    match create_or_adopt(config, labels.clone(), status.clone()).await {
        Err(kube::Error::Api(refusal)) if refusal.code == 403 => {
            let (own, refused) = labels.into_iter().partition::<BTreeMap<_, _>, _>(|(key, _)| is_own(key));
            let names = refused.into_keys().collect::<Vec<_>>().join(", ");
            tracing::warn!(
                labels = names,
                reason = refusal.message,
                "an administrator must set these labels"
            );
            create_or_adopt(config, own, status).await
        }
        answer => answer,
    }
}

/// A new Node object.
#[must_use]
pub fn object(config: &Config, labels: BTreeMap<String, String>, status: NodeStatus) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: (!config.taints.is_empty()).then(|| config.taints.clone()),
            ..NodeSpec::default()
        }),
        status: Some(status),
    }
}

async fn create_or_adopt(
    config: &Config,
    labels: BTreeMap<String, String>,
    status: NodeStatus,
) -> Result<Node, kube::Error> {
    let api: Api<Node> = Api::all(config.client.clone());
    let node = object(config, labels.clone(), status);
    match api.create(&PostParams::default(), &node).await {
        Err(kube::Error::Api(error)) if error.code == 409 => {}
        answer => return answer,
    }
    let found = api.get(&config.node_name).await?;
    let have = found.metadata.labels.clone().unwrap_or_default();
    if labels.iter().all(|(name, value)| have.get(name) == Some(value)) {
        return Ok(found);
    }
    let patch = serde_json::json!({"metadata": {"labels": labels}});
    api.patch(&config.node_name, &PatchParams::default(), &Patch::Merge(patch)).await
}

/// Whether a node may set this label on itself (NodeRestriction, wire 7.5.4).
#[must_use]
pub fn is_own(label: &str) -> bool {
    const KNOWN: [&str; 11] = [
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
    ];
    let Some((domain, _)) = label.split_once('/') else { return true };
    let is_below = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    if !is_below("kubernetes.io") && !is_below("k8s.io") {
        return true;
    }
    KNOWN.contains(&label) || is_below("node.kubernetes.io") || is_below("kubelet.kubernetes.io")
}

/// Why the node is not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The server refused or could not be reached.
    #[error("node {node} not registered")]
    Refused {
        /// The node.
        node: String,
        /// What happened.
        #[source]
        source: Box<kube::Error>,
    },
    /// The server does not answer.
    #[error("node {node} not registered: the API server does not answer")]
    NoAnswer {
        /// The node.
        node: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Image;

    #[test]
    fn the_largest_images_are_listed_with_digests_first() {
        let image = |size| Image {
            id: format!("{size}"),
            tags: vec!["t".into()],
            digests: vec!["d".into()],
            size,
            uid: None,
            username: String::new(),
        };
        let listed = images((0..60).map(image).collect());
        assert_eq!(listed.len(), MAX_IMAGES);
        let first = &listed[0];
        assert_eq!((first.size_bytes, first.names.clone()), (Some(59), Some(vec!["d".into(), "t".into()])));
    }

    #[test]
    fn a_node_gives_itself_no_role() {
        for (label, expected) in [
            ("disk", true),
            ("example.com/x", true),
            ("kubernetes.io/hostname", true),
            ("x.node.kubernetes.io/y", true),
            ("node-role.kubernetes.io/control-plane", false),
            ("node-restriction.kubernetes.io/x", false),
            ("k8s.io/x", false),
        ] {
            assert_eq!(is_own(label), expected, "{label}");
        }
    }

    #[test]
    fn this_machine_is_read() {
        let machine = Machine::read(Path::new("/"), "containerd://1.6.20");
        assert!(machine.cpus > 0 && machine.memory_kib > 0 && machine.disk_kib > 0);
        assert!(!machine.info.kernel_version.is_empty());
        assert_eq!(machine.capacity(7)["pods"].0, "7");
    }
}
