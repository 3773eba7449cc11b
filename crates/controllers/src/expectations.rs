//! Which of our own writes does the cache not show yet?
//!
//! Keeps one [`Unseen`] per DaemonSet: filled by what the server has accepted, emptied by the watch, and an input of
//! the next snapshot, so that a plan made from a late cache creates nothing twice. A write that the watch has shown
//! before its answer came back is never recorded. A create whose answer was lost counts as done until the server has
//! been asked ([`Expectations::doubts`]). Kubernetes: `ControllerExpectations` (MG-26…MG-28); see [`daemonset::unseen`]
//! for where we differ.

use crate::caches::{Change, Mirror, Pod};
use daemonset::unseen::Unseen;
use jiff::Timestamp;
use objects::key::ObjectKey;
use objects::owner::controller_of;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Writes on their way, by the DaemonSet's uid.
pub struct Expectations {
    pods: Arc<Mirror<Pod>>,
    unseen: Arc<Mutex<BTreeMap<String, Unseen>>>,
    /// Nodes for which a pod may have been created, and since when that is open; by the DaemonSet's uid.
    doubts: Mutex<BTreeMap<String, Doubts>>,
}

/// Nodes, and when the doubt began.
pub type Doubts = BTreeMap<String, Instant>;

impl Expectations {
    /// Starts listening to what the cache shows.
    pub fn new(pods: Arc<Mirror<Pod>>) -> Self {
        let unseen: Arc<Mutex<BTreeMap<String, Unseen>>> = Arc::default();
        let heard = unseen.clone();
        pods.listen(move |change| hear(&mut lock(&heard), change));
        Self { pods, unseen, doubts: Mutex::default() }
    }

    /// What is on its way for this DaemonSet.
    pub fn of(&self, owner: &str, now: Timestamp) -> Unseen {
        let mut all = lock(&self.unseen);
        let Some(unseen) = all.get_mut(owner) else { return Unseen::default() };
        unseen.prune(now);
        unseen.clone()
    }

    /// The server has accepted a new pod for a node.
    pub fn created(&self, owner: &str, node: &str, key: &ObjectKey, uid: &str, now: Timestamp) {
        // Under the lock, so that the listener cannot slip in between the look and the note.
        let mut all = lock(&self.unseen);
        let unseen = all.entry(owner.to_string()).or_default();
        unseen.accepted();
        unseen.created(node, uid, now);
        if self.shows(key, |pod| pod.metadata.uid.as_deref() == Some(uid)) {
            unseen.gone(uid);
        }
        if unseen.is_empty() {
            all.remove(owner);
        }
    }

    /// The server has not created a pod; `reason` is its word for it.
    pub fn refused(&self, owner: &str, reason: &str, now: Timestamp) {
        lock(&self.unseen).entry(owner.to_string()).or_default().refused(reason, now);
    }

    /// The server has accepted the deletion of a pod.
    pub fn deleted(&self, owner: &str, key: &ObjectKey, uid: &str, now: Timestamp) {
        let mut all = lock(&self.unseen);
        let is_there =
            |pod: &Pod| pod.metadata.uid.as_deref() == Some(uid) && !objects::pod::is_terminating(pod);
        if self.shows(key, is_there) {
            all.entry(owner.to_string()).or_default().deleted(uid, now);
        }
    }

    /// Whether the server has made a pod for this node nobody knows: its answer was lost.
    pub fn in_doubt(&self, owner: &str, node: &str, now: Timestamp) {
        let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        doubts.entry(owner.to_string()).or_default().insert(node.to_string(), Instant::now());
        lock(&self.unseen).entry(owner.to_string()).or_default().created(node, &nameless(node), now);
    }

    /// Every open doubt about this DaemonSet.
    pub fn doubts(&self, owner: &str) -> Doubts {
        let doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        doubts.get(owner).cloned().unwrap_or_default()
    }

    /// The server has been asked about these nodes; what it had made is noted by [`Expectations::created`].
    pub fn settle(&self, owner: &str, nodes: &Doubts) {
        let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = doubts.get_mut(owner) else { return };
        open.retain(|node, since| nodes.get(node) != Some(since));
        let open = if open.is_empty() { doubts.remove(owner).unwrap_or_default() } else { open.clone() };
        let mut all = lock(&self.unseen);
        if let Some(unseen) = all.get_mut(owner) {
            nodes
                .keys()
                .filter(|node| !open.contains_key(*node))
                .for_each(|node| unseen.gone(&nameless(node)));
        }
    }

