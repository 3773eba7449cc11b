//! PURE. Since when has the change waited that endpoints are written for?
//!
//! The earliest moment that is news since the last look: a pod has become ready or not, or the service is new. Who measures
//! how long a cluster takes to tell everybody reads it from an annotation.
//! Kubernetes: `endpointslice/trigger_time_tracker.go`.

use crate::caches::Pod;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where the moment is written down.
pub(crate) const ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// What was known at the last look.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Known {
    service: Option<Timestamp>,
    pods: BTreeMap<String, Timestamp>,
}

/// The moment of the oldest news, and what is known now. Of a service that is seen for the first time only its own age counts.
pub(super) fn news(
    before: Option<&Known>,
    service: &Service,
    pods: &[Arc<Pod>],
) -> (Option<Timestamp>, Known) {
    let created = service.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let since = |pod: &Arc<Pod>| {
        let at = objects::pod::condition(pod, "Ready")?.last_transition_time.as_ref()?.0;
        Some((objects::pod::name(pod).to_string(), at))
    };
    let now = Known { service: created, pods: pods.iter().filter_map(since).collect() };
    let Some(before) = before else { return (created, now) };
    let of_pods = now.pods.iter().filter(|(name, at)| before.pods.get(*name).is_none_or(|old| old < at));
    let of_service = created.filter(|at| before.service.is_none_or(|old| old < *at));
    let oldest = of_pods.map(|(_, at)| *at).chain(of_service).min();
    (oldest, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, ready_at: i64) -> Arc<Pod> {
        let at = Timestamp::from_second(ready_at).unwrap();
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": at});
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "status": {"conditions": [ready]}}))
                .unwrap(),
        )
    }

    #[test]
    fn the_oldest_news_counts_and_nothing_is_news_twice() {
        let created = Timestamp::from_second(100).unwrap();
        let service = json!({"metadata": {"name": "s", "creationTimestamp": created}});
        let service: Service = serde_json::from_value(service).unwrap();
        let mut known = None;
        let mut check = |pods: &[Arc<Pod>], expected: Option<i64>| {
            let (since, now) = news(known.as_ref(), &service, pods);
            assert_eq!(since.map(Timestamp::as_second), expected);
            known = Some(now);
        };
        check(&[pod("a", 50)], Some(100));
        check(&[pod("a", 50)], None);
        check(&[pod("a", 50), pod("b", 120), pod("c", 110)], Some(110));
        check(&[pod("a", 130), pod("b", 120)], Some(130));
        check(&[pod("b", 120)], None);
    }
}
