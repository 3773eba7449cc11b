//! What holds for every cluster, not only for those that somebody thought of.

use k8s_openapi::api::core::v1::{Node, Pod};
use objects::key::ObjectKey;
use proptest::prelude::*;
use scheduler::cluster::NodeState;
use scheduler::preempt::Eviction;
use scheduler::{Asking, Cluster, Decision, Nomination, filter, pick};
use serde_json::{Value, json};
use std::sync::Arc;

const NODES: u8 = 4;
const PODS: u8 = 8;

/// One change of a cluster.
#[derive(Debug, Clone)]
enum Step {
    SetNode { node: u8, cpu: u8, tainted: bool, pods: u8 },
    RemoveNode(u8),
    AddPod(PodSketch),
    RemovePod(u8),
    Assume(PodSketch, u8),
    Forget(u8),
    Nominate(PodSketch, u8),
}

#[derive(Debug, Clone)]
struct PodSketch {
    number: u8,
    uid: u8,
    node: Option<u8>,
    cpu: u8,
    port: Option<u8>,
    phase: &'static str,
    tolerates: bool,
    pin: Option<u8>,
    priority: i32,
    /// It keeps away from pods of this kind; its own kind is `number % 3`.
    avoids: Option<u8>,
    /// Its kind is to be spread over the zones.
    spread: bool,
}

impl PodSketch {
    /// The same without a node.
    fn waiting(&self) -> Pod {
        Self { node: None, phase: "Running", ..self.clone() }.pod()
    }

    fn pod(&self) -> Pod {
        let ports = self.port.map(|port| json!([{"containerPort": 80, "hostPort": 8000 + u32::from(port)}]));
        let container = json!({"name": "c", "ports": ports, "resources": {"requests": {"cpu": format!("{}m", u32::from(self.cpu) * 100)}}});
        let tolerations = if self.tolerates { json!([{"operator": "Exists"}]) } else { Value::Null };
        let kind = |kind: u8| json!({"matchLabels": {"kind": kind.to_string()}});
        let pin = self.pin.map(|node: u8| {
            let fields = json!([{"key": "metadata.name", "operator": "In", "values": [format!("n{node}")]}]);
            let required = json!({"nodeSelectorTerms": [{"matchFields": fields}]});
            json!({"requiredDuringSchedulingIgnoredDuringExecution": required})
        });
        let apart = self.avoids.map(|avoided| {
            let term = json!({"topologyKey": "zone", "labelSelector": kind(avoided)});
            json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]})
        });
        let spread = json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": kind(self.number % 3)}]);
        let spec = json!({
            "containers": [container],
            "nodeName": self.node.map(|node| format!("n{node}")),
            "tolerations": tolerations,
            "affinity": {"nodeAffinity": pin, "podAntiAffinity": apart},
            "topologySpreadConstraints": if self.spread { spread } else { Value::Null },
            "priority": self.priority,
        });
        let metadata = json!({"name": format!("p{}", self.number), "namespace": "d", "uid": format!("u{}", self.uid), "labels": {"kind": (self.number % 3).to_string()}});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": {"phase": self.phase}}))
            .unwrap()
    }
}

fn node(number: u8, cpu: u8, tainted: bool, pods: u8) -> Arc<Node> {
    let taints = if tainted { json!([{"key": "t", "effect": "NoSchedule"}]) } else { Value::Null };
    let allocatable =
        json!({"cpu": format!("{}m", u32::from(cpu) * 100), "memory": "1Gi", "pods": pods.to_string()});
    let labels = json!({"zone": (number % 3).to_string()});
    let value = json!({"metadata": {"name": format!("n{number}"), "labels": labels}, "spec": {"taints": taints}, "status": {"allocatable": allocatable}});
    Arc::new(serde_json::from_value(value).unwrap())
}

fn sketch() -> impl Strategy<Value = PodSketch> {
    let phase = prop_oneof![4 => Just("Running"), 1 => Just("Succeeded"), 1 => Just("Failed")];
    let who = (0..PODS, 0..2u8, proptest::option::weighted(0.7, 0..NODES));
    let what = (
        0..6u8,
        proptest::option::of(0..3u8),
        phase,
        any::<bool>(),
        proptest::option::weighted(0.3, 0..NODES + 1),
    );
    let bonds = (proptest::option::weighted(0.2, 0..3u8), proptest::bool::weighted(0.2));
    (who, what, 0..3i32, bonds).prop_map(|(who, what, priority, (avoids, spread))| {
        let ((number, uid, node), (cpu, port, phase, tolerates, pin)) = (who, what);
        PodSketch { number, uid, node, cpu, port, phase, tolerates, pin, priority, avoids, spread }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..NODES, 0..20u8, any::<bool>(), 0..6u8)
            .prop_map(|(node, cpu, tainted, pods)| Step::SetNode { node, cpu, tainted, pods }),
        1 => (0..NODES).prop_map(Step::RemoveNode),
        5 => sketch().prop_map(Step::AddPod),
        2 => (0..PODS).prop_map(Step::RemovePod),
        3 => (sketch(), 0..NODES).prop_map(|(pod, node)| Step::Assume(pod, node)),
        1 => (0..PODS).prop_map(Step::Forget),
        1 => (sketch(), 0..NODES).prop_map(|(pod, node)| Step::Nominate(pod, node)),
    ]
}

