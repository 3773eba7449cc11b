//! May a pod or container run with these rights? Ids, profiles, sysctls, and what excludes what (AP-45).
//!
//! Privileged containers are allowed. Kubernetes: `core/validation.ValidateSecurityContext`,
//! `validatePodSpecSecurityContext`, `validateHostUsers`, `validateOS`.

use super::volumes::check_relative;
use crate::error::FieldError;
use crate::resources::fields::{check_optional_one_of, flag, is_set, items, text, texts};
use serde_json::Value;

/// The longest name of a sysctl.
const SYSCTL_MAX: usize = 253;
/// The longest name of an AppArmor profile: PATH_MAX - 1.
const PROFILE_MAX: usize = 4095;
const PROFILE_TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
const LISTS: &[&str] = &["containers", "initContainers", "ephemeralContainers"];

/// `securityContext` of a pod.
pub fn validate_pod(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    let context = &spec["securityContext"];
    let path = format!("{path}.securityContext");
    for id in ["fsGroup", "runAsUser", "runAsGroup"] {
        check_id(errors, &context[id], &format!("{path}.{id}"));
    }
    for (index, id) in items(context, "supplementalGroups").iter().enumerate() {
        check_id(errors, id, &format!("{path}.supplementalGroups[{index}]"));
    }
    if flag(spec, "hostPID") && flag(spec, "shareProcessNamespace") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(format!("{path}.shareProcessNamespace"), true, detail));
    }
    validate_sysctls(errors, spec, &path);
    for (field, supported) in [
        ("fsGroupChangePolicy", ["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", ["Merge", "Strict"]),
        ("seLinuxChangePolicy", ["MountOption", "Recursive"]),
    ] {
        check_optional_one_of(errors, &format!("{path}.{field}"), &context[field], &supported);
    }
    validate_profiles(errors, context, &path);
}

/// `securityContext` of a container.
pub fn validate_container(errors: &mut Vec<FieldError>, context: &Value, host_users: bool, path: &str) {
    let path = format!("{path}.securityContext");
    for id in ["runAsUser", "runAsGroup"] {
        check_id(errors, &context[id], &format!("{path}.{id}"));
    }
    let mount = format!("{path}.procMount");
    check_optional_one_of(errors, &mount, &context["procMount"], &["Default", "Unmasked"]);
    if host_users && text(context, "procMount") == "Unmasked" {
        errors.push(FieldError::invalid(mount, "Unmasked", "`hostUsers` must be false to use `Unmasked`"));
    }
    validate_profiles(errors, context, &path);
    if context["allowPrivilegeEscalation"] == false {
        validate_no_escalation(errors, context, &path);
    }
}

fn validate_no_escalation(errors: &mut Vec<FieldError>, context: &Value, path: &str) {
    let mut contradiction = |what: &str| {
        let detail = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
        errors.push(FieldError::invalid(path, context.clone(), detail));
    };
    if flag(context, "privileged") {
        contradiction("`privileged` to true");
    }
    if texts(&context["capabilities"], "add").contains(&"CAP_SYS_ADMIN") {
        contradiction("`capabilities.Add` CAP_SYS_ADMIN");
    }
}

/// A user or group id.
fn check_id(errors: &mut Vec<FieldError>, id: &Value, path: &str) {
    const IDS: std::ops::RangeInclusive<i64> = 0..=i32::MAX as i64;
    if let Some(id) = id.as_i64().filter(|id| !IDS.contains(id)) {
        errors.push(FieldError::invalid(path, id, "must be between 0 and 2147483647, inclusive"));
    }
}

fn validate_profiles(errors: &mut Vec<FieldError>, context: &Value, path: &str) {
    if is_set(context, "seccompProfile") {
        validate_seccomp(errors, &context["seccompProfile"], &format!("{path}.seccompProfile"));
    }
    if is_set(context, "appArmorProfile") {
        validate_app_armor(errors, &context["appArmorProfile"], &format!("{path}.appArmorProfile"));
    }
}

fn validate_seccomp(errors: &mut Vec<FieldError>, profile: &Value, path: &str) {
    check_profile_type(errors, profile, "seccompProfile", path);
    let field = format!("{path}.localhostProfile");
    match (text(profile, "type"), profile["localhostProfile"].as_str()) {
        ("Localhost", Some(file)) => check_relative(errors, file, &field),
        ("Localhost", None) => {
            errors.push(FieldError::required(field, "must be set when seccomp type is Localhost"));
        }
        (_, Some(_)) => {
            let detail = "can only be set when seccomp type is Localhost";
            errors.push(FieldError::invalid(field, profile.clone(), detail));
        }
        (_, None) => {}
    }
}

