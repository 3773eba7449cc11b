//! Which pods and ControllerRevisions are ours, and which become ours or stop being so? (OW-1…OW-7, RV-9)
//!
//! What is adopted counts as ours in the same plan; what is released does not. Everything comes out sorted by name, so
//! that the order of the cache shows nowhere. Kubernetes: `controller_ref_manager.go`.

use crate::plan::{Action, Change};
use crate::snapshot::{Snapshot, Subject};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use objects::owner::{self, Claim};
use serde_json::{Value, json};

/// What is ours.
#[derive(Debug)]
pub(crate) struct Claims<'a> {
    pub(crate) pods: Vec<&'a Pod>,
    pub(crate) revisions: Vec<&'a ControllerRevision>,
    /// Adoptions and releases.
    pub(crate) actions: Vec<Action>,
}

/// Claims everything that can be claimed.
pub(crate) fn claim<'a>(seen: &Snapshot<'a>, subject: &Subject<'_>) -> Claims<'a> {
    let mut actions = Vec::new();
    let revisions = ours_of(
        &seen.revisions,
        |r| &r.metadata,
        subject,
        &mut actions,
        |name, claim, patch| Action::ClaimRevision { name, claim, patch },
    );
    let pods = ours_of(
        &seen.pods,
        |p| &p.metadata,
        subject,
        &mut actions,
        |name, claim, patch| Action::ClaimPod { name, claim, patch },
    );
    if actions.iter().any(adopts) {
        actions.insert(0, Action::ConfirmAlive);
    }
    Claims { pods, revisions, actions }
}

fn ours_of<'a, T>(
    all: &[&'a T],
    meta: fn(&T) -> &ObjectMeta,
    subject: &Subject<'_>,
    actions: &mut Vec<Action>,
    action: fn(String, Change, Value) -> Action,
) -> Vec<&'a T> {
    let mut sorted: Vec<&'a T> = all.iter().copied().filter(|o| is_near(meta(o), subject)).collect();
    sorted.sort_by(|a, b| (&meta(a).name, &meta(a).uid).cmp(&(&meta(b).name, &meta(b).uid)));
    sorted.retain(|object| {
        let meta = meta(object);
        let (change, ours) = match answer(meta, subject) {
            Claim::Ignore => return false,
            Claim::Own => return true,
            Claim::Release => (Change::Release, false),
            Claim::Adopt => (Change::Adopt, true),
        };
        actions.push(action(meta.name.clone().unwrap_or_default(), change, patch(meta, subject, change)));
        ours
    });
    sorted
}

/// OW-4: only within the namespace.
fn is_near(meta: &ObjectMeta, subject: &Subject<'_>) -> bool {
    meta.namespace.as_deref().unwrap_or_default() == subject.namespace
}

/// Whether an object of the namespace is ours (OW-1…OW-5).
pub(crate) fn answer(meta: &ObjectMeta, subject: &Subject<'_>) -> Claim {
    let matches = match &meta.labels {
        Some(labels) => subject.selector.matches(labels),
        None => subject.selector.matches(&std::collections::BTreeMap::new()),
    };
    // A terminating DaemonSet plans nothing, so here it never is.
    owner::claim(meta, subject.uid, false, matches)
}

fn adopts(action: &Action) -> bool {
    use Action::{ClaimPod, ClaimRevision};
    matches!(action, ClaimPod { claim: Change::Adopt, .. } | ClaimRevision { claim: Change::Adopt, .. })
}

/// OW-6, OW-7: the uid makes the patch fail if another object has come under the name.
fn patch(meta: &ObjectMeta, subject: &Subject<'_>, change: Change) -> Value {
    let reference = match change {
        Change::Adopt => {
            json!(owner::controller_reference("apps/v1", "DaemonSet", subject.name, subject.uid))
        }
        Change::Release => json!({"$patch": "delete", "uid": subject.uid}),
    };
    json!({"metadata": {"ownerReferences": [reference], "uid": meta.uid}})
}
