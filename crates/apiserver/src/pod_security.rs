//! Is a pod as careful as its namespace asks it to be?
//!
//! A namespace names a level for each of three modes in its labels: what is refused (`enforce`), what the client is warned
//! of (`warn`), and what is only noted (`audit`). [`checks`] judge a pod's spec; nothing here knows who asks.
//!
//! Kubernetes: `pod-security-admission/{api,policy,admission}`.
//! Differs: a namespace that pins an older version is judged by today's checks all the same, which ask for more only
//! where the older ones were mistaken.

mod checks;
#[cfg(test)]
mod tests;

use crate::error::FieldError;
use crate::resources::fields::text;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Domain of the labels.
const DOMAIN: &str = "pod-security.kubernetes.io";
const LEVELS: &[&str] = &["privileged", "baseline", "restricted"];

/// How careful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Anything goes.
    Privileged,
    /// No known way out of the container.
    Baseline,
    /// Hardened as best practice has it.
    Restricted,
}

/// What one mode of a namespace asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The level.
    pub level: Level,
    /// `latest` or `v1.N`, for texts.
    pub version: String,
}

/// What a mode does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Refuses pods.
    Enforce,
    /// Warns clients.
    Warn,
}

impl Policy {
    /// What a namespace asks for. A label that says nothing known asks for everything in `enforce`, and for nothing
    /// elsewhere, so that a mistake is not an open door.
    pub fn of(namespace: &Value, mode: Mode) -> Self {
        let name = match mode {
            Mode::Enforce => "enforce",
            Mode::Warn => "warn",
        };
        let labels = &namespace["metadata"]["labels"];
        let level = match (labels[format!("{DOMAIN}/{name}")].as_str(), mode) {
            (Some("restricted"), _) => Level::Restricted,
            (Some("baseline"), _) => Level::Baseline,
            (Some("privileged") | None, _) | (_, Mode::Warn) => Level::Privileged,
            (Some(_), Mode::Enforce) => Level::Restricted,
        };
        let version = labels[format!("{DOMAIN}/{name}-version")].as_str();
        Self { level, version: version.filter(|text| is_version(text)).unwrap_or("latest").to_string() }
    }

    /// Why the pod is not careful enough: a text for each kind of carelessness.
    pub fn broken(&self, metadata: &Value, spec: &Value) -> Vec<Broken> {
        checks::broken(self.level, metadata, spec)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        write!(f, "{level}:{}", self.version)
    }
}

/// One kind of carelessness: `privileged (container "a" must not set …)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// What it is.
    pub reason: &'static str,
    /// Where; may be empty.
    pub detail: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.as_str() {
            "" => f.write_str(self.reason),
            detail => write!(f, "{} ({detail})", self.reason),
        }
    }
}

/// All of them in one line.
pub fn told(broken: &[Broken]) -> String {
    broken.iter().map(Broken::to_string).collect::<Vec<_>>().join(", ")
}

/// Labels of a namespace that say nothing known.
pub fn validate(namespace: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for mode in ["enforce", "audit", "warn"] {
        for (suffix, is_right, expected) in [
            ("", is_level as fn(&str) -> bool, format!("must be one of {}", LEVELS.join(", "))),
            ("-version", is_version, "must be \"latest\" or \"v1.x\"".to_string()),
        ] {
            let key = format!("{DOMAIN}/{mode}{suffix}");
            let value = text(&namespace["metadata"]["labels"], &key);
            if namespace["metadata"]["labels"][&key].is_string() && !is_right(value) {
                errors.push(FieldError::invalid(format!("metadata.labels[{key}]"), value, expected));
            }
        }
    }
    errors
}

fn is_level(text: &str) -> bool {
    LEVELS.contains(&text)
}

fn is_version(text: &str) -> bool {
    let minor = text.strip_prefix("v1.").unwrap_or_default();
    text == "latest"
        || minor == "0"
        || !minor.starts_with('0') && minor.parse::<u16>().is_ok_and(|_| !minor.starts_with('+'))
}

/// What a namespace that becomes stricter says of the pods that are in it already.
pub fn warn_of_existing(namespace: &str, policy: &Policy, pods: &[Value]) -> Vec<String> {
    let mut careless: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods {
        let broken = policy.broken(&pod["metadata"], &pod["spec"]);
        if !broken.is_empty() {
            let reasons: Vec<&str> = broken.iter().map(|one| one.reason).collect();
            careless.entry(reasons.join(", ")).or_default().push(text(&pod["metadata"], "name"));
        }
    }
    let mut lines: Vec<String> = careless
        .into_iter()
        .map(|(reasons, mut names)| {
            names.sort_unstable();
            let first = names.first().copied().unwrap_or_default();
            match names.len() {
                1 => format!("{first}: {reasons}"),
                2 => format!("{first} (and 1 other pod): {reasons}"),
                many => format!("{first} (and {} other pods): {reasons}", many - 1),
            }
        })
        .collect();
    if !lines.is_empty() {
        lines.sort();
        let title = format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{policy}\""
        );
        lines.insert(0, title);
    }
    lines
}
