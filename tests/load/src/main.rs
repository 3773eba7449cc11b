//! What does an API server bear? Durable writes, reads, watchers, and lists of many pods: rows of docs/performance.md.
//!
//! `cargo run --release -p load -- <kubeconfig> [<pid of the server> [<words that say which>]]`, against any cluster; `cargo xtask bench` runs it, too. All is made in the namespace [`NAMESPACE`], which is deleted at the end. Its
//! pods ask for a scheduler that nobody is, so nothing runs. With the pid of a server on this machine its memory is measured.
//! Client and server share the machine: what is shown is what both together do. So the client is as thin as it can be: bytes
//! over one TLS connection each ([`wire`]), no objects.

mod figures;
mod watching;
mod wire;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use figures::{Server, Table};
use futures::future::try_join_all;
use http::Method;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::time::{Duration, Instant};
use wire::Wire;

/// Where everything is made.
const NAMESPACE: &str = "everynode-load";
/// As many connections as issue 4 asks for.
const CLIENTS: usize = 64;
/// How long each kind of request is made: a checkpoint of the store falls into it.
const PERIOD: Duration = Duration::from_secs(5);
const PODS: usize = 10_000;
const LISTS: usize = 20;
/// After something was made, before memory is read.
const REST: Duration = Duration::from_secs(3);
const JSON: &str = "application/json";
const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().context("usage: load <kubeconfig> [<pid of the server> [<which server>]]")?;
    let server = Server(arguments.next());
    let table = Table { of: arguments.next() };
    let (file, options) = (Kubeconfig::read_from(file)?, KubeConfigOptions::default());
    let config = Config::from_custom_kubeconfig(file, &options).await?;
    let mut clients = try_join_all((0..CLIENTS).map(|_| Wire::open(&config))).await?;
    let namespace =
        format!(r#"{{"kind":"Namespace","apiVersion":"v1","metadata":{{"name":"{NAMESPACE}"}}}}"#);
    clients[0].write(Method::POST, "/api/v1/namespaces", namespace).await?;
    let done = measure(&config, &mut clients, &server, &table).await;
    clients[0].write(Method::DELETE, &format!("/api/v1/namespaces/{NAMESPACE}"), "").await?;
    done
}

async fn measure(config: &Config, clients: &mut [Wire], server: &Server, table: &Table) -> Result<()> {
    writes(clients, server, table).await?;
    reads(clients, server, table).await?;
    for (count, changes) in watching::SIZES {
        watching::measure(config, clients, (count, changes), server, table).await?;
    }
    pods(clients, server, table).await?;
    for (form, accept, encoding) in
        [("JSON", JSON, ""), ("JSON, compressed", JSON, "gzip"), ("Table", AS_TABLE, "")]
    {
        list(&mut clients[0], (server, table), form, accept, encoding).await?;
    }
    Ok(())
}

/// Every client creates a ConfigMap of 1 kB, and then the next.
async fn writes(clients: &mut [Wire], server: &Server, table: &Table) -> Result<()> {
    let (path, text, meter) = (path("configmaps"), "x".repeat(1_000), server.meter());
    let times = for_a_while(clients, async |client: &mut Wire, index, turn| {
        let map = config_map(&format!("m{index}-{turn}"), &text);
        client.write(Method::POST, &path, map).await
    });
    table.calls(&format!("durable writes from {CLIENTS} clients"), times.await?, &meter.read());
    Ok(())
}

/// Every client reads the first ConfigMap that it wrote.
async fn reads(clients: &mut [Wire], server: &Server, table: &Table) -> Result<()> {
    let (path, meter) = (path("configmaps"), server.meter());
    let times = for_a_while(clients, async |client: &mut Wire, index, _| {
        client.read(&format!("{path}/m{index}-0"), JSON, "").await.map(drop)
    });
    table.calls(&format!("reads from {CLIENTS} clients"), times.await?, &meter.read());
    Ok(())
}

/// How long each call took.
async fn for_a_while(
    clients: &mut [Wire],
    call: impl AsyncFn(&mut Wire, usize, usize) -> Result<()>,
) -> Result<Vec<Duration>> {
    let (end, call) = (Instant::now() + PERIOD, &call);
    let all = clients.iter_mut().enumerate().map(async |(index, client)| {
        let mut times = Vec::new();
        while Instant::now() < end {
            let start = Instant::now();
            call(client, index, times.len()).await?;
            times.push(start.elapsed());
        }
        anyhow::Ok(times)
    });
    Ok(try_join_all(all).await?.into_iter().flatten().collect())
}

/// Creates the pods that are listed then.
async fn pods(clients: &mut [Wire], server: &Server, table: &Table) -> Result<()> {
    let (path, before, meter) = (path("pods"), server.memory(), server.meter());
    let all = clients.iter_mut().enumerate().map(async |(index, client)| {
        let mut times = Vec::new();
        for number in (index..PODS).step_by(CLIENTS) {
            let start = Instant::now();
            client.write(Method::POST, &path, pod(number)).await?;
            times.push(start.elapsed());
        }
        anyhow::Ok(times)
    });
    let times = try_join_all(all).await?.into_iter().flatten().collect();
    table.calls(&format!("creating {PODS} pods from {CLIENTS} clients"), times, &meter.read());
    tokio::time::sleep(REST).await;
    table.row(&format!("memory of the server for one of {PODS} pods"), &server.share(before, PODS));
    Ok(())
}

/// Lists them all at once.
async fn list(
    client: &mut Wire,
    (server, table): (&Server, &Table),
    form: &str,
    accept: &str,
    encoding: &str,
) -> Result<()> {
    let (mut times, mut size, path, meter) = (Vec::new(), 0, path("pods"), server.meter());
    for _ in 0..LISTS {
        let start = Instant::now();
        size = client.read(&path, accept, encoding).await?;
        times.push(start.elapsed());
    }
    table.times(&format!("list of {PODS} pods as {form}, {:.1} MB", size as f64 / 1e6), times, &meter.read());
    Ok(())
}

/// A collection of the namespace.
fn path(plural: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/{plural}")
}

fn config_map(name: &str, text: &str) -> Bytes {
    let text = format!(
        r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}"}},"data":{{"text":"{text}"}}}}"#
    );
    text.into()
}

fn pod(number: usize) -> Bytes {
    let text = format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"p{number:05}","labels":{{"app":"load"}}}},
        "spec":{{"schedulerName":"nobody","containers":[{{"name":"c","image":"example.com/load:1"}}]}}}}"#
    );
    text.into()
}
