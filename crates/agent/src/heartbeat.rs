//! Says that the node lives: its Lease four times in a life of it, its status when it changes or every 5 minutes.
//!
//! A runtime that is down, or a pod network that is not ready, makes the node NotReady with the reason in words. If
//! the object was deleted while the agent lives, it is made anew.
//!
//! Kubernetes: component-helpers/apimachinery/lease, kubelet_node_status.go, nodestatus/setters.go, eviction defaults.

mod conditions;

use crate::Config;
use crate::events::{Kind, Recorder};
use crate::register::{self, Machine};
pub use conditions::{DISK_PRESSURE, MEMORY_PRESSURE, PID_PRESSURE, Pressure, conditions};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Leases live here.
pub const LEASE_NAMESPACE: &str = "kube-node-lease";
/// How long a lease is good by default. Kubernetes: `nodeLeaseDurationSeconds`.
pub const LEASE: Duration = Duration::from_secs(40);
/// So often it is renewed in that time. Kubernetes: `nodeLeaseRenewIntervalFraction`.
const RENEWALS: u32 = 4;
/// After a failure it is tried again sooner.
const RETRY: Duration = Duration::from_secs(2);
/// A server that does not answer within this is down for now.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How often runtime and machine are looked at. Kubernetes: `nodeStatusUpdateFrequency`.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// While the node is not ready it is looked at more often, so that it is ready soon.
const LOOK_EVERY_UNREADY: Duration = Duration::from_millis(500);
/// An unchanged status is written again after this. Kubernetes: `nodeStatusReportFrequency`.
const REPORT_EVERY_SECONDS: i64 = 300;

/// Keeps the lease for ever.
pub async fn lease(config: Config, node: watch::Receiver<Option<Arc<Node>>>) {
    let api: Api<Lease> = Api::namespaced(config.client.clone(), LEASE_NAMESPACE);
    let (mut known, every) = (None, config.lease / RENEWALS);
    loop {
        let owner = node.borrow().as_ref().and_then(|node| node.metadata.uid.clone());
        let renewal = renew(&api, &config, owner, known.take());
        let wait = match tokio::time::timeout(ANSWER_LIMIT, renewal).await {
            Ok(Ok(lease)) => {
                known = Some(lease);
                every
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "lease not renewed");
                RETRY.min(every)
            }
            Err(_) => RETRY.min(every),
        };
        tokio::time::sleep(wait).await;
    }
}

/// One renewal: of the lease as it was last seen, else of the one on the server, else of a new one.
pub async fn renew(
    api: &Api<Lease>,
    config: &Config,
    owner_uid: Option<String>,
    known: Option<Lease>,
) -> Result<Lease, kube::Error> {
    let node_name = config.node_name.as_str();
    let known = match known {
        Some(lease) => Some(lease),
        None => api.get_opt(node_name).await?,
    };
    let Some(mut lease) = known else {
        return api.create(&PostParams::default(), &fresh_lease(config, owner_uid)).await;
    };
    let before = lease.spec.take().unwrap_or_default();
    lease.spec = Some(LeaseSpec {
        acquire_time: before.acquire_time,
        lease_transitions: before.lease_transitions,
        ..renewed(config)
    });
    if lease.metadata.owner_references.as_ref().is_none_or(Vec::is_empty) {
        lease.metadata.owner_references = owner(node_name, owner_uid);
    }
    api.replace(node_name, &PostParams::default(), &lease).await
}

fn fresh_lease(config: &Config, owner_uid: Option<String>) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            namespace: Some(LEASE_NAMESPACE.into()),
            owner_references: owner(&config.node_name, owner_uid),
            ..ObjectMeta::default()
        },
        spec: Some(renewed(config)),
    }
}

/// What every renewal says.
pub fn renewed(config: &Config) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(config.node_name.clone()),
        lease_duration_seconds: Some(i32::try_from(config.lease.as_secs()).unwrap_or(i32::MAX)),
        renew_time: Some(MicroTime((config.now)())),
        ..LeaseSpec::default()
    }
}

