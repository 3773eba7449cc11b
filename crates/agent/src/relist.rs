//! Finds changes in the runtime by listing it every second, and says which pods have changed.
//!
//! containerd 1.6 has no event stream in CRI, and a list is the truth where a stream may lose something. The lists are
//! small: two calls for a node. Kubernetes: pkg/kubelet/pleg/generic.go.

use crate::runtime::{Container, PodKey, Runtime, Sandbox, State};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Kubernetes: `genericPlegRelistPeriod`.
const PERIOD: Duration = Duration::from_secs(1);

/// What the runtime has, by pod uid; two equal values mean that nothing happened.
pub type Listing = BTreeMap<String, Pod>;

/// One pod in the runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Whose it is.
    pub key: PodKey,
    /// Every sandbox and container with its state.
    pub parts: Vec<(String, u8)>,
}

/// Lists for ever; a runtime that does not answer leaves the last listing.
pub async fn run(runtime: Arc<dyn Runtime>, listing: watch::Sender<Option<Arc<Listing>>>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = async {
            Ok::<_, crate::runtime::RuntimeError>((
                runtime.list_pod_sandbox(None).await?,
                runtime.list_containers(None).await?,
            ))
        };
        match asked.await {
            Ok((sandboxes, containers)) => {
                let new = group(sandboxes, containers);
                listing.send_if_modified(|old| {
                    let changed = old.as_deref() != Some(&new);
                    if changed {
                        *old = Some(Arc::new(new));
                    }
                    changed
                });
            }
            Err(error) => tracing::debug!(%error, "runtime not listed"),
        }
    }
}

fn group(sandboxes: Vec<Sandbox>, containers: Vec<Container>) -> Listing {
    let mut listing = Listing::new();
    for sandbox in sandboxes {
        let uid = sandbox.pod.uid.clone();
        let pod = listing.entry(uid).or_insert_with(|| Pod { key: sandbox.pod.clone(), parts: Vec::new() });
        pod.parts.push((sandbox.id, u8::from(sandbox.ready)));
    }
    for container in containers {
        let state = match container.state {
            State::Created => 0,
            State::Running { .. } => 1,
            State::Exited(_) => 2,
            State::Unknown => 3,
        };
        // A container without a sandbox is nobody's: the runtime removes it with its sandbox.
        if let Some(pod) = listing.get_mut(&container.pod_uid) {
            pod.parts.push((container.id, state));
        }
    }
    listing
}
