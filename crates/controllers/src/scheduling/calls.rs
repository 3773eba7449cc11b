//! What the scheduler writes: bindings, why a pod has no node, and the end of those who make room.
//!
//! A victim gets the condition `DisruptionTarget` before its deletion, so that its owner can tell eviction from
//! failure. Kubernetes: `pkg/scheduler/schedule_one.go`, `pkg/scheduler/framework/preemption/executor.go`.

use super::state::SCHEDULER_NAME;
use crate::act::of_uid;
use crate::tolerate;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ObjectMeta, PartialObjectMeta, Status};
use kube::{Api, Client, Resource as _};
use objects::key::ObjectKey;
use objects::pod;
use scheduler::Nomination;
use scheduler::cluster::{DISRUPTION_TARGET, PREEMPTION_BY_SCHEDULER};
use scheduler::preempt::Victim;
use serde_json::{Value, json};

/// Gives a pod its node.
pub(super) async fn bind(client: &Client, key: &ObjectKey, pod: &Pod, node: &str) -> kube::Result<()> {
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            uid: pod.metadata.uid.clone(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(node.to_string()),
            ..ObjectReference::default()
        },
    };
    let body = serde_json::to_vec(&binding).map_err(kube::Error::SerdeError)?;
    let request = kube::core::Request::new(Pod::url_path(&(), Some(&key.namespace)));
    let request = request.create_subresource("binding", &key.name, &PostParams::default(), body);
    client.request_text(request.map_err(kube::Error::BuildRequest)?).await?;
    Ok(())
}

/// Whether a binding that failed so need not be tried again: the pod is gone, or has a node. The watch tells which.
pub(super) fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found() || status.is_conflict())
}

/// The status that says why a pod has no node, and which one it was promised; none if it says so already.
pub(super) fn why_not(pod: &Pod, message: &str, nomination: &Nomination, now: Timestamp) -> Option<Value> {
    let mut status = json!({});
    let is_told = pod::condition(pod, "PodScheduled")
        .is_some_and(|told| told.status == "False" && told.message.as_deref() == Some(message));
    if !is_told {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "lastTransitionTime": now
        }]);
    }
    let promised = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
    let promised = promised.filter(|node| !node.is_empty());
    let wanted = match nomination {
        Nomination::Unchanged => promised,
        Nomination::Withdrawn => None,
        Nomination::Given(eviction) => Some(eviction.node.as_str()),
    };
    if wanted != promised {
        status["nominatedNodeName"] = wanted.into();
    }
    status.as_object().is_some_and(|status| !status.is_empty()).then_some(status)
}

/// Changes the status of this pod, if it is still there.
pub(super) async fn patch_status(
    client: &Client,
    key: &ObjectKey,
    uid: Option<&str>,
    status: Value,
) -> kube::Result<()> {
    let patch = Patch::Strategic(json!({"metadata": {"uid": uid}, "status": status}));
    let outcome = pods(client, key).patch_status(&key.name, &PatchParams::default(), &patch).await;
    tolerate(outcome, is_settled).map(drop)
}

/// Marks a victim and deletes it with its own grace period.
pub(super) async fn evict(client: &Client, victim: &Victim, now: Timestamp) -> kube::Result<()> {
    let condition = json!({
        "type": DISRUPTION_TARGET, "status": "True", "reason": PREEMPTION_BY_SCHEDULER,
        "message": format!("{SCHEDULER_NAME}: preempting to accommodate a higher priority pod"),
        "lastTransitionTime": now
    });
    patch_status(client, &victim.key, Some(&victim.uid), json!({"conditions": [condition]})).await?;
    tolerate(pods(client, &victim.key).delete(&victim.key.name, &of_uid(&victim.uid)).await, is_settled)
        .map(drop)
}

/// The pod is gone, or another one has its name.
fn is_settled(status: &Status) -> bool {
    status.is_not_found() || status.is_conflict()
}

fn pods(client: &Client, key: &ObjectKey) -> Api<PartialObjectMeta<Pod>> {
    Api::namespaced(client.clone(), &key.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use scheduler::preempt::Eviction;

    #[test]
    fn a_status_is_written_only_where_it_says_something_new() {
        let pod = |status: Value| -> Pod { serde_json::from_value(json!({"status": status})).unwrap() };
        let now = Timestamp::UNIX_EPOCH;
        let told =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "full"});
        let given = Nomination::Given(Eviction {
            node: "n1".into(),
            victims: Vec::new(),
            violations: 0,
            displaced: Vec::new(),
        });
        let fields = |pod: &Pod, message: &str, nomination: &Nomination| -> Vec<String> {
            let status = why_not(pod, message, nomination, now).unwrap_or_else(|| json!({}));
            status
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| match name.as_str() {
                    "conditions" => "condition".to_string(),
                    name => format!("{name} {value}"),
                })
                .collect()
        };
        let (fresh, known) = (pod(json!({})), pod(json!({"conditions": [told]})));
        let promised = pod(json!({"conditions": [told], "nominatedNodeName": "n1"}));
        assert_eq!(fields(&fresh, "full", &Nomination::Unchanged), ["condition"]);
        assert_eq!(fields(&known, "full", &Nomination::Unchanged), [""; 0]);
        assert_eq!(fields(&known, "full", &Nomination::Withdrawn), [""; 0]);
        assert_eq!(fields(&known, "fuller", &given), ["condition", "nominatedNodeName \"n1\""]);
        assert_eq!(fields(&promised, "full", &given), [""; 0]);
        assert_eq!(fields(&promised, "full", &Nomination::Withdrawn), ["nominatedNodeName null"]);
    }
}