fn pod_key(number: u8) -> ObjectKey {
    ObjectKey::new("d", format!("p{number}"))
}

fn apply(cluster: &mut Cluster, step: &Step) {
    match step {
        Step::SetNode { node: number, cpu, tainted, pods } => {
            cluster.set_node(node(*number, *cpu, *tainted, *pods));
        }
        Step::RemoveNode(number) => cluster.remove_node(&format!("n{number}")),
        Step::AddPod(sketch) => cluster.add_pod(&sketch.pod()),
        Step::RemovePod(number) => cluster.remove_pod(&pod_key(*number)),
        Step::Assume(sketch, node) => cluster.assume(&sketch.pod(), &format!("n{node}")),
        Step::Forget(number) => cluster.forget(&pod_key(*number)),
        Step::Nominate(sketch, node) => cluster.nominate(&sketch.waiting(), &format!("n{node}")),
    }
}

/// What is left in the end, kept the simple way: the last word on each node and pod.
#[derive(Default)]
struct Model {
    nodes: std::collections::BTreeMap<u8, Arc<Node>>,
    /// Pod, node, and whether it is only assumed.
    pods: std::collections::BTreeMap<u8, (Pod, String, bool)>,
    nominated: std::collections::BTreeMap<u8, (Pod, String)>,
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::SetNode { node: number, cpu, tainted, pods } => {
                self.nodes.insert(*number, node(*number, *cpu, *tainted, *pods));
            }
            Step::RemoveNode(number) => {
                self.nodes.remove(number);
            }
            Step::AddPod(sketch) => self.add(sketch),
            Step::RemovePod(number) => {
                self.pods.remove(number);
                self.nominated.remove(number);
            }
            Step::Assume(sketch, node) => {
                self.pods.insert(sketch.number, (sketch.pod(), format!("n{node}"), true));
                self.nominated.remove(&sketch.number);
            }
            Step::Nominate(sketch, _) if self.pods.contains_key(&sketch.number) => {}
            Step::Nominate(sketch, node) => {
                self.nominated.insert(sketch.number, (sketch.waiting(), format!("n{node}")));
            }
            Step::Forget(number) => self.pods.retain(|pod, (_, _, assumed)| pod != number || !*assumed),
        }
    }

    fn add(&mut self, sketch: &PodSketch) {
        let pod = sketch.pod();
        let assumed =
            |(before, _, assumed): &(Pod, String, bool)| *assumed && before.metadata.uid == pod.metadata.uid;
        if sketch.node.is_none() && sketch.phase == "Running" {
            let late = |(before, _): &(Pod, String)| before.metadata.uid == pod.metadata.uid;
            if !self.pods.get(&sketch.number).is_some_and(assumed) {
                self.pods.remove(&sketch.number);
                // An own decision outlasts a late event, and nothing else.
                if !self.nominated.get(&sketch.number).is_some_and(late) {
                    self.nominated.remove(&sketch.number);
                }
            }
            return;
        }
        self.nominated.remove(&sketch.number);
        match sketch.node {
            Some(node) if sketch.phase == "Running" => {
                self.pods.insert(sketch.number, (pod, format!("n{node}"), false));
            }
            _ => drop(self.pods.remove(&sketch.number)),
        }
    }

    fn rebuild(&self) -> Cluster {
        let mut cluster = Cluster::new();
        for (pod, node, assumed) in self.pods.values() {
            if *assumed { cluster.assume(pod, node) } else { cluster.add_pod(pod) }
        }
        for (pod, node) in self.nominated.values() {
            cluster.nominate(pod, node);
        }
        self.nodes.values().for_each(|node| cluster.set_node(node.clone()));
        cluster
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn after_any_changes_the_sums_are_those_of_a_rebuild(steps in prop::collection::vec(step(), 0..60)) {
        let (mut cluster, mut model) = (Cluster::new(), Model::default());
        for step in &steps {
            apply(&mut cluster, step);
            model.apply(step);
        }
        prop_assert_eq!(cluster, model.rebuild());
    }

    #[test]
    fn no_filter_refuses_the_node_that_is_picked_and_all_refuse_when_none_is(
        steps in prop::collection::vec(step(), 0..40),
        mut asked in sketch(),
    ) {
        let mut cluster = Cluster::new();
        steps.iter().for_each(|step| apply(&mut cluster, step));
        (asked.number, asked.node) = (200, None);
        let pod = asked.pod();
        let asking = Asking::read(&pod, &cluster).unwrap();
        let takers: Vec<&str> = cluster
            .nodes()
            .filter(|(_, state)| filter::refuses(&asking, state).is_none())
            .map(|(name, _)| name)
            .collect();
        let decision = pick(&pod, &cluster);
        prop_assert_eq!(&decision, &pick(&pod, &cluster.clone()), "the same again");
        match decision {
            Decision::Node(node) => prop_assert!(takers.contains(&node.as_str()), "{node} of {takers:?}"),
            Decision::Unschedulable(why) => {
                prop_assert!(takers.is_empty(), "{takers:?} would have taken it: {}", why.message);
                // Every node is accounted for, at least once.
                let counted: usize = why.reasons.values().sum();
                prop_assert!(counted >= cluster.node_count());
                if let Nomination::Given(eviction) = why.nomination {
                    check_eviction(&asking, &eviction)?;
                }
            }
            Decision::Gated => prop_assert!(false, "it has no gates"),
        }
    }

    #[test]
    fn a_preemptor_goes_where_it_was_promised_once_its_victims_are_gone(
        steps in prop::collection::vec(step(), 0..40),
        mut asked in sketch(),
    ) {
        let mut cluster = Cluster::new();
        steps.iter().for_each(|step| apply(&mut cluster, step));
        (asked.number, asked.node, asked.priority) = (200, None, asked.priority + 2);
        let pod = asked.pod();
        let Decision::Unschedulable(why) = pick(&pod, &cluster) else { return Ok(()) };
        let Nomination::Given(eviction) = why.nomination else { return Ok(()) };
        cluster.nominate(&pod, &eviction.node);
        eviction.victims.iter().for_each(|victim| cluster.evict(&victim.key));
        eviction.displaced.iter().for_each(|key| cluster.end_nomination(key));
        // Meanwhile it evicts nobody else.
        match pick(&pod, &cluster) {
            Decision::Unschedulable(why) => prop_assert_eq!(why.nomination, Nomination::Unchanged),
            // Pods that leave do not count for the spread, and so another node may do.
            Decision::Node(_) if asked.spread => return Ok(()),
            other => prop_assert!(false, "{other:?}"),
        }
        eviction.victims.iter().for_each(|victim| cluster.remove_pod(&victim.key));
        // Nobody who is not more important takes the room. (From another node of the zone somebody could, as upstream.)
        if !asked.spread && asked.avoids.is_none() {
            let rival = PodSketch { number: 201, ..asked.clone() }.pod();
            if let Decision::Node(node) = pick(&rival, &cluster) {
                cluster.assume(&rival, &node);
            }
        }
        prop_assert_eq!(pick(&pod, &cluster), Decision::Node(eviction.node));
    }
}

