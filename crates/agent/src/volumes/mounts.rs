//! A container's `volumeMounts` → CRI mounts, with sub-paths held fast in their volume.
//!
//! Kubernetes: kubelet_pods.go `makeMounts`.

use super::sub_path::{self, Place};
use super::{VolumeError, path};
use crate::env;
use crate::runtime::cri::messages as m;
use k8s_openapi::api::core::v1::{Container, PodSpec, VolumeMount};
use std::collections::BTreeMap;
use std::path::Path;

/// The mounts of a container, in order; `environment` is for `subPathExpr`.
pub fn of(
    pod_dir: &Path,
    spec: &PodSpec,
    container: &Container,
    environment: &[(String, String)],
) -> Result<Vec<m::Mount>, VolumeError> {
    let known: BTreeMap<&str, &str> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mounts = container.volume_mounts.iter().flatten().enumerate();
    let one = |(index, mount): (usize, &VolumeMount)| {
        let place = Place { pod_dir, volume: &mount.name, container: &container.name, index };
        one(place, spec, mount, &known)
    };
    mounts.map(one).collect()
}

fn one(
    place: Place<'_>,
    spec: &PodSpec,
    mount: &VolumeMount,
    known: &BTreeMap<&str, &str>,
) -> Result<m::Mount, VolumeError> {
    let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name);
    let missing = || VolumeError::NoObject { kind: "volume", name: mount.name.clone() };
    let volume = volume.ok_or_else(missing)?;
    let mut host_path = path(place.pod_dir, volume).ok_or_else(missing)?;
    let sub_path = match (&mount.sub_path, &mount.sub_path_expr) {
        (Some(sub_path), _) if !sub_path.is_empty() => Some(sub_path.clone()),
        (_, Some(text)) => Some(env::expand(text, |name| known.get(name).copied())),
        _ => None,
    };
    if let Some(sub_path) = sub_path {
        host_path = sub_path::bind(place, &host_path, &sub_path)?;
    }
    Ok(m::Mount {
        container_path: absolute(&mount.mount_path),
        host_path: host_path.to_string_lossy().into_owned(),
        readonly: mount.read_only == Some(true),
        selinux_relabel: false,
        propagation: match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => m::propagation::HOST_TO_CONTAINER,
            Some("Bidirectional") => m::propagation::BIDIRECTIONAL,
            _ => m::propagation::PRIVATE,
        },
    })
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_string() } else { format!("/{path}") }
}
