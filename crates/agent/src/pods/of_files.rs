//! Static pods among the others: what the plan needs to know, and its steps carried out.
//!
//! Workers and mirrors are brought in line with the manifests after everything that may change the plan; see
//! [`crate::static_pods::plan`].

use super::Pods;
use crate::Shutdown;
use crate::plan::{Bound, full_name};
use crate::runtime::PodKey;
use crate::static_pods::manifest::{MIRROR, annotation, key};
use crate::static_pods::mirror::Writer;
use crate::static_pods::plan::{Seen, Step, Working, plan};
use crate::static_pods::set::StaticPods;
use crate::worker::{Order, Origin};
use k8s_openapi::api::core::v1::Pod;
use objects::key::ObjectKey;
use std::collections::BTreeMap;
use std::sync::Arc;

type ByKey = BTreeMap<ObjectKey, Arc<Pod>>;

/// What manifests and server say of static pods.
pub(super) struct OfFiles {
    wanted: ByKey,
    /// None: the first list is not complete.
    mirrors: Option<ByKey>,
    /// The list that the watch is giving.
    fresh: ByKey,
    pub(super) writer: Writer,
}

impl OfFiles {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { wanted: ByKey::new(), mirrors: None, fresh: ByKey::new(), writer: Writer::new(client) }
    }

    pub(super) fn say(&mut self, manifests: &StaticPods) {
        self.wanted = manifests.pods();
    }

    pub(super) fn listing_begins(&mut self) {
        self.fresh.clear();
    }

    pub(super) fn listed(&mut self, mirror: Pod) {
        self.fresh.insert(key(&mirror), Arc::new(mirror));
    }

    pub(super) fn listing_ends(&mut self) {
        self.mirrors = Some(std::mem::take(&mut self.fresh));
    }

    pub(super) fn shown(&mut self, mirror: Pod) {
        let key = key(&mirror);
        self.writer.shown(&key);
        self.mirrors.get_or_insert_default().insert(key, Arc::new(mirror));
    }

    pub(super) fn hidden(&mut self, mirror: &Pod) {
        let key = key(mirror);
        self.writer.shown(&key);
        if let Some(mirrors) = &mut self.mirrors {
            mirrors.remove(&key);
        }
    }

    /// The mirror to which the status of a pod is written.
    fn mirror_of(&self, pod: &Pod) -> Option<Arc<Pod>> {
        let mirror = self.mirrors.as_ref()?.get(&key(pod))?;
        let shows = annotation(mirror, MIRROR) == pod.metadata.uid.as_deref();
        (shows && mirror.metadata.deletion_timestamp.is_none()).then(|| mirror.clone())
    }
}

impl Pods {
    /// Brings workers and mirrors in line with the manifests.
    pub(super) fn follow_files(&mut self, shutdown: &Shutdown) {
        let steps = plan(&Seen {
            wanted: &self.of_files.wanted,
            workers: self.workers_of_files(),
            leftovers: self.leftovers(),
            mirrors: self.of_files.mirrors.as_ref(),
        });
        let node = self.shared.node_or_own();
        for step in steps {
            match step {
                Step::Start(pod) => self.start(pod, shutdown),
                Step::Stop { uid } => self.gone(&uid),
                Step::Clear { uid } => {
                    if let Some(found) = self.listed.clone().and_then(|listed| listed.get(&uid).cloned()) {
                        self.clear(&found.key, shutdown);
                    }
                }
                Step::Create(pod) => self.of_files.writer.create(&pod, &node),
                Step::Delete { key, uid, why } => {
                    tracing::debug!(pod = %key, why, "deletes a mirror pod");
                    self.of_files.writer.delete(&key, uid);
                }
            }
        }
        self.show_mirrors();
    }

    fn workers_of_files(&self) -> BTreeMap<String, Working> {
        let working = self.workers.iter().filter_map(|(uid, handle)| {
            let order = handle.orders.borrow();
            let is_static = matches!(order.origin, Origin::File { .. });
            // What an earlier agent left under the name of a static pod is waited for as well.
            let ending = order.bound == Bound::Gone;
            (is_static || ending).then(|| (uid.clone(), Working { key: object_key(&handle.key), ending }))
        });
        working.collect()
    }

    fn leftovers(&self) -> BTreeMap<String, ObjectKey> {
        let listed = self.listed.iter().flat_map(|listed| listed.iter());
        let unknown = listed.filter(|(uid, _)| !self.workers.contains_key(*uid));
        unknown.map(|(uid, found)| (uid.clone(), object_key(&found.key))).collect()
    }

    fn start(&mut self, pod: Arc<Pod>, shutdown: &Shutdown) {
        tracing::info!(pod = full_name(&pod), "starts a static pod");
        let rejected = self.admit(&pod);
        let origin = Origin::File { mirror: self.of_files.mirror_of(&pod) };
        self.employ(Order { pod, origin, bound: Bound::Here, rejected, evicted: None }, shutdown);
    }

    /// Tells each worker of a static pod which mirror it has now.
    fn show_mirrors(&self) {
        for handle in self.workers.values() {
            handle.orders.send_if_modified(|order| {
                let Origin::File { mirror } = &mut order.origin else { return false };
                let now = self.of_files.mirror_of(&order.pod);
                let changed = *mirror != now;
                *mirror = now;
                changed
            });
        }
    }
}

fn object_key(key: &PodKey) -> ObjectKey {
    ObjectKey { namespace: key.namespace.clone(), name: key.name.clone() }
}
