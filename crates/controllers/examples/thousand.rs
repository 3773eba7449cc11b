//! How fast do the loops bring a DaemonSet to many nodes? Server, loops and simulated nodes in one process.
//!
//! `cargo run --release -p controllers --example thousand -- 1000`. Prints the moments of apply, rollout and deletion.

use agent::fleet;
use apiserver::{ApiServer, User};
use controllers::{Config, Loops};
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::memory::MemoryStore;

/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(50);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nodes: u32 = std::env::args().nth(1).map_or(Ok(1000), |count| count.parse())?;
    let advertise = ([127, 0, 0, 1], 6443).into();
    let config = apiserver::Config {
        advertise,
        token_user: Arc::new(|_| None),
        agent_tls: None,
        ca_pem: String::new(),
        issuer: None,
        audit: None,
        tracer: None,
        sources: Default::default(),
    };
    let server = ApiServer::open(Arc::new(MemoryStore::new()), config).await?;
    let client = |name: &str| {
        let user = User::authenticated(name, ["system:masters".to_string()]);
        kube::Client::new(server.as_user(user), "default")
    };
    let loops = controllers::run(client("loops"), Loops::all(), Config::default(), std::future::pending());
    let loops = tokio::spawn(loops);
    let fleet = tokio::spawn(fleet::run(fleet::Config::new(client("fleet"), nodes), agent::Shutdown::new()));
    tokio::select! {
        ended = loops => println!("the loops ended: {ended:?}"),
        ended = fleet => println!("the fleet ended: {ended:?}"),
        outcome = measure(client("admin"), nodes) => outcome?,
    }
    Ok(())
}

async fn measure(client: kube::Client, nodes: u32) -> kube::Result<()> {
    let count = i32::try_from(nodes).unwrap_or(i32::MAX);
    let start = Instant::now();
    let all = Api::<Node>::all(client.clone());
    loop {
        let listed = all.list(&ListParams::default()).await?.items;
        let free = listed.iter().filter(|n| n.spec.as_ref().is_none_or(|spec| spec.taints.is_none())).count();
        if free == nodes as usize {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    say("nodes ready", start);
    let start = Instant::now();
    let daemonsets = Api::<DaemonSet>::namespaced(client.clone(), "default");
    daemonsets.create(&PostParams::default(), &daemonset()).await?;
    until(&daemonsets, |status| status.number_available == Some(count)).await?;
    say("apply -> all available", start);
    let start = Instant::now();
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "hello:2"}]}}}});
    daemonsets.patch("d", &PatchParams::default(), &Patch::Strategic(patch)).await?;
    until(&daemonsets, |status| {
        status.observed_generation == Some(2)
            && status.updated_number_scheduled == Some(count)
            && status.number_available == Some(count)
    })
    .await?;
    say("new image at 100% -> all available", start);
    let start = Instant::now();
    daemonsets.delete("d", &DeleteParams::background()).await?;
    let pods = Api::<PartialObjectMeta<Pod>>::namespaced(client, "default");
    while !pods.list(&ListParams::default()).await?.items.is_empty() {
        tokio::time::sleep(LOOK).await;
    }
    say("delete -> all gone", start);
    Ok(())
}

async fn until(api: &Api<DaemonSet>, is_right: impl Fn(&DaemonSetStatus) -> bool) -> kube::Result<()> {
    while !is_right(&api.get("d").await?.status.unwrap_or_default()) {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn say(what: &str, start: Instant) {
    println!("{what}: {:.2} s", start.elapsed().as_secs_f64());
}

fn daemonset() -> DaemonSet {
    let template = json!({"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "hello:1"}]}});
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}});
    let spec =
        json!({"selector": {"matchLabels": {"app": "d"}}, "template": template, "updateStrategy": strategy});
    serde_json::from_value(json!({"metadata": {"name": "d"}, "spec": spec})).unwrap_or_default()
}
