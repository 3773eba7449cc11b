//! Do two ControllerRevisions say the same template? (OPP-8, TK-2)
//!
//! 1. What says nothing is taken away: nulls, empty texts, lists and maps, the `$patch` marker, the order of keys.
//! 2. What the API server would fill in is taken away, too (AP-11…AP-14): a revision from before a field was defaulted,
//!    or read from another version's server, still says the same.
//! 3. Quantities are compared by value. The order of a list's items means something, as it does to the API server's own
//!    comparison (AP-17).
//!
//! Kubernetes compares bytes (RV-11), which makes a new revision of every DaemonSet at an upgrade (NX-8).
//! Differs: therefore.

use objects::quantity::Amount;
use serde_json::{Map, Value, json};

/// `{}` means something here: everything is selected, or nothing is.
const MEANT_EMPTY: &[&str] =
    &["labelSelector", "namespaceSelector", "requiredDuringSchedulingIgnoredDuringExecution"];

/// Maps whose keys are not fields: an empty value is a value.
const MAPS: &[&str] =
    &["labels", "annotations", "nodeSelector", "matchLabels", "options", "volumeAttributes"];

/// Maps whose values are quantities.
const AMOUNTS: &[&str] = &["limits", "requests", "overhead"];

/// Whether two data mean the same template.
pub fn same_meaning(a: &Value, b: &Value) -> bool {
    a == b || meaning("", a) == meaning("", b)
}

/// What remains of a value, the field `name`, when everything that says nothing is taken away; `None` if nothing remains.
fn meaning(name: &str, value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::Object(fields) if MAPS.contains(&name) => (!fields.is_empty()).then(|| value.clone()),
        Value::Object(fields) if AMOUNTS.contains(&name) => (!fields.is_empty())
            .then(|| fields.iter().map(|(key, value)| (key.clone(), amount(value))).collect()),
        Value::Object(fields) => {
            let kept = meaningful(name, fields);
            (!kept.is_empty() || MEANT_EMPTY.contains(&name)).then_some(Value::Object(kept))
        }
        Value::Array(items) if items.is_empty() => None,
        // Items keep their places, empty or not.
        Value::Array(items) => {
            Some(items.iter().map(|item| meaning(name, item).unwrap_or_else(|| json!({}))).collect())
        }
        other => Some(other.clone()),
    }
}

fn meaningful(name: &str, fields: &Map<String, Value>) -> Map<String, Value> {
    let kept =
        fields.iter().filter(|(field, value)| *field != "$patch" && !is_default(name, field, value, fields));
    kept.filter_map(|(field, value)| Some((field.clone(), meaning(field, value)?))).collect()
}

/// Whether the API server would put this value where there is none. `parent` is the name of the field, or of the list,
/// in which `siblings` stand.
fn is_default(parent: &str, field: &str, value: &Value, siblings: &Map<String, Value>) -> bool {
    match value {
        Value::String(text) => is_default_text(parent, field, text, siblings),
        Value::Bool(flag) => !flag && matches!(field, "hostNetwork" | "hostPID" | "hostIPC"),
        Value::Number(number) => {
            number.as_i64().is_some_and(|number| number == default_number(parent, field))
        }
        // A volume without a source is an empty directory (AP-13).
        Value::Object(source) => field == "emptyDir" && source.is_empty(),
        Value::Null | Value::Array(_) => false,
    }
}

fn is_default_text(parent: &str, field: &str, text: &str, siblings: &Map<String, Value>) -> bool {
    match (parent, field) {
        ("spec", "serviceAccount") => {
            siblings.get("serviceAccountName").and_then(Value::as_str) == Some(text)
        }
        ("containers" | "initContainers", "imagePullPolicy") => {
            let image = siblings.get("image").and_then(Value::as_str).unwrap_or_default();
            text == pull_policy(image)
        }
        (_, "divisor") => Amount::parse(text).is_ok_and(|amount| amount.is_zero()),
        _ => text == default_text(parent, field),
    }
}

/// AP-11…AP-13; empty where there is none.
fn default_text(parent: &str, field: &str) -> &'static str {
    match (parent, field) {
        ("spec", "restartPolicy") => "Always",
        ("spec", "dnsPolicy") => "ClusterFirst",
        ("spec", "schedulerName") => "default-scheduler",
        ("spec", "volumeMode") => "Filesystem",
        ("containers" | "initContainers", "terminationMessagePath") => "/dev/termination-log",
        ("containers" | "initContainers", "terminationMessagePolicy") => "File",
        ("ports", "protocol") => "TCP",
        ("httpGet", "path") => "/",
        ("httpGet", "scheme") => "HTTP",
        ("fieldRef", "apiVersion") => "v1",
        ("securityContext", "procMount") => "Default",
        ("iscsi", "iscsiInterface") => "default",
        ("rbd", "pool") => "rbd",
        ("rbd", "user") => "admin",
        ("rbd", "keyring") => "/etc/ceph/keyring",
        ("azureDisk", "cachingMode") => "ReadWrite",
        ("azureDisk", "fsType") => "ext4",
        ("azureDisk", "kind") => "Shared",
        ("scaleIO", "storageMode") => "ThinProvisioned",
        ("scaleIO", "fsType") => "xfs",
        _ => "",
    }
}

