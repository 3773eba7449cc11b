//! PURE. The files of a downward API volume: what a pod is told about itself.

use super::{DEFAULT_MODE, File, Files, VolumeError, permissions};
use crate::env::{self, Facts};
use crate::sandbox;
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, PodSpec};

/// One file an item.
pub fn files(
    items: &[DownwardAPIVolumeFile],
    default_mode: Option<i32>,
    facts: &Facts<'_>,
) -> Result<Files, VolumeError> {
    let mut files = Files::new();
    for item in items {
        let mode = item.mode.or(default_mode).unwrap_or(DEFAULT_MODE);
        let content = content(item, facts)?.into_bytes();
        files.insert(item.path.clone(), File { content, mode: permissions(mode), owner: None });
    }
    Ok(files)
}

fn content(item: &DownwardAPIVolumeFile, facts: &Facts<'_>) -> Result<String, VolumeError> {
    if let Some(field) = &item.field_ref {
        return Ok(env::field(field, facts)?);
    }
    let Some(resource) = &item.resource_field_ref else { return Ok(String::new()) };
    let empty = PodSpec::default();
    let spec = facts.pod.spec.as_ref().unwrap_or(&empty);
    let wanted = resource.container_name.as_deref().unwrap_or_default();
    match sandbox::containers(spec).find(|container| container.name == wanted) {
        Some(container) => Ok(env::resource_field(resource, container, facts.allocatable)?),
        None => Err(VolumeError::NoObject { kind: "container", name: wanted.into() }),
    }
}
