//! What have we written that the cache does not show yet?
//!
//! A plan made from a stale cache would create a second pod or delete twice. So the loop records every successful
//! create and delete here, by node and uid, and the plan takes them as done: a created pod sits on its node, a deleted
//! one is ending. Nothing waits for everything: the other nodes go on.
//!
//! 1. Only writes that succeeded are recorded; a refused one leaves no trace (BUG-8).
//! 2. Each write is forgotten when the watch shows its uid, once, however many events tell of it (BUG-9).
//! 3. Each is forgotten after [`EXPIRES`] even if nothing ever shows it.
//!
//! Differs: upstream counts expected events per DaemonSet and waits until all have come (MG-26, MG-27).

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use objects::pod;
use std::collections::BTreeMap;

/// Upstream's limit for expectations: a watch that is later than this has been cut, and a relist has come.
pub const EXPIRES: SignedDuration = SignedDuration::from_mins(5);

/// Our own writes on the way to the cache, for one DaemonSet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unseen {
    /// Pod uid → its node and when it was created.
    creates: BTreeMap<String, (String, Timestamp)>,
    /// Pod uid → when it was deleted.
    deletes: BTreeMap<String, Timestamp>,
}

impl Unseen {
    /// A create succeeded: the server gave the pod this uid.
    pub fn created(&mut self, node: &str, uid: &str, now: Timestamp) {
        self.creates.insert(uid.to_string(), (node.to_string(), now));
    }

    /// A delete succeeded.
    pub fn deleted(&mut self, uid: &str, now: Timestamp) {
        self.deletes.insert(uid.to_string(), now);
    }

    /// The watch shows this pod.
    pub fn seen(&mut self, pod: &Pod) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.creates.remove(uid);
        if pod::is_terminating(pod) {
            self.deletes.remove(uid);
        }
    }

    /// The watch says that the pod with this uid is gone.
    pub fn gone(&mut self, uid: &str) {
        self.creates.remove(uid);
        self.deletes.remove(uid);
    }

    /// Forgets what has been on the way for too long.
    pub fn prune(&mut self, now: Timestamp) {
        self.creates.retain(|_, (_, since)| is_fresh(*since, now));
        self.deletes.retain(|_, since| is_fresh(*since, now));
    }

    /// Whether nothing is on the way.
    pub fn is_empty(&self) -> bool {
        self.creates.is_empty() && self.deletes.is_empty()
    }

    /// Uid and node of every pod on the way.
    pub(crate) fn coming(&self, now: Timestamp) -> impl Iterator<Item = (&str, &str)> {
        let fresh = self.creates.iter().filter(move |(_, (_, since))| is_fresh(*since, now));
        fresh.map(|(uid, (node, _))| (uid.as_str(), node.as_str()))
    }

    /// Whether we have deleted this pod.
    pub(crate) fn is_deleted(&self, uid: &str, now: Timestamp) -> bool {
        self.deletes.get(uid).is_some_and(|since| is_fresh(*since, now))
    }

    /// When the first entry will be forgotten, so that a plan can be made without it.
    pub(crate) fn expires(&self, now: Timestamp) -> Option<Timestamp> {
        let created = self.creates.values().map(|(_, since)| *since);
        let all = created.chain(self.deletes.values().copied());
        all.filter(|since| is_fresh(*since, now)).min()?.checked_add(EXPIRES).ok()
    }
}

fn is_fresh(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since) < EXPIRES
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    #[test]
    fn a_write_is_on_the_way_until_it_is_seen() {
        let mut unseen = Unseen::default();
        unseen.created("n1", "a", second(0));
        unseen.deleted("b", second(0));
        assert_eq!(unseen.coming(second(1)).collect::<Vec<_>>(), [("a", "n1")]);
        assert!(unseen.is_deleted("b", second(1)));

        let pod = |uid: &str, ending: Option<&str>| -> Pod {
            serde_json::from_value(json!({"metadata": {"uid": uid, "deletionTimestamp": ending}})).unwrap()
        };
        unseen.seen(&pod("a", None));
        unseen.seen(&pod("b", None));
        assert!(unseen.is_deleted("b", second(1)), "an event from before the delete says nothing about it");
        unseen.seen(&pod("b", Some("2026-01-01T00:00:00Z")));
        assert!(unseen.is_empty());
    }

    #[test]
    fn what_never_shows_is_forgotten_after_five_minutes() {
        let mut unseen = Unseen::default();
        unseen.created("n1", "a", second(0));
        unseen.deleted("b", second(10));
        assert_eq!(unseen.expires(second(1)), Some(second(300)));
        assert_eq!(unseen.coming(second(300)).count(), 0);
        assert!(unseen.is_deleted("b", second(309)));
        unseen.prune(second(310));
        assert!(unseen.is_empty());
        unseen.created("n1", "a", second(0));
        unseen.gone("a");
        assert!(unseen.is_empty());
    }
}
