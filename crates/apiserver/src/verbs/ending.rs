//! How an object ends: grace, finalizers, propagation (wire 2.6), and the two kinds with an end or an approval of their own.
//!
//! Pure. [`plan`] says what one DELETE makes of an object as it stands; [`is_over`] says when a terminating object has
//! nothing left to wait for.
//! Kubernetes: `registry/generic/registry/store.go` (deletionFinalizersForGarbageCollection), `registry/rest/delete.go`.

use super::metadata::{self, finalizers, text};
use crate::custom::naming;
use crate::deletion::{DeleteOptions, Propagation};
use crate::resources::Kind;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a DELETE does.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// It goes now.
    Remove,
    /// It is marked; this is the marked object.
    Mark(Value),
    /// It is marked already, and this request changes nothing.
    Nothing,
}

/// Decides what a DELETE does. `now` becomes the deletion time.
pub fn plan(kind: &Kind, object: &Value, options: &DeleteOptions, now: Timestamp) -> Plan {
    let mut wanted = wanted_finalizers(object, options.propagation);
    let seconds = if kind.traits.graceful_delete { grace(object, options) } else { Grace::Over };
    let terminating = metadata::is_terminating(object);
    let mut marked = object.clone();
    if !terminating && is_definition(kind) {
        wanted.push(naming::CLEANUP.to_string());
        marked["status"] = naming::marked(&marked["status"], &super::create::seconds(now));
    }
    let held = is_namespace(kind) && has_namespace_finalizers(object);
    match seconds {
        Grace::Unchanged => {}
        Grace::Seconds(seconds) => mark(kind, &mut marked, seconds, now),
        Grace::Over if wanted.is_empty() && !held => return Plan::Remove,
        Grace::Over if !terminating || grace_left(object) > 0 => mark(kind, &mut marked, 0, now),
        Grace::Over => {}
    }
    metadata::set(&mut marked, "finalizers", if wanted.is_empty() { Value::Null } else { json!(wanted) });
    if is_namespace(kind) {
        marked["status"]["phase"] = "Terminating".into();
    }
    if super::same::unchanged(kind.traits.verbatim, &marked, object) {
        Plan::Nothing
    } else {
        Plan::Mark(marked)
    }
}

enum Grace {
    /// Seconds that are left to it.
    Seconds(i64),
    /// None.
    Over,
    /// As marked before.
    Unchanged,
}

/// 2.6.6. Only a shorter period changes a pod that is marked already.
fn grace(pod: &Value, options: &DeleteOptions) -> Grace {
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let unbound = pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(0);
    let own = if own < 0 { 1 } else { own };
    let terminating = metadata::is_terminating(pod);
    let period = if ended || unbound { 0 } else { options.grace.unwrap_or(own) };
    match (terminating, period) {
        (_, 0) if options.grace.is_some() || !terminating || ended || unbound => Grace::Over,
        (true, _) if options.grace.is_none() => Grace::Unchanged,
        (true, period) if period >= grace_left(pod) => Grace::Unchanged,
        (_, period) => Grace::Seconds(period),
    }
}

fn grace_left(object: &Value) -> i64 {
    object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0)
}

fn mark(kind: &Kind, object: &mut Value, seconds: i64, now: Timestamp) {
    // A shorter grace counts from the first delete, not from this one.
    let begun = match text(object, "deletionTimestamp").parse::<Timestamp>() {
        Ok(end) => end.saturating_sub(SignedDuration::from_secs(grace_left(object))).unwrap_or(now),
        Err(_) => {
            raise_generation(kind, object);
            now
        }
    };
    let end = begun.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    metadata::set(object, "deletionTimestamp", super::create::seconds(end).into());
    metadata::set(object, "deletionGracePeriodSeconds", seconds.into());
}

/// Marking raises the generation once (2.3.3).
fn raise_generation(kind: &Kind, object: &mut Value) {
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
    if kind.traits.has_generation {
        metadata::set(object, "generation", (generation + 1).into());
    }
}

/// 2.6.5.
fn wanted_finalizers(object: &Value, propagation: Propagation) -> Vec<String> {
    let present = finalizers(object);
    let (orphan, foreground) = match propagation {
        Propagation::Orphan => (true, false),
        Propagation::Foreground => (false, true),
        Propagation::Background => (false, false),
        Propagation::Unsaid => (present.contains(&ORPHAN), present.contains(&FOREGROUND)),
    };
    let kept = present.iter().filter(|f| !matches!(**f, ORPHAN | FOREGROUND)).map(|f| f.to_string());
    let mut wanted: Vec<String> = kept.collect();
    wanted.extend(orphan.then(|| ORPHAN.to_string()));
    wanted.extend(foreground.then(|| FOREGROUND.to_string()));
    // Order is no reason to write: keep the old one when the set is the same.
    let same = wanted.len() == present.len() && present.iter().all(|f| wanted.iter().any(|w| w == f));
    if same { present.into_iter().map(str::to_string).collect() } else { wanted }
}

/// Whether a marked object has nothing left to wait for: no finalizer, no grace, and for a namespace no content (2.2.9,
/// 2.4.5).
pub fn is_over(kind: &Kind, object: &Value) -> bool {
    metadata::is_terminating(object)
        && finalizers(object).is_empty()
        && !(is_namespace(kind) && has_namespace_finalizers(object))
        && (!kind.traits.graceful_delete || grace_left(object) == 0)
}

/// Its objects go first (2.11.4).
fn is_definition(kind: &Kind) -> bool {
    (kind.group, kind.plural) == ("apiextensions.k8s.io", "customresourcedefinitions")
}

