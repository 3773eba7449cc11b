//! What there is to go back to: revisions as `kubectl rollout history` lists them, and what `undo` sends.
//!
//! 1. A DaemonSet's revisions are those that it controls by uid; of equal numbers the last one stands (RV-21).
//! 2. Going back to nothing in particular means the second highest number (RV-23).
//! 3. The template replaces the whole of the other one; nothing else of the DaemonSet changes (RV-24).
//!
//! Kubernetes: kubectl `polymorphichelpers/{history,rollback}.go`.
//! Differs: whether there is anything to do is asked by meaning, not by bytes (TK-2), so that the answer does not depend on
//! who has written the revision.

use crate::table::aligned;
use daemonset::revision;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use objects::owner::controller_of;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Why a revision was made, if somebody has said so.
const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";
/// Blanks between columns. Kubernetes: `tabbedString` in history.go.
const GAP: usize = 2;

/// A DaemonSet's revisions, by number.
#[derive(Debug, Clone)]
pub struct History<'a>(BTreeMap<i64, &'a ControllerRevision>);

/// What going back means.
#[derive(Debug, Clone, PartialEq)]
pub enum Undo {
    /// The DaemonSet has this template already.
    Skipped {
        /// The revision.
        number: i64,
    },
    /// A strategic merge patch is to be sent.
    Patch {
        /// The revision.
        number: i64,
        /// The patch.
        body: Value,
    },
}

/// Why there is no going back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// There is one revision, or none.
    #[error("no last revision to roll back to")]
    NoLast,
    /// Nobody has this number.
    #[error("unable to find specified revision {0} in history")]
    Missing(i64),
}

impl<'a> History<'a> {
    /// The revisions of a DaemonSet among those of its namespace.
    pub fn of(daemon_set: &DaemonSet, revisions: impl IntoIterator<Item = &'a ControllerRevision>) -> Self {
        let uid = daemon_set.metadata.uid.as_deref();
        let is_ours = |revision: &&ControllerRevision| {
            controller_of(&revision.metadata).is_some_and(|owner| Some(owner.uid.as_str()) == uid)
        };
        let mut ours: Vec<&ControllerRevision> = revisions.into_iter().filter(is_ours).collect();
        ours.sort_by_key(|revision| (revision.revision, revision.metadata.name.clone()));
        Self(ours.into_iter().map(|revision| (revision.revision, revision)).collect())
    }

    /// `REVISION  CHANGE-CAUSE`, as kubectl prints it.
    pub fn table(&self) -> String {
        if self.0.is_empty() {
            return "No rollout history found.".to_string();
        }
        let header = ["REVISION".to_string(), "CHANGE-CAUSE".to_string()];
        let rows = self.0.iter().map(|(number, revision)| [number.to_string(), cause(revision).to_string()]);
        aligned(&[header].into_iter().chain(rows).collect::<Vec<_>>(), GAP)
    }

    /// The pod template of a revision (RV-22). Differs: kubectl describes it in a form that changes with its version; ours
    /// is printed as YAML, which can be pasted.
    pub fn template(&self, number: i64) -> Option<Value> {
        let data = self.0.get(&number)?.data.as_ref()?;
        said(&data.0["spec"]["template"])
    }

    /// What going back to a revision means; 0 is the last one before this. `template` is the DaemonSet's, as the server
    /// has sent it.
    pub fn undo(&self, to: i64, template: &Value) -> Result<Undo, HistoryError> {
        let number = match to {
            0 => *self.0.keys().rev().nth(1).ok_or(HistoryError::NoLast)?,
            number => number,
        };
        let revision = self.0.get(&number).ok_or(HistoryError::Missing(number))?;
        let body = revision.data.as_ref().map(|data| data.0.clone()).unwrap_or_default();
        match revision::same_meaning(&body, &revision::data(template)) {
            true => Ok(Undo::Skipped { number }),
            false => Ok(Undo::Patch { number, body }),
        }
    }
}

fn cause(revision: &ControllerRevision) -> &str {
    let annotations = revision.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(CHANGE_CAUSE)).map_or("<none>", String::as_str)
}

/// Without the patch's directive, and without what Go writes for nothing.
fn said(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(key, _)| *key != "$patch");
            Some(Value::Object(
                fields.filter_map(|(key, value)| Some((key.clone(), said(value)?))).collect::<Map<_, _>>(),
            ))
        }
        Value::Array(items) => Some(items.iter().filter_map(said).collect()),
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(image: &str) -> Value {
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
    }

    fn revision_of(uid: &str, number: i64, image: &str, cause: Option<&str>) -> ControllerRevision {
        serde_json::from_value(json!({
            "metadata": {
                "name": format!("d-{number}"), "annotations": cause.map(|cause| json!({CHANGE_CAUSE: cause})),
                "ownerReferences":
                    [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": uid, "controller": true}],
            },
            "revision": number,
            "data": revision::data(&template(image)),
        }))
        .unwrap()
    }

    fn check(revisions: &[ControllerRevision], to: i64, expected: Result<(i64, Option<&str>), HistoryError>) {
        let daemon_set: DaemonSet =
            serde_json::from_value(json!({"metadata": {"name": "d", "uid": "u"}})).unwrap();
        let undo = History::of(&daemon_set, revisions).undo(to, &template("img:3"));
        let found = undo.map(|undo| match undo {
            Undo::Skipped { number } => (number, None),
            Undo::Patch { number, body } => {
                let image = body.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str);
                (number, image.map(str::to_string))
            }
        });
        assert_eq!(
            found,
            expected.map(|(number, image)| (number, image.map(str::to_string))),
            "RV-23 to {to}"
        );
    }

    #[test]
    fn going_back_finds_its_revision() {
        let all = [
            revision_of("u", 3, "img:3", None),
            revision_of("u", 1, "img:1", None),
            revision_of("other", 9, "img:9", None),
            revision_of("u", 2, "img:2", None),
        ];
        check(&all, 0, Ok((2, Some("img:2"))));
        check(&all, 1, Ok((1, Some("img:1"))));
        check(&all, 3, Ok((3, None)));
        check(&all, 9, Err(HistoryError::Missing(9)));
        check(&all, -1, Err(HistoryError::Missing(-1)));
        check(&all[..1], 0, Err(HistoryError::NoLast));
        check(&[], 0, Err(HistoryError::NoLast));
    }

    #[test]
    fn history_is_listed_as_by_kubectl() {
        let daemon_set: DaemonSet =
            serde_json::from_value(json!({"metadata": {"name": "d", "uid": "u"}})).unwrap();
        let all = [revision_of("u", 12, "img:2", Some("a cause")), revision_of("u", 2, "img:1", None)];
        let history = History::of(&daemon_set, &all);
        assert_eq!(history.table(), "REVISION  CHANGE-CAUSE\n2         <none>\n12        a cause\n", "RV-21");
        assert_eq!(History::of(&daemon_set, []).table(), "No rollout history found.");
        let expected = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "img:1", "resources": {}}]}});
        assert_eq!(history.template(2), Some(expected), "RV-22");
        assert_eq!(history.template(1), None);
    }
}
