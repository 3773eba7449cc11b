//! What do nodes and pods use? `metrics.k8s.io`, asked of the nodes when somebody asks.
//!
//! Nothing is gathered in advance: a question goes to the agents of the nodes that it is about, to many at once, and what one
//! of them has said serves all questions of the next seconds. The agent measures over a window of its own. A node that
//! does not answer, and one that is simulated, has no numbers; the reason goes to the client as a warning.
//! Kubernetes: metrics-server, which asks all the time. Differs: the summary API is asked and not `/metrics/resource`,
//! because a rate needs two looks and the agent has both.

use crate::Inner;
use crate::accept::{self, Shape};
use crate::cache::item::{Filter, Item};
use crate::encode;
use crate::error::ApiError;
use crate::node_proxy;
use crate::options::ListOptions;
use crate::reply::{self, Page, Reply};
use crate::request::Verb;
use crate::resources::find;
use crate::verbs::{Call, read};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use objects::quantity::{Amount, Format};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long an answer of a node serves: `kubectl top` in a loop asks each node once in this time.
const FRESH: Duration = Duration::from_secs(5);
/// Nodes that are asked at once. A first question takes each agent a second, so that 1,000 nodes take eight.
const AT_ONCE: usize = 128;
/// How long a node may take: the second of a first question, and a slow network.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nodes without numbers that are told one by one.
const TOLD: usize = 3;
/// The window of an agent that does not tell it: kubelet looks every ten seconds.
const KUBELETS_WINDOW: f64 = 10.0;

/// What a node has said, or why it has not.
type Said = Result<Arc<Value>, String>;

/// What nodes have said lately.
#[derive(Default)]
pub struct Known(Mutex<BTreeMap<String, (Instant, Said)>>);

/// GET of one or of many.
pub async fn answer(call: &Call<'_>) -> Result<Reply, ApiError> {
    let single = call.request.verb() == Verb::Get;
    let shape = if single { Shape::Single } else { Shape::List };
    let form = accept::form(call.header("accept"), &call.request.query, shape)?;
    let options = ListOptions::parse(&call.request.query, false)?;
    let filter = read::filter(call, &options)?;
    call.server.consistent().await?;
    let (objects, silent) = match call.kind.plural {
        "nodes" => nodes(call.server, &filter).await,
        _ => pods(call.server, &filter).await,
    };
    let revision = call.server.cache.revision();
    let items: Vec<Item> = objects.iter().filter_map(|object| item(call, object, revision)).collect();
    if !single {
        let page = Page { revision, resume: String::new(), remaining: None };
        let list = reply::list(call.kind, &page, items.iter(), form);
        return Ok(reply::with_warnings(reply::json_bytes(200, list), &warnings(&silent)));
    }
    match items.first() {
        Some(item) => Ok(reply::item(call.kind, item, form)),
        None => {
            let mut missing = call.not_found();
            if let Some(reason) = silent.values().next() {
                missing.message = format!("{}: {reason}", missing.message);
            }
            Err(missing)
        }
    }
}

/// Objects, and the nodes that have not answered, with their reasons.
type Found = (Vec<Value>, BTreeMap<String, String>);

async fn nodes(server: &Inner, filter: &Filter) -> Found {
    let nodes = selected(server, "nodes", filter);
    let names = nodes.iter().map(|node| node.name.to_string()).collect();
    let (said, silent) = ask(server, names).await;
    let objects = nodes.iter().filter_map(|node| {
        let of_node = &said.get(&*node.name)?["node"];
        let usage = usage(of_node)?;
        let window = window(said.get(&*node.name)?);
        Some(json!({ "metadata": metadata(node), "timestamp": of_node["cpu"]["time"], "window": window,
            "usage": usage }))
    });
    (objects.collect(), silent)
}

async fn pods(server: &Inner, filter: &Filter) -> Found {
    let pods: Vec<(Arc<Item>, String)> = selected(server, "pods", filter)
        .into_iter()
        .filter_map(|pod| {
            let object = pod.object().ok()?;
            let runs = object["status"]["phase"] == "Running";
            let node = object["spec"]["nodeName"].as_str().filter(|node| runs && !node.is_empty())?;
            Some((pod, node.to_string()))
        })
        .collect();
    let (said, silent) = ask(server, pods.iter().map(|(_, node)| node.clone()).collect()).await;
    let objects = pods.iter().filter_map(|(pod, node)| {
        let summary = said.get(node)?;
        let mut of_pod = summary["pods"].as_array()?.iter();
        let of_pod = of_pod.find(|one| {
            // By name: the uid of a mirror pod is not that of the pod that runs.
            one["podRef"]["name"] == *pod.name && one["podRef"]["namespace"] == *pod.namespace
        })?;
        let containers = of_pod["containers"].as_array()?;
        let told: Option<Vec<Value>> = containers
            .iter()
            .map(|container| Some(json!({ "name": container["name"], "usage": usage(container)? })))
            .collect();
        // One container without a rate, and the sum of a pod would be too small.
        let told = told.filter(|told| !told.is_empty())?;
        let time = &containers.first()?["cpu"]["time"];
        Some(json!({ "metadata": metadata(pod), "timestamp": time, "window": window(summary), "containers": told }))
    });
    (objects.collect(), silent)
}

fn selected(server: &Inner, plural: &str, filter: &Filter) -> Vec<Arc<Item>> {
    let collection = find("", "v1", plural).and_then(|kind| server.cache.of(kind));
    collection.map(|all| all.select(filter).items).unwrap_or_default()
}

