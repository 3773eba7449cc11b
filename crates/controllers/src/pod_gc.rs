//! Pods that nobody will ever end: their node is gone, or they never had one.
//!
//! 1. A pod on a node that has been gone for the quarantine (40 s), and that is also gone for the server, is marked
//!    Failed with the condition `DisruptionTarget`, and deleted at once (NP-12, NP-13).
//! 2. A terminating pod that was never bound is deleted at once.
//! 3. A terminating pod on a node that is not ready and has the out-of-service taint is deleted at once.
//! 4. Of more than [`TERMINATED_MAX`] ended pods the evicted ones go first, then the oldest.
//!
//! Kubernetes: `podgc/gc_controller.go`.

use crate::caches::{Pod, Watched};
use crate::reconcile::{Next, Queue, work};
use crate::{Shared, act, tolerate};
use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::{PartialObjectMeta, Status};
use objects::key::ObjectKey;
use objects::pod;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Kinds that this loop reads.
pub(crate) const READS: &[Watched] = &[Watched::Nodes, Watched::Pods];

/// How often to look though nothing happens. Kubernetes: `gcCheckPeriod`.
const PERIOD: Duration = Duration::from_secs(20);
/// A node's end and its pods' events come together within this.
const COALESCE: Duration = Duration::from_millis(500);
/// Ended pods that may stay. Kubernetes: `--terminated-pod-gc-threshold`.
const TERMINATED_MAX: usize = 12_500;
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Why a pod is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    NodeGone,
    NeverBound,
    OutOfService,
    TooMany,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Removal {
    key: ObjectKey,
    uid: String,
    node: String,
    cause: Cause,
}

#[derive(Debug, Default, PartialEq)]
struct Plan {
    removals: Vec<Removal>,
    /// Nodes that pods name and that do not exist → when that was first seen.
    absent: BTreeMap<String, Timestamp>,
    wake_at: Option<Timestamp>,
}

/// Removes lost pods, for ever.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let queue = Arc::new(Queue::new(COALESCE));
    let absent: Arc<Mutex<BTreeMap<String, Timestamp>>> = Arc::default();
    let (add, back) = (queue.clone(), absent.clone());
    shared.caches.nodes.listen(move |change| match change.new {
        None => add.add(()),
        // Its quarantine is over, and starts anew when it goes again (NP-13), also when nobody looks in between.
        Some(node) => {
            back.lock().unwrap_or_else(PoisonError::into_inner).remove(objects::node::name(node));
        }
    });
    let add = queue.clone();
    shared.caches.pods.listen(move |change| {
        if change.new.is_some_and(|pod| pod::is_terminating(pod)) {
            add.add(());
        }
    });
    shared.synced(READS).await;
    queue.add(());
    work(&queue, 1, |()| reconcile(&shared, &absent)).await
}

async fn reconcile(
    shared: &Shared,
    absent: &Mutex<BTreeMap<String, Timestamp>>,
) -> Result<Next, kube::Error> {
    let (pods, nodes, now) = (shared.caches.pods.all(), shared.caches.nodes.all(), shared.now());
    let quarantine = SignedDuration::try_from(shared.config.pod_quarantine).unwrap_or(SignedDuration::MAX);
    let plan = {
        let mut known = absent.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = plan(&pods, &nodes, &known, quarantine, now);
        known.clone_from(&plan.absent);
        plan
    };
    let gone = confirm_gone(shared, &plan.removals).await?;
    let removals = plan.removals.iter().filter(|r| r.cause != Cause::NodeGone || gone.contains(&r.node));
    let calls = removals.map(|removal| remove(shared, removal).boxed()).collect();
    act::in_parallel(calls).await.into_iter().collect::<Result<Vec<()>, _>>()?;
    let wait = plan.wake_at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    Ok(Next::After(wait.unwrap_or(PERIOD).min(PERIOD)))
}

fn plan(
    pods: &[Arc<Pod>],
    nodes: &[Arc<Node>],
    known_absent: &BTreeMap<String, Timestamp>,
    quarantine: SignedDuration,
    now: Timestamp,
) -> Plan {
    let by_name: BTreeMap<&str, &Node> =
        nodes.iter().map(|node| (objects::node::name(node), node.as_ref())).collect();
    let mut plan = Plan::default();
    for pod in pods {
        let Some(name) = pod::node_name(pod) else {
            if pod::is_terminating(pod) {
                plan.remove(pod, Cause::NeverBound);
            }
            continue;
        };
        match by_name.get(name) {
            Some(node) if pod::is_terminating(pod) && is_out_of_service(node) => {
                plan.remove(pod, Cause::OutOfService)
            }
            Some(_) => {}
            None => {
                let since = *known_absent.get(name).unwrap_or(&now);
                plan.absent.insert(name.to_string(), since);
                match since.checked_add(quarantine) {
                    Ok(end) if end <= now => plan.remove(pod, Cause::NodeGone),
                    Ok(end) => plan.wake_at = Some(plan.wake_at.map_or(end, |at| at.min(end))),
                    Err(_) => {}
                }
            }
        }
    }
    plan.remove_surplus(pods);
    plan
}

