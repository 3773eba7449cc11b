//! What does an API server bear? Reads, durable writes, watchers, and lists of many pods: rows of docs/performance.md.
//!
//! `cargo run --release -p controllers --example load -- <kubeconfig> [<pid of the server>]`, against any cluster. All is made
//! in the namespace [`NAMESPACE`], which is deleted at the end. Its pods ask for a scheduler that nobody is, so nothing runs.
//! With the pid of a server on this machine its memory is measured, too. Client and server share the machine: what is shown
//! is what both together do.

use futures::future::{join_all, try_join_all};
use futures::{StreamExt as _, TryStreamExt as _};
use http::Request;
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const NAMESPACE: &str = "everynode-load";
/// As many connections as issue 4 asks for.
const CLIENTS: usize = 64;
/// How long each kind of request is made: a checkpoint of the store falls into it.
const PERIOD: Duration = Duration::from_secs(5);
const WATCHERS: [usize; 3] = [1, 100, 1_000];
/// Changes that all watchers are told of.
const CHANGES: usize = 200;
const PODS: usize = 10_000;
const LISTS: usize = 10;
/// After something was made, before memory is read.
const REST: Duration = Duration::from_secs(3);
/// A watcher that has not heard everything by then never will.
const LIMIT: Duration = Duration::from_secs(60);
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("usage: load <kubeconfig> [<pid of the server>]")?;
    let server = Server(arguments.next());
    let (file, options) = (Kubeconfig::read_from(file)?, KubeConfigOptions::default());
    let config = Config::from_custom_kubeconfig(file, &options).await?;
    let namespaces = Api::<Namespace>::all(Client::try_from(config.clone())?);
    let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
    namespaces.create(&PostParams::default(), &namespace).await?;
    let done = measure(&config, &server).await;
    namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
    done
}

async fn measure(config: &Config, server: &Server) -> Outcome<()> {
    let clients = (0..CLIENTS).map(|_| Client::try_from(config.clone())).collect::<kube::Result<Vec<_>>>()?;
    writes(&clients).await?;
    reads(&clients).await?;
    for count in WATCHERS {
        watches(config, &clients, count, server).await?;
    }
    pods(&clients, server).await?;
    lists(&clients[0], "application/json").await?;
    lists(&clients[0], TABLE).await
}

/// Every client creates a ConfigMap of 1 kB, and then the next.
async fn writes(clients: &[Client]) -> Outcome<()> {
    let write = |client: Client, index: usize, turn: usize| async move {
        let map = config_map(&format!("m{index}-{turn}"), "x".repeat(1_000))?;
        maps(client).create(&PostParams::default(), &map).await?;
        Ok(())
    };
    let times = for_a_while(clients, write).await?;
    row(&format!("durable writes from {CLIENTS} clients"), &times);
    Ok(())
}

/// Every client reads the first ConfigMap that it wrote.
async fn reads(clients: &[Client]) -> Outcome<()> {
    let read = |client: Client, index: usize, _| async move {
        maps(client).get(&format!("m{index}-0")).await?;
        Ok(())
    };
    let times = for_a_while(clients, read).await?;
    row(&format!("reads from {CLIENTS} clients"), &times);
    Ok(())
}

/// How long each call took.
async fn for_a_while<F>(
    clients: &[Client],
    call: impl Fn(Client, usize, usize) -> F,
) -> Outcome<Vec<Duration>>
where
    F: Future<Output = Outcome<()>>,
{
    let end = Instant::now() + PERIOD;
    let one = |index: usize, client: &Client| {
        let (client, call) = (client.clone(), &call);
        async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let start = Instant::now();
                call(client.clone(), index, times.len()).await?;
                times.push(start.elapsed());
            }
            Outcome::Ok(times)
        }
    };
    let all = try_join_all(clients.iter().enumerate().map(|(index, client)| one(index, client))).await?;
    Ok(all.into_iter().flatten().collect())
}

/// So many watchers of all ConfigMaps of the namespace, while one of these is changed.
async fn watches(config: &Config, clients: &[Client], count: usize, server: &Server) -> Outcome<()> {
    let watched = config_map("watched", String::new())?;
    let before = server.memory();
    maps(clients[0].clone()).create(&PostParams::default(), &watched).await?;
    let heard = Arc::new(AtomicUsize::new(0));
    let watchers = (0..count).map(|_| watch(config, heard.clone()));
    let watchers: Vec<_> = futures::stream::iter(watchers).buffered(CLIENTS).try_collect().await?;
    tokio::time::sleep(REST).await;
    let watcher = server.share(before, count);
    let start = Instant::now();
    for change in 0..CHANGES {
        let patch = Patch::Merge(json!({"data": {"text": change.to_string()}}));
        maps(clients[change % CLIENTS].clone()).patch("watched", &PatchParams::default(), &patch).await?;
    }
    let all = CHANGES * count;
    while heard.load(Ordering::Relaxed) < all && start.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (took, heard) = (start.elapsed().as_secs_f64(), heard.load(Ordering::Relaxed));
    watchers.iter().for_each(tokio::task::JoinHandle::abort);
    join_all(watchers).await;
    maps(clients[0].clone()).delete("watched", &DeleteParams::default()).await?;
    let lost = if heard < all { format!(", {} not heard", all - heard) } else { String::new() };
    println!("| watch events to {count} watchers | {:.0} a second{lost} | - | - |", heard as f64 / took);
    println!("| memory of the server for one of {count} watchers | {watcher} | - | - |");
    Ok(())
}

