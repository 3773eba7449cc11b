//! A pod as the caches keep it: what it has in common with other pods of its controller is kept once.
//!
//! A container takes two kilobytes whatever it holds, and a daemon has as many pods as there are nodes.
//!
//! 1. A pod that waits for its node has everything by itself. Of one that has its node, containers, tolerations and overhead are
//!    not in the pod that this one stands for ([`std::ops::Deref`]): whoever reads them asks [`Pod::body`].
//! 2. What is shared is equal: it is compared as a whole, whatever labels and hashes say.
//!
//! Kubernetes has nothing like it: every object of an informer is one of its own.

use k8s_openapi::api::core::v1::{Pod as CorePod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use objects::owner::controller_of;
use objects::pod::node_name;
use scheduler::demand::Demand;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

/// A pod, trimmed.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    itself: Arc<CorePod>,
    /// None: it is all in the pod itself.
    body: Option<Arc<Body>>,
}

/// What pods have in common, and what follows from it.
#[derive(Debug, PartialEq)]
struct Body {
    spec: PodSpec,
    demand: Demand,
}

impl Pod {
    /// The spec, as far as it says what the pod runs, takes from its node, and bears there.
    pub fn body(&self) -> Option<&PodSpec> {
        self.body.as_ref().map(|body| &body.spec).or(self.itself.spec.as_ref())
    }

    /// What it takes from its node.
    pub fn demand(&self) -> Demand {
        self.body.as_ref().map_or_else(|| Demand::of(&self.itself), |body| body.demand.clone())
    }

    /// The pod without its body, if that is shared.
    pub fn itself(&self) -> &Arc<CorePod> {
        &self.itself
    }

    /// A copy with everything in it.
    pub fn whole(&self) -> CorePod {
        let mut whole = CorePod::clone(&self.itself);
        if let (Some(spec), Some(body)) = (&mut whole.spec, &self.body) {
            spec.containers.clone_from(&body.spec.containers);
            spec.init_containers.clone_from(&body.spec.init_containers);
            spec.tolerations.clone_from(&body.spec.tolerations);
            spec.overhead.clone_from(&body.spec.overhead);
        }
        whole
    }
}

/// Controllers more than twice as many as have pods are forgotten; fewer are not worth a look.
const FEW: usize = 64;
/// Bodies that are remembered of one controller: a rollout has two, and some may have been changed on the way.
const VERSIONS: usize = 4;

/// What the pods of each controller have in common, by its uid.
#[derive(Debug)]
pub(super) struct Siblings {
    bodies: BTreeMap<String, Vec<Arc<Body>>>,
    full: usize,
}

impl Default for Siblings {
    fn default() -> Self {
        Self { bodies: BTreeMap::new(), full: FEW }
    }
}

impl Siblings {
    /// Takes in what has been read of a pod.
    pub(super) fn join(&mut self, mut pod: CorePod) -> Pod {
        let owner = controller_of(&pod.metadata).map(|owner| owner.uid.clone());
        let is_bound = node_name(&pod).is_some();
        let (Some(owner), Some(spec), true) = (owner, &mut pod.spec, is_bound) else { return pod.into() };
        let body = PodSpec {
            containers: std::mem::take(&mut spec.containers),
            init_containers: spec.init_containers.take(),
            tolerations: spec.tolerations.take(),
            overhead: spec.overhead.take(),
            priority: spec.priority,
            ..PodSpec::default()
        };
        let body = Some(self.share(owner, body));
        Pod { itself: Arc::new(pod), body }
    }

    fn share(&mut self, owner: String, spec: PodSpec) -> Arc<Body> {
        if self.bodies.len() >= self.full {
            self.forget_unused();
        }
        let known = self.bodies.entry(owner).or_default();
        if let Some(known) = known.iter().find(|body| body.spec == spec) {
            return known.clone();
        }
        let body = Arc::new(Body { demand: Demand::of_spec(&spec), spec });
        known.push(body.clone());
        if known.len() > VERSIONS {
            known.remove(0);
        }
        body
    }

    fn forget_unused(&mut self) {
        self.bodies.retain(|_, bodies| {
            bodies.retain(|body| Arc::strong_count(body) > 1);
            !bodies.is_empty()
        });
        self.full = FEW.max(self.bodies.len() * 2);
    }
}