impl Plan {
    fn remove(&mut self, pod: &Pod, cause: Cause) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let node = pod::node_name(pod).unwrap_or_default().to_string();
        self.removals.push(Removal { key: ObjectKey::of(&pod.metadata), uid, node, cause });
    }

    fn remove_surplus(&mut self, pods: &[Arc<Pod>]) {
        let taken: BTreeSet<ObjectKey> = self.removals.iter().map(|removal| removal.key.clone()).collect();
        let is_left = |pod: &&Arc<Pod>| {
            pod::is_terminal(pod)
                && !pod::is_terminating(pod)
                && !taken.contains(&ObjectKey::of(&pod.metadata))
        };
        let mut ended: Vec<&Arc<Pod>> = pods.iter().filter(is_left).collect();
        let surplus = ended.len().saturating_sub(TERMINATED_MAX);
        ended.sort_by_key(|pod| {
            (!is_evicted(pod), pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
        });
        ended.into_iter().take(surplus).for_each(|pod| self.remove(pod, Cause::TooMany));
    }
}

fn is_evicted(pod: &Pod) -> bool {
    pod::phase(pod) == "Failed"
        && pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted")
}

fn is_out_of_service(node: &Node) -> bool {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    !objects::node::is_ready(node) && taints.into_iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

/// The cache may be late: what the server says of the node decides.
async fn confirm_gone(shared: &Shared, removals: &[Removal]) -> kube::Result<BTreeSet<String>> {
    let nodes = Api::<PartialObjectMeta<Node>>::all(shared.client.clone());
    let asked: BTreeSet<&str> =
        removals.iter().filter(|r| r.cause == Cause::NodeGone).map(|r| r.node.as_str()).collect();
    let mut gone = BTreeSet::new();
    for name in asked {
        if nodes.get_opt(name).await?.is_none() {
            gone.insert(name.to_string());
        }
    }
    Ok(gone)
}

async fn remove(shared: &Shared, removal: &Removal) -> Result<(), kube::Error> {
    tracing::info!(pod = %removal.key, node = removal.node, cause = ?removal.cause, "removing a lost pod");
    let pods = Api::<PartialObjectMeta<Pod>>::namespaced(shared.client.clone(), &removal.key.namespace);
    let is_settled = |status: &Status| status.is_not_found() || status.is_conflict();
    let mut status = json!({"phase": "Failed"});
    if removal.cause == Cause::NodeGone {
        status["conditions"] = json!([{
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists", "lastTransitionTime": shared.now()
        }]);
    }
    if matches!(removal.cause, Cause::NodeGone | Cause::OutOfService) {
        let patch = Patch::Strategic(json!({"metadata": {"uid": removal.uid}, "status": status}));
        let outcome = pods.patch_status(&removal.key.name, &PatchParams::default(), &patch).await;
        tolerate(outcome, is_settled)?;
    }
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..act::of_uid(&removal.uid) };
    tolerate(pods.delete(&removal.key.name, &at_once).await, is_settled)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pod(name: &str, node: Option<&str>, ending: bool, phase: &str) -> Arc<Pod> {
        let ending = ending.then_some("1970-01-01T00:00:00Z");
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"namespace": "a", "name": name, "uid": name, "deletionTimestamp": ending},
                "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase}
            }))
            .unwrap(),
        )
    }

    fn node(name: &str, out_of_service: bool) -> Arc<Node> {
        let taints =
            if out_of_service { json!([{"key": OUT_OF_SERVICE, "effect": "NoExecute"}]) } else { json!([]) };
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"taints": taints}})).unwrap(),
        )
    }

    fn removed(plan: &Plan) -> Vec<(String, Cause)> {
        plan.removals.iter().map(|removal| (removal.uid.clone(), removal.cause)).collect()
    }

    #[test]
    fn pods_of_a_missing_node_go_after_the_quarantine() {
        // NP-12, MG-16.
        let (pods, quarantine) = ([pod("p", Some("gone"), false, "Running")], SignedDuration::from_secs(40));
        let first = plan(&pods, &[node("n", false)], &BTreeMap::new(), quarantine, at(100));
        assert_eq!((removed(&first), first.wake_at), (vec![], Some(at(140))));
        let later = plan(&pods, &[], &first.absent, quarantine, at(140));
        assert_eq!(removed(&later), [("p".to_string(), Cause::NodeGone)]);
        // NP-13: a node that comes back within the quarantine keeps its pods, and starts anew when it goes again.
        let back = plan(&pods, &[node("gone", false)], &first.absent, quarantine, at(141));
        assert_eq!(back, Plan::default());
    }

    #[test]
    fn terminating_pods_without_a_living_node_go_at_once() {
        // NP-12, BUG-14: a node out of service gives its pods free, so that a daemon elsewhere or later is not blocked.
        let pods = [
            pod("bound", Some("n"), true, "Running"),
            pod("held", Some("broken"), true, "Running"),
            pod("never", None, true, "Pending"),
            pod("waiting", None, false, "Pending"),
        ];
        let nodes = [node("n", false), node("broken", true)];
        let plan = plan(&pods, &nodes, &BTreeMap::new(), SignedDuration::from_secs(40), at(0));
        assert_eq!(
            removed(&plan),
            [("held".to_string(), Cause::OutOfService), ("never".to_string(), Cause::NeverBound)]
        );
    }

    #[test]
    fn of_too_many_ended_pods_some_go() {
        // NP-12.
        let pods: Vec<_> =
            (0..TERMINATED_MAX + 2).map(|n| pod(&format!("{n:05}"), Some("n"), false, "Succeeded")).collect();
        let plan = plan(&pods, &[node("n", false)], &BTreeMap::new(), SignedDuration::from_secs(40), at(0));
        assert_eq!(
            removed(&plan),
            [("00000".to_string(), Cause::TooMany), ("00001".to_string(), Cause::TooMany)]
        );
    }
}
