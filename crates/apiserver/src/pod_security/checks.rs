//! The checks of the two levels, in the order of their names, with upstream's texts.
//!
//! Each is a pure function of the pod's metadata and spec. A restricted check that says more takes the place of the
//! baseline check of the same matter. Kubernetes: `pod-security-admission/policy/check_*.go`.

use super::{Broken, Level};
use crate::resources::fields::{entries, flag, is_set, items, text};
use serde_json::Value;
use std::collections::BTreeSet;

type Check = fn(&Pod<'_>) -> Option<Broken>;

/// From which level on, and up to which.
const CHECKS: &[(Level, Level, Check)] = &[
    (Level::Restricted, Level::Restricted, privilege_escalation),
    (Level::Baseline, Level::Restricted, app_armor),
    (Level::Baseline, Level::Baseline, added_capabilities),
    (Level::Restricted, Level::Restricted, capabilities),
    (Level::Baseline, Level::Restricted, host_namespaces),
    (Level::Baseline, Level::Baseline, host_paths),
    (Level::Baseline, Level::Restricted, host_ports),
    (Level::Baseline, Level::Restricted, privileged),
    (Level::Baseline, Level::Restricted, proc_mount),
    (Level::Restricted, Level::Restricted, volume_types),
    (Level::Restricted, Level::Restricted, non_root),
    (Level::Restricted, Level::Restricted, root_user),
    (Level::Baseline, Level::Restricted, se_linux),
    (Level::Baseline, Level::Baseline, unconfined),
    (Level::Restricted, Level::Restricted, seccomp),
    (Level::Baseline, Level::Restricted, sysctls),
    (Level::Baseline, Level::Restricted, host_process),
];

/// Capabilities that containers have anyway.
const DEFAULT_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const SAFE_VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];
const SAFE_SE_LINUX: &[&str] =
    &["", "container_engine_t", "container_init_t", "container_kvm_t", "container_t"];
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// What a pod of this level may not be.
pub(super) fn broken(level: Level, metadata: &Value, spec: &Value) -> Vec<Broken> {
    let pod = Pod::of(metadata, spec);
    let of_level = |(from, to, _): &&(Level, Level, Check)| (*from..=*to).contains(&level);
    CHECKS.iter().filter(of_level).filter_map(|(_, _, check)| check(&pod)).collect()
}

struct Pod<'a> {
    metadata: &'a Value,
    spec: &'a Value,
    /// Init containers first, as upstream visits them.
    containers: Vec<&'a Value>,
}

impl<'a> Pod<'a> {
    fn of(metadata: &'a Value, spec: &'a Value) -> Self {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        let containers = lists.iter().flat_map(|list| items(spec, list)).collect();
        Self { metadata, spec, containers }
    }

    fn is_windows(&self) -> bool {
        text(&self.spec["os"], "name") == "windows"
    }

    /// Names of the containers of which this is true.
    fn named(&self, is_so: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        self.containers.iter().filter(|one| is_so(one)).map(|one| text(one, "name")).collect()
    }
}

/// The security context of a container.
fn context(container: &Value) -> &Value {
    &container["securityContext"]
}

fn one(reason: &'static str, detail: String) -> Option<Broken> {
    (!detail.is_empty()).then_some(Broken { reason, detail })
}

/// `container "a"`, `containers "a", "b"`.
fn called(word: &str, names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("{word}{} {}", if names.len() == 1 { "" } else { "s" }, quoted.join(", "))
}

/// A sentence about some containers, or nothing.
fn sentence(names: &[&str], rest: &str) -> Option<String> {
    (!names.is_empty()).then(|| format!("{} {rest}", called("container", names)))
}

fn joined(sentences: impl IntoIterator<Item = Option<String>>) -> String {
    sentences.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Quoted, sorted, each once.
fn quoted<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let set: BTreeSet<String> = values.into_iter().map(|value| format!("{value:?}")).collect();
    set.into_iter().collect::<Vec<_>>().join(", ")
}

fn privilege_escalation(pod: &Pod<'_>) -> Option<Broken> {
    let free = pod.named(|container| context(container)["allowPrivilegeEscalation"] != false);
    let told = sentence(&free, "must set securityContext.allowPrivilegeEscalation=false");
    one("allowPrivilegeEscalation != false", told.filter(|_| !pod.is_windows()).unwrap_or_default())
}

fn app_armor(pod: &Pod<'_>) -> Option<Broken> {
    let is_free = |context: &Value| text(&context["appArmorProfile"], "type") == "Unconfined";
    let rest = "must not set AppArmor profile type to \"Unconfined\"";
    let of_pod = is_free(&pod.spec["securityContext"]).then(|| format!("pod {rest}"));
    let of_containers = sentence(&pod.named(|container| is_free(context(container))), rest);
    let is_safe = |value: &str| matches!(value, "" | "runtime/default") || value.starts_with("localhost/");
    let annotations: Vec<String> = entries(pod.metadata, "annotations")
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(key, value)| key.starts_with(APP_ARMOR) && !is_safe(value))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    let word = if annotations.len() == 1 { "annotation" } else { "annotations" };
    let of_annotations = (!annotations.is_empty()).then(|| format!("{word} {}", annotations.join(", ")));
    let detail = joined([of_pod, of_containers, of_annotations]);
    let count = detail.split("; ").count() + annotations.len();
    one(if count > 1 { "forbidden AppArmor profiles" } else { "forbidden AppArmor profile" }, detail)
}

