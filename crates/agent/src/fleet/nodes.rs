//! The Node objects and leases of a fleet.

use super::Config;
use crate::heartbeat::{LEASE_NAMESPACE, Pressure, conditions, renew, renewed};
use crate::register::{self, Machine};
use crate::runtime::{Readiness, RuntimeStatus};
use futures::StreamExt as _;
use http::{Request, header};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// So often a lease is renewed in its life: a fleet is one process, and a lost renewal is as likely as for any agent.
const RENEWALS: u32 = 2;
/// Kubernetes: `nodeStatusReportFrequency`.
const REPORT_EVERY: Duration = Duration::from_secs(300);
/// Writes at once.
const AT_ONCE: usize = 32;
/// A server that is not there yet is asked again after this.
const RETRY: Duration = Duration::from_secs(1);
/// A server that does not answer within this loses a renewal.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What a simulated node has.
const CPUS: u64 = 32;
const MEMORY_KIB: u64 = 256 << 20;
const DISK_KIB: u64 = 1 << 30;

/// All nodes of a fleet.
pub(super) struct Nodes {
    fleet: Config,
    configs: Vec<crate::Config>,
    /// Of each node.
    pulses: Vec<Mutex<Pulse>>,
    machine: Machine,
}

/// What is remembered of a node's signs of life.
#[derive(Debug, Default)]
struct Pulse {
    /// The last lease that the server has taken.
    renewed: Option<Instant>,
    /// The server may have taken the node for dead meanwhile, and written so: a lease alone does not change that.
    owes_status: bool,
}

impl Nodes {
    pub(super) fn new(fleet: &Config) -> Self {
        let runtime = crate::runtime::simulated::Simulated::new(fleet.stages, fleet.network);
        let runtime: Arc<dyn crate::runtime::Runtime> = Arc::new(runtime);
        let config = |(number, name): (u32, String)| {
            let address = address(fleet.network, 0, number.into());
            let address = address.parse().unwrap_or(IpAddr::V4(fleet.network));
            let mut config = crate::Config::new(fleet.client.clone(), runtime.clone(), name, address);
            config.labels = fleet.labels.clone();
            config.taints = fleet.taints.clone();
            config.now = fleet.now;
            config.lease = fleet.lease;
            config
        };
        let configs: Vec<crate::Config> = (fleet.first..).zip(fleet.names()).map(config).collect();
        let machine = Machine::read(Path::new("/"), concat!("simulated://", env!("CARGO_PKG_VERSION")));
        Self {
            fleet: fleet.clone(),
            pulses: configs.iter().map(|_| Mutex::default()).collect(),
            configs,
            machine: Machine { cpus: CPUS, memory_kib: MEMORY_KIB, disk_kib: DISK_KIB, ..machine },
        }
    }

    /// Registers all nodes and keeps them alive for ever.
    pub(super) async fn run(self) {
        let nodes = Arc::new(self);
        let (mut present, mut known) = (nodes.fleet.present.clone(), BTreeSet::new());
        nodes.register_new(&mut known).await;
        let coming = async {
            loop {
                super::changed(&mut present).await;
                nodes.register_new(&mut known).await;
            }
        };
        let ((), (), ()) = tokio::join!(
            coming,
            nodes.clone().in_turn(Duty::Lease, nodes.fleet.lease / RENEWALS),
            nodes.clone().in_turn(Duty::Status, REPORT_EVERY)
        );
    }

    /// Registers those that are there and were not.
    async fn register_new(self: &Arc<Self>, known: &mut BTreeSet<usize>) {
        let present: BTreeSet<usize> = (0..self.configs.len()).filter(|number| self.has(*number)).collect();
        let new: Vec<usize> = present.difference(known).copied().collect();
        let new = new.into_iter().map(|number| self.clone().perform(Duty::Register, number));
        futures::stream::iter(new).buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
        tracing::info!(nodes = present.len(), "simulated nodes registered");
        *known = present;
    }

    fn has(&self, number: usize) -> bool {
        u32::try_from(number).is_ok_and(|number| self.fleet.has(self.fleet.first.saturating_add(number)))
    }

    /// Each node in its turn, so that the server sees an even trickle.
    async fn in_turn(self: Arc<Self>, duty: Duty, period: Duration) {
        let count = u32::try_from(self.configs.len()).unwrap_or(u32::MAX).max(1);
        let mut ticks = tokio::time::interval(period / count);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let mut under_way = JoinSet::new();
        for number in (0..self.configs.len()).cycle() {
            ticks.tick().await;
            while under_way.try_join_next().is_some() {}
            if under_way.len() >= AT_ONCE {
                under_way.join_next().await;
            }
            under_way.spawn(self.clone().perform(duty, number));
        }
        // A fleet of no nodes has nothing to do, for ever.
        std::future::pending().await
    }

