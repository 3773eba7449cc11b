//! Was the pod created whose answer never came?
//!
//! A create that is cut off or times out may have been done. Created anew while the watch is late, a node would run two
//! daemons. So the node counts as served ([`Expectations::in_doubt`]) until the server itself has been asked, a moment
//! later, with a list that is never stale: then what it had made is known by its uid, or is not there.
//!
//! Differs: upstream takes any error for "not created" and has the surplus deleted again (MG-13).

use crate::Shared;
use crate::caches::Whole;
use crate::daemonsets::ledgers::Ledgers;
use crate::expectations::Expectations;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use objects::key::ObjectKey;
use objects::owner::is_controlled_by;
use objects::selector::Selector;
use std::time::Duration;

/// How long a request may still be under way in the server when its connection is gone: a create takes milliseconds.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Whether a create that failed like this may have been done all the same.
pub(crate) fn is_doubtful(error: &kube::Error) -> bool {
    match error {
        // The server has judged it.
        kube::Error::Api(status) => status.code >= 500,
        _ => true,
    }
}

/// Asks the server about every doubt that is old enough. When to ask again, if something stays open.
pub(super) async fn settle(
    shared: &Shared,
    expectations: &Expectations,
    ledgers: &Ledgers,
    subject: &Whole<DaemonSet>,
) -> Option<Duration> {
    let meta = &subject.object.metadata;
    let uid = meta.uid.as_deref().unwrap_or_default();
    let doubts = expectations.doubts(uid);
    let youngest = doubts.values().max()?;
    if let Some(wait) = UNDER_WAY.checked_sub(youngest.elapsed()).filter(|wait| !wait.is_zero()) {
        return Some(wait);
    }
    let pods = match live(shared, &subject.object).await {
        Ok(pods) => pods,
        Err(error) => {
            tracing::debug!(daemonset = meta.name, %error, "a create stays in doubt");
            return Some(UNDER_WAY);
        }
    };
    for pod in pods.iter().filter(|pod| is_controlled_by(&pod.metadata, uid)) {
        let node = pod.spec.as_ref().and_then(|spec| objects::node_affinity::target_node(spec).ok());
        let pod_uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if let Some(node) = node.filter(|node| doubts.contains_key(*node)) {
            let key = ObjectKey::of(&pod.metadata);
            ledgers.pod_changed([&ObjectKey::of(meta)], &key.name);
            expectations.created(uid, node, &key, pod_uid, shared.now());
        }
    }
    expectations.settle(uid, &doubts);
    None
}

/// Its pods as the server has them now.
async fn live(shared: &Shared, daemonset: &DaemonSet) -> kube::Result<Vec<Pod>> {
    let selector = daemonset.spec.as_ref().map(|spec| Selector::from_label_selector(&spec.selector));
    let selector = selector.and_then(Result::ok).unwrap_or_default().to_string();
    let namespace = daemonset.metadata.namespace.as_deref().unwrap_or_default();
    let api = Api::<Pod>::namespaced(shared.client.clone(), namespace);
    Ok(api.list(&ListParams::default().labels(&selector)).await?.items)
}

#[cfg(test)]
mod tests {
    use super::is_doubtful;
    use kube::core::Status;

    #[test]
    fn only_what_the_server_has_judged_is_sure() {
        let refused = |code: u16| kube::Error::Api(Status::failure("no", "No").with_code(code).boxed());
        for (code, expected) in [(403, false), (409, false), (429, false), (500, true), (504, true)] {
            assert_eq!(is_doubtful(&refused(code)), expected, "{code}");
        }
        assert!(is_doubtful(&kube::Error::Service("connection reset".into())));
    }
}
