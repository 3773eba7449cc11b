//! PURE. Is a terminating namespace empty, and what do its conditions say?
//!
//! Texts are Kubernetes', since people and tools read them. A condition keeps its transition time while its status stays.
//! Kubernetes: `namespace/deletion/status_condition_utils.go`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;

/// The finalizer in `spec.finalizers` that this loop takes off.
pub(super) const FINALIZER: &str = "kubernetes";

/// What one round has found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Content {
    /// Kind → the finalizers of each object that is left.
    pub(super) left: BTreeMap<String, Vec<Vec<String>>>,
    /// Kind → why it could not be emptied.
    pub(super) failures: BTreeMap<String, String>,
    /// Why the kinds could not be asked for.
    pub(super) discovery: Option<String>,
}

/// What follows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    /// Nothing is left and nothing went wrong.
    pub(super) is_empty: bool,
    conditions: Vec<(&'static str, bool, &'static str, String)>,
}

/// Judges.
pub(super) fn judge(content: &Content) -> Verdict {
    let Content { left, failures, discovery } = content;
    let fine = |text: &str| text.to_string();
    let discovery = match discovery {
        None => (false, "ResourcesDiscovered", fine("All resources successfully discovered")),
        Some(error) => (true, "DiscoveryFailed", format!("Discovery failed for some groups: {error}")),
    };
    let failed = match failures.is_empty() {
        true => (
            false,
            "ContentDeleted",
            fine("All content successfully deleted, may be waiting on finalization"),
        ),
        false => (true, "ContentDeletionFailed", failure_text(failures)),
    };
    let remaining = match left.is_empty() {
        true => (false, "ContentRemoved", fine("All content successfully removed")),
        false => (true, "SomeResourcesRemain", remaining_text(left)),
    };
    let finalizers = finalizers_text(left);
    let held = match finalizers.is_empty() {
        true => (false, "ContentHasNoFinalizers", fine("All content-preserving finalizers finished")),
        false => (true, "SomeFinalizersRemain", finalizers),
    };
    let parsed = (false, "ParsedGroupVersions", fine("All legacy kube types successfully parsed"));
    let is_empty = !discovery.0 && !failed.0 && !remaining.0;
    let named = [
        ("NamespaceDeletionDiscoveryFailure", discovery),
        ("NamespaceDeletionGroupVersionParsingFailure", parsed),
        ("NamespaceDeletionContentFailure", failed),
        ("NamespaceContentRemaining", remaining),
        ("NamespaceFinalizersRemaining", held),
    ];
    let conditions = named.map(|(type_, (status, reason, message))| (type_, status, reason, message));
    Verdict { is_empty, conditions: conditions.to_vec() }
}

/// Sets the conditions; true if anything has changed.
pub(super) fn update(conditions: &mut Vec<NamespaceCondition>, verdict: &Verdict, now: Timestamp) -> bool {
    let mut changed = false;
    for (type_, status, reason, message) in &verdict.conditions {
        let status = if *status { "True" } else { "False" };
        let (reason, message) = (Some(reason.to_string()), Some(message.clone()));
        let last_transition_time = Some(Time(now));
        let new = NamespaceCondition {
            type_: type_.to_string(),
            status: status.into(),
            reason,
            message,
            last_transition_time,
        };
        match conditions.iter_mut().find(|condition| condition.type_ == *type_) {
            None => {
                conditions.push(new);
                changed = true;
            }
            Some(old)
                if (&old.status, &old.reason, &old.message) != (&new.status, &new.reason, &new.message) =>
            {
                let kept = old.last_transition_time.clone().filter(|_| old.status == new.status);
                *old = NamespaceCondition {
                    last_transition_time: kept.or(new.last_transition_time.clone()),
                    ..new
                };
                changed = true;
            }
            Some(_) => {}
        }
    }
    changed
}

fn failure_text(failures: &BTreeMap<String, String>) -> String {
    let all: Vec<String> = failures.values().cloned().collect();
    format!("Failed to delete all resource types, {} remaining: {}", failures.len(), all.join(", "))
}

fn remaining_text(left: &BTreeMap<String, Vec<Vec<String>>>) -> String {
    let parts: Vec<String> = left
        .iter()
        .map(|(kind, objects)| {
            let kind = if kind.contains('.') { kind.clone() } else { format!("{kind}.") };
            format!("{kind} has {} resource instances", objects.len())
        })
        .collect();
    format!("Some resources are remaining: {}", parts.join(", "))
}

fn finalizers_text(left: &BTreeMap<String, Vec<Vec<String>>>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for finalizer in left.values().flatten().flatten() {
        *counts.entry(finalizer).or_default() += 1;
    }
    if counts.is_empty() {
        return String::new();
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"))
        .collect();
    format!("Some content in the namespace has finalizers remaining: {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(content: &Content) -> Vec<String> {
        let mut conditions = Vec::new();
        assert!(update(&mut conditions, &judge(content), Timestamp::UNIX_EPOCH));
        let line =
            |c: NamespaceCondition| format!("{} {} {}", c.status, c.reason.unwrap(), c.message.unwrap());
        conditions.into_iter().map(line).collect()
    }

    #[test]
    fn an_empty_namespace_says_so() {
        let content = Content::default();
        assert!(judge(&content).is_empty);
        assert_eq!(
            texts(&content),
            [
                "False ResourcesDiscovered All resources successfully discovered",
                "False ParsedGroupVersions All legacy kube types successfully parsed",
                "False ContentDeleted All content successfully deleted, may be waiting on finalization",
                "False ContentRemoved All content successfully removed",
                "False ContentHasNoFinalizers All content-preserving finalizers finished",
            ]
        );
    }

    #[test]
    fn what_is_in_the_way_is_counted() {
        let mut content = Content::default();
        let held = vec!["a.example/x".to_string()];
        content.left.insert("pods".into(), vec![vec![], held.clone()]);
        content.left.insert("daemonsets.apps".into(), vec![held]);
        content.failures.insert("secrets".into(), "forbidden".into());
        assert!(!judge(&content).is_empty);
        assert_eq!(
            texts(&content)[2..],
            [
                "True ContentDeletionFailed Failed to delete all resource types, 1 remaining: forbidden",
                "True SomeResourcesRemain Some resources are remaining: daemonsets.apps has 1 resource instances, pods. has 2 resource instances",
                "True SomeFinalizersRemain Some content in the namespace has finalizers remaining: a.example/x in 2 resource instances",
            ]
        );
    }

    #[test]
    fn conditions_change_only_when_they_say_something_new() {
        let (mut conditions, empty) = (Vec::new(), judge(&Content::default()));
        let later = Timestamp::from_second(60).unwrap();
        assert!(update(&mut conditions, &empty, Timestamp::UNIX_EPOCH));
        assert!(!update(&mut conditions, &empty, later));
        let lost = Content { discovery: Some("no route".into()), ..Content::default() };
        assert!(!judge(&lost).is_empty);
        assert!(update(&mut conditions, &judge(&lost), later));
        assert_eq!(conditions[0].last_transition_time, Some(Time(later)));
        assert_eq!(conditions[1].last_transition_time, Some(Time(Timestamp::UNIX_EPOCH)));
    }
}
