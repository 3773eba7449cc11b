//! PURE. A container's spec, with everything it refers to already read → what CRI is told to make.
//!
//! Kubernetes: kuberuntime_container.go `generateContainerConfig`, security_context.go.

use crate::env;
use crate::runtime::cri::messages as m;
use crate::runtime::{Image, annotation, label};
use crate::{plan, resources, sandbox};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, SecurityContext};
use std::collections::BTreeMap;

/// Paths that an unprivileged container sees empty. Kubernetes: securitycontext/util.go.
const MASKED_PATHS: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
/// Paths that an unprivileged container cannot write.
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What was found out before a container can be described.
pub struct Found<'a> {
    /// Environment, in order.
    pub environment: &'a [(String, String)],
    /// Mounts, in order.
    pub mounts: Vec<m::Mount>,
    /// The image, for its user.
    pub image: &'a Image,
    /// Bytes of memory of the node.
    pub node_memory: i64,
    /// The container whose processes it sees: its id.
    pub target: Option<String>,
    /// Where the termination message is read on the node.
    pub message_file: String,
}

/// Why a container cannot be described: `CreateContainerConfigError`. The texts are kubelet's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `runAsNonRoot` with an image that runs as root.
    #[error("container has runAsNonRoot and image will run as root (pod: {pod:?}, container: {container})")]
    Root {
        /// Pod, `name_namespace(uid)`.
        pod: String,
        /// Container.
        container: String,
    },
    /// `runAsNonRoot` with an image whose user has no number.
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root (pod: \
         {pod:?}, container: {container})"
    )]
    NamedUser {
        /// The image's user.
        user: String,
        /// Pod, `name_namespace(uid)`.
        pod: String,
        /// Container.
        container: String,
    },
}

/// The container to make.
pub fn config(
    pod: &Pod,
    container: &Container,
    attempt: u32,
    found: Found<'_>,
) -> Result<m::ContainerConfig, ConfigError> {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let security = security(pod, spec, container, &found)?;
    let known: BTreeMap<&str, &str> =
        found.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expand = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|word| env::expand(word, |name| known.get(name).copied())).collect()
    };
    Ok(m::ContainerConfig {
        metadata: Some(m::ContainerMetadata { name: container.name.clone(), attempt }),
        image: Some(m::ImageSpec { image: found.image.id.clone(), annotations: BTreeMap::new() }),
        command: expand(&container.command),
        args: expand(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: found
            .environment
            .iter()
            .map(|(key, value)| m::KeyValue { key: key.clone(), value: value.clone() })
            .collect(),
        mounts: found.mounts,
        devices: Vec::new(),
        labels: labels(pod, container),
        annotations: [
            (annotation::HASH.to_string(), plan::definition(container)),
            (annotation::MESSAGE_FILE.to_string(), found.message_file),
        ]
        .into(),
        log_path: format!("{}/{attempt}.log", container.name),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(m::LinuxContainerConfig {
            resources: Some(resources::linux(spec, container, found.node_memory)),
            security_context: Some(security),
        }),
    })
}

fn labels(pod: &Pod, container: &Container) -> BTreeMap<String, String> {
    let mut labels = sandbox::own_labels(&sandbox::key(pod));
    labels.insert(label::CONTAINER_NAME.into(), container.name.clone());
    labels
}

fn security(
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    found: &Found<'_>,
) -> Result<m::LinuxContainerSecurityContext, ConfigError> {
    let image = found.image;
    let own = container.security_context.clone().unwrap_or_default();
    let of_pod = spec.security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(of_pod.run_as_user);
    if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) {
        refuse_root(pod, container, user, image)?;
    }
    let image_user = || if image.uid.is_none() { image.username.clone() } else { String::new() };
    let privileged = own.privileged == Some(true);
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| {
        if unmasked { Vec::new() } else { list.iter().map(ToString::to_string).collect() }
    };
    Ok(m::LinuxContainerSecurityContext {
        capabilities: Some(capabilities(&own)),
        privileged,
        namespace_options: Some(namespaces(spec, found.target.as_deref())),
        run_as_user: sandbox::number(user.or(image.uid)),
        run_as_username: if user.is_none() { image_user() } else { String::new() },
        run_as_group: sandbox::number(own.run_as_group.or(of_pod.run_as_group)),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: sandbox::groups(spec),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READONLY_PATHS),
        seccomp: Some(sandbox::seccomp(own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref()))),
    })
}

/// Those of the pod, but for the processes of another container.
fn namespaces(spec: &PodSpec, target: Option<&str>) -> m::NamespaceOption {
    let of_pod = sandbox::namespaces(spec);
    match target {
        Some(id) => m::NamespaceOption { pid: m::namespace_mode::TARGET, target_id: id.into(), ..of_pod },
        None => of_pod,
    }
}

fn refuse_root(
    pod: &Pod,
    container: &Container,
    user: Option<i64>,
    image: &Image,
) -> Result<(), ConfigError> {
    let names = || (plan::full_name(pod), container.name.clone());
    match user.or(image.uid) {
        Some(0) => {
            let (pod, container) = names();
            Err(ConfigError::Root { pod, container })
        }
        Some(_) => Ok(()),
        None if image.username.is_empty() => {
            let (pod, container) = names();
            Err(ConfigError::Root { pod, container })
        }
        None => {
            let (pod, container) = names();
            Err(ConfigError::NamedUser { user: image.username.clone(), pod, container })
        }
    }
}

fn capabilities(own: &SecurityContext) -> m::Capability {
    let asked = own.capabilities.clone().unwrap_or_default();
    m::Capability {
        add_capabilities: asked.add.unwrap_or_default(),
        drop_capabilities: asked.drop.unwrap_or_default(),
    }
}