fn check_profile_type(errors: &mut Vec<FieldError>, profile: &Value, what: &str, path: &str) {
    let field = format!("{path}.type");
    match text(profile, "type") {
        "" => errors.push(FieldError::required(field, format!("type is required when {what} is set"))),
        known if PROFILE_TYPES.contains(&known) => {}
        other => errors.push(FieldError::not_supported(field, other, PROFILE_TYPES)),
    }
}

fn validate_app_armor(errors: &mut Vec<FieldError>, profile: &Value, path: &str) {
    const MISSING: &str = "must be set when AppArmor type is Localhost";
    check_profile_type(errors, profile, "appArmorProfile", path);
    let field = format!("{path}.localhostProfile");
    match (text(profile, "type"), profile["localhostProfile"].as_str()) {
        ("Localhost", None | Some("")) => errors.push(FieldError::required(field, MISSING)),
        ("Localhost", Some(name)) if name.trim() != name => {
            errors.push(FieldError::invalid(field, name, "must not be padded with whitespace"));
        }
        ("Localhost", Some(name)) if name.len() > PROFILE_MAX => {
            errors.push(FieldError::too_long(field, PROFILE_MAX));
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            let detail = "can only be set when AppArmor type is Localhost";
            errors.push(FieldError::invalid(field, name, detail));
        }
        _ => {}
    }
}

fn validate_sysctls(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    let sysctls = items(&spec["securityContext"], "sysctls");
    for (index, sysctl) in sysctls.iter().enumerate() {
        let path = format!("{path}.sysctls[{index}].name");
        let name = text(sysctl, "name");
        if name.is_empty() {
            errors.push(FieldError::required(path.as_str(), ""));
        } else if !is_sysctl(name) {
            let detail = format!(
                "must have at most {SYSCTL_MAX} characters and match regex \
                 ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            errors.push(FieldError::invalid(path.as_str(), name, detail));
        } else if sysctls.iter().take(index).any(|earlier| text(earlier, "name") == name) {
            errors.push(FieldError::duplicate(path.as_str(), name));
        }
        check_own_namespace(errors, spec, name, &path);
    }
}

/// A sysctl of a namespace that the pod shares with the node is the node's.
fn check_own_namespace(errors: &mut Vec<FieldError>, spec: &Value, name: &str, path: &str) {
    const IPC: &[&str] = &["kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue."];
    let name_with_dots = name.replace('/', ".");
    let shared = match () {
        () if flag(spec, "hostNetwork") && name_with_dots.starts_with("net.") => "hostNetwork",
        () if flag(spec, "hostIPC") && IPC.iter().any(|ipc| name_with_dots.starts_with(ipc)) => "hostIPC",
        () => return,
    };
    errors.push(FieldError::invalid(path, name, format!("may not be specified when '{shared}' is true")));
}

fn is_sysctl(name: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let segment = |part: &str| {
        let inside = part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
        inside && edge(part.bytes().next()) && edge(part.bytes().last())
    };
    name.len() <= SYSCTL_MAX && name.split(['.', '/']).all(segment)
}

/// A pod with users of its own shares nothing with the node.
pub fn validate_host_users(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    if spec["hostUsers"] != false {
        return;
    }
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if flag(spec, field) {
            let detail = "when `pod.Spec.HostUsers` is false";
            errors.push(FieldError::forbidden(format!("{path}.{shown}"), detail));
        }
    }
}

/// The system that the pod is written for.
pub fn validate_os(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    if !is_set(spec, "os") {
        return;
    }
    match text(&spec["os"], "name") {
        "" => errors.push(FieldError::required(format!("{path}.os.name"), "cannot be empty")),
        "linux" => forbid_windows(errors, spec, path),
        "windows" => {}
        other => errors.push(FieldError::not_supported(format!("{path}.os"), other, &["linux", "windows"])),
    }
}

fn forbid_windows(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    const DETAIL: &str = "windows options cannot be set for a linux pod";
    if is_set(&spec["securityContext"], "windowsOptions") {
        errors.push(FieldError::forbidden(format!("{path}.securityContext.windowsOptions"), DETAIL));
    }
    for list in LISTS {
        for (index, container) in items(spec, list).iter().enumerate() {
            if is_set(&container["securityContext"], "windowsOptions") {
                let field = format!("{path}.{list}[{index}].securityContext.windowsOptions");
                errors.push(FieldError::forbidden(field, DETAIL));
            }
        }
    }
}
