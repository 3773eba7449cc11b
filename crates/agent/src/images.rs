//! PURE. Whether an image is pulled, with which credentials, and how long a failed pull waits.
//!
//! Kubernetes: pkg/kubelet/images/image_manager.go, pkg/credentialprovider/keyring.go.

use crate::plan::{Then, Trouble};
use crate::runtime::cri::messages::AuthConfig;
use crate::sources::Data;
use base64::Engine as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Container;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The first wait after a failure.
const FIRST_DELAY: Duration = Duration::from_secs(10);
/// No wait is longer. Kubernetes: `MaxContainerBackOff`.
const LONGEST_DELAY: Duration = Duration::from_secs(300);
/// How long a failed pull shows its error before it shows the wait.
const SHOW_ERROR: SignedDuration = SignedDuration::from_secs(2);
/// What is not a failed pull is tried again soon: somebody may just be creating the missing ConfigMap.
/// Kubernetes: `backOffPeriod`.
const CONFIG_DELAY: Duration = Duration::from_secs(10);

/// Where an image without a registry's name comes from.
const DEFAULT_REGISTRY: &str = "docker.io";

/// `imagePullPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// When it is missing.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// The container's policy; without one `Always` for `latest`, else `IfNotPresent`.
#[must_use]
pub fn policy(container: &Container) -> PullPolicy {
    match container.image_pull_policy.as_deref() {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some("IfNotPresent") => PullPolicy::IfNotPresent,
        _ if has_fixed_tag(container.image.as_deref().unwrap_or_default()) => PullPolicy::IfNotPresent,
        _ => PullPolicy::Always,
    }
}

fn has_fixed_tag(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    image.contains('@') || last.split_once(':').is_some_and(|(_, tag)| tag != "latest")
}

/// What is remembered of a failed start: a failed pull waits twice as long each time.
#[must_use]
pub fn trouble(failure: &Failure, image: &str, before: Option<&Trouble>, now: Timestamp) -> Trouble {
    let delay = match (&failure.is_pull, before) {
        (false, _) => CONFIG_DELAY,
        (true, Some(before)) if before.then.is_some() => before.delay.saturating_mul(2).min(LONGEST_DELAY),
        (true, _) => FIRST_DELAY,
    };
    let then = failure.is_pull.then(|| Then {
        at: now.saturating_add(SHOW_ERROR).unwrap_or(now),
        reason: "ImagePullBackOff".into(),
        message: format!("Back-off pulling image {image:?}: {}: {}", failure.reason, failure.message),
    });
    Trouble {
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        then,
        retry_at: now.saturating_add(delay).unwrap_or(Timestamp::MAX),
        delay,
    }
}

/// Why a container did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The waiting reason: `ErrImagePull`, `CreateContainerConfigError`, …
    pub reason: String,
    /// The sentence.
    pub message: String,
    /// Whether it was the registry's doing.
    pub is_pull: bool,
}

/// Credentials for an image from the pod's pull secrets, the most exact first.
#[must_use]
pub fn credentials(image: &str, secrets: &[Data]) -> Vec<AuthConfig> {
    let wanted = repository(image);
    let mut found: Vec<(String, AuthConfig)> = secrets
        .iter()
        .flat_map(registries)
        .filter(|(registry, _)| is_below(&wanted, registry))
        .map(|(registry, entry)| (registry.clone(), entry.auth(&registry)))
        .collect();
    found.sort_by_key(|(registry, _)| std::cmp::Reverse(registry.len()));
    found.into_iter().map(|(_, auth)| auth).collect()
}

#[derive(Deserialize)]
struct Docker {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Clone, Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
}

impl Entry {
    fn auth(&self, registry: &str) -> AuthConfig {
        let decoded = base64::engine::general_purpose::STANDARD.decode(self.auth.trim()).unwrap_or_default();
        let decoded = String::from_utf8(decoded).unwrap_or_default();
        let (user, password) = decoded.split_once(':').unwrap_or_default();
        let or = |own: &String, decoded: &str| if own.is_empty() { decoded.into() } else { own.clone() };
        AuthConfig {
            username: or(&self.username, user),
            password: or(&self.password, password.trim_end_matches('\0')),
            server_address: registry.into(),
            identity_token: self.identity_token.clone(),
            ..AuthConfig::default()
        }
    }
}

