//! Shows what the cluster shows: lists a kind, then watches it for ever.
//!
//! Not kube's watcher: that decodes whole objects, and at a hundred thousand pods the bench would measure itself.

use crate::seen::{DaemonSet, Metadata, Node, Pod};
use futures::TryStreamExt as _;
use http::Request;
use kube::Client;
use kube::core::WatchEvent;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// How long the server is asked to keep a watch open: as client-go asks.
const WATCH_SECONDS: u32 = 300;
/// After an answer that was none.
const RETRY: Duration = Duration::from_millis(200);

/// What a watch has shown.
#[derive(Debug)]
pub enum Told<T> {
    /// These are there, and no others.
    All(Vec<T>),
    /// This is there, or has changed.
    Is(T),
    /// This is gone.
    Gone(T),
}

/// Something that can be watched.
pub trait Watched: DeserializeOwned + Clone + Send + 'static {
    /// Who it is.
    fn metadata(&self) -> &Metadata;
}

impl Watched for Node {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

impl Watched for Pod {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

impl Watched for DaemonSet {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

#[derive(Deserialize)]
struct List<T> {
    metadata: Of,
    items: Vec<T>,
}

#[derive(Deserialize)]
struct Of {
    #[serde(rename = "resourceVersion")]
    revision: String,
}

/// Follows a collection, such as `/api/v1/nodes?labelSelector=a`, until nobody listens.
pub async fn follow<T: Watched, M>(
    client: Client,
    path: String,
    listener: Sender<M>,
    tell: fn(Told<T>) -> M,
) {
    while !listener.is_closed() {
        if let Err(error) = list_and_watch(&client, &path, &listener, tell).await {
            tracing::debug!(%error, path, "the bench looks again");
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Ends when nobody listens, or when the list has to be read anew.
async fn list_and_watch<T: Watched, M>(
    client: &Client,
    path: &str,
    listener: &Sender<M>,
    tell: fn(Told<T>) -> M,
) -> Result<(), kube::Error> {
    let list: List<T> = client.request(get(path, String::new())?).await?;
    let mut revision = list.metadata.revision;
    if listener.send(tell(Told::All(list.items))).await.is_err() {
        return Ok(());
    }
    loop {
        let rest = format!(
            "&watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={revision}"
        );
        let events = client.request_events::<T>(get(path, rest)?).await?;
        futures::pin_mut!(events);
        while let Some(event) = events.try_next().await? {
            let told = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => Told::Is(object),
                WatchEvent::Deleted(object) => Told::Gone(object),
                WatchEvent::Bookmark(mark) => {
                    revision = mark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            };
            let (Told::Is(object) | Told::Gone(object)) = &told else { continue };
            revision.clone_from(&object.metadata().revision);
            if listener.send(tell(told)).await.is_err() {
                return Ok(());
            }
        }
    }
}

fn get(path: &str, rest: String) -> Result<Request<Vec<u8>>, kube::Error> {
    Request::get(format!("{path}{rest}")).body(Vec::new()).map_err(kube::Error::HttpError)
}
