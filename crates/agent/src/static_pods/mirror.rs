//! What the server shows of a static pod, and the writes that keep it so.
//!
//! A write of one mirror is under way at most once; after it, the next one waits for the watch to show what came of it,
//! or for a moment, because a watch may lag behind.
//!
//! Kubernetes: pkg/kubelet/pod/mirror_client.go.

use super::manifest::{HASH, MIRROR, annotation, key};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use objects::key::ObjectKey;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A server that does not answer within this is asked again.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// After a failure the next attempt waits this long.
const RETRY: Duration = Duration::from_secs(2);
/// A watch that has not shown a write after this has lost it.
const SETTLE: Duration = Duration::from_secs(2);

/// Whether a pod of the server is a mirror.
#[must_use]
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, MIRROR).is_some()
}

/// The mirror of a static pod: owned by its node, and with the hash of what runs.
#[must_use]
pub fn of(pod: &Pod, node: &Node) -> Pod {
    let mut mirror = pod.clone();
    mirror.metadata.uid = None;
    let hash = annotation(pod, HASH).unwrap_or_default().to_string();
    mirror.metadata.annotations.get_or_insert_default().insert(MIRROR.into(), hash);
    mirror.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.metadata.name.clone().unwrap_or_default(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    mirror
}

/// Writes mirrors.
pub struct Writer {
    client: kube::Client,
    tasks: JoinSet<(ObjectKey, Result<(), String>)>,
    progress: BTreeMap<ObjectKey, Progress>,
}

/// Where the writes of one mirror are.
#[derive(Default)]
struct Progress {
    writing: bool,
    /// Nothing is written before this.
    not_before: Option<Instant>,
    /// Why the last write failed: told once.
    complaint: Option<String>,
}

impl Writer {
    /// A writer with nothing to do.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client, tasks: JoinSet::new(), progress: BTreeMap::new() }
    }

    /// Begins to show a pod.
    pub fn create(&mut self, pod: &Pod, node: &Node) {
        let (key, mirror) = (key(pod), of(pod, node));
        if self.may_begin(&key) {
            let api = self.api(&key);
            self.spawn(key, async move { create(&api, &mirror).await });
        }
    }

    /// Begins to delete this very mirror.
    pub fn delete(&mut self, key: &ObjectKey, uid: String) {
        if self.may_begin(key) {
            let (api, name) = (self.api(key), key.name.clone());
            self.spawn(key.clone(), async move { delete(&api, &name, uid).await });
        }
    }

    /// The watch has shown something of this mirror.
    pub fn shown(&mut self, key: &ObjectKey) {
        if let Some(progress) = self.progress.get_mut(key).filter(|progress| progress.complaint.is_none()) {
            progress.not_before = None;
        }
    }

    /// Waits until there may be something to write again.
    pub async fn settled(&mut self) {
        let next = self.progress.values().filter_map(|progress| progress.not_before).min();
        let timer = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ended) = self.tasks.join_next() => self.finish(ended),
            () = timer => {
                let now = Instant::now();
                for progress in self.progress.values_mut() {
                    progress.not_before = progress.not_before.filter(|at| now < *at);
                }
            }
        }
    }

    fn api(&self, key: &ObjectKey) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    fn may_begin(&self, key: &ObjectKey) -> bool {
        self.progress.get(key).is_none_or(|progress| !progress.writing && progress.not_before.is_none())
    }

    fn spawn(
        &mut self,
        key: ObjectKey,
        write: impl Future<Output = Result<(), kube::Error>> + Send + 'static,
    ) {
        self.progress.entry(key.clone()).or_default().writing = true;
        self.tasks.spawn(async move {
            let answer = match tokio::time::timeout(ANSWER_LIMIT, write).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err("the API server does not answer".into()),
            };
            (key, answer)
        });
    }

    fn finish(&mut self, ended: Result<(ObjectKey, Result<(), String>), tokio::task::JoinError>) {
        let (key, answer) = match ended {
            Ok(ended) => ended,
            // A broken invariant: the agent must not go on as if it had written.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        let progress = self.progress.entry(key.clone()).or_default();
        progress.writing = false;
        progress.not_before = Some(Instant::now() + if answer.is_ok() { SETTLE } else { RETRY });
        let complaint = answer.err();
        if let Some(why) = complaint.as_ref().filter(|why| progress.complaint.as_ref() != Some(why)) {
            tracing::warn!(pod = %key, why, "mirror pod not written; trying again");
        }
        progress.complaint = complaint;
    }
}

/// One that is there already is found again by the next plan, which looks at its hash.
async fn create(api: &Api<Pod>, mirror: &Pod) -> Result<(), kube::Error> {
    match api.create(&PostParams::default(), mirror).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        Err(error) => Err(error),
    }
}

/// At once: nothing runs behind a mirror. Only this one, and it may be gone already.
async fn delete(api: &Api<Pod>, name: &str, uid: String) -> Result<(), kube::Error> {
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: Some(uid), resource_version: None }),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::static_pods::manifest::{SOURCE, parse};
    use jiff::Timestamp;
    use serde_json::json;

    #[test]
    fn a_mirror_is_its_nodes_and_names_what_runs() {
        // OW-13: a controller reference, so that no controller adopts it.
        let manifest = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}"#;
        let pod = parse(manifest.as_bytes(), "n1", Timestamp::UNIX_EPOCH).unwrap();
        let node = serde_json::from_value(json!({"metadata": {"name": "n1", "uid": "u-n1"}})).unwrap();
        let mirror = of(&pod, &node);
        assert!(is_mirror(&mirror) && !is_mirror(&pod));
        assert_eq!(annotation(&mirror, MIRROR), pod.metadata.uid.as_deref());
        assert_eq!(annotation(&mirror, SOURCE), Some("file"));
        let owners = serde_json::to_value(&mirror.metadata.owner_references).unwrap();
        let owner =
            json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u-n1", "controller": true});
        assert_eq!((owners, mirror.metadata.uid.as_deref()), (json!([owner]), None));
    }
}
