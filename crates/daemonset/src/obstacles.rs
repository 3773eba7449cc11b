//! Everything that keeps a daemon away from a node, not only the first thing: what a person must change.
//!
//! [`Judge::place`] stops at the first reason, because a decision needs no second one. Here all are listed, in the order
//! in which they are checked (EL-3…EL-6), as data: keys, values, the taint, and the toleration that would let a pod in.
//! There is an obstacle exactly where the placement is not `Run`.

use crate::placement::Judge;
use k8s_openapi::api::core::v1::{Node, Taint, Toleration};
use objects::node;
use objects::node_affinity::Mismatch;
use objects::taints::{self, Effect};

/// One thing that keeps a daemon away.
#[derive(Debug, Clone, PartialEq)]
pub enum Obstacle {
    /// The template names another node (EL-3).
    OtherNode {
        /// That one.
        wanted: String,
    },
    /// Selector or affinity do not match (EL-4).
    Mismatch(Mismatch),
    /// A taint is not tolerated (EL-5, EL-6): `NoExecute` ends a pod that is there, `NoSchedule` lets it stay.
    Taint {
        /// The taint.
        taint: Taint,
        /// The narrowest toleration that would let a pod in.
        toleration: Toleration,
    },
}

impl Judge<'_> {
    /// All obstacles on this node; none if it wants a daemon.
    pub fn obstacles(&self, node: &Node) -> Vec<Obstacle> {
        let other = self.node_name.filter(|wanted| *wanted != node::name(node));
        let other = other.map(|wanted| Obstacle::OtherNode { wanted: wanted.to_string() });
        let mismatches = self.required.mismatches(node).into_iter().map(Obstacle::Mismatch);
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        let untolerated = [Effect::NoExecute, Effect::NoSchedule].into_iter().flat_map(|effect| {
            let ours = taints.iter().filter(move |taint| taint.effect == effect.as_str());
            ours.filter(|taint| {
                !self.tolerations.iter().any(|toleration| taints::tolerates(toleration, taint))
            })
        });
        let untolerated = untolerated
            .map(|taint| Obstacle::Taint { taint: taint.clone(), toleration: toleration_for(taint) });
        other.into_iter().chain(mismatches).chain(untolerated).collect()
    }
}

/// The narrowest toleration that matches a taint (EL-15).
pub fn toleration_for(taint: &Taint) -> Toleration {
    let value = taint.value.clone().filter(|value| !value.is_empty());
    Toleration {
        key: Some(taint.key.clone()),
        operator: Some(if value.is_some() { "Equal" } else { "Exists" }.to_string()),
        value,
        effect: Some(taint.effect.clone()),
        toleration_seconds: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodSpec;
    use serde_json::json;

    #[test]
    fn every_obstacle_is_listed_and_its_toleration_lets_in() {
        let taint = |key: &str, value: &str, effect: &str| Taint {
            key: key.into(),
            value: (!value.is_empty()).then(|| value.into()),
            effect: effect.into(),
            time_added: None,
        };
        let taints = [
            taint("a", "1", "NoSchedule"),
            taint("b", "", "NoExecute"),
            taint("c", "", "PreferNoSchedule"),
            taint("node.kubernetes.io/not-ready", "", "NoExecute"),
        ];
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"disk": "hdd"}}, "spec": {"taints": taints},
        }))
        .unwrap();
        let mut spec: PodSpec = serde_json::from_value(
            json!({"containers": [], "nodeName": "n2", "nodeSelector": {"disk": "ssd"}}),
        )
        .unwrap();
        let obstacle =
            |taint: &Taint| Obstacle::Taint { taint: taint.clone(), toleration: toleration_for(taint) };
        let selector =
            Mismatch::Selector { key: "disk".into(), wanted: "ssd".into(), found: Some("hdd".into()) };
        assert_eq!(
            Judge::of(&spec).obstacles(&node),
            [
                Obstacle::OtherNode { wanted: "n2".into() },
                Obstacle::Mismatch(selector),
                obstacle(&taints[1]),
                obstacle(&taints[0]),
            ]
        );
        spec.node_name = None;
        spec.node_selector = None;
        spec.tolerations = Some(taints[..2].iter().map(toleration_for).collect());
        assert_eq!(Judge::of(&spec).obstacles(&node), [], "EL-15");
        assert!(Judge::of(&spec).place(&node).runs());
    }
}
