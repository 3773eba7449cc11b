//! What must hold at every single write.
//!
//! Each promise is a file. A write of the loop `daemonsets` is held against everything that the loop may have seen when it
//! decided ([`crate::window`]): if no moment of the window justifies it, the promise is broken.

pub(crate) mod conditions;
mod floor;
mod leads;
mod others;
mod pairs;
mod placed;
mod quarrels;
pub(crate) mod reasons;
mod revisions;
mod status;
mod untouched;

use crate::clock;
use crate::coverage::writes;
use crate::faults::Faults;
use crate::trace::Trace;
use crate::truth::{Change, Set, Truth};
use crate::window::Window;
use daemonset::{Judge, Placement};
use k8s_openapi::api::core::v1::{Node, Pod};
use objects::owner::controller_of;
use std::sync::Arc;
use std::time::Duration;

/// All promises, and what they remember.
pub(crate) struct Invariants {
    /// The clients whose writes are the loop's.
    ours: Vec<String>,
    /// They are like `everynode controller`.
    is_apart: bool,
    window: Window,
    /// How far the other loops are.
    of_others: Window,
    floor: floor::Floor,
    quarrels: quarrels::Quarrels,
}

/// The process of all loops but one.
pub(crate) const OTHERS: &str = "others";

/// One write, and what may be said of it.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) truth: &'a Truth,
    pub(crate) faults: &'a Faults,
    pub(crate) ours: &'a [String],
    /// The loop is like `everynode controller`.
    pub(crate) is_apart: bool,
    /// The loop may be speaking of any moment since then.
    pub(crate) since: Duration,
}

/// A broken promise.
pub(crate) type Verdict = Result<(), (&'static str, String)>;

impl Invariants {
    /// The promises of the loop that these clients run.
    pub(crate) fn of(ours: Vec<String>, is_apart: bool) -> Self {
        let window = Window::of(ours.clone(), is_apart);
        let of_others = Window::of(vec![OTHERS.to_string()], false);
        Self { ours, is_apart, window, of_others, floor: Default::default(), quarrels: Default::default() }
    }

    /// Looks at the write that `truth` has just taken in.
    pub(crate) fn look(&mut self, truth: &Truth, change: &Change, key: &str, faults: &Faults, trace: &Trace) {
        let now = clock::elapsed();
        self.window.note(truth, faults, now);
        let since = self.window.since(faults, now);
        let look = Look { truth, faults, ours: &self.ours, is_apart: self.is_apart, since };
        writes::count(&look, change, key, trace);
        self.of_others.note(truth, faults, now);
        let of_others = Look { since: self.of_others.since(faults, now), ..look };
        let mut verdicts = match change {
            Change::Pod(pair) => {
                let calm = [pairs::check, placed::check, reasons::check, untouched::check];
                let mut verdicts: Vec<Verdict> = calm.iter().map(|check| check(&look, pair)).collect();
                let counted = self.floor.counted;
                verdicts.push(self.floor.check(&look, pair));
                if self.floor.counted > counted {
                    trace.met("loop", "held against the budget");
                }
                verdicts.push(others::of_pod(&of_others, pair));
                verdicts
            }
            Change::Set(pair) => vec![status::check(&look, pair), conditions::check(&look, pair)],
            Change::Revision(pair) => {
                vec![revisions::check(&look, pair), others::of_revision(&of_others, pair)]
            }
            Change::Node(_) | Change::Other => Vec::new(),
        };
        verdicts.push(leads::check(&look, change));
        verdicts.push(self.quarrels.check(key, now));
        for (promise, how) in verdicts.into_iter().filter_map(Result::err) {
            trace.broken(promise, format_args!("{how} (it may speak of any moment since {since:?})"));
        }
    }
}

impl Look<'_> {
    /// Whether the loop has made this very call now.
    pub(crate) fn is_ours(&self, verb: &str, plural: &str, key: &str) -> bool {
        let calls = self.faults.just_now(verb, plural, key);
        let all_ours = !calls.is_empty() && calls.iter().all(|call| self.ours.contains(&call.client));
        all_ours && !self.faults.is_by_hand(plural, key)
    }

    /// Whether somebody else has made this very call now.
    pub(crate) fn is_others(&self, verb: &str, plural: &str, key: &str) -> bool {
        self.faults.just_now(verb, plural, key).iter().any(|call| !self.ours.contains(&call.client))
    }

    /// The key and uid of the DaemonSet that controls a pod.
    pub(crate) fn owner(pod: &Pod) -> Option<(String, String)> {
        let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "DaemonSet")?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        Some((format!("{namespace}/{}", owner.name), owner.uid.clone()))
    }

    /// The versions of a DaemonSet with this uid that the loop may have seen.
    pub(crate) fn sets(&self, key: &str, uid: &str) -> Vec<Arc<Set>> {
        let versions = self.truth.sets.since(key, self.since).into_iter().flatten();
        versions.filter(|set| set.object.metadata.uid.as_deref() == Some(uid)).collect()
    }

    /// Every answer that EL can give for one of these DaemonSets on a node, as the loop may have seen both; `None`: the
    /// node was not there.
    pub(crate) fn placements(&self, sets: &[Arc<Set>], node: &str) -> Vec<Option<Placement>> {
        let nodes = self.truth.nodes.since(node, self.since);
        let both = sets.iter().flat_map(|set| nodes.iter().map(move |node| (set, node)));
        both.map(|(set, node)| node.as_ref().and_then(|node| placement(set, node))).collect()
    }
}

/// What EL says.
pub(crate) fn placement(set: &Set, node: &Node) -> Option<Placement> {
    let spec = set.object.spec.as_ref()?.template.spec.as_ref()?;
    Some(Judge::of(spec).place(node))
}

/// Whether RollingUpdate with surge is asked for.
pub(crate) fn surges(set: &Set) -> bool {
    let Some(strategy) = set.object.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref()) else {
        return false;
    };
    let surge = strategy.rolling_update.as_ref().and_then(|rolling| rolling.max_surge.as_ref());
    let surge = surge.and_then(|surge| objects::int_or_percent::scaled(surge, 1, true).ok());
    strategy.type_.as_deref() != Some("OnDelete") && surge.is_some_and(|surge| surge > 0)
}
