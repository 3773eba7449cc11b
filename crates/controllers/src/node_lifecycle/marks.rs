//! PURE. Which pods of a node that is not ready are to be marked so, and when again? (NP-4)
//!
//! A node that returns speaks for its pods first and for itself a moment later. If its word were corrected each time,
//! node and controller would write against each other as fast as the server lets them. So a pod is marked once, and again
//! only if it still says Ready after [`AGAIN`].
//!
//! Kubernetes: marks when the node's condition turns, and pods that are bound to it later (`processPod`).

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Four heartbeats: a node that is well has spoken for itself by then.
const AGAIN: Duration = Duration::from_secs(40);

/// When pods were marked: by node, then by the pod's uid.
#[derive(Debug, Default)]
pub(super) struct Marks(BTreeMap<String, BTreeMap<String, Instant>>);

impl Marks {
    /// How long to wait until a pod may be marked.
    pub(super) fn wait(&self, node: &str, uid: &str, now: Instant) -> Duration {
        let marked = self.0.get(node).and_then(|pods| pods.get(uid));
        marked.map_or(Duration::ZERO, |at| (*at + AGAIN).saturating_duration_since(now))
    }

    /// A pod is marked; what was marked too long ago to matter is forgotten.
    pub(super) fn note(&mut self, node: &str, uid: &str, now: Instant) {
        let pods = self.0.entry(node.to_string()).or_default();
        pods.retain(|_, at| *at + AGAIN > now);
        pods.insert(uid.to_string(), now);
    }

    /// The node is ready, or gone.
    pub(super) fn forget(&mut self, node: &str) {
        self.0.remove(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_marked_at_once_and_not_again_for_a_while() {
        let (mut marks, start) = (Marks::default(), Instant::now());
        let wait = |marks: &Marks, uid: &str, later: u64| {
            marks.wait("n1", uid, start + Duration::from_secs(later)).as_secs()
        };
        assert_eq!(wait(&marks, "a", 0), 0);
        marks.note("n1", "a", start);
        assert_eq!((wait(&marks, "a", 0), wait(&marks, "a", 30), wait(&marks, "a", 40)), (40, 10, 0));
        assert_eq!(wait(&marks, "b", 0), 0);
        marks.note("n1", "b", start + AGAIN);
        assert_eq!(marks.0["n1"].len(), 1, "what is long ago is forgotten");
        marks.forget("n1");
        assert_eq!(wait(&marks, "b", 40), 0);
    }
}
