//! PURE. Whether an image is pulled, and how long a failed pull waits.
//!
//! With which credentials: see [`crate::credentials`]. Kubernetes: pkg/kubelet/images/image_manager.go.

use crate::plan::{Then, Trouble};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Container;
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

#[cfg(test)]
mod tests {
    use super::*;

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
