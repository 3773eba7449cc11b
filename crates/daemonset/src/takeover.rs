//! Does taking a DaemonSet over from another controller change anything, and would that one have done it too? (TK-5)
//!
//! 1. The answer is read off the plan that is carried out otherwise: there is no second opinion that could differ.
//! 2. What the other controller was about to do stands in the status that it left: nodes without a daemon, nodes with one that
//!    they do not want, outdated daemons. A plan within these goes on with its work. One beyond them means that one of us is
//!    wrong, or that the cluster has changed while nobody looked.
//! 3. Beyond them no pod is created or deleted: the DaemonSet is left alone, with the numbers that the other one left, until
//!    they agree or the annotation [`AGREED_ANNOTATION`] says `"true"`. Outdated daemons are [`Hold::Takeover`]'s business:
//!    they hold up the rollout alone.
//! 4. A new node may get its daemon: the other controller has not seen it.

use crate::conditions;
use crate::hold::Hold;
use crate::plan::{Action, Cause, Doing, Plan};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};

/// `"true"` on a DaemonSet: whatever a takeover changes is wanted.
pub const AGREED_ANNOTATION: &str = "everynode.dev/takeover-agreed";

/// Names that a sentence lists; more are counted. A condition's message is read on one screen.
const NAMES: usize = 10;

/// What taking over one DaemonSet means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Takeover {
    /// What the first plan writes and why, a line each; the status aside.
    pub changes: Vec<String>,
    /// What comes after it, node by node.
    pub later: Vec<String>,
    /// What the other controller was not about to do: nothing is done until someone agrees.
    pub unannounced: Vec<String>,
    /// Which daemons are outdated that it took for up to date: they are not replaced until someone agrees.
    pub disputed: Option<String>,
}

impl Takeover {
    /// What this plan, which looked at everything, means. `born` tells when a node was made.
    pub fn of(daemon_set: &DaemonSet, plan: &Plan, born: impl Fn(&str) -> Option<Timestamp>) -> Self {
        let is_told = |action: &&Action| !matches!(action, Action::ConfirmAlive | Action::WriteStatus(_));
        let changes = plan.actions.iter().filter(is_told).map(ToString::to_string).collect();
        let later = plan.nodes.iter().filter(|(_, verdict)| comes_later(&verdict.doing));
        let later = later.map(|(node, verdict)| format!("{node}: {}", verdict.doing)).collect();
        let disputed = names(plan, |doing| match doing {
            Doing::OnHold { pod, why: Hold::Takeover } => Some(pod.to_string()),
            _ => None,
        });
        let disputed = (!disputed.is_empty()).then(|| {
            format!("the controller before counted more daemons as up to date; outdated: {}", list(&disputed))
        });
        let unannounced = match is_left(daemon_set) {
            true => unannounced(daemon_set, plan, born),
            false => Vec::new(),
        };
        Self { changes, later, unannounced, disputed }
    }

    /// Whether every pod and revision stays as it is, now and later.
    pub fn changes_nothing(&self) -> bool {
        self == &Self::default()
    }

    /// The plan that leaves the DaemonSet alone and says why. Its status keeps the numbers of the other controller.
    pub fn left_alone(&self, daemon_set: &DaemonSet, now: Timestamp) -> Plan {
        let message = format!(
            "taking over would do what the controller before was not about to do: {}; nothing is done until the annotation \
             {AGREED_ANNOTATION} is \"true\"",
            self.unannounced.join("; ")
        );
        let status = daemon_set.status.clone().unwrap_or_default();
        let (status, news) = conditions::left_alone(&status, &message, now);
        let actions = status.iter().map(|status| Action::WriteStatus(Box::new(status.clone()))).collect();
        Plan {
            actions,
            news: news.into_iter().collect(),
            status: status.unwrap_or_default(),
            ..Plan::default()
        }
    }
}

/// Whether another controller had this DaemonSet last, and nobody has agreed to what follows. `ours` is the name under which
/// servers know our writes.
pub fn is_pending(daemon_set: &DaemonSet, ours: &str) -> bool {
    let is_ours = daemon_set.status.as_ref().is_some_and(conditions::are_ours)
        && status_writer(&daemon_set.metadata).is_none_or(|last| last.manager.as_deref() == Some(ours));
    is_left(daemon_set) && !is_ours && !is_agreed(daemon_set)
}

/// Whether someone has said that whatever a takeover changes is wanted.
pub fn is_agreed(daemon_set: &DaemonSet) -> bool {
    let annotations = daemon_set.metadata.annotations.as_ref();
    annotations.and_then(|annotations| annotations.get(AGREED_ANNOTATION)).is_some_and(|text| text == "true")
}

/// The last one who wrote the status, if the server tells. Of two in the same second, the one listed later.
pub fn status_writer(meta: &ObjectMeta) -> Option<&ManagedFieldsEntry> {
    let of_status = |entry: &&ManagedFieldsEntry| entry.subresource.as_deref() == Some("status");
    let entries = meta.managed_fields.iter().flatten().filter(of_status);
    entries.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
}

/// Whether a controller has looked at the DaemonSet as it is now. One that nobody has looked at is new, and one that has
/// changed since is to be changed.
fn is_left(daemon_set: &DaemonSet) -> bool {
    let observed =
        daemon_set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or_default();
    observed > 0 && Some(observed) == daemon_set.metadata.generation
}

fn unannounced(daemon_set: &DaemonSet, plan: &Plan, born: impl Fn(&str) -> Option<Timestamp>) -> Vec<String> {
    let status = daemon_set.status.clone().unwrap_or_default();
    let looked = status_writer(&daemon_set.metadata).and_then(|last| last.time.as_ref()).map(|time| time.0);
    let is_new = |node: &str| looked.zip(born(node)).is_some_and(|(looked, born)| looked <= born);
    let mut creates: Vec<String> = plan
        .nodes
        .iter()
        .filter(|(_, v)| v.doing == Doing::Creating)
        .map(|(node, _)| node.to_string())
        .collect();
    creates.retain(|node| !is_new(node));
    let unwanted = names(plan, |doing| match doing {
        Doing::Deleting { pod, cause: Cause::NotWanted(_) } => Some(pod.to_string()),
        _ => None,
    });
    let missing = status.desired_number_scheduled - status.current_number_scheduled;
    let mut all = Vec::new();
    if beyond(&creates, missing) {
        let (n, nodes) = (creates.len(), list(&creates));
        all.push(format!("create pods on {n} nodes, where it counted {missing} without one: {nodes}"));
    }
    if beyond(&unwanted, status.number_misscheduled) {
        let (n, announced, pods) = (unwanted.len(), status.number_misscheduled, list(&unwanted));
        all.push(format!("delete pods from {n} nodes, where it counted {announced} that want none: {pods}"));
    }
    all
}

fn beyond(found: &[String], announced: i32) -> bool {
    found.len() > usize::try_from(announced).unwrap_or(0)
}

fn comes_later(doing: &Doing) -> bool {
    matches!(
        doing,
        Doing::WaitingForBudget { .. }
            | Doing::WaitingForNew { .. }
            | Doing::WaitingForEnd { .. }
            | Doing::NextBurst
    )
}

fn names(plan: &Plan, of: impl Fn(&Doing) -> Option<String>) -> Vec<String> {
    plan.nodes.values().filter_map(|verdict| of(&verdict.doing)).collect()
}

fn list(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMES)].join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
