//! Which servers of this cluster live? The endpoints of the service `default/kubernetes` say it.
//!
//! 1. Each of several servers on one store renews a Lease of its own in `kube-system`. One that has not changed for the
//!    time that it names, by the reader's clock, belongs to a server that is gone: no two clocks are compared.
//! 2. Everybody writes the same list, so it does not matter who does it; a server is always in its own.
//! 3. A server that ends takes itself off.
//! 4. Loopback addresses are left out: other machines cannot reach them, and Kubernetes refuses them in endpoints.
//!
//! A lone server has no Lease. Kubernetes: pkg/controlplane/reconcilers/lease.go, with TTLs of etcd instead of Leases;
//! pkg/controlplane/controller/apiserverleasegc for the name and label of the Leases, which name no address there.

use crate::Inner;
use crate::bootstrap::new;
use crate::encode;
use crate::error::ApiError;
use crate::resources::{Kind, endpoints, endpointslices, leases};
use crate::verbs::metadata::text;
use crate::verbs::own::as_server;
use crate::verbs::update::{Write, rewrite};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How long a Lease is good. Kubernetes: `masterEndpointReconcilerTTL`.
const LEASE: Duration = Duration::from_secs(15);
/// How often it is renewed, so that one write may fail.
const RENEWAL: Duration = Duration::from_secs(5);
/// Whoever ends waits no longer than this for the store.
const LEAVING: Duration = Duration::from_secs(2);

const NAMESPACE: &str = "kube-system";
/// Marks a server's Lease. Kubernetes: `IdentityLeaseComponentLabelKey`.
const IDENTITY: (&str, &str) = ("apiserver.kubernetes.io/identity", "kube-apiserver");
/// Where clients reach the server that holds the Lease.
const ADDRESS: &str = "everynode.dev/advertise-address";
/// The endpoints at the start: ours, and those of whoever has a Lease; who of them lives is seen later.
pub async fn begin(server: &Inner) -> Result<(), ApiError> {
    let mut all: BTreeSet<SocketAddr> = held(server).values().map(|lease| lease.address).collect();
    all.insert(server.config.advertise);
    write(server, &all).await
}

/// Renews our Lease and keeps the endpoints, for ever. What fails is tried again at the next turn.
pub async fn keep(server: &Inner, host: &str) {
    let mut seen = Seen::default();
    let mut tick = tokio::time::interval(RENEWAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Err(error) = turn(server, host, &mut seen).await {
            tracing::warn!(%error, "the endpoints of the kubernetes service were not kept");
        }
    }
}

/// Takes this server off the endpoints.
pub async fn leave(server: &Inner) {
    let left = async {
        let own = server.read(&leases::KIND, NAMESPACE, &name(server.config.advertise)).await?;
        if let Some((name, own)) = own.and_then(|(own, _)| lease(&own)) {
            forget(server, &name, &own).await?;
        }
        let mut all: BTreeSet<SocketAddr> = held(server).values().map(|lease| lease.address).collect();
        all.remove(&server.config.advertise);
        write(server, &all).await
    };
    if !matches!(tokio::time::timeout(LEAVING, left).await, Ok(Ok(()))) {
        tracing::warn!(
            "this server stays in the endpoints of the kubernetes service until its lease has run out"
        );
    }
}

async fn turn(server: &Inner, host: &str, seen: &mut Seen) -> Result<(), ApiError> {
    renew(server, host).await?;
    server.consistent().await?;
    let Verdict { living, gone } = seen.judge(held(server), Instant::now());
    for name in gone {
        tracing::warn!(lease = name, "a server of this cluster is gone");
        if let Some((lease, _)) = seen.0.get(&name) {
            forget(server, &name, lease).await?;
        }
    }
    let own = std::iter::once(server.config.advertise);
    write(server, &living.into_iter().chain(own).collect()).await
}

