//! Pods that a file on this node describes: they run without any server.
//!
//! ```text
//! folder ──files──► set ──plan──► workers, like those of any pod
//!                          └────► mirror pods, in which the server's users see them
//! ```
//!
//! 1. A manifest is one Pod, in YAML or JSON. What is wrong with one is told once, in the log and as an event of the
//!    node, and changes nothing of the others; what the same file described before goes on.
//! 2. A changed manifest is another pod: the old one ends, then the new one starts under the same name.
//! 3. Nothing a user does on the server touches the containers: a deleted mirror is made anew.
//!
//! Kubernetes: pkg/kubelet/config/file.go, config/common.go, pod/mirror_client.go.
//! Differs: of a manifest that cannot be read any more the pod goes on; kubelet ends it at its next full look.

mod files;
pub mod manifest;
pub mod mirror;
pub mod plan;
pub mod set;

use crate::act::Shared;
use crate::events::Kind;
use set::StaticPods;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the folder is read. It holds a few small files, so that this costs less than keeping a kernel watch right
/// over renames and mounts; kubelet looks every 20 s and has such a watch besides.
const PERIOD: Duration = Duration::from_secs(1);

/// Reads the manifests for ever and publishes what they say. A folder that does not exist holds no manifests.
pub async fn run(shared: Arc<Shared>, dir: PathBuf, pods: watch::Sender<Option<Arc<StaticPods>>>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut trouble = None;
    loop {
        ticks.tick().await;
        let folder = dir.clone();
        // Files are read by a thread that may wait for the disk.
        let read = tokio::task::spawn_blocking(move || files::read(&folder)).await;
        let files = match read {
            Ok(Ok(files)) => files,
            Ok(Err(error)) => {
                if trouble.replace(error.kind()) != Some(error.kind()) {
                    tracing::warn!(%error, dir = %dir.display(), "manifests of static pods cannot be read");
                }
                continue;
            }
            Err(_) => continue,
        };
        trouble = None;
        let before = pods.borrow().clone();
        let first = before.is_none();
        let before = before.unwrap_or_default();
        let now = before.next(files, &shared.config.node_name, (shared.config.now)());
        tell(&shared, &before, &now);
        if first || now != *before {
            pods.send_replace(Some(Arc::new(now)));
        }
    }
}

/// Tells what is newly wrong.
fn tell(shared: &Shared, before: &StaticPods, now: &StaticPods) {
    let known = before.complaints();
    for (file, why) in now.complaints() {
        if known.get(&file) == Some(&why) {
            continue;
        }
        tracing::warn!(file, %why, "manifest of a static pod is not used");
        let node = shared.node_or_own();
        shared.recorder.node(&node, Kind::Warning, "InvalidStaticPod", &format!("manifest {file}: {why}"));
    }
}