/// Asks nodes, those that have not been asked lately.
async fn ask(
    server: &Inner,
    names: BTreeSet<String>,
) -> (BTreeMap<String, Arc<Value>>, BTreeMap<String, String>) {
    let lately = server.usage.lately();
    let unknown: Vec<String> = names.iter().filter(|name| !lately.contains_key(*name)).cloned().collect();
    let asking = unknown.into_iter().map(|name| one(server, name));
    let asked: Vec<(String, Said)> = futures::stream::iter(asking).buffer_unordered(AT_ONCE).collect().await;
    server.usage.learn(&asked);
    let all = lately.into_iter().filter(|(name, _)| names.contains(name)).chain(asked);
    let (mut said, mut silent) = (BTreeMap::new(), BTreeMap::new());
    for (name, answer) in all {
        match answer {
            Ok(summary) => drop(said.insert(name, summary)),
            Err(reason) => drop(silent.insert(name, reason)),
        }
    }
    (said, silent)
}

/// Boxed: the compiler cannot see that a stream of what is inside may go from thread to thread.
fn one(server: &Inner, name: String) -> BoxFuture<'_, (String, Said)> {
    Box::pin(async move {
        let said = match tokio::time::timeout(PATIENCE, node_proxy::summary(server, &name)).await {
            Ok(Ok(bytes)) => {
                serde_json::from_slice(&bytes).map(Arc::new).map_err(|e| format!("its summary: {e}"))
            }
            Ok(Err(error)) => Err(error.message),
            Err(_) => Err(format!("no answer within {}s", PATIENCE.as_secs())),
        };
        (name, said)
    })
}

impl Known {
    fn lately(&self) -> BTreeMap<String, Said> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, _)| at.elapsed() < FRESH);
        known.iter().map(|(name, (_, said))| (name.clone(), said.clone())).collect()
    }

    fn learn(&self, asked: &[(String, Said)]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        known.extend(asked.iter().map(|(name, said)| (name.clone(), (now, said.clone()))));
    }
}

/// Both amounts, as metrics-server writes them; none where there is no rate yet.
fn usage(told: &Value) -> Option<Value> {
    let rate = told["cpu"]["usageNanoCores"].as_u64()?;
    let memory = i64::try_from(told["memory"]["workingSetBytes"].as_u64()?).ok()?;
    let cpu = Amount::parse(&format!("{rate}n")).ok()?;
    Some(json!({ "cpu": cpu.to_string(), "memory": Amount::whole(memory, Format::BinarySi).to_string() }))
}

/// Go's form of a duration.
fn window(summary: &Value) -> String {
    let seconds = summary["windowSeconds"].as_f64().unwrap_or(KUBELETS_WINDOW);
    let milliseconds = (seconds * 1000.0).round() as u64;
    let (minutes, rest) = (milliseconds / 60_000, milliseconds % 60_000);
    let fraction = format!("{:03}", rest % 1000);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let minutes = if minutes > 0 { format!("{minutes}m") } else { String::new() };
    format!("{minutes}{}{point}{fraction}s", rest / 1000)
}

fn metadata(of: &Item) -> Value {
    let mut metadata = json!({ "name": of.name });
    if !of.namespace.is_empty() {
        metadata["namespace"] = (*of.namespace).into();
    }
    if !of.labels.is_empty() {
        metadata["labels"] =
            of.labels.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect::<Map<_, _>>().into();
    }
    metadata
}

fn item(call: &Call<'_>, object: &Value, revision: store::Revision) -> Option<Item> {
    let mut object = object.clone();
    // As metrics-server has it: the moment of the measurement.
    object["metadata"]["creationTimestamp"] = object["timestamp"].clone();
    Item::read(call.kind, "".into(), revision, encode::stored(call.kind, &object), None).ok()
}

fn warnings(silent: &BTreeMap<String, String>) -> Vec<String> {
    let mut lines: Vec<String> = silent
        .iter()
        .take(TOLD)
        .map(|(node, reason)| format!("no metrics of node {node}: {reason}"))
        .collect();
    if silent.len() > TOLD {
        lines.push(format!("no metrics of {} more nodes", silent.len() - TOLD));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_windows_read_as_metrics_server_writes_them() {
        let told = |rate: u64, memory: u64| {
            usage(&json!({"cpu": {"usageNanoCores": rate}, "memory": {"workingSetBytes": memory}})).unwrap()
        };
        assert_eq!(told(1_234_567, 4096), json!({"cpu": "1234567n", "memory": "4Ki"}));
        // Below 1Ki Kubernetes counts in thousands.
        assert_eq!(told(250_000_000, 1000), json!({"cpu": "250m", "memory": "1k"}));
        assert_eq!(told(0, 0), json!({"cpu": "0", "memory": "0"}));
        assert_eq!(usage(&json!({"cpu": {}, "memory": {"workingSetBytes": 1}})), None);
        for (seconds, expected) in [(1.0, "1s"), (1.0004, "1s"), (10.5, "10.5s"), (61.25, "1m1.25s")] {
            assert_eq!(window(&json!({ "windowSeconds": seconds })), expected);
        }
        assert_eq!(window(&json!({})), "10s");
    }

    #[test]
    fn many_silent_nodes_are_counted_and_not_listed() {
        let silent: BTreeMap<String, String> =
            (1..=5).map(|n| (format!("n{n}"), "gone".to_string())).collect();
        let told = warnings(&silent);
        assert_eq!(told.len(), 4);
        assert_eq!(told.last().map(String::as_str), Some("no metrics of 2 more nodes"));
        assert_eq!(told.first().map(String::as_str), Some("no metrics of node n1: gone"));
    }
}