/// Begins a watch of what happens from now on, on a connection of its own, and counts its lines.
async fn watch(config: &Config, heard: Arc<AtomicUsize>) -> Outcome<tokio::task::JoinHandle<()>> {
    let client = Client::try_from(config.clone())?;
    let path = format!(
        "/api/v1/namespaces/{NAMESPACE}/configmaps?watch=true&fieldSelector=metadata.name%3Dwatched\
         &sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=false"
    );
    let answer = client.send(Request::get(path).body(Body::empty())?).await?;
    if !answer.status().is_success() {
        return Err(format!("a watch was answered with {}", answer.status()).into());
    }
    let mut pieces = answer.into_body().into_data_stream();
    Ok(tokio::spawn(async move {
        while let Some(Ok(piece)) = pieces.next().await {
            heard.fetch_add(piece.iter().filter(|byte| **byte == b'\n').count(), Ordering::Relaxed);
        }
        drop(client);
    }))
}

/// Creates the pods that are listed then.
async fn pods(clients: &[Client], server: &Server) -> Outcome<()> {
    let before = server.memory();
    let create = |index: usize| async move {
        let client = clients[index % CLIENTS].clone();
        let pod = serde_json::from_value(json!({
            "metadata": {"name": format!("p{index:05}"), "labels": {"app": "load"}},
            "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "example.com/load:1"}]},
        }))?;
        Api::<Pod>::namespaced(client, NAMESPACE).create(&PostParams::default(), &pod).await?;
        Outcome::Ok(())
    };
    let start = Instant::now();
    futures::stream::iter((0..PODS).map(create)).buffered(CLIENTS).try_collect::<Vec<()>>().await?;
    let pace = PODS as f64 / start.elapsed().as_secs_f64();
    println!("| creating {PODS} pods from {CLIENTS} clients | {pace:.0} a second | - | - |");
    tokio::time::sleep(REST).await;
    println!("| memory of the server for one of {PODS} pods | {} | - | - |", server.share(before, PODS));
    Ok(())
}

async fn lists(client: &Client, accept: &str) -> Outcome<()> {
    let (mut times, mut size) = (Vec::new(), 0);
    for _ in 0..LISTS {
        let request = Request::get(format!("/api/v1/namespaces/{NAMESPACE}/pods")).header("accept", accept);
        let start = Instant::now();
        size = client.request_text(request.body(Vec::new())?).await?.len();
        times.push(start.elapsed());
    }
    let form = if accept == TABLE { "Table" } else { "JSON" };
    let megabytes = size as f64 / 1e6;
    row(&format!("list of {PODS} pods as {form}, {megabytes:.1} MB"), &times);
    Ok(())
}

fn maps(client: Client) -> Api<ConfigMap> {
    Api::namespaced(client, NAMESPACE)
}

fn config_map(name: &str, text: String) -> serde_json::Result<ConfigMap> {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"text": text}}))
}

fn row(measure: &str, times: &[Duration]) {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = |part: f64| {
        let index = (sorted.len() as f64 * part) as usize;
        sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    let (half, most) = (at(0.5), at(0.99));
    let pace = match times.len() {
        LISTS => String::new(),
        calls => format!("{:.0} a second, ", calls as f64 / PERIOD.as_secs_f64()),
    };
    println!("| {measure} | {pace}p50 {half:.1} ms, p99 {most:.1} ms | - | - |");
}

/// The process whose memory is looked at, if it is on this machine.
struct Server(Option<String>);

impl Server {
    /// `VmRSS` in bytes.
    fn memory(&self) -> Option<usize> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.as_ref()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<usize>().ok()? * 1024)
    }

    /// What each of so many has added.
    fn share(&self, before: Option<usize>, count: usize) -> String {
        match (before, self.memory()) {
            (Some(before), Some(now)) => format!("{} B", now.saturating_sub(before) / count.max(1)),
            _ => "-".to_string(),
        }
    }
}
