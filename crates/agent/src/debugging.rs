//! PURE. The containers that people add to a running pod: `kubectl debug`.
//!
//! They have little of what others have, no ports, probes, hooks or resources, so each is one of the others with these left
//! out; only [`target`] is theirs. They start once, also before and beside init containers that do not get through, and are
//! never restarted. A pod's phase and readiness do not look at them.
//!
//! Kubernetes: kuberuntime_manager.go `EphemeralContainersToStart`, kuberuntime_container.go `getTargetID`.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, PodSpec};

/// The container as all code but this knows containers.
#[must_use]
pub fn container(debugger: &EphemeralContainer) -> Container {
    let own = debugger.clone();
    Container {
        name: own.name,
        image: own.image,
        image_pull_policy: own.image_pull_policy,
        command: own.command,
        args: own.args,
        working_dir: own.working_dir,
        env: own.env,
        env_from: own.env_from,
        volume_mounts: own.volume_mounts,
        volume_devices: own.volume_devices,
        security_context: own.security_context,
        stdin: own.stdin,
        stdin_once: own.stdin_once,
        tty: own.tty,
        termination_message_path: own.termination_message_path,
        termination_message_policy: own.termination_message_policy,
        ..Container::default()
    }
}

/// All of a pod.
pub fn containers(spec: &PodSpec) -> impl Iterator<Item = Container> {
    spec.ephemeral_containers.iter().flatten().map(container)
}

/// The container of the pod whose processes this one wants to see.
#[must_use]
pub fn target<'a>(spec: &'a PodSpec, name: &str) -> Option<&'a str> {
    let debugger = spec.ephemeral_containers.iter().flatten().find(|debugger| debugger.name == name)?;
    debugger.target_container_name.as_deref().filter(|target| !target.is_empty())
}
