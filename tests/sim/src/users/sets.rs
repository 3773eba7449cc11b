//! The DaemonSets that users make and change.

use crate::chance::Chance;
use serde_json::{Value, json};

/// Names of DaemonSets.
pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];
/// A namespace that users make and delete; all others are there from the beginning.
pub(super) const TEAM: &str = "team";
/// Images: two that run, one that crashes, one that cannot be pulled.
const IMAGES: [&str; 5] = ["hello:1", "hello:2", "hello:3", "hello:broken", "no.invalid/hello:1"];

/// Where the DaemonSet of this name lives.
pub(super) fn namespace(name: &str) -> &'static str {
    if name == "b" { TEAM } else { "default" }
}

/// A new DaemonSet of this name.
pub(super) fn any(name: &str, chance: &mut Chance) -> Value {
    let mut template = json!({
        "metadata": {"labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 5,
            "containers": [{"name": "c", "image": image(chance)}],
        }
    });
    if chance.percent(30) {
        template["spec"]["nodeSelector"] = json!({"disk": "ssd"});
    }
    if chance.percent(20) {
        template["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    }
    let (ready, limit) = ([0, 0, 0, 3, 20][chance.below(5)], [0, 1, 2, 10][chance.below(4)]);
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": namespace(name)},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "updateStrategy": strategy(chance),
            "minReadySeconds": ready,
            "revisionHistoryLimit": limit,
            "template": template,
        }
    })
}

/// An image, most often one that runs.
pub(super) fn image(chance: &mut Chance) -> &'static str {
    let broken = chance.percent(15);
    if broken { IMAGES[3 + chance.below(2)] } else { IMAGES[chance.below(3)] }
}

/// An update strategy.
pub(super) fn strategy(chance: &mut Chance) -> Value {
    match chance.below(6) {
        0 => json!({"type": "OnDelete"}),
        1 => rolling(json!(0), json!(chance.between(1, 3))),
        2 => rolling(json!(0), json!("50%")),
        3 => rolling(json!("40%"), json!(0)),
        _ => rolling(json!(chance.between(1, 3)), json!(0)),
    }
}

fn rolling(unavailable: Value, surge: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
}
