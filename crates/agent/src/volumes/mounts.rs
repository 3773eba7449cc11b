//! A container's `volumeMounts` → CRI mounts, with sub-paths held inside their volume.
//!
//! Kubernetes: kubelet_pods.go `makeMounts`. Differs: a sub-path is resolved at start, and refused if it leads out of
//! the volume through a link; kubelet also holds it open, which matters when a pod changes it in that moment.

use super::{VolumeError, path};
use crate::env;
use crate::runtime::cri::messages as m;
use k8s_openapi::api::core::v1::{Container, PodSpec, VolumeMount};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The mounts of a container, in order; `environment` is for `subPathExpr`.
pub fn of(
    pod_dir: &Path,
    spec: &PodSpec,
    container: &Container,
    environment: &[(String, String)],
) -> Result<Vec<m::Mount>, VolumeError> {
    let known: BTreeMap<&str, &str> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mounts = container.volume_mounts.iter().flatten();
    mounts.map(|mount| one(pod_dir, spec, mount, &known)).collect()
}

fn one(
    pod_dir: &Path,
    spec: &PodSpec,
    mount: &VolumeMount,
    known: &BTreeMap<&str, &str>,
) -> Result<m::Mount, VolumeError> {
    let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name);
    let missing = || VolumeError::NoObject { kind: "volume", name: mount.name.clone() };
    let volume = volume.ok_or_else(missing)?;
    let mut host_path = path(pod_dir, volume).ok_or_else(missing)?;
    let sub_path = match (&mount.sub_path, &mount.sub_path_expr) {
        (Some(sub_path), _) if !sub_path.is_empty() => Some(sub_path.clone()),
        (_, Some(text)) => Some(env::expand(text, |name| known.get(name).copied())),
        _ => None,
    };
    if let Some(sub_path) = sub_path {
        host_path = inside(&host_path, &sub_path)?;
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

/// The place of a sub-path; it is made if it is missing.
fn inside(volume: &Path, sub_path: &str) -> Result<PathBuf, VolumeError> {
    let outside = || VolumeError::Outside { path: sub_path.into() };
    if !Path::new(sub_path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    {
        return Err(outside());
    }
    let wanted = volume.join(sub_path);
    if !wanted.exists() {
        std::fs::create_dir_all(&wanted).map_err(VolumeError::io(&wanted))?;
    }
    let real = wanted.canonicalize().map_err(VolumeError::io(&wanted))?;
    let root = volume.canonicalize().map_err(VolumeError::io(volume))?;
    if real.starts_with(root) { Ok(real) } else { Err(outside()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_path_stays_inside_its_volume() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        std::os::unix::fs::symlink("/etc", volume.join("out")).unwrap();
        assert!(inside(&volume, "a/b").is_ok_and(|path| path.ends_with("volume/a/b")));
        for path in ["..", "a/../..", "/etc", "out"] {
            assert!(inside(&volume, path).is_err(), "{path}");
        }
    }
}