/// AP-11…AP-13; -1, which no such field may be, where there is none.
fn default_number(parent: &str, field: &str) -> i64 {
    match (parent, field) {
        ("spec", "terminationGracePeriodSeconds") => 30,
        ("livenessProbe" | "readinessProbe" | "startupProbe", "timeoutSeconds" | "successThreshold") => 1,
        ("livenessProbe" | "readinessProbe" | "startupProbe", "periodSeconds") => 10,
        ("livenessProbe" | "readinessProbe" | "startupProbe", "failureThreshold") => 3,
        ("secret" | "configMap" | "downwardAPI" | "projected", "defaultMode") => 0o644,
        ("serviceAccountToken", "expirationSeconds") => 3600,
        _ => -1,
    }
}

/// AP-12: `Always` for the tag `latest`, and where there is neither tag nor digest.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or(image);
    let is_latest = !image.contains('@') && (!name.contains(':') || name.ends_with(":latest"));
    if is_latest { "Always" } else { "IfNotPresent" }
}

fn amount(value: &Value) -> Value {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
    Amount::parse(&text).map_or_else(|_| value.clone(), |amount| json!(amount.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revision::data;

    fn of(pod: Value) -> Value {
        data(&json!({"metadata": {"labels": {"a": "b"}}, "spec": pod}))
    }

    /// Each is the template of one container with this said besides.
    fn check(said: Value, otherwise: Value, same: bool) {
        let pod = |said: &Value| {
            let mut pod = json!({"containers": [{"name": "c", "image": "img:1"}]});
            for (key, value) in said.as_object().unwrap() {
                match key.strip_prefix("c.") {
                    Some(field) => pod["containers"][0][field] = value.clone(),
                    None => pod[key] = value.clone(),
                }
            }
            of(pod)
        };
        assert_eq!(same_meaning(&pod(&said), &pod(&otherwise)), same, "OPP-8 {said} {otherwise}");
    }

    #[test]
    fn what_says_nothing_makes_no_difference() {
        check(json!({}), json!({"c.args": [], "c.env": null, "nodeSelector": {}, "nodeName": ""}), true);
        check(json!({"securityContext": {}}), json!({}), true);
        let bare =
            json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}}});
        assert!(same_meaning(&bare, &of(json!({"containers": []}))), "NX-8: no null time, no patch marker");
        assert!(!same_meaning(&bare, &of(json!({"containers": [{}]}))));
    }

    #[test]
    fn what_the_server_fills_in_makes_no_difference() {
        let filled = json!({
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
            "schedulerName": "default-scheduler", "hostNetwork": false,
            "c.terminationMessagePath": "/dev/termination-log", "c.terminationMessagePolicy": "File",
            "c.imagePullPolicy": "IfNotPresent", "c.securityContext": {"procMount": "Default"},
        });
        check(json!({}), filled, true);
        check(json!({"c.imagePullPolicy": "Always"}), json!({}), false);
        check(
            json!({"serviceAccountName": "s", "serviceAccount": "s"}),
            json!({"serviceAccountName": "s"}),
            true,
        );
        check(
            json!({"c.ports": [{"containerPort": 1, "protocol": "TCP"}]}),
            json!({"c.ports": [{"containerPort": 1}]}),
            true,
        );
        check(
            json!({"c.ports": [{"containerPort": 1, "protocol": "UDP"}]}),
            json!({"c.ports": [{"containerPort": 1}]}),
            false,
        );
        let probe = |probe: Value| json!({"c.livenessProbe": probe});
        let full = json!({"httpGet": {"path": "/", "port": 1, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
            "successThreshold": 1, "failureThreshold": 3});
        check(probe(full), probe(json!({"httpGet": {"port": 1}})), true);
        check(probe(json!({"periodSeconds": 11})), probe(json!({"periodSeconds": 10})), false);
        let volume = |source: Value| json!({"volumes": [source]});
        check(volume(json!({"name": "v", "emptyDir": {}})), volume(json!({"name": "v"})), true);
        check(volume(json!({"name": "v"})), json!({}), false);
        let secret = json!({"name": "v", "secret": {"secretName": "s", "defaultMode": 420}});
        check(volume(secret), volume(json!({"name": "v", "secret": {"secretName": "s"}})), true);
    }

    #[test]
    fn values_count_and_order_does_where_it_means_something() {
        let limits = |cpu: Value| json!({"c.resources": {"limits": {"cpu": cpu}}});
        check(limits(json!("1000m")), limits(json!("1")), true);
        check(limits(json!(1)), limits(json!("1")), true);
        check(limits(json!("2")), limits(json!("1")), false);
        check(json!({"c.args": ["a", "b"]}), json!({"c.args": ["b", "a"]}), false);
        check(json!({"nodeSelector": {"a": ""}}), json!({}), false);
        let nothing = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}});
        check(json!({"affinity": nothing}), json!({}), false);
        let everything = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "k", "labelSelector": {}}]}});
        let nobody = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "k"}]}});
        check(json!({ "affinity": everything }), json!({ "affinity": nobody }), false);
    }

    #[test]
    fn a_pull_policy_follows_from_the_tag() {
        let policies = ["a", "a:latest", "r:5000/a", "a:1", "r:5000/a:1", "a@sha256:0", "a:latest@sha256:0"]
            .map(pull_policy);
        let (always, once) = ("Always", "IfNotPresent");
        assert_eq!(policies, [always, always, always, once, once, once, once], "AP-12");
    }
}
