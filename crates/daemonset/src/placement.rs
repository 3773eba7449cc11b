//! Does this node want a daemon? One node, one DaemonSet: run, stay or leave, with the reason.
//!
//! 1. Checked in this order: the template's own node, selector and required affinity, taints (EL-3…EL-6).
//! 2. `Stay` comes only from a `NoSchedule` taint: a pod that is there may remain, a new one is not made.
//! 3. Readiness, resources, ports and `spec.unschedulable` play no part (EL-17, EL-19).
//!
//! The template is read once ([`Judge::of`]) and then asked for every node. Kubernetes: `NodeShouldRunDaemonPod`.

use crate::template;
use k8s_openapi::api::core::v1::{Node, PodSpec, Taint, Toleration};
use objects::node;
use objects::node_affinity::{Mismatch, Required};
use objects::taints::{self, Effect};
use std::fmt;
use std::sync::Arc;

/// Whether a node wants a daemon (EL-1): there is no fourth answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// A pod should be there.
    Run,
    /// A pod that is there may stay; none is created.
    Stay(Reason),
    /// No pod may be there.
    Leave(Reason),
}

/// Why a node does not want a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The template names another node (EL-3).
    OtherNode {
        /// That one.
        wanted: String,
    },
    /// Selector or affinity do not match (EL-4).
    Mismatch(Mismatch),
    /// A taint is not tolerated (EL-5, EL-6).
    Taint {
        /// The taint, as kubectl writes it.
        taint: String,
        /// The toleration that would let a pod in, as YAML in one line.
        toleration: String,
    },
}

impl Placement {
    /// Whether a pod should be there.
    pub fn runs(&self) -> bool {
        matches!(self, Self::Run)
    }
}

/// The template's requirements, read once.
#[derive(Debug)]
pub struct Judge<'a> {
    pub(crate) node_name: Option<&'a str>,
    pub(crate) required: Required<'a>,
    pub(crate) tolerations: Arc<[Toleration]>,
}

impl<'a> Judge<'a> {
    /// Reads a pod template's spec; the default tolerations are added (EL-20).
    pub fn of(spec: &'a PodSpec) -> Self {
        Self::with(spec, template::tolerations(spec).into())
    }

    /// The same with tolerations that were read before.
    pub(crate) fn with(spec: &'a PodSpec, tolerations: Arc<[Toleration]>) -> Self {
        let node_name = spec.node_name.as_deref().filter(|name| !name.is_empty());
        Self { node_name, required: Required::of(spec), tolerations }
    }

    /// The answer for one node.
    pub fn place(&self, node: &Node) -> Placement {
        if let Some(wanted) = self.node_name.filter(|wanted| *wanted != node::name(node)) {
            return Placement::Leave(Reason::OtherNode { wanted: wanted.to_string() });
        }
        if let Err(mismatch) = self.required.check(node) {
            return Placement::Leave(Reason::Mismatch(mismatch));
        }
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        // NoExecute first: where both kinds stand, it decides (EL-6).
        if let Some(taint) = taints::untolerated(taints, &self.tolerations, &[Effect::NoExecute]) {
            return Placement::Leave(reason(taint));
        }
        match taints::untolerated(taints, &self.tolerations, &[Effect::NoSchedule]) {
            Some(taint) => Placement::Stay(reason(taint)),
            None => Placement::Run,
        }
    }
}

fn reason(taint: &Taint) -> Reason {
    let Taint { key, effect, .. } = taint;
    let toleration = match taint.value.as_deref() {
        None | Some("") => format!("{{key: {key:?}, operator: Exists, effect: {effect}}}"),
        Some(value) => format!("{{key: {key:?}, operator: Equal, value: {value:?}, effect: {effect}}}"),
    };
    Reason::Taint { taint: taints::text(taint), toleration }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run => f.write_str("run"),
            Self::Stay(reason) => write!(f, "stay, no new pod ({reason})"),
            Self::Leave(reason) => write!(f, "leave ({reason})"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherNode { wanted } => write!(f, "the template's spec.nodeName is {wanted}"),
            Self::Mismatch(mismatch) => mismatch.fmt(f),
            Self::Taint { taint, toleration } => {
                write!(
                    f,
                    "the node's taint {taint} is not tolerated; this toleration would allow it: {toleration}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(template: Value, node: Value, expected: &str) {
        let mut spec = json!({"containers": []});
        spec.as_object_mut().unwrap().extend(template.as_object().unwrap().clone());
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let node: Node = serde_json::from_value(node).unwrap();
        assert_eq!(Judge::of(&spec).place(&node).to_string(), expected);
    }

    fn tainted(taints: Value) -> Value {
        json!({"metadata": {"name": "n1", "labels": {"disk": "ssd"}}, "spec": {"taints": taints}})
    }

    fn taint(key: &str, effect: &str) -> Value {
        json!({"key": key, "effect": effect})
    }

    #[test]
    fn the_reference_cases_hold() {
        // EL 1.7
        let plain = tainted(json!([]));
        check(json!({}), plain.clone(), "run");
        check(json!({"nodeName": "n1"}), plain.clone(), "run");
        check(json!({"nodeName": "n2"}), plain.clone(), "leave (the template's spec.nodeName is n2)");
        check(json!({"nodeSelector": {"disk": "ssd"}}), plain.clone(), "run");
        check(
            json!({"nodeSelector": {"disk": "hdd"}}),
            plain,
            "leave (nodeSelector requires disk=hdd, the node has disk=ssd)",
        );
    }

    #[test]
    fn a_no_schedule_taint_keeps_and_a_no_execute_taint_ends() {
        let stay = "stay, no new pod (the node's taint a:NoSchedule is not tolerated; this toleration would allow it: \
                    {key: \"a\", operator: Exists, effect: NoSchedule})";
        let leave = "leave (the node's taint a=1:NoExecute is not tolerated; this toleration would allow it: \
                     {key: \"a\", operator: Equal, value: \"1\", effect: NoExecute})";
        let end = json!({"key": "a", "value": "1", "effect": "NoExecute"});
        check(json!({}), tainted(json!([taint("a", "NoSchedule")])), stay);
        check(json!({}), tainted(json!([end])), leave);
        check(json!({}), tainted(json!([taint("a", "NoSchedule"), end])), leave);
        check(json!({}), tainted(json!([taint("a", "PreferNoSchedule")])), "run");
        let seconds = json!([{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}]);
        check(json!({"tolerations": seconds}), tainted(json!([end])), "run");
    }

    #[test]
    fn default_tolerations_let_daemons_onto_troubled_nodes() {
        // EL-20, EL-22
        for (key, effect) in [
            ("node.kubernetes.io/not-ready", "NoExecute"),
            ("node.kubernetes.io/unreachable", "NoExecute"),
            ("node.kubernetes.io/disk-pressure", "NoSchedule"),
            ("node.kubernetes.io/memory-pressure", "NoSchedule"),
            ("node.kubernetes.io/pid-pressure", "NoSchedule"),
            ("node.kubernetes.io/unschedulable", "NoSchedule"),
        ] {
            check(json!({}), tainted(json!([taint(key, effect)])), "run");
        }
        let network = tainted(json!([taint("node.kubernetes.io/network-unavailable", "NoSchedule")]));
        check(json!({"hostNetwork": true}), network, "run");
    }
}
