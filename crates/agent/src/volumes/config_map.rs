//! PURE. The files of a ConfigMap volume.

use super::{Files, VolumeError, chosen};
use crate::sources::{Contents, Source};
use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, KeyToPath};

/// The files of a volume of its own.
pub fn files(source: &ConfigMapVolumeSource, contents: &Contents) -> Result<Files, VolumeError> {
    part(&source.name, source.items.as_deref(), source.default_mode, source.optional, contents)
}

/// The files of a volume or of a part of a projected one.
pub(super) fn part(
    name: &str,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    optional: Option<bool>,
    contents: &Contents,
) -> Result<Files, VolumeError> {
    let optional = optional == Some(true);
    let Some(data) = contents.get(&Source::ConfigMap(name.into())) else {
        let error = VolumeError::NoObject { kind: "configmap", name: name.into() };
        return if optional { Ok(Files::new()) } else { Err(error) };
    };
    chosen(data, items, default_mode, |key| {
        (!optional).then(|| VolumeError::NoKey { kind: "config", key: key.into() })
    })
}