/// The lease goes with its node.
fn owner(node_name: &str, uid: Option<String>) -> Option<Vec<OwnerReference>> {
    let uid = uid?;
    Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node_name.into(),
        uid,
        ..OwnerReference::default()
    }])
}

/// Writes the node's status for ever.
pub async fn status(
    config: Config,
    machine: Machine,
    port: Option<u16>,
    node: watch::Sender<Option<Arc<Node>>>,
    recorder: Recorder,
) {
    let mut reported: Option<Timestamp> = None;
    let mut was_ready = None;
    loop {
        let now = (config.now)();
        let seen = node.borrow().clone();
        let status = current(&config, &machine, port, seen.as_deref(), now).await;
        let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
        let due = reported.is_none_or(|at| now.as_second() - at.as_second() >= REPORT_EVERY_SECONDS);
        if due || seen.as_deref().is_none_or(|seen| differs(seen, &status)) {
            match write(&config, &machine, status).await {
                Ok(written) => {
                    tell(&recorder, &written, was_ready.replace(ready), ready);
                    node.send_replace(Some(Arc::new(written)));
                    reported = Some(now);
                }
                Err(error) => {
                    tracing::debug!(error = crate::act::with_sources(&error), "node status not written");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        tokio::time::sleep(if ready { LOOK_EVERY } else { LOOK_EVERY_UNREADY }).await;
    }
}

fn tell(recorder: &Recorder, node: &Node, before: Option<bool>, ready: bool) {
    if before == Some(ready) {
        return;
    }
    let reason = if ready { "NodeReady" } else { "NodeNotReady" };
    let name = node.metadata.name.as_deref().unwrap_or_default();
    recorder.node(node, Kind::Normal, reason, &format!("Node {name} status is now: {reason}"));
}

async fn current(
    config: &Config,
    machine: &Machine,
    port: Option<u16>,
    seen: Option<&Node>,
    now: Timestamp,
) -> NodeStatus {
    let old = seen.and_then(|node| node.status.as_ref()).and_then(|status| status.conditions.as_deref());
    let runtime = config.runtime.status().await;
    let pressure = (config.pressure)(&config.data_dir);
    let images = config.runtime.list_images().await.map(register::images).ok();
    NodeStatus {
        conditions: Some(conditions(old.unwrap_or_default(), &runtime, &pressure, now)),
        images,
        ..register::status(config, machine, port)
    }
}

/// Whether the status says something new; the times of heartbeats are not news.
fn differs(seen: &Node, status: &NodeStatus) -> bool {
    let Some(old) = &seen.status else { return true };
    let timeless = |list: &Option<Vec<NodeCondition>>| -> Vec<NodeCondition> {
        let mut list = list.clone().unwrap_or_default();
        list.iter_mut().for_each(|condition| condition.last_heartbeat_time = None);
        list
    };
    timeless(&old.conditions) != timeless(&status.conditions)
        || old.capacity != status.capacity
        || old.allocatable != status.allocatable
        || old.addresses != status.addresses
        || old.daemon_endpoints != status.daemon_endpoints
        || old.node_info != status.node_info
        || old.images != status.images
}

async fn write(
    config: &Config,
    machine: &Machine,
    status: NodeStatus,
) -> Result<Node, register::RegisterError> {
    let api: Api<Node> = Api::all(config.client.clone());
    let patch = Patch::Merge(serde_json::json!({ "status": status }));
    let params = PatchParams::default();
    let asked = api.patch_status(&config.node_name, &params, &patch);
    match tokio::time::timeout(ANSWER_LIMIT, asked).await {
        Ok(Err(kube::Error::Api(error))) if error.code == 404 => {
            register::register(config, machine, status).await
        }
        Ok(Ok(node)) => Ok(node),
        Ok(Err(source)) => {
            Err(register::RegisterError::Refused { node: config.node_name.clone(), source: Box::new(source) })
        }
        Err(_) => Err(register::RegisterError::NoAnswer { node: config.node_name.clone() }),
    }
}