/// What containers add beyond what is allowed.
fn added<'a>(pod: &Pod<'a>, allowed: &[&str]) -> Option<String> {
    let more = |container: &'a Value| -> Vec<&'a str> {
        let added = items(&context(container)["capabilities"], "add").iter().filter_map(Value::as_str);
        added.filter(|capability| !allowed.contains(capability)).collect()
    };
    let all: Vec<&str> = pod.containers.iter().flat_map(|container| more(container)).collect();
    let greedy: Vec<&str> =
        pod.containers.iter().filter(|one| !more(one).is_empty()).map(|one| text(one, "name")).collect();
    sentence(&greedy, &format!("must not include {} in securityContext.capabilities.add", quoted(all)))
}

fn added_capabilities(pod: &Pod<'_>) -> Option<Broken> {
    one("non-default capabilities", added(pod, DEFAULT_CAPABILITIES).unwrap_or_default())
}

fn capabilities(pod: &Pod<'_>) -> Option<Broken> {
    let keeps = |container: &Value| {
        !items(&context(container)["capabilities"], "drop").iter().any(|capability| capability == "ALL")
    };
    let kept = sentence(&pod.named(keeps), "must set securityContext.capabilities.drop=[\"ALL\"]");
    let told = joined([kept, added(pod, &["NET_BIND_SERVICE"])]);
    one("unrestricted capabilities", if pod.is_windows() { String::new() } else { told })
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Broken> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|name| flag(pod.spec, name));
    one("host namespaces", shared.map(|name| format!("{name}=true")).collect::<Vec<_>>().join(", "))
}

fn host_paths(pod: &Pod<'_>) -> Option<Broken> {
    let of_host = items(pod.spec, "volumes").iter().filter(|volume| is_set(volume, "hostPath"));
    let names: Vec<&str> = of_host.map(|volume| text(volume, "name")).collect();
    one("hostPath volumes", if names.is_empty() { String::new() } else { called("volume", &names) })
}

fn host_ports(pod: &Pod<'_>) -> Option<Broken> {
    let of = |container: &Value| -> Vec<i64> {
        let ports = items(container, "ports").iter().filter_map(|port| port["hostPort"].as_i64());
        ports.filter(|port| *port != 0).collect()
    };
    let names = pod.named(|container| !of(container).is_empty());
    let ports: BTreeSet<String> =
        pod.containers.iter().flat_map(|container| of(container)).map(|port| port.to_string()).collect();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let noun = if ports.len() == 1 { "hostPort" } else { "hostPorts" };
    let list = ports.into_iter().collect::<Vec<_>>().join(", ");
    one("hostPort", sentence(&names, &format!("{verb} {noun} {list}")).unwrap_or_default())
}

fn privileged(pod: &Pod<'_>) -> Option<Broken> {
    let names = pod.named(|container| flag(context(container), "privileged"));
    one("privileged", sentence(&names, "must not set securityContext.privileged=true").unwrap_or_default())
}

fn proc_mount(pod: &Pod<'_>) -> Option<Broken> {
    let of = |container: &Value| text(context(container), "procMount").to_string();
    let is_open = |container: &Value| !matches!(of(container).as_str(), "" | "Default");
    let kinds: Vec<String> = pod.containers.iter().copied().filter(|one| is_open(one)).map(of).collect();
    let rest =
        format!("must not set securityContext.procMount to {}", quoted(kinds.iter().map(String::as_str)));
    one("procMount", sentence(&pod.named(is_open), &rest).unwrap_or_default())
}

fn volume_types(pod: &Pod<'_>) -> Option<Broken> {
    let kind = |volume: &Value| -> String {
        let kinds = volume
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, value)| *key != "name" && !value.is_null());
        kinds.map(|(key, _)| key.clone()).next().unwrap_or_else(|| "unknown".to_string())
    };
    let is_unsafe = |volume: &&Value| !SAFE_VOLUMES.contains(&kind(volume).as_str());
    let volumes: Vec<&Value> = items(pod.spec, "volumes").iter().filter(is_unsafe).collect();
    if volumes.is_empty() {
        return None;
    }
    let names: Vec<&str> = volumes.iter().map(|volume| text(volume, "name")).collect();
    let kinds: BTreeSet<String> = volumes.iter().map(|volume| kind(volume)).collect();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let noun = if kinds.len() == 1 { "type" } else { "types" };
    let kinds = quoted(kinds.iter().map(String::as_str));
    one(
        "restricted volume types",
        format!("{} {verb} restricted volume {noun} {kinds}", called("volume", &names)),
    )
}

