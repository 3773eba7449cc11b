//! How much of each ResourceQuota is used: counted here from what is there, charged at the API server by what is made.
//!
//! 1. A quota is counted anew when it changes, and when something that it counts comes, ends or goes.
//! 2. A charge comes before its object: while charges are young the count may raise what is used, and lowers it only
//!    after [`SETTLE`], so that what is under way is not given away twice.
//! 3. Kinds that no other loop watches are watched as metadata, from when a quota first counts them.
//!
//! Kubernetes: `pkg/controller/resourcequota`.
//! Differs: upstream counts everything again only every five minutes, and else hears of endings only.

use crate::caches::{Change, Mirror, Pod, Watched, metadata_feed};
use crate::reconcile::{Next, Queue, work};
use crate::served::{self, Served};
use crate::{Shared, tolerate};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::{ResourceQuota, Service};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{PartialObjectMeta, Status};
use objects::key::ObjectKey;
use objects::quantity::Amount;
use objects::quota::{self, Amounts};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Kinds that this loop reads.
pub(crate) const READS: &[Watched] = &[Watched::Quotas, Watched::Pods];

/// Quotas at a time.
const WORKERS: usize = 4;
/// A rollout changes many pods of one namespace.
const COALESCE: Duration = Duration::from_millis(50);
/// So long what is charged is believed without being seen: the way of a write through store, watch and cache.
const SETTLE: Duration = Duration::from_millis(500);
/// When a kind that a quota counts is not served yet, or cannot be watched.
const AGAIN: Duration = Duration::from_secs(30);
/// How often all is counted though nothing seems to have changed. Kubernetes: `--resource-quota-sync-period`.
const RECOUNT: Duration = Duration::from_secs(300);

type OwnMirror = Arc<Mirror<PartialObjectMeta>>;
type Feed = futures::future::BoxFuture<'static, Infallible>;

struct Loop {
    shared: Arc<Shared>,
    queue: Arc<Queue<ObjectKey>>,
    /// When each quota was last charged, as far as the watch shows.
    charged: Mutex<BTreeMap<ObjectKey, Instant>>,
    /// What is watched for a quota's sake, by group and plural. New feeds go to the task that drives them.
    counted: Mutex<BTreeMap<KindName, OwnMirror>>,
    feeds: mpsc::UnboundedSender<Feed>,
}

/// Group and plural.
type KindName = (String, String);

/// Counts quotas, for ever.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let (feeds, new) = mpsc::unbounded_channel();
    let (charged, counted) = (Mutex::default(), Mutex::default());
    let this = Arc::new(Loop {
        shared: shared.clone(),
        queue: Arc::new(Queue::new(COALESCE)),
        charged,
        counted,
        feeds,
    });
    this.listen();
    shared.synced(READS).await;
    tokio::select! {
        biased;
        never = drive(new) => never,
        never = work(&this.queue, WORKERS, |key| this.reconcile(key)) => never,
    }
}

/// Keeps the own watches going.
async fn drive(mut new: mpsc::UnboundedReceiver<Feed>) -> Infallible {
    let mut feeds = FuturesUnordered::new();
    // One that never ends, so that the set is never empty.
    feeds.push(std::future::pending().boxed());
    loop {
        tokio::select! {
            biased;
            Some(feed) = new.recv() => feeds.push(feed),
            Some(never) = feeds.next() => match never {},
        }
    }
}

impl Loop {
    fn listen(self: &Arc<Self>) {
        let this = self.clone();
        self.shared.caches.quotas.listen(move |change| this.quota_changed(change));
        let this = self.clone();
        self.shared.caches.pods.listen(move |change| this.pod_changed(change));
    }

    fn quota_changed(&self, change: &Change<'_, ResourceQuota>) {
        let key = change.key();
        match (change.old, change.new) {
            (_, None) => drop(lock(&self.charged).remove(&key)),
            (Some(old), Some(new)) if is_charged(old, new) => {
                lock(&self.charged).insert(key.clone(), Instant::now());
            }
            _ => {}
        }
        self.queue.add(key);
    }