    /// The DaemonSet is gone (MG-28).
    pub fn forget(&self, owner: &str) {
        lock(&self.unseen).remove(owner);
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner).remove(owner);
    }

    fn shows(&self, key: &ObjectKey, is_it: impl Fn(&Pod) -> bool) -> bool {
        self.pods.get(key).is_some_and(|pod| is_it(&pod))
    }
}

/// Stands for the uid of a pod of which only the node is known. No uid has a colon.
fn nameless(node: &str) -> String {
    format!("unknown:{node}")
}

fn lock(unseen: &Mutex<BTreeMap<String, Unseen>>) -> MutexGuard<'_, BTreeMap<String, Unseen>> {
    unseen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hear(all: &mut BTreeMap<String, Unseen>, change: &Change<'_, Pod>) {
    let Some(pod) = change.latest() else { return };
    let Some(owner) = controller_of(&pod.metadata) else { return };
    let Some(unseen) = all.get_mut(&owner.uid) else { return };
    match change.new {
        Some(pod) => unseen.seen(pod),
        None => unseen.gone(pod.metadata.uid.as_deref().unwrap_or_default()),
    }
    if unseen.is_empty() {
        all.remove(&owner.uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const D: &str = "uid-of-d";

    fn pod(uid: &str, version: &str, ending: bool) -> Pod {
        let ending = ending.then_some("2026-01-01T00:00:00Z");
        let owner =
            json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": D, "controller": true});
        serde_json::from_value(json!({"metadata": {"namespace": "a", "name": "p", "uid": uid,
            "resourceVersion": version, "deletionTimestamp": ending, "ownerReferences": [owner]}}))
        .unwrap()
    }

    fn empty() -> (Arc<Mirror<Pod>>, Expectations, ObjectKey) {
        let pods = Arc::new(Mirror::new(&[]));
        (pods.clone(), Expectations::new(pods), ObjectKey::new("a", "p"))
    }

    #[test]
    fn a_write_is_remembered_until_the_watch_shows_it() {
        // WE-22, NX-11.
        let (pods, expectations, key) = empty();
        let now = Timestamp::UNIX_EPOCH;
        expectations.created(D, "n1", &key, "1", now);
        assert!(!expectations.of(D, now).is_empty());
        pods.apply(pod("1", "1", false));
        assert!(expectations.of(D, now).is_empty());
        expectations.deleted(D, &key, "1", now);
        assert!(!expectations.of(D, now).is_empty());
        pods.apply(pod("1", "2", true));
        assert!(expectations.of(D, now).is_empty());
    }

    #[test]
    fn a_watch_that_is_faster_than_the_answer_leaves_nothing_behind() {
        let (pods, expectations, key) = empty();
        let now = Timestamp::UNIX_EPOCH;
        pods.apply(pod("1", "1", false));
        expectations.created(D, "n1", &key, "1", now);
        assert!(expectations.of(D, now).is_empty());
        pods.apply(pod("1", "2", true));
        expectations.deleted(D, &key, "1", now);
        assert!(expectations.of(D, now).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_create_without_an_answer_counts_until_the_server_was_asked() {
        let (_, expectations, key) = empty();
        let now = Timestamp::UNIX_EPOCH;
        expectations.in_doubt(D, "n1", now);
        let asked = expectations.doubts(D);
        assert!(asked.contains_key("n1") && !expectations.of(D, now).is_empty());
        // It had been made, and the cache does not show it yet.
        expectations.created(D, "n1", &key, "1", now);
        expectations.settle(D, &asked);
        assert!(expectations.doubts(D).is_empty() && !expectations.of(D, now).is_empty());
        expectations.in_doubt(D, "n2", now);
        let asked = expectations.doubts(D);
        // A doubt that is younger than the question stays open.
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
        expectations.in_doubt(D, "n2", now);
        expectations.settle(D, &asked);
        assert!(expectations.doubts(D).contains_key("n2"));
        expectations.forget(D);
        assert!(expectations.doubts(D).is_empty() && expectations.of(D, now).is_empty());
    }

    #[test]
    fn a_set_that_is_gone_is_forgotten() {
        // WE-3.
        let (_, expectations, key) = empty();
        let now = Timestamp::UNIX_EPOCH;
        expectations.created(D, "n1", &key, "1", now);
        expectations.forget(D);
        assert!(expectations.of(D, now).is_empty());
    }
}