async fn renew(server: &Inner, host: &str) -> Result<(), ApiError> {
    let address = server.config.advertise;
    let name = name(address);
    let now = server.now();
    let spec = json!({"holderIdentity": format!("{name}_{}", std::process::id()),
        "leaseDurationSeconds": LEASE.as_secs(), "renewTime": format!("{now:.6}")});
    let (label, value) = IDENTITY;
    let metadata = json!({"name": name, "labels": {label: value, "kubernetes.io/hostname": host},
        "annotations": {ADDRESS: address.to_string()}});
    put(server, &leases::KIND, NAMESPACE, json!({"metadata": metadata, "spec": spec})).await
}

/// Deletes the Lease of a server that is gone, as it was last seen: one that has come back keeps it.
async fn forget(server: &Inner, name: &str, seen: &Lease) -> Result<(), ApiError> {
    let kind = &leases::KIND;
    let Ok(revision) = seen.version.parse() else { return Ok(()) };
    match server.store.delete(&encode::key(kind, NAMESPACE, name), revision).await {
        Ok(_) | Err(store::Error::Conflict { .. } | store::Error::Missing { .. }) => Ok(()),
        Err(error) => Err(server.store_error(error)),
    }
}

/// `apiserver-10-0-0-1-6443`.
fn name(address: SocketAddr) -> String {
    let letters = address.to_string().replace(['.', ':'], "-").replace(['[', ']'], "");
    format!("apiserver-{letters}")
}

/// A server's Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lease {
    address: SocketAddr,
    /// Another one with every renewal.
    version: String,
}

fn held(server: &Inner) -> BTreeMap<String, Lease> {
    server.cached_in(&leases::KIND, NAMESPACE).iter().filter_map(lease).collect()
}

fn lease(object: &Value) -> Option<(String, Lease)> {
    let metadata = &object["metadata"];
    let (label, value) = IDENTITY;
    let address = metadata["annotations"][ADDRESS].as_str()?.parse().ok()?;
    let version = text(object, "resourceVersion").to_string();
    let named = || text(object, "name").to_string();
    (metadata["labels"][label] == value).then(|| (named(), Lease { address, version }))
}

/// What was seen of the Leases of others, and since when.
#[derive(Debug, Default)]
struct Seen(BTreeMap<String, (Lease, Instant)>);

#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    living: BTreeSet<SocketAddr>,
    /// Names of Leases.
    gone: Vec<String>,
}

impl Seen {
    fn judge(&mut self, leases: BTreeMap<String, Lease>, now: Instant) -> Verdict {
        let known = std::mem::take(&mut self.0);
        for (name, lease) in leases {
            let since = match known.get(&name) {
                Some((before, since)) if *before == lease => *since,
                _ => now,
            };
            self.0.insert(name, (lease, since));
        }
        let (living, gone): (Vec<_>, Vec<_>) =
            self.0.iter().partition(|(_, (_, since))| now.duration_since(*since) < LEASE);
        Verdict {
            living: living.into_iter().map(|(_, (lease, _))| lease.address).collect(),
            gone: gone.into_iter().map(|(name, _)| name.clone()).collect(),
        }
    }
}

/// Writes the endpoints, where they are others. Where there is nobody to name, nothing is made.
async fn write(server: &Inner, all: &BTreeSet<SocketAddr>) -> Result<(), ApiError> {
    let all: BTreeSet<SocketAddr> = all.iter().filter(|one| !one.ip().is_loopback()).copied().collect();
    for (kind, object) in [(&endpoints::KIND, in_one(&all)), (&endpointslices::KIND, slice(&all))] {
        if !all.is_empty() || server.read(kind, "default", "kubernetes").await?.is_some() {
            put(server, kind, "default", object).await?;
        }
    }
    Ok(())
}

/// Makes what stands outside `metadata` as it is here; creates the object where there is none.
async fn put(server: &Inner, kind: &Kind, namespace: &str, object: Value) -> Result<(), ApiError> {
    as_server(server, kind, (namespace, text(&object, "name")), async |call| {
        let wanted = |old: &Value| {
            let mut wanted = old.clone();
            let fields = object.as_object().into_iter().flatten().filter(|(name, _)| *name != "metadata");
            fields.for_each(|(name, value)| wanted[name] = value.clone());
            Ok((wanted, Vec::new()))
        };
        match rewrite(call, Write::own(false), wanted).await {
            Err(error) if error.code == 404 => new(call, object.clone()).await,
            other => other.map(drop),
        }
    })
    .await
}

