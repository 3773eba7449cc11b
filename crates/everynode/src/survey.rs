//! What would taking over change, DaemonSet by DaemonSet? Lists, and the controller's own plan of them.
//!
//! The plan is [`daemonset::plan`], and what it means [`daemonset::Takeover`]: what `everynode controller` asks before its
//! first write, so that the two cannot disagree about the same cluster.

use crate::lookup::{list, said};
use anyhow::{Context as _, Result};
use controllers::caches::Whole;
use daemonset::{Backoff, Snapshot, Takeover, Unseen};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// What is found of one DaemonSet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub namespace: String,
    pub name: String,
    pub verdict: Verdict,
    /// Why no controller does anything about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standstill: Option<String>,
    /// What would be written first.
    pub changes: Vec<String>,
    /// What would come after it.
    pub later: Vec<String>,
    /// What the controller before is not about to do: the DaemonSet would be left alone.
    pub unannounced: Vec<String>,
    /// Daemons whose age is disputed: the rollout would be held up.
    pub disputed: Vec<String>,
}

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Verdict {
    NothingChanges,
    WouldChange,
    WouldBeLeftAlone,
}

impl Verdict {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NothingChanges => "nothing changes",
            Self::WouldChange => "would change",
            Self::WouldBeLeftAlone => "would be left alone until someone agrees",
        }
    }
}

/// All lists that plans are made from.
struct Lists {
    nodes: Vec<Node>,
    pods: BTreeMap<String, Vec<Pod>>,
    revisions: BTreeMap<String, Vec<ControllerRevision>>,
}

/// Reads the cluster, or one namespace of it, and plans each DaemonSet, or those with these labels.
pub async fn read(
    client: &Client,
    namespace: Option<&str>,
    only: Option<&str>,
    now: Timestamp,
) -> Result<Vec<Finding>> {
    let all = ListParams::default();
    let selected = ListParams { label_selector: only.map(str::to_string), ..all.clone() };
    let (daemonsets, nodes, pods, revisions) = futures::try_join!(
        list::<Whole<DaemonSet>>(api(client, namespace), &selected),
        list::<Node>(Api::all(client.clone()), &all),
        list::<Pod>(api(client, namespace), &all),
        list::<ControllerRevision>(api(client, namespace), &all),
    )
    .map_err(said)
    .context("the cluster cannot be read")?;
    let lists = Lists { nodes, pods: by_namespace(pods), revisions: by_namespace(revisions) };
    Ok(daemonsets.iter().map(|daemonset| lists.finding(daemonset, now)).collect())
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn by_namespace<K: Resource>(objects: Vec<K>) -> BTreeMap<String, Vec<K>> {
    let mut all = BTreeMap::<String, Vec<K>>::new();
    for object in objects {
        all.entry(object.meta().namespace.clone().unwrap_or_default()).or_default().push(object);
    }
    all
}

impl Lists {
    fn finding(&self, subject: &Whole<DaemonSet>, now: Timestamp) -> Finding {
        let meta = &subject.object.metadata;
        let namespace = meta.namespace.clone().unwrap_or_default();
        let (backoff, unseen) = (Backoff::default(), Unseen::default());
        let snapshot = Snapshot {
            daemon_set: &subject.object,
            raw: &subject.json,
            nodes: self.nodes.iter().collect(),
            pods: self.pods.get(&namespace).into_iter().flatten().collect(),
            revisions: self.revisions.get(&namespace).into_iter().flatten().collect(),
            backoff: &backoff,
            unseen: &unseen,
        };
        let plan = daemonset::plan(&snapshot, now);
        let takeover = Takeover::of(&subject.object, &plan, |name| self.born(name));
        let verdict = match () {
            () if takeover.changes_nothing() => Verdict::NothingChanges,
            () if daemonset::takeover::is_agreed(&subject.object) => Verdict::WouldChange,
            () if takeover.unannounced.is_empty() => Verdict::WouldChange,
            () => Verdict::WouldBeLeftAlone,
        };
        let Takeover { changes, later, unannounced, disputed } = takeover;
        Finding {
            namespace,
            name: meta.name.clone().unwrap_or_default(),
            verdict,
            standstill: plan.standstill.map(|standstill| standstill.to_string()),
            changes,
            later,
            unannounced,
            disputed: disputed.into_iter().collect(),
        }
    }

    fn born(&self, name: &str) -> Option<Timestamp> {
        let node = self.nodes.iter().find(|node| objects::node::name(node) == name)?;
        node.metadata.creation_timestamp.as_ref().map(|time| time.0)
    }
}