fn is_namespace(kind: &Kind) -> bool {
    (kind.group, kind.plural) == ("", "namespaces")
}

fn has_namespace_finalizers(namespace: &Value) -> bool {
    namespace["spec"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

/// `spec.finalizers` of a namespace change through `/finalize` only.
pub fn keep_namespace_finalizers(kind: &Kind, new: &mut Value, old: &Value) {
    if is_namespace(kind) {
        new["spec"]["finalizers"] = old["spec"]["finalizers"].clone();
    }
}

/// `/approval`: the old request with the new one's Approved, Denied and other conditions; times are filled in.
pub fn approved(old: &Value, new: &Value, now: &str) -> Value {
    let mut out = old.clone();
    let mut conditions = new["status"]["conditions"].as_array().cloned().unwrap_or_default();
    for condition in conditions.iter_mut().filter(|c| c.is_object()) {
        let before = old["status"]["conditions"].as_array().into_iter().flatten();
        let known =
            before.filter(|b| b["type"] == condition["type"] && b["status"] == condition["status"]).count()
                > 0;
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = now.into();
        }
        if condition["lastTransitionTime"].is_null() && !known {
            condition["lastTransitionTime"] = now.into();
        }
    }
    if !out["status"].is_object() {
        out["status"] = json!({});
    }
    out["status"]["conditions"] = conditions.into();
    metadata::set(&mut out, "resourceVersion", new["metadata"]["resourceVersion"].clone());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::find;

    fn options(grace: Option<i64>, propagation: Propagation) -> DeleteOptions {
        DeleteOptions { dry_run: false, grace, propagation, uid: None, resource_version: None }
    }

    fn pod(metadata: Value, node: &str, phase: &str) -> Value {
        json!({"metadata": metadata, "spec": {"nodeName": node, "terminationGracePeriodSeconds": 30},
            "status": {"phase": phase}})
    }

    /// `None`: removed; `Some(Err)`: nothing; `Some(Ok)`: marked with this end and grace.
    fn outcome(object: &Value, grace: Option<i64>) -> Option<Result<(String, i64), ()>> {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        match plan(find("", "v1", "pods").unwrap(), object, &options(grace, Propagation::Unsaid), now) {
            Plan::Remove => None,
            Plan::Nothing => Some(Err(())),
            Plan::Mark(marked) => {
                Some(Ok((text(&marked, "deletionTimestamp").to_string(), grace_left(&marked))))
            }
        }
    }

    #[test]
    fn a_pod_ends_with_grace_and_only_a_shorter_one_changes_that() {
        let fresh = json!({"name": "x"});
        let marked = json!({"name": "x", "deletionTimestamp": "2026-01-01T00:00:20Z", "deletionGracePeriodSeconds": 30});
        let at = |text: &str, grace| Some(Ok((text.to_string(), grace)));
        let check = |object: Value, grace: Option<i64>, expected: Option<Result<(String, i64), ()>>| {
            assert_eq!(outcome(&object, grace), expected, "{object} {grace:?}");
        };
        check(pod(fresh.clone(), "n1", "Running"), None, at("2026-01-01T00:00:30Z", 30));
        check(pod(fresh.clone(), "n1", "Running"), Some(5), at("2026-01-01T00:00:05Z", 5));
        check(pod(fresh.clone(), "n1", "Running"), Some(0), None);
        check(pod(fresh.clone(), "", "Pending"), None, None);
        check(pod(fresh, "n1", "Failed"), Some(60), None);
        check(pod(marked.clone(), "n1", "Running"), None, Some(Err(())));
        check(pod(marked.clone(), "n1", "Running"), Some(60), Some(Err(())));
        check(pod(marked.clone(), "n1", "Running"), Some(1), at("2025-12-31T23:59:51Z", 1));
        check(pod(marked, "n1", "Running"), Some(0), None);
    }

    #[test]
    fn propagation_becomes_finalizers() {
        // AP-3.
        let kind = find("apps", "v1", "daemonsets").unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let check = |present: &[&str], propagation: Propagation, expected: Option<&[&str]>| {
            let object = json!({"metadata": {"name": "x", "generation": 1, "finalizers": present}});
            let plan = plan(kind, &object, &options(None, propagation), now);
            match (plan, expected) {
                (Plan::Remove, None) => {}
                (Plan::Mark(marked), Some(expected)) => {
                    assert_eq!(
                        (finalizers(&marked), &marked["metadata"]["generation"]),
                        (expected.to_vec(), &json!(2))
                    );
                }
                (plan, _) => panic!("{present:?} {propagation:?}: {plan:?}"),
            }
        };
        check(&[], Propagation::Unsaid, None);
        check(&[], Propagation::Foreground, Some(&["foregroundDeletion"]));
        check(&[], Propagation::Orphan, Some(&["orphan"]));
        check(&["a/b"], Propagation::Background, Some(&["a/b"]));
        check(&["orphan"], Propagation::Unsaid, Some(&["orphan"]));
        check(&["orphan"], Propagation::Background, None);
    }

    #[test]
    fn a_namespace_waits_for_its_own_finalizers() {
        let kind = find("", "v1", "namespaces").unwrap();
        let object = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let now = Timestamp::UNIX_EPOCH;
        let Plan::Mark(marked) = plan(kind, &object, &options(None, Propagation::Unsaid), now) else {
            panic!()
        };
        assert_eq!(marked["status"]["phase"], "Terminating");
        assert_eq!(plan(kind, &marked, &options(None, Propagation::Unsaid), now), Plan::Nothing);
        assert!(!is_over(kind, &marked));
        let mut emptied = marked;
        emptied["spec"]["finalizers"] = json!([]);
        assert!(is_over(kind, &emptied));
    }
}
