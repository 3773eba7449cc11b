//! PURE. What the scheduler knows and who waits: changes in, decisions out.
//!
//! 1. Every change that a watch tells, and every decision of our own, is in the [`Cluster`] before the next decision.
//! 2. Whoever waits is woken by the difference that a change makes, and by nothing else.
//!
//! Kubernetes: `pkg/scheduler/eventhandlers.go`.

use crate::caches::{Change, Pod};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use objects::key::ObjectKey;
use objects::pod;
use scheduler::cluster::key_of;
use scheduler::queue::{Attempt, ClusterEvent, Queue as Waiting};
use scheduler::{Cluster, Decision, Nomination, pick};
use std::sync::Arc;

/// The name by which pods ask for us; a pod that asks for nobody gets us too.
pub(super) const SCHEDULER_NAME: &str = "default-scheduler";

/// The cluster as the next decision sees it.
#[derive(Debug, Default)]
pub(super) struct State {
    cluster: Cluster,
    pub(super) waiting: Waiting,
}

impl State {
    /// Decides on the next pod, and counts what was decided.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<(Attempt, Decision)> {
        let attempt = self.waiting.pop(now)?;
        let decision = pick(&attempt.pod, &self.cluster);
        match &decision {
            Decision::Node(node) => {
                self.change_pod(&attempt.key, now, |cluster| cluster.assume(&attempt.pod, node))
            }
            Decision::Unschedulable(why) => {
                self.waiting.failed(&attempt.key, why.clone(), now);
                self.nominate(&attempt, &why.nomination, now);
            }
            // A change of the pod brings it back.
            Decision::Gated => self.waiting.remove(&attempt.key),
        }
        Some((attempt, decision))
    }

    fn nominate(&mut self, attempt: &Attempt, nomination: &Nomination, now: Timestamp) {
        match nomination {
            Nomination::Unchanged => {}
            Nomination::Withdrawn => {
                self.change_pod(&attempt.key, now, |cluster| cluster.end_nomination(&attempt.key))
            }
            Nomination::Given(eviction) => {
                self.cluster.nominate(&attempt.pod, &eviction.node);
                eviction.victims.iter().for_each(|victim| self.cluster.evict(&victim.key));
                for key in &eviction.displaced {
                    self.cluster.end_nomination(key);
                    self.waiting.reconsider(key, now);
                }
            }
        }
    }

    /// The binding did not come about; `is_final` if the pod is gone or bound by somebody else.
    pub(super) fn binding_failed(&mut self, key: &ObjectKey, is_final: bool, now: Timestamp) {
        match is_final {
            true => self.waiting.remove(key),
            false => self.waiting.error(key, now),
        }
        self.change_pod(key, now, |cluster| cluster.forget(key));
    }

    /// Some victims could not be evicted: the one who waits for them has to ask again.
    pub(super) fn eviction_failed(&mut self, preemptor: &ObjectKey, spared: &[ObjectKey], now: Timestamp) {
        spared.iter().for_each(|victim| self.cluster.spare(victim));
        self.waiting.reconsider(preemptor, now);
    }

    /// A watch tells of a node.
    pub(super) fn node_changed(&mut self, change: &Change<'_, Node>, now: Timestamp) {
        match (change.old, change.new) {
            (old, Some(new)) => {
                self.cluster.set_node(new.clone());
                if let Some(event) = ClusterEvent::between(old.map(Arc::as_ref), new) {
                    self.waiting.wake(&event, now);
                }
            }
            (Some(old), None) => {
                let node = objects::node::name(old).to_string();
                self.cluster.remove_node(&node);
                self.waiting.wake(&ClusterEvent::NodeRemoved { node }, now);
            }
            (None, None) => {}
        }
    }

    /// A watch tells of a pod.
    pub(super) fn pod_changed(&mut self, change: &Change<'_, Pod>, now: Timestamp) {
        let Some(key) = change.latest().and_then(|pod| key_of(pod)) else { return };
        match change.new {
            Some(new) => {
                self.change_pod(&key, now, |cluster| cluster.add_pod_taking(new, || new.demand()));
                if !is_to_be_bound(new) {
                    self.waiting.remove(&key);
                } else if !self.is_decided(&key, new) {
                    self.waiting.push(new.itself().clone(), now);
                }
            }
            None => {
                self.waiting.remove(&key);
                self.change_pod(&key, now, |cluster| cluster.remove_pod(&key));
            }
        }
    }

    /// A watch tells of a budget. It says who is chosen, not whether: nobody waits for it.
    pub(super) fn budget_changed(&mut self, change: &Change<'_, PodDisruptionBudget>) {
        match change.new {
            Some(new) => self.cluster.set_budget(new),
            None => self.cluster.remove_budget(&change.key()),
        }
    }

    /// A watch tells of a namespace, whose labels terms of pods select.
    pub(super) fn namespace_changed(&mut self, change: &Change<'_, Namespace>) {
        match change.new {
            Some(new) => self.cluster.set_namespace(new),
            None => self.cluster.remove_namespace(&change.key().name),
        }
    }

    /// Changes where a pod is counted, and wakes whom the difference concerns.
    fn change_pod(&mut self, key: &ObjectKey, now: Timestamp, change: impl FnOnce(&mut Cluster)) {
        let (stood, promised) = (self.cluster.placed(key).cloned(), self.cluster.nominated(key).cloned());
        change(&mut self.cluster);
        let (stands, waits) = (self.cluster.placed(key), self.cluster.nominated(key));
        let freed = ClusterEvent::of_pod(stood.as_ref(), stands);
        // A promise that was kept has freed nothing.
        let withdrawn = ClusterEvent::of_pod(promised.as_ref(), waits.or(stands));
        for event in freed.into_iter().chain(withdrawn) {
            self.waiting.wake(&event, now);
        }
    }

    /// Whether the pod has a node already, though the watch does not show it yet.
    fn is_decided(&self, key: &ObjectKey, pod: &Pod) -> bool {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.cluster.placed(key).is_some_and(|placed| placed.uid == uid)
    }
}

