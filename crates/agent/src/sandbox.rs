//! PURE. A pod's spec → the sandbox to make for it.
//!
//! Kubernetes: kuberuntime_sandbox.go `generatePodSandboxConfig`, network/dns/dns.go.

use crate::runtime::cri::messages as m;
use crate::runtime::{PodKey, label};
use crate::{Config, debugging};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, SeccompProfile};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Longer host names are cut: the kernel's limit is 64 bytes.
const HOSTNAME_LIMIT: usize = 63;

/// Which pod this is.
#[must_use]
pub fn key(pod: &Pod) -> PodKey {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let metadata = &pod.metadata;
    PodKey { namespace: text(&metadata.namespace), name: text(&metadata.name), uid: text(&metadata.uid) }
}

/// The sandbox of a pod.
#[must_use]
pub fn config(config: &Config, pod: &Pod, attempt: u32) -> m::PodSandboxConfig {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let key = key(pod);
    let mut labels = pod.metadata.labels.clone().unwrap_or_default();
    labels.extend(own_labels(&key));
    m::PodSandboxConfig {
        metadata: Some(m::PodSandboxMetadata {
            name: key.name.clone(),
            uid: key.uid.clone(),
            namespace: key.namespace.clone(),
            attempt,
        }),
        hostname: hostname(spec, &key.name),
        log_directory: log_directory(config, &key).to_string_lossy().into_owned(),
        dns_config: dns(config, spec, &key.namespace),
        port_mappings: ports(spec),
        labels,
        annotations: pod.metadata.annotations.clone().unwrap_or_default(),
        linux: Some(m::LinuxPodSandboxConfig {
            cgroup_parent: cgroup(config, spec, &key.uid),
            security_context: Some(security(spec)),
            sysctls: sysctls(spec),
        }),
    }
}

/// The labels by which a pod's sandbox and containers are found again.
#[must_use]
pub fn own_labels(key: &PodKey) -> BTreeMap<String, String> {
    [(label::POD_NAME, &key.name), (label::POD_NAMESPACE, &key.namespace), (label::POD_UID, &key.uid)]
        .map(|(name, value)| (name.to_string(), value.clone()))
        .into()
}

/// Where a pod's logs lie.
#[must_use]
pub fn log_directory(config: &Config, key: &PodKey) -> PathBuf {
    config.log_dir.join("pods").join(format!("{}_{}_{}", key.namespace, key.name, key.uid))
}

/// The cgroup of a pod, under the parent and its class of service.
#[must_use]
pub fn cgroup(config: &Config, spec: &PodSpec, uid: &str) -> String {
    let class = match crate::status::qos(spec) {
        "Guaranteed" => "",
        "Burstable" => "/burstable",
        _ => "/besteffort",
    };
    format!("{}{class}/pod{uid}", config.cgroup_parent.trim_end_matches('/'))
}

fn hostname(spec: &PodSpec, pod_name: &str) -> String {
    if spec.host_network == Some(true) {
        return String::new();
    }
    let name = spec.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or(pod_name);
    let cut: String = name.chars().take(HOSTNAME_LIMIT).collect();
    cut.trim_end_matches(['-', '.']).to_string()
}

