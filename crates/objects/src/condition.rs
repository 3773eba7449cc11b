//! Setting a condition: the transition time is kept while the status stays the same.
//!
//! Both functions say whether anything changed, so that callers can leave out an empty write.
//! Kubernetes: `pkg/api/v1/pod` (`UpdatePodCondition`), `controller/util/node` (`SetNodeCondition`).

use k8s_openapi::api::core::v1::{NodeCondition, PodCondition};

/// Puts a pod condition in the place of the one of its type, or at the end. `new` carries the time of a transition;
/// it is used only if the status changes or the old entry has no time.
pub fn set_pod_condition(conditions: &mut Vec<PodCondition>, mut new: PodCondition) -> bool {
    let Some(old) = conditions.iter_mut().find(|condition| condition.type_ == new.type_) else {
        conditions.push(new);
        return true;
    };
    if old.status == new.status && old.last_transition_time.is_some() {
        new.last_transition_time.clone_from(&old.last_transition_time);
    }
    let changed = *old != new;
    *old = new;
    changed
}

/// As [`set_pod_condition`], for nodes. A new heartbeat time is a change.
pub fn set_node_condition(conditions: &mut Vec<NodeCondition>, mut new: NodeCondition) -> bool {
    let Some(old) = conditions.iter_mut().find(|condition| condition.type_ == new.type_) else {
        conditions.push(new);
        return true;
    };
    if old.status == new.status && old.last_transition_time.is_some() {
        new.last_transition_time.clone_from(&old.last_transition_time);
    }
    let changed = *old != new;
    *old = new;
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn at(second: i64) -> Option<Time> {
        Some(Time(Timestamp::from_second(second).unwrap()))
    }

    fn ready(status: &str, second: i64) -> PodCondition {
        PodCondition {
            type_: "Ready".into(),
            status: status.into(),
            last_transition_time: at(second),
            ..PodCondition::default()
        }
    }

    #[test]
    fn a_pod_condition_keeps_its_time_until_its_status_changes() {
        let mut conditions = Vec::new();
        assert!(set_pod_condition(&mut conditions, ready("False", 1)));
        assert!(!set_pod_condition(&mut conditions, ready("False", 2)));
        assert_eq!(conditions, [ready("False", 1)]);
        assert!(set_pod_condition(&mut conditions, ready("True", 3)));
        assert_eq!(conditions, [ready("True", 3)]);
        let mut explained = ready("True", 4);
        explained.reason = Some("Because".into());
        assert!(set_pod_condition(&mut conditions, explained));
        assert_eq!(conditions[0].last_transition_time, at(3));
    }

    #[test]
    fn a_node_condition_keeps_its_time_but_takes_the_heartbeat() {
        let node = |status: &str, beat, changed| NodeCondition {
            type_: "Ready".into(),
            status: status.into(),
            last_heartbeat_time: at(beat),
            last_transition_time: at(changed),
            ..NodeCondition::default()
        };
        let mut conditions = vec![node("True", 1, 1)];
        assert!(set_node_condition(&mut conditions, node("True", 9, 9)));
        assert_eq!(conditions, [node("True", 9, 1)]);
        assert!(!set_node_condition(&mut conditions, node("True", 9, 9)));
    }
}