fn non_root(pod: &Pod<'_>) -> Option<Broken> {
    const FIELD: &str = "runAsNonRoot";
    let of_pod = &pod.spec["securityContext"][FIELD];
    let no = format!("must not set securityContext.{FIELD}=false");
    let denied = (*of_pod == false).then(|| format!("pod {no}"));
    let denying = sentence(&pod.named(|container| context(container)[FIELD] == false), &no);
    let silent = pod.named(|container| context(container)[FIELD].is_null());
    let silent = sentence(&silent, &format!("must set securityContext.{FIELD}=true"));
    let silent = silent.filter(|_| of_pod.is_null()).map(|told| format!("pod or {told}"));
    one("runAsNonRoot != true", joined([denied, denying, silent]))
}

fn root_user(pod: &Pod<'_>) -> Option<Broken> {
    let of_pod =
        (pod.spec["securityContext"]["runAsUser"] == 0).then(|| "pod must not set runAsUser=0".to_string());
    let of_containers =
        sentence(&pod.named(|container| context(container)["runAsUser"] == 0), "must not set runAsUser=0");
    one("runAsUser=0", joined([of_pod, of_containers]))
}

fn se_linux(pod: &Pod<'_>) -> Option<Broken> {
    let is_own = |options: &Value| {
        !SAFE_SE_LINUX.contains(&text(options, "type"))
            || !text(options, "user").is_empty()
            || !text(options, "role").is_empty()
    };
    let of_pod = &pod.spec["securityContext"]["seLinuxOptions"];
    let of = |container: &&Value| is_own(&context(container)["seLinuxOptions"]);
    let owners: Vec<&&Value> = pod.containers.iter().filter(|container| of(container)).collect();
    let names: Vec<&str> = owners.iter().map(|container| text(container, "name")).collect();
    let mut setters: Vec<String> = is_own(of_pod).then(|| "pod".to_string()).into_iter().collect();
    setters.extend((!names.is_empty()).then(|| called("container", &names)));
    if setters.is_empty() {
        return None;
    }
    let all: Vec<&Value> =
        owners.iter().map(|container| &context(container)["seLinuxOptions"]).chain([of_pod]).collect();
    let types: BTreeSet<&str> = all
        .iter()
        .map(|options| text(options, "type"))
        .filter(|kind| !SAFE_SE_LINUX.contains(kind))
        .collect();
    let word = if types.len() == 1 { "type" } else { "types" };
    let types = (!types.is_empty()).then(|| format!("{word} {}", quoted(types)));
    let may_not = |field: &str| {
        all.iter().any(|options| !text(options, field).is_empty()).then(|| format!("{field} may not be set"))
    };
    let what = joined([types, may_not("user"), may_not("role")]);
    one(
        "seLinuxOptions",
        format!("{} set forbidden securityContext.seLinuxOptions: {what}", setters.join(" and ")),
    )
}

/// Seccomp profiles that are no protection.
fn wrong_seccomp(pod: &Pod<'_>) -> [Option<String>; 2] {
    let kind = |context: &Value| text(&context["seccompProfile"], "type").to_string();
    let is_wrong = |context: &Value| !matches!(kind(context).as_str(), "" | "RuntimeDefault" | "Localhost");
    let of_pod = &pod.spec["securityContext"];
    let rest = |kinds: &[String]| {
        let kinds = quoted(kinds.iter().map(String::as_str));
        format!("must not set securityContext.seccompProfile.type to {kinds}")
    };
    let wrong: Vec<String> =
        pod.containers.iter().map(|one| context(one)).filter(|one| is_wrong(one)).map(kind).collect();
    let names = pod.named(|container| is_wrong(context(container)));
    [is_wrong(of_pod).then(|| format!("pod {}", rest(&[kind(of_pod)]))), sentence(&names, &rest(&wrong))]
}

fn unconfined(pod: &Pod<'_>) -> Option<Broken> {
    one("seccompProfile", joined(wrong_seccomp(pod)))
}

fn seccomp(pod: &Pod<'_>) -> Option<Broken> {
    let is_silent = |context: &Value| text(&context["seccompProfile"], "type").is_empty();
    let silent = pod.named(|container| is_silent(context(container)));
    let rest = "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
    let silent = sentence(&silent, rest).filter(|_| is_silent(&pod.spec["securityContext"]));
    let [of_pod, of_containers] = wrong_seccomp(pod);
    let told = joined([of_pod, of_containers, silent.map(|told| format!("pod or {told}"))]);
    one("seccompProfile", if pod.is_windows() { String::new() } else { told })
}

fn sysctls(pod: &Pod<'_>) -> Option<Broken> {
    let set = items(&pod.spec["securityContext"], "sysctls").iter().map(|sysctl| text(sysctl, "name"));
    let wrong: Vec<&str> = set.filter(|name| !SAFE_SYSCTLS.contains(name)).collect();
    one("forbidden sysctls", wrong.join(", "))
}

fn host_process(pod: &Pod<'_>) -> Option<Broken> {
    let is_host = |context: &Value| flag(&context["windowsOptions"], "hostProcess");
    let rest = "must not set securityContext.windowsOptions.hostProcess=true";
    let of_pod = is_host(&pod.spec["securityContext"]).then(|| format!("pod {rest}"));
    one("hostProcess", joined([of_pod, sentence(&pod.named(|one| is_host(context(one))), rest)]))
}