/// Servers with the same port stand together, as Kubernetes packs them.
fn in_one(all: &BTreeSet<SocketAddr>) -> Value {
    let mut by_port: BTreeMap<u16, Vec<Value>> = BTreeMap::new();
    for address in all {
        by_port.entry(address.port()).or_default().push(json!({"ip": address.ip().to_string()}));
    }
    let subset = |(port, addresses)| json!({"addresses": addresses, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]});
    let subsets: Vec<Value> = by_port.into_iter().map(subset).collect();
    let labels = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    json!({"metadata": {"name": "kubernetes", "labels": labels}, "subsets": subsets})
}

/// The slice has one family and one port: those of the first server; the endpoints have all.
fn slice(all: &BTreeSet<SocketAddr>) -> Value {
    let alike = |one: &&SocketAddr| {
        all.first().is_some_and(|first| one.port() == first.port() && one.is_ipv4() == first.is_ipv4())
    };
    let endpoints: Vec<Value> = all
        .iter()
        .filter(alike)
        .map(|one| json!({"addresses": [one.ip().to_string()], "conditions": {"ready": true}}))
        .collect();
    let family = if all.first().is_none_or(SocketAddr::is_ipv4) { "IPv4" } else { "IPv6" };
    let ports = all.first().map(|first| json!({"name": "https", "port": first.port(), "protocol": "TCP"}));
    json!({"metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": family, "endpoints": endpoints, "ports": ports.into_iter().collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_lease_that_does_not_change_belongs_to_a_server_that_is_gone() {
        let (a, b) = (address("10.0.0.1:6443"), address("10.0.0.2:6443"));
        let leases = |of_a: &str, of_b: &str| {
            let lease = |address, version: &str| Lease { address, version: version.into() };
            BTreeMap::from([("a".to_string(), lease(a, of_a)), ("b".to_string(), lease(b, of_b))])
        };
        let (mut seen, start) = (Seen::default(), Instant::now());
        let mut check = |seconds, leases, living: &[SocketAddr], gone: &[&str]| {
            let verdict = seen.judge(leases, start + Duration::from_secs(seconds));
            let gone = gone.iter().map(ToString::to_string).collect();
            assert_eq!(
                verdict,
                Verdict { living: living.iter().copied().collect(), gone },
                "after {seconds} s"
            );
        };
        check(0, leases("1", "1"), &[a, b], &[]);
        check(14, leases("2", "1"), &[a, b], &[]);
        check(15, leases("2", "1"), &[a], &["b"]);
        check(20, leases("3", "2"), &[a, b], &[]);
        check(34, leases("3", "3"), &[a, b], &[]);
        check(36, BTreeMap::new(), &[], &[]);
    }

    #[test]
    fn endpoints_are_packed_by_port() {
        let all = ["10.0.0.1:6443", "10.0.0.2:6443", "10.0.0.1:7443"].map(address).into();
        let expected = json!([
            {"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}],
                "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}]},
            {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "https", "port": 7443, "protocol": "TCP"}]}]);
        assert_eq!(in_one(&all)["subsets"], expected);
        let endpoints = |slice: Value| slice["endpoints"].as_array().map(Vec::len);
        assert_eq!(endpoints(slice(&all)), Some(2));
        assert_eq!(endpoints(slice(&BTreeSet::new())), Some(0));
    }

    #[test]
    fn the_name_of_a_lease_is_a_name() {
        for (text, expected) in
            [("10.0.0.1:6443", "apiserver-10-0-0-1-6443"), ("[fd00::1]:6443", "apiserver-fd00--1-6443")]
        {
            assert_eq!(name(address(text)), expected);
            assert!(objects::name::dns1123_subdomain(expected).is_ok());
        }
    }
}