impl From<CorePod> for Pod {
    fn from(pod: CorePod) -> Self {
        Self { itself: Arc::new(pod), body: None }
    }
}

impl Deref for Pod {
    type Target = CorePod;

    fn deref(&self) -> &CorePod {
        &self.itself
    }
}

impl k8s_openapi::Resource for Pod {
    const API_VERSION: &'static str = <CorePod as k8s_openapi::Resource>::API_VERSION;
    const GROUP: &'static str = <CorePod as k8s_openapi::Resource>::GROUP;
    const KIND: &'static str = <CorePod as k8s_openapi::Resource>::KIND;
    const VERSION: &'static str = <CorePod as k8s_openapi::Resource>::VERSION;
    const URL_PATH_SEGMENT: &'static str = <CorePod as k8s_openapi::Resource>::URL_PATH_SEGMENT;
    type Scope = <CorePod as k8s_openapi::Resource>::Scope;
}

impl k8s_openapi::Metadata for Pod {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.itself.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut Arc::make_mut(&mut self.itself).metadata
    }
}

#[cfg(test)]
impl<'de> serde::Deserialize<'de> for Pod {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        CorePod::deserialize(reader).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, owner: Option<&str>, node: Option<&str>, cpu: &str, priority: i32) -> CorePod {
        let owners: Vec<Value> = owner
            .map(|uid| json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": uid, "controller": true}))
            .into_iter()
            .collect();
        let container = json!({"name": "c", "ports": [{"containerPort": 1, "hostPort": 2}],
            "resources": {"requests": {"cpu": cpu}}});
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"controller-revision-hash": "h"}, "ownerReferences": owners},
            "spec": {"nodeName": node, "priority": priority, "hostname": name, "containers": [container],
                "initContainers": [{"name": "i"}], "overhead": {"memory": "1Mi"}, "tolerations": [{"operator": "Exists"}]}
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_is_the_same_again_whatever_it_shares() {
        let mut siblings = Siblings::default();
        let cases = [
            pod("p", Some("u"), Some("n1"), "1", 0),
            pod("q", Some("u"), Some("n2"), "1", 0),
            pod("waits", Some("u"), None, "1", 0),
            pod("alone", None, Some("n1"), "1", 0),
            serde_json::from_value(json!({"metadata": {"name": "without a spec"}})).unwrap(),
        ];
        for sent in cases {
            let kept = siblings.join(sent.clone());
            assert_eq!(kept.whole(), sent);
            assert_eq!(kept.demand(), Demand::of(&sent));
            let read =
                |spec: Option<&PodSpec>| spec.map(|spec| (spec.containers.clone(), spec.tolerations.clone()));
            assert_eq!(read(kept.body()), read(sent.spec.as_ref()));
        }
    }

    #[test]
    fn only_equal_bodies_of_one_controller_are_one() {
        let mut siblings = Siblings::default();
        let first = siblings.join(pod("p", Some("u"), Some("n1"), "1", 0));
        let mut shares = |other: CorePod| {
            let other = siblings.join(other);
            first.body.as_ref().zip(other.body.as_ref()).is_some_and(|(one, other)| Arc::ptr_eq(one, other))
        };
        assert!(shares(pod("q", Some("u"), Some("n2"), "1", 0)));
        // The same hash says nothing.
        assert!(!shares(pod("q", Some("u"), Some("n2"), "2", 0)), "another request");
        assert!(!shares(pod("q", Some("u"), Some("n2"), "1", 7)), "another priority");
        assert!(!shares(pod("q", Some("v"), Some("n2"), "1", 0)), "another controller");
        assert!(!shares(pod("q", Some("u"), None, "1", 0)), "no node");
        assert!(shares(pod("r", Some("u"), Some("n3"), "1", 0)), "after these it is still known");
    }

    #[test]
    fn controllers_without_pods_are_forgotten() {
        let mut siblings = Siblings::default();
        let kept = siblings.join(pod("p", Some("u"), Some("n1"), "1", 0));
        for number in 0..10 * FEW {
            siblings.join(pod("q", Some(&number.to_string()), Some("n1"), "1", 0));
        }
        assert!(siblings.bodies.len() <= FEW, "{}", siblings.bodies.len());
        let again = siblings.join(pod("p", Some("u"), Some("n1"), "1", 0));
        assert!(Arc::ptr_eq(kept.body.as_ref().unwrap(), again.body.as_ref().unwrap()));
    }
}