    fn pod_changed(&self, change: &Change<'_, Pod>) {
        let taken = |pod: Option<&Arc<Pod>>| pod.map(|pod| quota::of_pod(&pod.whole(), self.shared.now()));
        let namespace = change.key().namespace;
        let quotas = self.shared.caches.quotas.in_namespace(&namespace);
        if !quotas.is_empty() && taken(change.old) != taken(change.new) {
            quotas.iter().for_each(|quota| self.queue.add(ObjectKey::of(&quota.metadata)));
        }
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<Next, kube::Error> {
        let Some(quota) = self.shared.caches.quotas.get(&key) else { return Ok(Next::Rest) };
        let hard = quota::read(quota.spec.as_ref().and_then(|spec| spec.hard.as_ref()));
        let mut used: Amounts = hard.keys().map(|name| (name.clone(), Amount::ZERO)).collect();
        self.count_pods(&quota, &key.namespace, &mut used);
        let complete = self.count_others(&quota, &key.namespace, &mut used).await?;
        let before = quota.status.clone().unwrap_or_default();
        let (told_hard, told_used) = (quota::read(before.hard.as_ref()), quota::read(before.used.as_ref()));
        if let Some(wait) = self.young_charge(&key).filter(|_| lowers(&told_used, &used)) {
            return Ok(Next::After(wait));
        }
        if (&told_hard, &told_used) != (&hard, &used) {
            self.write(&key, &quota, status(&told_hard, &hard, &told_used, &used)).await?;
        }
        Ok(Next::After(if complete { RECOUNT } else { AGAIN }))
    }

    fn count_pods(&self, quota: &ResourceQuota, namespace: &str, used: &mut Amounts) {
        let Some(spec) = quota.spec.as_ref().filter(|_| used.keys().any(|name| quota::is_of_pods(name)))
        else {
            return;
        };
        for pod in self.shared.caches.pods.in_namespace(namespace) {
            let pod = pod.whole();
            if quota::takes(spec, &pod) {
                quota::add(used, &quota::of_pod(&pod, self.shared.now()));
            }
        }
    }

    /// False if a kind could not be counted yet.
    async fn count_others(
        &self,
        quota: &ResourceQuota,
        namespace: &str,
        used: &mut Amounts,
    ) -> kube::Result<bool> {
        if quota.spec.as_ref().is_some_and(quota::is_scoped) {
            return Ok(true);
        }
        let kinds: BTreeSet<KindName> = used.keys().filter_map(|name| kind_of(name)).collect();
        let mut complete = true;
        for (group, plural) in kinds {
            let Some(mirror) = self.watched(&group, &plural).await? else {
                complete = false;
                continue;
            };
            if (group.as_str(), plural.as_str()) == ("", "services") {
                let api = Api::<Service>::namespaced(self.shared.client.clone(), namespace);
                let services = api.list(&ListParams::default()).await?;
                services.iter().for_each(|service| quota::add(used, &quota::of_service(service)));
            } else {
                let one = quota::of_kind(&group, &plural);
                mirror.in_namespace(namespace).iter().for_each(|_| quota::add(used, &one));
            }
        }
        Ok(complete)
    }

    /// The mirror of a kind, once it is complete; none while it is not served.
    async fn watched(&self, group: &str, plural: &str) -> kube::Result<Option<OwnMirror>> {
        let name = (group.to_string(), plural.to_string());
        let known = lock(&self.counted).get(&name).cloned();
        let mirror = match known {
            Some(mirror) => mirror,
            None => {
                let all = served::ask(&self.shared.client).await?;
                let is_it =
                    |served: &&Served| served.resource.group == group && served.resource.plural == plural;
                let Some(served) = all.iter().find(is_it).filter(|served| served.can(&["list", "watch"]))
                else {
                    return Ok(None);
                };
                self.watch(name, served)
            }
        };
        Ok(tokio::time::timeout(AGAIN, mirror.synced()).await.is_ok().then_some(mirror))
    }

    fn watch(&self, name: KindName, served: &Served) -> OwnMirror {
        let mut counted = lock(&self.counted);
        let mirror = counted.entry(name).or_insert_with(|| {
            let mirror: OwnMirror = Arc::new(Mirror::new(&[]));
            let (queue, quotas) = (self.queue.clone(), self.shared.caches.quotas.clone());
            mirror.listen(move |change| {
                let counts = quotas.in_namespace(&change.key().namespace);
                counts.iter().for_each(|quota| queue.add(ObjectKey::of(&quota.metadata)));
            });
            let api = Api::all_with(self.shared.unhurried.clone(), &served.resource);
            // Nobody receives it only when the loop ends.
            let _ = self.feeds.send(metadata_feed(api, mirror.clone()));
            mirror
        });
        mirror.clone()
    }

    /// How long the last charge is to be believed yet.
    fn young_charge(&self, key: &ObjectKey) -> Option<Duration> {
        let age = lock(&self.charged).get(key)?.elapsed();
        SETTLE.checked_sub(age).filter(|left| !left.is_zero())
    }

    /// Refused when something was charged meanwhile: then the run is repeated with the newer status.
    async fn write(&self, key: &ObjectKey, quota: &ResourceQuota, status: Value) -> kube::Result<()> {
        let api = Api::<ResourceQuota>::namespaced(self.shared.client.clone(), &key.namespace);
        let revision = &quota.metadata.resource_version;
        let body = json!({"metadata": {"resourceVersion": revision}, "status": status});
        let outcome = api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(body)).await;
        tolerate(outcome, |status: &Status| status.is_not_found() || status.is_conflict()).map(|_| ())
    }
}

