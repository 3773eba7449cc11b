//! PURE. The files of a projected volume: several sources in one folder.
//!
//! A service account token comes from the server's TokenRequest; a server without it refuses, and the pod waits with
//! that reason.

use super::{DEFAULT_MODE, File, Files, VolumeError, config_map, downward_api, permissions, secret};
use crate::env::Facts;
use crate::sandbox;
use crate::sources::{Source, Token};
use k8s_openapi::api::core::v1::{
    Pod, PodSpec, ProjectedVolumeSource, ServiceAccountTokenProjection, VolumeProjection,
};
use std::collections::BTreeSet;

/// How long a token lives if the volume does not say it.
const TOKEN_SECONDS: i64 = 3600;
/// A token's file that has an owner or a group.
const PRIVATE: u32 = 0o600;

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
        let (mode, owner) = token_file(default_mode, facts.pod);
        let file = File { content: data.ok_or_else(missing)?.clone(), mode, owner };
        return Ok(Files::from([(projection.path.clone(), file)]));
    }
    Err(VolumeError::Unsupported { kind: "projected clusterTrustBundle" })
}

/// Permissions and owner of a token's file: only for whom the pod runs as, if it says so (with an `fsGroup`, also for that).
/// Kubernetes: projected.go `collectData`.
fn token_file(default_mode: Option<i32>, pod: &Pod) -> (u32, Option<u32>) {
    let Some(spec) = &pod.spec else { return (PRIVATE, None) };
    let group = spec.security_context.as_ref().and_then(|context| context.fs_group);
    match (user(spec), group) {
        (None, None) => (permissions(default_mode.unwrap_or(DEFAULT_MODE)), None),
        (owner, _) => (PRIVATE, owner),
    }
}

/// The one user of all containers; none if they differ, or one does not say it.
/// Kubernetes: volume/util `FsUserFrom`.
fn user(spec: &PodSpec) -> Option<u32> {
    let of_pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let inits = spec.init_containers.iter().flatten();
    let users: BTreeSet<Option<i64>> = inits
        .chain(&spec.containers)
        .map(|container| container.security_context.as_ref().and_then(|own| own.run_as_user).or(of_pod))
        .collect();
    match users.into_iter().collect::<Vec<_>>().as_slice() {
        [Some(user)] => u32::try_from(*user).ok(),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tokens_file_is_for_the_user_or_the_group_that_the_pod_names() {
        let check = |spec: serde_json::Value, expected: (u32, Option<u32>)| {
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            assert_eq!(token_file(Some(0o644), &pod), expected, "{spec}");
        };
        let runs_as = |user: i64| json!({"name": "c", "securityContext": {"runAsUser": user}});
        check(json!({"containers": [{"name": "c"}]}), (0o644, None));
        check(json!({"containers": [runs_as(1)]}), (0o600, Some(1)));
        check(json!({"containers": [runs_as(1), {"name": "d"}]}), (0o644, None));
        check(json!({"containers": [runs_as(1)], "initContainers": [runs_as(2)]}), (0o644, None));
        let of_pod = json!({"runAsUser": 3, "fsGroup": 4});
        check(json!({"containers": [{"name": "c"}], "securityContext": of_pod}), (0o600, Some(3)));
        check(json!({"containers": [{"name": "c"}], "securityContext": {"fsGroup": 4}}), (0o600, None));
    }
}
