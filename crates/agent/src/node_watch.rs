//! This node's own object, as the server has it: for admission, for the downward API and for the status.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use std::sync::Arc;
use tokio::sync::watch;

/// Keeps `node` up to date for ever. A deleted object stays as it was: the heartbeat makes it anew.
pub async fn run(client: kube::Client, node_name: String, node: watch::Sender<Option<Arc<Node>>>) {
    let config = watcher::Config::default().fields(&format!("metadata.name={node_name}"));
    let events = watcher(Api::<Node>::all(client), config).default_backoff();
    let events = events.modify(|node| node.metadata.managed_fields = None);
    tokio::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(seen) | watcher::Event::InitApply(seen)) => {
                node.send_replace(Some(Arc::new(seen)));
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "watch of the node interrupted"),
        }
    }
}