/// Whether the pod waits for this scheduler.
fn is_to_be_bound(pod: &Pod) -> bool {
    let asks_for =
        pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or(SCHEDULER_NAME);
    asks_for == SCHEDULER_NAME
        && pod::node_name(pod).is_none()
        && !pod::is_terminating(pod)
        && !pod::is_terminal(pod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use scheduler::cluster::Ending;
    use scheduler::preempt::Eviction;
    use serde_json::json;

    fn pod(name: &str, node: Option<&str>, phase: &str) -> Arc<Pod> {
        let cpu = json!({"requests": {"cpu": "1"}});
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"namespace": "a", "name": name, "uid": name},
                "spec": {"nodeName": node, "containers": [{"name": "c", "resources": cpu}]},
                "status": {"phase": phase}
            }))
            .unwrap(),
        )
    }

    fn node(name: &str) -> Arc<Node> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name}, "status": {"allocatable": {"cpu": "1", "pods": "10"}}
            }))
            .unwrap(),
        )
    }

    fn added<T>(new: &Arc<T>) -> Change<'_, T> {
        Change { old: None, new: Some(new) }
    }

    fn decided(state: &mut State, now: Timestamp) -> Option<String> {
        state.next(now).map(|(_, decision)| match decision {
            Decision::Node(node) => node,
            Decision::Unschedulable(_) => "nowhere".to_string(),
            Decision::Gated => "gated".to_string(),
        })
    }

    #[test]
    fn a_decision_counts_at_once_and_a_failed_binding_is_tried_again() {
        let (mut state, now) = (State::default(), Timestamp::UNIX_EPOCH);
        state.node_changed(&added(&node("n1")), now);
        let (p, q) = (pod("p", None, "Pending"), pod("q", None, "Pending"));
        state.pod_changed(&added(&p), now);
        state.pod_changed(&added(&q), now);
        assert_eq!(decided(&mut state, now).as_deref(), Some("n1"));
        assert_eq!(decided(&mut state, now).as_deref(), Some("nowhere"));
        // A late event of the decided pod changes nothing.
        state.pod_changed(&Change { old: Some(&p), new: Some(&p) }, now);
        assert_eq!(decided(&mut state, now), None);
        let later = now + SignedDuration::from_secs(60);
        state.binding_failed(&ObjectKey::new("a", "p"), true, later);
        assert_eq!(decided(&mut state, later).as_deref(), Some("n1"), "q has the room now");
    }

    #[test]
    fn a_pod_that_ends_makes_room() {
        let (mut state, now) = (State::default(), Timestamp::UNIX_EPOCH);
        state.node_changed(&added(&node("n1")), now);
        let old = pod("old", Some("n1"), "Running");
        state.pod_changed(&added(&old), now);
        state.pod_changed(&added(&pod("p", None, "Pending")), now);
        assert_eq!(decided(&mut state, now).as_deref(), Some("nowhere"));
        let ended = pod("old", Some("n1"), "Succeeded");
        let later = now + SignedDuration::from_secs(60);
        state.pod_changed(&Change { old: Some(&old), new: Some(&ended) }, later);
        assert_eq!(decided(&mut state, later).as_deref(), Some("n1"));
    }

    fn important(name: &str) -> Arc<Pod> {
        let mut pod = pod(name, None, "Pending").whole();
        pod.spec.as_mut().unwrap().priority = Some(2_000_001_000);
        Arc::new(pod.into())
    }

    fn eviction(decision: Decision) -> Option<Eviction> {
        match decision {
            Decision::Unschedulable(why) => match why.nomination {
                Nomination::Given(eviction) => Some(eviction),
                _ => None,
            },
            _ => None,
        }
    }

    #[test]
    fn an_important_pod_waits_for_its_victim_and_then_has_the_room() {
        let (mut state, now) = (State::default(), Timestamp::UNIX_EPOCH);
        state.node_changed(&added(&node("n1")), now);
        let old = pod("old", Some("n1"), "Running");
        state.pod_changed(&added(&old), now);
        state.pod_changed(&added(&important("p")), now);
        let (_, decision) = state.next(now).unwrap();
        assert_eq!(eviction(decision).unwrap().victims[0].key, ObjectKey::new("a", "old"));
        // Our own writes come back: the condition of the victim, the nomination of the preemptor.
        state.pod_changed(&Change { old: Some(&old), new: Some(&old) }, now);
        let key = ObjectKey::new("a", "p");
        assert_eq!(state.cluster.placed(&ObjectKey::new("a", "old")).unwrap().ending, Ending::Evicted);
        assert_eq!(state.cluster.nominated(&key).unwrap().node, "n1");
        let later = now + SignedDuration::from_secs(60);
        state.pod_changed(&added(&pod("passer-by", None, "Pending")), later);
        assert_eq!(decided(&mut state, later).as_deref(), Some("nowhere"), "the passer-by");
        assert_eq!(decided(&mut state, later), None, "nothing has happened that helps the important one");
        state.pod_changed(&Change { old: Some(&old), new: None }, later);
        assert_eq!(decided(&mut state, later).as_deref(), Some("n1"));
        assert_eq!(state.cluster.nominated(&key), None);
    }

    #[test]
    fn a_victim_that_could_not_be_evicted_is_chosen_again() {
        let (mut state, now) = (State::default(), Timestamp::UNIX_EPOCH);
        state.node_changed(&added(&node("n1")), now);
        state.pod_changed(&added(&pod("old", Some("n1"), "Running")), now);
        state.pod_changed(&added(&important("p")), now);
        state.next(now).unwrap();
        state.eviction_failed(&ObjectKey::new("a", "p"), &[ObjectKey::new("a", "old")], now);
        let later = now + SignedDuration::from_secs(1);
        let (_, decision) = state.next(later).unwrap();
        assert!(eviction(decision).is_some());
    }

    #[test]
    fn the_room_of_a_preemptor_that_is_deleted_is_free_again() {
        let (mut state, now) = (State::default(), Timestamp::UNIX_EPOCH);
        state.node_changed(&added(&node("n1")), now);
        let old = pod("old", Some("n1"), "Running");
        state.pod_changed(&added(&old), now);
        let preemptor = important("p");
        state.pod_changed(&added(&preemptor), now);
        state.next(now).unwrap();
        state.pod_changed(&Change { old: Some(&old), new: None }, now);
        state.pod_changed(&added(&pod("q", None, "Pending")), now);
        assert_eq!(decided(&mut state, now).as_deref(), Some("nowhere"), "the room is promised");
        let later = now + SignedDuration::from_secs(60);
        state.pod_changed(&Change { old: Some(&preemptor), new: None }, later);
        assert_eq!(decided(&mut state, later).as_deref(), Some("n1"));
    }

    #[test]
    fn pods_of_other_schedulers_are_left_alone() {
        let mut other = pod("p", None, "Pending").whole();
        other.spec.as_mut().unwrap().scheduler_name = Some("mine".into());
        assert!(!is_to_be_bound(&other.into()));
        assert!(!is_to_be_bound(&pod("p", Some("n1"), "Pending")));
        assert!(is_to_be_bound(&pod("p", None, "Pending")));
    }
}