/// Only less important pods, not one more than needed, and room for the pod without them.
fn check_eviction(asking: &Asking<'_>, eviction: &Eviction) -> Result<(), TestCaseError> {
    let (_, node) = asking.cluster.node(&eviction.node).unwrap();
    prop_assert!(!eviction.victims.is_empty());
    for victim in &eviction.victims {
        prop_assert!(node.pods().get(&victim.key).unwrap().shape.demand.priority < asking.demand.priority);
    }
    let without = |spared: Option<&ObjectKey>| {
        let gone = eviction.victims.iter().map(|victim| &victim.key);
        rebuilt_without(asking.cluster, &gone.filter(|key| Some(*key) != spared).collect::<Vec<_>>())
    };
    let fits = |cluster: &Cluster| {
        let state: &NodeState = cluster.node(&eviction.node).unwrap().1;
        filter::refuses(asking, state).is_none()
    };
    prop_assert!(fits(&without(None)), "without its victims it fits");
    for victim in &eviction.victims {
        prop_assert!(!fits(&without(Some(&victim.key))), "{} goes for nothing", victim.key);
    }
    Ok(())
}

fn rebuilt_without(cluster: &Cluster, gone: &[&ObjectKey]) -> Cluster {
    let mut rest = cluster.clone();
    gone.iter().for_each(|key| rest.remove_pod(key));
    rest
}
