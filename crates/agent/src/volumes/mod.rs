//! A pod's volumes on this node: what they need, where they lie, and how they get into a container.
//!
//! `<data_dir>/pods/<uid>/volumes/<plugin>/<name>`, as kubelet names it. Making a volume twice is making it once;
//! ConfigMap, Secret and projected volumes are written as a whole or not at all ([`payload`]) and written again when
//! their sources change. A kind we cannot give is an error with its name, never an empty folder.
//!
//! Kubernetes: pkg/volume/*, kubelet_pods.go `makeMounts`.

pub mod config_map;
pub mod downward_api;
pub mod empty_dir;
pub mod host_path;
pub mod mounts;
pub mod payload;
pub mod projected;
pub mod secret;
mod sub_path;

use crate::env::Facts;
use crate::sources::Source;
use k8s_openapi::api::core::v1::{KeyToPath, Pod, PodSpec, Volume};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Mode of a file whose volume says nothing.
const DEFAULT_MODE: i32 = 0o644;

/// One file of a volume: content, permissions and owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What is in it.
    pub content: Vec<u8>,
    /// Permissions.
    pub mode: u32,
    /// Whose it is; none: root's.
    pub owner: Option<u32>,
}

/// The files of a volume by their path in it.
pub type Files = BTreeMap<String, File>;

/// Why a volume cannot be made; the text of a `FailedMount` event. Kubelet's sentences where it has one.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The object it is made from is missing.
    #[error("{kind} {name:?} not found")]
    NoObject {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object has not the key that is asked for.
    #[error("references non-existent {kind} key: {key}")]
    NoKey {
        /// `config` or `secret`.
        kind: &'static str,
        /// The key.
        key: String,
    },
    /// The path on the node is not what it must be.
    #[error("hostPath type check failed: {path} is not {expected}")]
    HostPath {
        /// The path.
        path: String,
        /// For example `a directory`.
        expected: &'static str,
    },
    /// A path in the volume leaves it.
    #[error("{path:?} must be a path inside the volume")]
    Outside {
        /// The path.
        path: String,
    },
    /// A kind of volume that this node cannot give.
    #[error("this node has no volumes of kind {kind}")]
    Unsupported {
        /// The kind.
        kind: &'static str,
    },
    /// A downward API item cannot be read.
    #[error(transparent)]
    Downward(#[from] crate::env::EnvError),
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: String,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
}

impl VolumeError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.display().to_string(), source }
    }
}

/// What the pod's volumes are made from.
#[must_use]
pub fn wanted(pod: &Pod) -> BTreeSet<Source> {
    volumes(pod).flat_map(|volume| wanted_by(volume, pod)).collect()
}

/// The first volume that is made from this source.
#[must_use]
pub fn made_from(pod: &Pod, source: &Source) -> Option<String> {
    volumes(pod).find(|volume| wanted_by(volume, pod).contains(source)).map(|volume| volume.name.clone())
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten())
}

fn wanted_by(volume: &Volume, pod: &Pod) -> BTreeSet<Source> {
    let mut wanted = BTreeSet::new();
    wanted.extend(volume.config_map.iter().map(|map| Source::ConfigMap(map.name.clone())));
    let secret = volume.secret.as_ref().and_then(|secret| secret.secret_name.clone());
    wanted.extend(secret.map(Source::Secret));
    if let Some(projection) = &volume.projected {
        wanted.extend(projected::wanted(projection, pod));
    }
    wanted
}

/// Makes every volume of the pod below `pod_dir`, or brings it up to date. The volume that fails is named.
pub fn prepare(pod_dir: &Path, facts: &Facts<'_>) -> Result<(), (String, VolumeError)> {
    let empty = PodSpec::default();
    let spec = facts.pod.spec.as_ref().unwrap_or(&empty);
    for volume in spec.volumes.iter().flatten() {
        one(pod_dir, spec, volume, facts).map_err(|error| (volume.name.clone(), error))?;
    }
    Ok(())
}