    async fn perform(self: Arc<Self>, duty: Duty, number: usize) {
        let Some(config) = self.configs.get(number).filter(|_| self.has(number)) else { return };
        match duty {
            Duty::Register => self.register(config).await,
            Duty::Status => drop(self.write_status(config).await),
            Duty::Lease => match renew_lease(config).await {
                Ok(()) => self.renewed(config, number).await,
                Err(404) => self.register(config).await,
                Err(_) => {}
            },
        }
    }

    /// A node that was silent for longer than its lease says that it is well.
    async fn renewed(&self, config: &crate::Config, number: usize) {
        let Some(pulse) = self.pulses.get(number) else { return };
        let pulse = || pulse.lock().unwrap_or_else(PoisonError::into_inner);
        let owes_status = {
            let (mut pulse, now) = (pulse(), Instant::now());
            let before = pulse.renewed.replace(now);
            pulse.owes_status |=
                before.is_some_and(|before| now - before > config.lease / RENEWALS + ANSWER_LIMIT);
            pulse.owes_status
        };
        if owes_status && self.write_status(config).await.is_ok() {
            pulse().owes_status = false;
        }
    }

    async fn register(&self, config: &crate::Config) {
        while let Err(error) = self.try_register(config).await {
            tracing::debug!(error = crate::act::with_sources(&error), "simulated node not registered");
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn try_register(&self, config: &crate::Config) -> Result<(), register::RegisterError> {
        let node = register::register(config, &self.machine, self.status(config)).await?;
        let old = node.status.unwrap_or_default().conditions.unwrap_or_default();
        // An existing object may say something older.
        if !old.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
            // A refused one is repeated in its turn.
            let _ = self.write_status(config).await;
        }
        let api: Api<Lease> = Api::namespaced(config.client.clone(), LEASE_NAMESPACE);
        let renewal = renew(&api, config, node.metadata.uid, None);
        match tokio::time::timeout(ANSWER_LIMIT, renewal).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(register::RegisterError::Refused {
                node: config.node_name.clone(),
                source: Box::new(source),
            }),
            Err(_) => Err(register::RegisterError::NoAnswer { node: config.node_name.clone() }),
        }
    }

    fn status(&self, config: &crate::Config) -> k8s_openapi::api::core::v1::NodeStatus {
        let well = Some(Readiness::Ready);
        let runtime = Ok(RuntimeStatus { runtime: well.clone(), network: well });
        let conditions = conditions(&[], &runtime, &Pressure::default(), (config.now)());
        let status = register::status(config, &self.machine, None);
        k8s_openapi::api::core::v1::NodeStatus { conditions: Some(conditions), ..status }
    }

    /// Only the times of heartbeats: nothing else changes on a simulated node.
    async fn write_status(&self, config: &crate::Config) -> Result<(), u16> {
        let path = format!("/api/v1/nodes/{}/status", config.node_name);
        let conditions = self.status(config).conditions;
        let body = serde_json::json!({"status": {"conditions": conditions}});
        let kind = "application/strategic-merge-patch+json";
        let outcome = send(config, path, kind, &body).await;
        if let Err(error) = outcome {
            tracing::debug!(node = config.node_name, error, "simulated node's status not written");
        }
        outcome
    }
}

/// What is done for each node.
#[derive(Clone, Copy)]
enum Duty {
    Register,
    Lease,
    Status,
}

/// The HTTP status of a refusal; 0 when there was no answer.
async fn renew_lease(config: &crate::Config) -> Result<(), u16> {
    let name = &config.node_name;
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{LEASE_NAMESPACE}/leases/{name}");
    let body = serde_json::json!({ "spec": renewed(config) });
    send(config, path, "application/merge-patch+json", &body).await
}

/// The HTTP status of a refusal; 0 when there was no answer.
async fn send(config: &crate::Config, path: String, kind: &str, body: &serde_json::Value) -> Result<(), u16> {
    let request = Request::patch(path).header(header::CONTENT_TYPE, kind);
    let request = request.body(body.to_string().into_bytes()).map_err(|_| 0_u16)?;
    match tokio::time::timeout(ANSWER_LIMIT, config.client.request_text(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) => Err(status.code),
        _ => Err(0),
    }
}

/// The `number`th address of a /16, `block` networks after the first.
pub(super) fn address(network: Ipv4Addr, block: u8, number: u64) -> String {
    let [a, b, ..] = network.octets();
    let low = u16::try_from(number % 65_000).unwrap_or_default().saturating_add(1);
    let [c, d] = low.to_be_bytes();
    Ipv4Addr::new(a, b.wrapping_add(block), c, d).to_string()
}
