//! Writes one pod's status to the server, beside the worker: only what differs, one write at a time, the newest wins.

use crate::status;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, Patch, PatchParams};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// A server that does not answer within this is asked again.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// After a failure the next attempt waits this long.
const RETRY: SignedDuration = SignedDuration::from_secs(2);

/// Writes the status of one pod.
pub(super) struct Reporter {
    client: kube::Client,
    wake: Arc<Notify>,
    task: Option<AbortOnDropHandle<()>>,
    outcome: Arc<Mutex<Outcome>>,
}

#[derive(Default)]
struct Outcome {
    /// What the server answered last.
    pod: Option<Arc<Pod>>,
    retry_at: Option<Timestamp>,
}

impl Reporter {
    pub(super) fn new(client: kube::Client, wake: Arc<Notify>) -> Self {
        Self { client, wake, task: None, outcome: Arc::default() }
    }

    /// The newer of the watched pod and of what the server answered to the last write: a watch may lag behind.
    pub(super) fn newest(&self, watched: &Arc<Pod>) -> Arc<Pod> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match &outcome.pod {
            Some(written) if revision(written) > revision(watched) => written.clone(),
            _ => watched.clone(),
        }
    }

    /// Whether a status is still on its way.
    pub(super) fn is_busy(&self) -> bool {
        self.task.as_ref().is_some_and(|task| !task.is_finished())
    }

    /// When a write that failed is due again.
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).retry_at
    }

    /// Writes what differs. While a write is under way the worker is woken at its end and reports again.
    pub(super) fn report(&mut self, pod: &Pod, wanted: PodStatus) {
        let now = Timestamp::now();
        if self.is_busy() || self.retry_at().is_some_and(|at| now < at) {
            return;
        }
        let value = |status: &PodStatus| serde_json::to_value(status).unwrap_or_default();
        let old = pod.status.as_ref().map(value).unwrap_or_default();
        let patch = status::difference(&old, &value(&wanted));
        if patch.as_object().is_none_or(serde_json::Map::is_empty) {
            return;
        }
        let body = serde_json::json!({"metadata": {"uid": pod.metadata.uid}, "status": patch});
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let (outcome, wake) = (self.outcome.clone(), self.wake.clone());
        let write = async move {
            let params = PatchParams::default();
            let patch = Patch::Merge(body);
            let asked = api.patch_status(&name, &params, &patch);
            let answer = tokio::time::timeout(ANSWER_LIMIT, asked).await;
            keep(&outcome, &name, answer.ok());
            wake.notify_one();
        };
        self.task = Some(AbortOnDropHandle::new(tokio::spawn(write)));
    }
}

fn keep(outcome: &Mutex<Outcome>, name: &str, answer: Option<Result<Pod, kube::Error>>) {
    let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
    match answer {
        Some(Ok(pod)) => *outcome = Outcome { pod: Some(Arc::new(pod)), retry_at: None },
        failed => {
            // Gone, or another pod of this name: the watch tells it soon.
            if let Some(Err(error)) = failed {
                tracing::debug!(pod = name, %error, "status not written");
            }
            outcome.retry_at = Timestamp::now().checked_add(RETRY).ok();
        }
    }
}

/// Everynode's and etcd's revisions are numbers that grow; a server with others makes every watched pod the newest.
fn revision(pod: &Pod) -> Option<u64> {
    pod.metadata.resource_version.as_ref()?.parse().ok()
}
