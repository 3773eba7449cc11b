//! Reasons become Kubernetes Events.
//!
//! A [`Recorder`] never waits and never fails: it hands the occurrence to one writer ([`write`]), which decides with
//! [`correlate`] what to send. An Event that cannot be written is lost, and the log says so at debug level: Events are
//! for people and no loop may hang on them. Kubernetes: `client-go/tools/record/event.go`.

pub mod correlate;

use crate::calls::pace::{Pace, Turns};
use correlate::{Correlator, Occurrence, Post};
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Occurrences that wait for the writer; more are dropped. Kubernetes: `maxQueuedEvents`.
const QUEUED_MAX: usize = 1000;
/// Writes in flight: a thousand pods that are bound at once are a thousand Events.
const WRITES_AT_A_TIME: usize = 8;
/// What all loops together write. A rollout over thousands of nodes would otherwise write an Event for every pod, a third of
/// its requests, while people wait for the pods; so those are spread over the time after it, as far as [`QUEUED_MAX`] goes.
/// Kubernetes: the scheduler's `--kube-api-qps` and `--kube-api-burst`, whose client of events has them for itself.
const PACE: Pace = Pace { qps: 50.0, burst: 100 };
/// Attempts for an Event whose write fails in a way that may pass.
const ATTEMPTS: u32 = 3;
/// Wait between two attempts.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);

/// Nothing is wrong.
pub const NORMAL: &str = "Normal";
/// Somebody should look.
pub const WARNING: &str = "Warning";

/// Tells of occurrences in the name of one component. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Occurrence>,
    component: &'static str,
}

/// The other end of all recorders, for [`write`].
#[derive(Debug)]
pub struct Occurrences(mpsc::Receiver<Occurrence>);

impl Recorder {
    /// A recorder and the queue that it fills.
    pub fn new() -> (Self, Occurrences) {
        let (sender, receiver) = mpsc::channel(QUEUED_MAX);
        (Self { sender, component: "everynode" }, Occurrences(receiver))
    }

    /// The same in another component's name.
    pub fn named(&self, component: &'static str) -> Self {
        Self { sender: self.sender.clone(), component }
    }

    /// Tells that something happened as it should.
    pub fn normal(&self, about: ObjectReference, reason: &str, message: String) {
        self.tell(about, NORMAL, reason, message);
    }

    /// Tells that something went wrong.
    pub fn warning(&self, about: ObjectReference, reason: &str, message: String) {
        self.tell(about, WARNING, reason, message);
    }

    /// Tells of an occurrence; dropped if a thousand others wait.
    pub fn tell(&self, about: ObjectReference, severity: &'static str, reason: &str, message: String) {
        let reason = reason.to_string();
        let occurrence = Occurrence { about, component: self.component, severity, reason, message };
        if let Err(error) = self.sender.try_send(occurrence) {
            tracing::debug!(%error, "an event is dropped");
        }
    }
}

/// Points at an object whose kind is known at compile time.
pub fn reference<K>(object: &K) -> ObjectReference
where
    K: kube::Resource<DynamicType = ()>,
{
    let resource_version = object.meta().resource_version.clone();
    ObjectReference { resource_version, ..object.object_ref(&()) }
}

/// Writes what the recorders tell, for ever. Two writes of one Event may overtake each other; then the later one finds
/// or makes it all the same.
pub async fn write(client: Client, occurrences: Occurrences, now: fn() -> Timestamp) -> Infallible {
    let (mut correlator, turns) = (Correlator::default(), Turns::new(PACE));
    let mut queue = occurrences.0;
    let told = futures::stream::poll_fn(move |context| queue.poll_recv(context));
    let posts = told.map(|occurrence| {
        let post = correlator.observe(&occurrence, now());
        let client = client.clone();
        let turn = match post {
            Post::Drop => Duration::ZERO,
            Post::Create(_) | Post::Count(_) => turns.next(Instant::now()),
        };
        async move {
            if !turn.is_zero() {
                tokio::time::sleep(turn).await;
            }
            if let Err(error) = send(&client, &post).await {
                tracing::debug!(%error, reason = occurrence.reason, "an event is lost");
            }
        }
    });
    posts.buffer_unordered(WRITES_AT_A_TIME).for_each(|()| std::future::ready(())).await;
    // Every recorder is gone: nobody will tell anything any more.
    std::future::pending().await
}

async fn send(client: &Client, post: &Post) -> kube::Result<()> {
    let mut attempt = 1;
    loop {
        let outcome = match post {
            Post::Create(event) => create(client, event).await,
            Post::Count(event) => count(client, event).await,
            Post::Drop => return Ok(()),
        };
        match outcome {
            Err(error) if attempt < ATTEMPTS && may_pass(&error) => attempt += 1,
            outcome => return outcome,
        }
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    }
}

async fn create(client: &Client, event: &Event) -> kube::Result<()> {
    api(client, event).create(&PostParams::default(), event).await.map(|_| ())
}

/// Raises the count; an Event that has expired meanwhile is created anew.
async fn count(client: &Client, event: &Event) -> kube::Result<()> {
    let patch = serde_json::json!({
        "count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message
    });
    let name = event.metadata.name.as_deref().unwrap_or_default();
    match api(client, event).patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => create(client, event).await,
        outcome => outcome.map(|_| ()),
    }
}

fn api(client: &Client, event: &Event) -> Api<Event> {
    Api::namespaced(client.clone(), event.metadata.namespace.as_deref().unwrap_or("default"))
}

/// Whether the same request may succeed later: not when the server has judged it.
fn may_pass(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || status.code == 429,
        _ => true,
    }
}