fn one(pod_dir: &Path, spec: &PodSpec, volume: &Volume, facts: &Facts<'_>) -> Result<(), VolumeError> {
    let group = spec.security_context.as_ref().and_then(|context| context.fs_group);
    let Some(path) = path(pod_dir, volume) else {
        return Err(VolumeError::Unsupported { kind: kind(volume) });
    };
    if let Some(host_path) = &volume.host_path {
        return host_path::prepare(host_path);
    }
    if let Some(medium) = &volume.empty_dir {
        return empty_dir::prepare(&path, medium, group);
    }
    let files = if let Some(source) = &volume.config_map {
        config_map::files(source, facts.contents)?
    } else if let Some(source) = &volume.secret {
        secret::files(source, facts.contents)?
    } else if let Some(source) = &volume.downward_api {
        downward_api::files(source.items.as_deref().unwrap_or_default(), source.default_mode, facts)?
    } else if let Some(source) = &volume.projected {
        projected::files(source, facts)?
    } else {
        return Err(VolumeError::Unsupported { kind: kind(volume) });
    };
    payload::write(&path, &files, group)
}

/// Where a volume lies on the node; `None` for a kind that we do not have.
#[must_use]
pub fn path(pod_dir: &Path, volume: &Volume) -> Option<PathBuf> {
    if let Some(host_path) = &volume.host_path {
        return Some(PathBuf::from(&host_path.path));
    }
    let plugin = if volume.empty_dir.is_some() {
        "kubernetes.io~empty-dir"
    } else if volume.config_map.is_some() {
        "kubernetes.io~configmap"
    } else if volume.secret.is_some() {
        "kubernetes.io~secret"
    } else if volume.downward_api.is_some() {
        "kubernetes.io~downward-api"
    } else if volume.projected.is_some() {
        "kubernetes.io~projected"
    } else {
        return None;
    };
    Some(pod_dir.join("volumes").join(plugin).join(&volume.name))
}

/// Unmounts and removes everything a pod had on disk.
pub fn remove(pod_dir: &Path) -> Result<(), VolumeError> {
    sub_path::unbind_all(pod_dir)?;
    empty_dir::unmount_all(pod_dir)?;
    match std::fs::remove_dir_all(pod_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(VolumeError::io(pod_dir)(error)),
        _ => Ok(()),
    }
}

/// The chosen keys of an object as files; without a choice all of them.
pub(crate) fn chosen(
    data: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    missing: impl Fn(&str) -> Option<VolumeError>,
) -> Result<Files, VolumeError> {
    let mode = default_mode.unwrap_or(DEFAULT_MODE);
    let file = |content: &[u8], mode: i32| {
        let (content, mode) = (content.to_vec(), permissions(mode));
        File { content, mode, owner: None }
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(data.iter().map(|(key, content)| (key.clone(), file(content, mode))).collect());
    };
    let mut files = Files::new();
    for item in items {
        match data.get(&item.key) {
            Some(content) => {
                files.insert(item.path.clone(), file(content, item.mode.unwrap_or(mode)));
            }
            None => missing(&item.key).map_or(Ok(()), Err)?,
        }
    }
    Ok(files)
}

pub(crate) fn permissions(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or(0o644) & 0o777
}

fn kind(volume: &Volume) -> &'static str {
    let kinds = [
        (volume.persistent_volume_claim.is_some(), "persistentVolumeClaim"),
        (volume.csi.is_some(), "csi"),
        (volume.nfs.is_some(), "nfs"),
        (volume.iscsi.is_some(), "iscsi"),
        (volume.image.is_some(), "image"),
        (volume.ephemeral.is_some(), "ephemeral"),
    ];
    kinds.into_iter().find(|(is, _)| *is).map_or("unknown", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_choose_keys_paths_and_modes() {
        let data = BTreeMap::from([("a".to_string(), vec![1]), ("b".to_string(), vec![2])]);
        let item = |key: &str, mode| KeyToPath { key: key.into(), path: format!("x/{key}"), mode };
        let missing = |key: &str| Some(VolumeError::NoKey { kind: "config", key: key.into() });
        let all = chosen(&data, None, Some(0o400), missing).unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert!(all.values().all(|file| file.mode == 0o400));
        let one = chosen(&data, Some(&[item("b", Some(0o600))]), None, missing).unwrap();
        assert_eq!(one, Files::from([("x/b".into(), File { content: vec![2], mode: 0o600, owner: None })]));
        let error = chosen(&data, Some(&[item("c", None)]), None, missing).unwrap_err();
        assert_eq!(error.to_string(), "references non-existent config key: c");
    }
}
