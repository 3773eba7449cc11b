//! Events about pods and the node, with kubelet's texts.
//!
//! Noting an event never waits: a bounded queue, and what does not fit is dropped and counted. An event that was
//! noted before is not written again but counted (`count`, `lastTimestamp`), so that `kubectl describe` shows
//! `(x5 over 2m)`.
//!
//! Kubernetes: client-go tools/record.

use crate::Shutdown;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// More events than this waiting means that the server is away: new ones are dropped.
const QUEUE: usize = 1000;
/// So many events are remembered for counting; then all are forgotten.
const REMEMBERED: usize = 4096;
/// An event that is older starts anew. Kubernetes: `defaultAggregateIntervalInSeconds`.
const COUNT_WITHIN_SECONDS: i64 = 600;
/// A server that does not take an event within this loses it.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Longer messages are cut: the server refuses them.
const MESSAGE_LIMIT: usize = 1024;

/// Whether an event is good or bad news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `Normal`.
    Normal,
    /// `Warning`.
    Warning,
}

/// Takes events from anywhere in the agent.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Note>,
    now: fn() -> Timestamp,
}

/// Something that happened.
#[derive(Clone, Debug)]
struct Note {
    about: ObjectReference,
    kind: Kind,
    reason: String,
    message: String,
    at: Timestamp,
}

/// A recorder, and the writer that must run for it.
#[must_use]
pub fn recorder(client: kube::Client, node_name: &str, now: fn() -> Timestamp) -> (Recorder, Writer) {
    let (queue, notes) = mpsc::channel(QUEUE);
    let writer = Writer { client, node_name: node_name.into(), notes, known: BTreeMap::new() };
    (Recorder { queue, now }, writer)
}

impl Recorder {
    /// Notes an event about a pod, or about one of its containers.
    pub fn pod(&self, pod: &Pod, container: Option<&str>, kind: Kind, reason: &str, message: &str) {
        let is_init = |name: &str| {
            let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
            inits.into_iter().any(|init| init.name == name)
        };
        let place = |name: &str| {
            let list = if is_init(name) { "initContainers" } else { "containers" };
            format!("spec.{list}{{{name}}}")
        };
        let about = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            field_path: container.map(place),
        };
        self.note(about, kind, reason, message);
    }

    /// Notes an event about the node. As kubelet does, its uid is the node's name.
    pub fn node(&self, node: &Node, kind: Kind, reason: &str, message: &str) {
        let about = ObjectReference {
            kind: Some("Node".into()),
            name: node.metadata.name.clone(),
            uid: node.metadata.uid.clone().or_else(|| node.metadata.name.clone()),
            ..ObjectReference::default()
        };
        self.note(about, kind, reason, message);
    }

    fn note(&self, about: ObjectReference, kind: Kind, reason: &str, message: &str) {
        let message: String = message.chars().take(MESSAGE_LIMIT).collect();
        let note = Note { about, kind, reason: reason.into(), message, at: (self.now)() };
        if self.queue.try_send(note).is_err() {
            tracing::debug!(reason, "event dropped: the queue is full");
        }
    }
}

/// Writes noted events to the server.
pub struct Writer {
    client: kube::Client,
    node_name: String,
    notes: mpsc::Receiver<Note>,
    known: BTreeMap<Identity, Written>,
}

type Identity = (Option<String>, Option<String>, Kind, String, String);

struct Written {
    name: String,
    count: i32,
    at: Timestamp,
}

impl Writer {
    /// Runs until `shutdown`.
    pub async fn run(mut self, shutdown: Shutdown) {
        while let Some(Some(note)) = shutdown.run_until_cancelled(self.notes.recv()).await {
            match tokio::time::timeout(ANSWER_LIMIT, self.write(note)).await {
                Ok(Ok(())) => {}
                // An event may be refused when its namespace goes: nothing depends on it.
                Ok(Err(error)) => tracing::debug!(%error, "event not written"),
                Err(_) => tracing::debug!("event not written: the server does not answer"),
            }
        }
    }

    async fn write(&mut self, note: Note) -> Result<(), kube::Error> {
        let namespace = note.about.namespace.clone().unwrap_or_else(|| "default".into());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let about = &note.about;
        let identity = (
            about.uid.clone(),
            about.field_path.clone(),
            note.kind,
            note.reason.clone(),
            note.message.clone(),
        );
        if let Some(written) = self.known.get_mut(&identity)
            && note.at.as_second() - written.at.as_second() < COUNT_WITHIN_SECONDS
        {
            let patch = serde_json::json!({"count": written.count + 1, "lastTimestamp": Time(note.at)});
            if api.patch(&written.name, &PatchParams::default(), &Patch::Merge(patch)).await.is_ok() {
                written.count += 1;
                written.at = note.at;
                return Ok(());
            }
        }
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let event = self.event(&note, namespace);
        let name = event.metadata.name.clone().unwrap_or_default();
        api.create(&PostParams::default(), &event).await?;
        self.known.insert(identity, Written { name, count: 1, at: note.at });
        Ok(())
    }

    fn event(&self, note: &Note, namespace: String) -> Event {
        let name = note.about.name.clone().unwrap_or_default();
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", note.at.as_nanosecond())),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            involved_object: note.about.clone(),
            type_: Some(if note.kind == Kind::Normal { "Normal" } else { "Warning" }.into()),
            reason: Some(note.reason.clone()),
            message: Some(note.message.clone()),
            source: Some(EventSource {
                component: Some("kubelet".into()),
                host: Some(self.node_name.clone()),
            }),
            reporting_component: Some("kubelet".into()),
            reporting_instance: Some(self.node_name.clone()),
            first_timestamp: Some(Time(note.at)),
            last_timestamp: Some(Time(note.at)),
            count: Some(1),
            ..Event::default()
        }
    }
}