/// The registries of a pull secret, in both forms; what cannot be read gives none.
fn registries(secret: &Data) -> Vec<(String, Entry)> {
    let mut auths = BTreeMap::new();
    if let Some(text) = secret.get(".dockerconfigjson") {
        auths.extend(serde_json::from_slice::<Docker>(text).map(|docker| docker.auths).unwrap_or_default());
    }
    if let Some(text) = secret.get(".dockercfg") {
        auths.extend(serde_json::from_slice::<BTreeMap<String, Entry>>(text).unwrap_or_default());
    }
    auths.into_iter().map(|(address, entry)| (place(&address), entry)).collect()
}

/// `https://index.docker.io/v1/` → `docker.io`; `https://r:5000/team/` → `r:5000/team`.
fn place(address: &str) -> String {
    let bare = address.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let bare = bare.trim_end_matches("/v1").trim_end_matches("/v2");
    if bare == "index.docker.io" { DEFAULT_REGISTRY.into() } else { bare.into() }
}

/// An image's name with its registry and without tag and digest.
fn repository(image: &str) -> String {
    let name = image.split('@').next().unwrap_or_default();
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.into(),
        Some(_) => format!("{DEFAULT_REGISTRY}/{name}"),
        None => format!("{DEFAULT_REGISTRY}/library/{name}"),
    }
}

/// Whether a repository lies in a registry, or below a path of it; `*` stands for one part of the host's name.
fn is_below(repository: &str, registry: &str) -> bool {
    let (host, path) = repository.split_once('/').unwrap_or((repository, ""));
    let (wanted_host, wanted_path) = registry.split_once('/').unwrap_or((registry, ""));
    let (host, wanted): (Vec<_>, Vec<_>) = (host.split('.').collect(), wanted_host.split('.').collect());
    let same = |(have, want): (&&str, &&str)| *want == "*" || have == want;
    host.len() == wanted.len() && host.iter().zip(&wanted).all(same) && path.starts_with(wanted_path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_tag_decides_when_the_policy_is_silent() {
        for (image, expected) in [
            ("a", PullPolicy::Always),
            ("a:latest", PullPolicy::Always),
            ("a:1", PullPolicy::IfNotPresent),
            ("r:5000/a", PullPolicy::Always),
            ("r:5000/a:1", PullPolicy::IfNotPresent),
            ("a@sha256:00", PullPolicy::IfNotPresent),
        ] {
            let container = Container { image: Some(image.into()), ..Container::default() };
            assert_eq!(policy(&container), expected, "{image}");
        }
    }

    #[test]
    fn a_secret_gives_credentials_for_its_registries_only() {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},
            "r.example:5000/team":{"username":"t","password":"x"},"r.example:5000":{"username":"all"},
            "*.cloud.example":{"username":"cloud"}}}"#;
        let secret: Data = Arc::new(BTreeMap::from([(".dockerconfigjson".to_string(), text.into())]));
        let users = |image: &str| -> Vec<String> {
            credentials(image, std::slice::from_ref(&secret)).into_iter().map(|auth| auth.username).collect()
        };
        assert_eq!(users("busybox"), ["u"]);
        assert_eq!(users("r.example:5000/team/a:1"), ["t", "all"]);
        assert_eq!(users("r.example:5000/b"), ["all"]);
        assert_eq!(users("eu.cloud.example/b"), ["cloud"]);
        assert_eq!(users("other.example/b"), [""; 0]);
    }

    #[test]
    fn a_failing_pull_waits_longer_each_time() {
        let failure = Failure { reason: "ErrImagePull".into(), message: "no".into(), is_pull: true };
        let mut last = None;
        let mut waits = Vec::new();
        for _ in 0..7 {
            let next = trouble(&failure, "a", last.as_ref(), Timestamp::UNIX_EPOCH);
            waits.push(next.delay.as_secs());
            last = Some(next);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
    }
}
