//! PURE. What the watches have shown so far, counted as it comes: a look at a goal costs no pass over the pods.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is read of any object's metadata.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uid: String,
    /// From where a watch goes on.
    #[serde(default, rename = "resourceVersion")]
    pub revision: String,
}

/// What is read of a node.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Node {
    /// Who it is.
    pub metadata: Metadata,
    #[serde(default)]
    status: Conditions,
}

/// What is read of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Pod {
    /// Who it is.
    pub metadata: Metadata,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: Conditions,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct PodSpec {
    #[serde(default, rename = "nodeName")]
    node: String,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Container {
    #[serde(default)]
    image: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Conditions {
    #[serde(default)]
    conditions: Option<Vec<Condition>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl Conditions {
    fn is_ready(&self) -> bool {
        let mut all = self.conditions.iter().flatten();
        all.any(|condition| condition.kind == "Ready" && condition.status == "True")
    }
}

/// What is read of a DaemonSet.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct DaemonSet {
    /// Which one.
    pub metadata: Metadata,
    #[serde(default)]
    status: Counters,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Counters {
    observed_generation: i64,
    desired_number_scheduled: i64,
    current_number_scheduled: i64,
    number_ready: i64,
    updated_number_scheduled: i64,
    number_available: i64,
}

/// One DaemonSet, as its status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// Ready pods.
    pub ready: i64,
    /// Which generation its status is of.
    pub observed: i64,
    /// Least and most of the other counters.
    counters: (i64, i64),
}

impl Set {
    /// Its status is of this generation, and every counter is `nodes`.
    pub fn is_well(&self, generation: i64, nodes: u32) -> bool {
        let nodes = i64::from(nodes);
        self.observed == generation && self.ready == nodes && self.counters == (nodes, nodes)
    }
}

#[derive(Debug, Clone)]
struct Known {
    node: String,
    image: u32,
    ready: bool,
}

/// When a node was seen first, and when it had all its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    seen: Duration,
    pods: u32,
    complete: Option<Duration>,
}

/// All that was shown.
#[derive(Debug, Default)]
pub struct Seen {
    nodes: BTreeMap<String, bool>,
    ready_nodes: u64,
    pods: BTreeMap<String, Known>,
    /// Of each image: how many pods there are, and how many are Ready.
    images: BTreeMap<u32, (u64, u64)>,
    sets: BTreeMap<String, Set>,
    arrivals: BTreeMap<String, Arrival>,
    /// Pods that came, and that went.
    pub changes: u64,
}

impl Seen {
    /// How many nodes are Ready.
    pub fn ready_nodes(&self) -> u64 {
        self.ready_nodes
    }

    /// How many pods there are.
    pub fn pods(&self) -> u64 {
        self.pods.len() as u64
    }

    /// How many pods with this image are Ready.
    pub fn ready_pods(&self, image: u32) -> u64 {
        self.images.get(&image).map_or(0, |(_, ready)| *ready)
    }

    /// How many pods with this image there are.
    pub fn pods_with(&self, image: u32) -> u64 {
        self.images.get(&image).map_or(0, |(there, _)| *there)
    }

    /// How many DaemonSets are so.
    pub fn sets(&self, are: impl Fn(&Set) -> bool) -> u64 {
        self.sets.values().filter(|set| are(set)).count() as u64
    }

    /// Forgets when nodes have come.
    pub fn forget_arrivals(&mut self) {
        self.arrivals.clear();
    }

    /// How long the nodes that came waited for the last of their `pods` to be created; sorted.
    pub fn waits(&self) -> Vec<Duration> {
        let complete = |arrival: &Arrival| Some(arrival.complete?.saturating_sub(arrival.seen));
        let mut waits: Vec<Duration> = self.arrivals.values().filter_map(complete).collect();
        waits.sort();
        waits
    }

    /// A node is there. `at`: since the step began.
    pub fn node(&mut self, node: &Node, at: Duration) {
        let ready = node.status.is_ready();
        let name = &node.metadata.name;
        let before = self.nodes.insert(name.clone(), ready);
        if before.is_none() {
            self.arrivals.entry(name.clone()).or_insert(Arrival { seen: at, pods: 0, complete: None });
        }
        self.ready_nodes -= u64::from(before == Some(true));
        self.ready_nodes += u64::from(ready);
    }

    /// A node is gone.
    pub fn node_gone(&mut self, node: &Node) {
        let before = self.nodes.remove(&node.metadata.name);
        self.ready_nodes -= u64::from(before == Some(true));
    }

    /// A pod is there.
    pub fn pod(&mut self, pod: &Pod, at: Duration) {
        let image = pod.spec.containers.first().map_or(0, |container| number(&container.image));
        let known = Known { node: pod.spec.node.clone(), image, ready: pod.status.is_ready() };
        let ready = known.ready;
        let before = self.pods.insert(pod.metadata.uid.clone(), known);
        self.changes += u64::from(before.is_none());
        let was_bound = before.as_ref().is_some_and(|before| !before.node.is_empty());
        self.discount(before);
        let (there, of_them_ready) = self.images.entry(image).or_default();
        *there += 1;
        *of_them_ready += u64::from(ready);
        if !was_bound && let Some(arrival) = self.arrivals.get_mut(&pod.spec.node) {
            arrival.pods += 1;
            // The last one counts: it is moved on as long as pods come.
            arrival.complete = Some(at);
        }
    }

    /// A pod is gone.
    pub fn pod_gone(&mut self, pod: &Pod) {
        self.uid_gone(&pod.metadata.uid);
    }

    /// A DaemonSet is so.
    pub fn set(&mut self, set: &DaemonSet) {
        let status = &set.status;
        let counters = [
            status.desired_number_scheduled,
            status.current_number_scheduled,
            status.updated_number_scheduled,
            status.number_available,
        ];
        let least = counters.into_iter().min().unwrap_or_default();
        let most = counters.into_iter().max().unwrap_or_default();
        let set_now =
            Set { ready: status.number_ready, observed: status.observed_generation, counters: (least, most) };
        self.sets.insert(set.metadata.name.clone(), set_now);
    }

    /// A DaemonSet is gone.
    pub fn set_gone(&mut self, set: &DaemonSet) {
        self.sets.remove(&set.metadata.name);
    }

    /// A list was read anew: what is not in it is gone.
    pub fn only_pods(&mut self, pods: &[Pod], at: Duration) {
        let gone: Vec<String> = {
            let there: std::collections::BTreeSet<&str> =
                pods.iter().map(|pod| pod.metadata.uid.as_str()).collect();
            self.pods.keys().filter(|uid| !there.contains(uid.as_str())).cloned().collect()
        };
        gone.iter().for_each(|uid| self.uid_gone(uid));
        pods.iter().for_each(|pod| self.pod(pod, at));
    }

    /// A list was read anew.
    pub fn only_nodes(&mut self, nodes: &[Node], at: Duration) {
        self.nodes.clear();
        self.ready_nodes = 0;
        nodes.iter().for_each(|node| self.node(node, at));
    }

    /// A list was read anew.
    pub fn only_sets(&mut self, sets: &[DaemonSet]) {
        self.sets.clear();
        sets.iter().for_each(|set| self.set(set));
    }

    fn uid_gone(&mut self, uid: &str) {
        let before = self.pods.remove(uid);
        self.changes += u64::from(before.is_some());
        self.discount(before);
    }

    fn discount(&mut self, before: Option<Known>) {
        let Some(Known { image, ready, .. }) = before else { return };
        let Some((there, of_them_ready)) = self.images.get_mut(&image) else { return };
        *there -= 1;
        *of_them_ready -= u64::from(ready);
    }
}

/// The number at the end of an image's name; [`crate::manifests::image`] puts it there.
fn number(image: &str) -> u32 {
    image.rsplit(':').next().and_then(|tag| tag.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goal::Goal;
    use serde_json::{Value, from_value, json};

    fn pod(uid: &str, node: &str, image: u32, ready: bool) -> Pod {
        let conditions = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
        from_value(json!({"metadata": {"name": uid, "uid": uid},
            "spec": {"nodeName": node, "containers": [{"image": crate::manifests::image(image)}]},
            "status": {"conditions": conditions}}))
        .unwrap()
    }

    fn node(name: &str, ready: Value) -> Node {
        from_value(json!({"metadata": {"name": name, "uid": name},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
        .unwrap()
    }

    fn set(observed: i64, updated: i64) -> DaemonSet {
        from_value(json!({"metadata": {"name": "a", "uid": "a"}, "status": {
            "observedGeneration": observed, "desiredNumberScheduled": 2, "currentNumberScheduled": 2,
            "numberReady": 2, "updatedNumberScheduled": updated, "numberAvailable": 2}}))
        .unwrap()
    }

    #[test]
    fn pods_are_counted_as_they_come_change_and_go() {
        let mut seen = Seen::default();
        let check = |seen: &Seen, pods: u64, ready: (u64, u64)| {
            assert_eq!((seen.pods(), seen.ready_pods(1), seen.ready_pods(2)), (pods, ready.0, ready.1));
        };
        seen.pod(&pod("a", "", 1, false), Duration::ZERO);
        seen.pod(&pod("b", "n1", 1, true), Duration::ZERO);
        check(&seen, 2, (1, 0));
        seen.pod(&pod("a", "n2", 1, true), Duration::ZERO);
        seen.pod(&pod("a", "n2", 1, true), Duration::ZERO);
        check(&seen, 2, (2, 0));
        seen.pod_gone(&pod("b", "n1", 1, true));
        seen.pod(&pod("c", "n1", 2, true), Duration::ZERO);
        check(&seen, 2, (1, 1));
        seen.only_pods(&[pod("c", "n1", 2, false)], Duration::ZERO);
        check(&seen, 1, (0, 0));
        assert_eq!(seen.changes, 5);
    }

    #[test]
    fn nodes_are_ready_or_not() {
        let mut seen = Seen::default();
        seen.node(&node("n1", "True".into()), Duration::ZERO);
        seen.node(&node("n2", "True".into()), Duration::ZERO);
        seen.node(&node("n1", "Unknown".into()), Duration::ZERO);
        assert_eq!(seen.ready_nodes(), 1);
        seen.node_gone(&node("n2", "True".into()));
        assert_eq!(seen.ready_nodes(), 0);
        seen.only_nodes(&[node("n3", "True".into())], Duration::ZERO);
        assert_eq!(seen.ready_nodes(), 1);
    }

    #[test]
    fn a_status_is_right_when_every_counter_is() {
        let check = |observed: i64, updated: i64, expected: u64| {
            let mut seen = Seen::default();
            seen.set(&set(observed, updated));
            assert_eq!(
                Goal::Status { generation: 2, nodes: 2 }.progress(&seen, 1).now,
                expected,
                "{observed} {updated}"
            );
        };
        check(2, 2, 1);
        check(1, 2, 0);
        check(2, 1, 0);
    }

    #[test]
    fn a_node_waits_from_its_first_sign_until_its_last_pod_is_bound() {
        let mut seen = Seen::default();
        let at = Duration::from_millis;
        seen.node(&node("n1", "False".into()), at(10));
        seen.pod(&pod("a", "", 1, false), at(12));
        seen.pod(&pod("a", "n1", 1, false), at(15));
        seen.pod(&pod("b", "n1", 1, false), at(18));
        seen.pod(&pod("b", "n1", 1, true), at(90));
        assert_eq!(seen.waits(), [at(8)]);
    }
}