/// `None` leaves the node's own resolver file to the pod.
fn dns(config: &Config, spec: &PodSpec, namespace: &str) -> Option<m::DnsConfig> {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let of_cluster = match policy {
        "ClusterFirst" => spec.host_network != Some(true),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut dns = m::DnsConfig::default();
    if of_cluster && !config.cluster_dns.is_empty() {
        let domain = &config.cluster_domain;
        dns.servers = config.cluster_dns.iter().map(ToString::to_string).collect();
        dns.searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
        dns.options = vec!["ndots:5".into()];
    }
    if let Some(own) = &spec.dns_config {
        dns.servers.extend(own.nameservers.iter().flatten().cloned());
        dns.searches.extend(own.searches.iter().flatten().cloned());
        dns.options.extend(own.options.iter().flatten().filter_map(|option| {
            let name = option.name.clone()?;
            Some(option.value.as_ref().map_or(name.clone(), |value| format!("{name}:{value}")))
        }));
    }
    (dns != m::DnsConfig::default()).then_some(dns)
}

fn ports(spec: &PodSpec) -> Vec<m::PortMapping> {
    if spec.host_network == Some(true) {
        return Vec::new();
    }
    let ports = containers(spec).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter(|port| port.host_port.is_some_and(|number| number > 0))
        .map(|port| m::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => m::protocol::UDP,
                Some("SCTP") => m::protocol::SCTP,
                _ => m::protocol::TCP,
            },
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or_default(),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

/// Which namespaces a pod's containers share with whom.
#[must_use]
pub fn namespaces(spec: &PodSpec) -> m::NamespaceOption {
    use m::namespace_mode::{CONTAINER, NODE, POD};
    let node = |host: Option<bool>| if host == Some(true) { NODE } else { POD };
    m::NamespaceOption {
        network: node(spec.host_network),
        ipc: node(spec.host_ipc),
        pid: match (spec.host_pid, spec.share_process_namespace) {
            (Some(true), _) => NODE,
            (_, Some(true)) => POD,
            _ => CONTAINER,
        },
        target_id: String::new(),
    }
}

/// `fsGroup` and `supplementalGroups`.
#[must_use]
pub fn groups(spec: &PodSpec) -> Vec<i64> {
    let Some(context) = &spec.security_context else { return Vec::new() };
    context.fs_group.iter().chain(context.supplemental_groups.iter().flatten()).copied().collect()
}

/// A seccomp profile in CRI's words; without one nothing is filtered, as kubelet does by default.
#[must_use]
pub fn seccomp(profile: Option<&SeccompProfile>) -> m::SecurityProfile {
    let (profile_type, localhost_ref) = match profile.map(|p| (p.type_.as_str(), &p.localhost_profile)) {
        Some(("RuntimeDefault", _)) => (m::profile::RUNTIME_DEFAULT, String::new()),
        Some(("Localhost", file)) => (m::profile::LOCALHOST, file.clone().unwrap_or_default()),
        _ => (m::profile::UNCONFINED, String::new()),
    };
    m::SecurityProfile { profile_type, localhost_ref }
}

/// A number as CRI wants it: apart from "not set".
#[must_use]
pub fn number(value: Option<i64>) -> Option<m::Int64Value> {
    value.map(|value| m::Int64Value { value })
}

fn security(spec: &PodSpec) -> m::LinuxSandboxSecurityContext {
    let context = spec.security_context.clone().unwrap_or_default();
    let privileged = |container: &Container| {
        container.security_context.as_ref().is_some_and(|context| context.privileged == Some(true))
    };
    m::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(spec)),
        run_as_user: number(context.run_as_user),
        // CRI takes a group only together with a user.
        run_as_group: number(context.run_as_user.and(context.run_as_group)),
        readonly_rootfs: false,
        supplemental_groups: groups(spec),
        privileged: containers(spec).any(privileged),
        // The sandbox itself runs nothing of the user's: always the runtime's default profile.
        seccomp: Some(m::SecurityProfile {
            profile_type: m::profile::RUNTIME_DEFAULT,
            localhost_ref: String::new(),
        }),
    }
}

fn sysctls(spec: &PodSpec) -> BTreeMap<String, String> {
    let context = spec.security_context.as_ref();
    let sysctls = context.and_then(|context| context.sysctls.as_ref()).into_iter().flatten();
    sysctls.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect()
}

/// With those that people have added to debug.
pub fn every_container(spec: &PodSpec) -> impl Iterator<Item = Cow<'_, Container>> {
    containers(spec).map(Cow::Borrowed).chain(debugging::containers(spec).map(Cow::Owned))
}

/// Init containers first, as they run.
pub fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}
