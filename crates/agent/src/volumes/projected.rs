//! PURE. The files of a projected volume: several sources in one folder.
//!
//! A service account token comes from the server's TokenRequest; a server without it refuses, and the pod waits with
//! that reason.

use super::{DEFAULT_MODE, File, Files, VolumeError, config_map, downward_api, permissions, secret};
use crate::env::Facts;
use crate::sandbox;
use crate::sources::{Source, Token};
use k8s_openapi::api::core::v1::{
    Pod, ProjectedVolumeSource, ServiceAccountTokenProjection, VolumeProjection,
};
use std::collections::BTreeSet;

/// How long a token lives if the volume does not say it.
const TOKEN_SECONDS: i64 = 3600;

/// What the volume is made from.
#[must_use]
pub fn wanted(volume: &ProjectedVolumeSource, pod: &Pod) -> BTreeSet<Source> {
    let mut wanted = BTreeSet::new();
    for source in volume.sources.iter().flatten() {
        wanted.extend(source.config_map.iter().map(|map| Source::ConfigMap(map.name.clone())));
        wanted.extend(source.secret.iter().map(|secret| Source::Secret(secret.name.clone())));
        wanted.extend(source.service_account_token.iter().map(|projection| token(projection, pod)));
    }
    wanted
}

/// Its files; of two sources with one path the later wins.
pub fn files(volume: &ProjectedVolumeSource, facts: &Facts<'_>) -> Result<Files, VolumeError> {
    let mut files = Files::new();
    for source in volume.sources.iter().flatten() {
        files.extend(part(source, volume.default_mode, facts)?);
    }
    Ok(files)
}

fn part(
    source: &VolumeProjection,
    default_mode: Option<i32>,
    facts: &Facts<'_>,
) -> Result<Files, VolumeError> {
    let contents = facts.contents;
    if let Some(map) = &source.config_map {
        return config_map::part(&map.name, map.items.as_deref(), default_mode, map.optional, contents);
    }
    if let Some(own) = &source.secret {
        return secret::part(&own.name, own.items.as_deref(), default_mode, own.optional, contents);
    }
    if let Some(downward) = &source.downward_api {
        return downward_api::files(downward.items.as_deref().unwrap_or_default(), default_mode, facts);
    }
    if let Some(projection) = &source.service_account_token {
        let wanted = token(projection, facts.pod);
        let data = contents.get(&wanted).and_then(|data| data.get("token"));
        let missing =
            || VolumeError::NoObject { kind: "token of service account", name: wanted.name().into() };
        let mode = permissions(default_mode.unwrap_or(DEFAULT_MODE));
        let file = File { content: data.ok_or_else(missing)?.clone(), mode };
        return Ok(Files::from([(projection.path.clone(), file)]));
    }
    Err(VolumeError::Unsupported { kind: "projected clusterTrustBundle" })
}

fn token(projection: &ServiceAccountTokenProjection, pod: &Pod) -> Source {
    let key = sandbox::key(pod);
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    Source::Token(Token {
        service_account: account.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".into()),
        pod: (key.name, key.uid),
        audience: projection.audience.clone().unwrap_or_default(),
        seconds: projection.expiration_seconds.unwrap_or(TOKEN_SECONDS),
    })
}