/// Whether more is used of anything: only a charge does that.
fn is_charged(old: &ResourceQuota, new: &ResourceQuota) -> bool {
    let used =
        |quota: &ResourceQuota| quota::read(quota.status.as_ref().and_then(|status| status.used.as_ref()));
    lowers(&used(new), &used(old))
}

/// Whether anything is less than before.
fn lowers(before: &Amounts, after: &Amounts) -> bool {
    after.iter().any(|(name, amount)| before.get(name).is_some_and(|before| amount < before))
}

/// The kind that a bound counts, other than pods.
fn kind_of(bound: &str) -> Option<KindName> {
    let name = bound.strip_prefix("count/").unwrap_or(bound);
    let (plural, group) = match bound.starts_with("count/") {
        true => name.split_once('.').unwrap_or((name, "")),
        false => (name.strip_prefix("services.").map_or(name, |_| "services"), ""),
    };
    let is_kind = bound.starts_with("count/") || quota::of_kind("", plural).contains_key(plural);
    (is_kind && !quota::is_of_pods(bound)).then(|| (group.to_string(), plural.to_string()))
}

/// The status as a merge patch: bounds that are no more are taken away.
fn status(told_hard: &Amounts, hard: &Amounts, told_used: &Amounts, used: &Amounts) -> Value {
    let patch = |before: &Amounts, after: &Amounts| {
        let gone =
            before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name.clone(), Value::Null));
        let there = after.iter().map(|(name, amount)| (name.clone(), amount.to_string().into()));
        gone.chain(there).collect::<serde_json::Map<_, _>>()
    };
    json!({"hard": patch(told_hard, hard), "used": patch(told_used, used)})
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_names_the_kind_that_it_counts() {
        let check = |bound: &str, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(group, plural)| (group.to_string(), plural.to_string()));
            assert_eq!(kind_of(bound), expected, "{bound}");
        };
        check("configmaps", Some(("", "configmaps")));
        check("count/secrets", Some(("", "secrets")));
        check("count/daemonsets.apps", Some(("apps", "daemonsets")));
        check("services.nodeports", Some(("", "services")));
        check("pods", None);
        check("count/pods", None);
        check("requests.cpu", None);
        check("requests.storage", None);
    }

    #[test]
    fn what_is_no_more_bounded_is_taken_away() {
        let amounts = |all: &[(&str, &str)]| -> Amounts {
            all.iter().map(|(name, text)| (name.to_string(), text.parse().unwrap())).collect()
        };
        let (old, new) = (amounts(&[("pods", "3"), ("cpu", "1")]), amounts(&[("pods", "4")]));
        let used = amounts(&[("pods", "2")]);
        assert_eq!(
            status(&old, &new, &old, &used),
            json!({"hard": {"pods": "4", "cpu": null}, "used": {"pods": "2", "cpu": null}})
        );
        assert!(lowers(&old, &used) && !lowers(&used, &old));
    }
}
