//! Were there ever two daemons on a node? Somebody who looks on from the first pod to the last.
//!
//! A `kubectl get pods --watch` at the server itself: it is told of every state that a pod was in, in the order in which
//! they came about, whatever happens to others on their way to the server.

use crate::{Kubectl, Running};
use std::collections::{BTreeMap, BTreeSet};

/// Type of the event, uid, owner's uid, phase, node of a pod, and, if there is one, when it was deleted; a line each.
const LINE: &str = "jsonpath={.type} {.object.metadata.uid} {.object.metadata.ownerReferences[0].uid} \
    {.object.status.phase} {.object.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution\
    .nodeSelectorTerms[0].matchFields[0].values[0]} {.object.metadata.deletionTimestamp}{\"\\n\"}";

/// Looks on.
pub struct Witness(Running);

impl Witness {
    /// From now on. Only pods of DaemonSets may match the selector.
    pub fn of(kubectl: &Kubectl, selector: &str) -> Self {
        Self(kubectl.start(&[
            "get",
            "pods",
            "-A",
            "-l",
            selector,
            "--watch",
            "--output-watch-events",
            "-o",
            LINE,
        ]))
    }

    /// How many pods there have been. Two of one DaemonSet on one node at one moment, neither ended nor asked to end, are a
    /// failure.
    #[track_caller]
    pub fn pods(&mut self) -> usize {
        let mut living = BTreeMap::<(&str, &str), BTreeSet<&str>>::new();
        let mut all = BTreeSet::new();
        for line in self.0.seen() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [what, uid, owner, phase, node, rest @ ..] = words.as_slice() else {
                panic!("not a pod: {line}")
            };
            all.insert(*uid);
            let there = living.entry((*owner, *node)).or_default();
            let lives = *what != "DELETED" && rest.is_empty() && !["Failed", "Succeeded"].contains(phase);
            match lives {
                true => there.insert(*uid),
                false => there.remove(uid),
            };
            assert!(there.len() <= 1, "two pods on {node}: {there:?}");
        }
        all.len()
    }
}
