//! Everything that any cluster tells about one DaemonSet, to somebody who may only read: lists, and nothing of ours.
//!
//! 1. Lists come in pages, so that a large cluster's server is not asked for everything at once.
//! 2. Events are asked for only where they can say more: about the DaemonSet, and about pods that are not ready. Without
//!    the right to read them the answer is the same but for their texts, and says so.

use anyhow::{Result, anyhow};
use controllers::caches::Whole;
use daemonset::{Backoff, Snapshot, Unseen};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use objects::pod;
use objects::selector::Selector;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use why::{Known, Report};

/// Objects a page. Kubernetes: kubectl's `--chunk-size`.
const PAGE: u32 = 500;
/// Up to so many pods in trouble are asked about one by one; for more, all events of the namespace are read.
const PODS_ONE_BY_ONE: usize = 10;

/// Asks about one DaemonSet.
#[derive(Clone)]
pub struct Lookup {
    client: Client,
    namespace: String,
    name: String,
}

/// What is there.
pub struct Found {
    subject: Whole<DaemonSet>,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    revisions: Vec<ControllerRevision>,
    events: Vec<Event>,
    /// Why there are no events.
    pub unread_events: Option<String>,
}

impl Lookup {
    /// For this DaemonSet.
    pub fn new(client: Client, namespace: String, name: String) -> Self {
        Self { client, namespace, name }
    }

    /// The DaemonSet alone.
    pub async fn subject(&self) -> Result<Whole<DaemonSet>> {
        let api: Api<Whole<DaemonSet>> = Api::namespaced(self.client.clone(), &self.namespace);
        api.get(&self.name).await.map_err(said)
    }

    /// The revisions that may be the DaemonSet's.
    pub async fn revisions(&self, subject: &DaemonSet) -> Result<Vec<ControllerRevision>> {
        self.in_namespace(&selecting(subject)).await.map_err(said)
    }

    /// Everything.
    pub async fn all(&self) -> Result<Found> {
        let subject = self.subject().await?;
        let selecting = selecting(&subject.object);
        let every_node = ListParams::default();
        let (nodes, pods, revisions) = futures::try_join!(
            list(Api::all(self.client.clone()), &every_node),
            self.in_namespace::<Pod>(&selecting),
            // All of them: a name may be another's (RV-14).
            self.in_namespace(&every_node),
        )
        .map_err(said)?;
        let (events, unread_events) = match self.events(&subject.object, &pods).await {
            Ok(events) => (events, None),
            Err(error) => (Vec::new(), Some(said(error).to_string())),
        };
        Ok(Found { subject, nodes, pods, revisions, events, unread_events })
    }

    async fn events(&self, subject: &DaemonSet, pods: &[Pod]) -> Result<Vec<Event>, kube::Error> {
        let about = |uid: &str| ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        let own = about(subject.metadata.uid.as_deref().unwrap_or_default());
        let mut events = self.in_namespace(&own).await?;
        let troubled = || pods.iter().filter(|pod| !pod::is_ready(pod));
        if troubled().count() > PODS_ONE_BY_ONE {
            let of_pods = ListParams::default().fields("involvedObject.kind=Pod");
            events.extend(self.in_namespace::<Event>(&of_pods).await?);
            return Ok(events);
        }
        for uid in troubled().filter_map(|pod| pod.metadata.uid.as_deref()) {
            events.extend(self.in_namespace::<Event>(&about(uid)).await?);
        }
        Ok(events)
    }

    async fn in_namespace<K>(&self, params: &ListParams) -> Result<Vec<K>, kube::Error>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        list(Api::namespaced(self.client.clone(), &self.namespace), params).await
    }
}

impl Found {
    /// What a person is told.
    pub fn why(&self, now: Timestamp) -> Report {
        let (backoff, unseen) = (Backoff::default(), Unseen::default());
        let snapshot = Snapshot {
            daemon_set: &self.subject.object,
            raw: &self.subject.json,
            nodes: self.nodes.iter().collect(),
            pods: self.pods.iter().collect(),
            revisions: self.revisions.iter().collect(),
            backoff: &backoff,
            unseen: &unseen,
        };
        why::why(&Known { snapshot, events: self.events.iter().collect() }, now)
    }
}

/// What a server has answered, in its own words.
pub fn said(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => anyhow!("{}", status.message),
        other => other.into(),
    }
}

/// The labels of a DaemonSet's pods and revisions. What cannot be read selects nothing, and the plan says why.
fn selecting(subject: &DaemonSet) -> ListParams {
    let selector = subject.spec.as_ref().map(|spec| Selector::from_label_selector(&spec.selector));
    match selector {
        Some(Ok(selector)) => ListParams::default().labels(&selector.to_string()),
        _ => ListParams::default(),
    }
}

/// Everything, page by page.
pub async fn list<K>(api: Api<K>, params: &ListParams) -> Result<Vec<K>, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut params = params.clone().limit(PAGE);
    let mut all = Vec::new();
    loop {
        let page = api.list(&params).await?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

#[cfg(test)]
pub mod tests;
