//! Who is a new pod, and how does it show it?
//!
//! The account must exist, lends its `imagePullSecrets` to a pod that has none, and unless pod or account says otherwise
//! every container finds a token, the cluster's authority and its namespace below [`MOUNT`]. The volume lies in the pod
//! alone, never in a template. A server that issues no tokens adds none.
//! Differs: `kubernetes.io/enforce-mountable-secrets` is not read; it is deprecated, and no boundary.
//!
//! Kubernetes: `plugin/pkg/admission/serviceaccount/admission.go`.

use super::pod_forbidden;
use crate::Inner;
use crate::chance;
use crate::error::ApiError;
use crate::resources::fields::items_mut;
use crate::resources::serviceaccounts;
use crate::service_accounts::claims::POD_SECONDS;
use crate::verbs::metadata::text;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a pod's creation waits for the `default` service account of a new namespace.
const DEFAULT_ACCOUNT_WAIT: Duration = Duration::from_secs(1);
/// Where every client library looks.
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Start of the volume's name; a pod that has such a volume gets no second one.
const VOLUME: &str = "kube-api-access-";

/// Fills in account, pull secrets and token of a new pod that is no mirror.
pub(super) async fn of_pod(server: &Inner, pod: &mut Value) -> Result<(), ApiError> {
    let name = named(&mut pod["spec"]);
    let account = existing(server, pod, &name).await?;
    lend_secrets(&mut pod["spec"], &account);
    if server.config.issuer.is_some() && wants_token(&pod["spec"], &account) {
        let source = server.config.sources.chance;
        let draw = || objects::name::generate(VOLUME, &mut || u32::from_le_bytes(chance::bytes(source)));
        mount(&mut pod["spec"], draw);
    }
    Ok(())
}

/// The account's name, in both fields.
fn named(spec: &mut Value) -> String {
    let given = [&spec["serviceAccountName"], &spec["serviceAccount"]].into_iter().find_map(Value::as_str);
    let name = given.filter(|name| !name.is_empty()).unwrap_or("default").to_string();
    spec["serviceAccountName"] = name.as_str().into();
    spec["serviceAccount"] = name.as_str().into();
    name
}

async fn existing(server: &Inner, pod: &Value, name: &str) -> Result<Value, ApiError> {
    let namespace = text(pod, "namespace");
    let end = tokio::time::Instant::now() + DEFAULT_ACCOUNT_WAIT;
    loop {
        if let Some((account, _)) = server.read(&serviceaccounts::KIND, namespace, name).await? {
            return Ok(account);
        }
        // The loop that makes the default account is about to; everybody else's is missing for good.
        if name != "default" || !server.next_change(end).await {
            let why = format!(
                "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
            );
            return Err(pod_forbidden(pod, why));
        }
    }
}

fn lend_secrets(spec: &mut Value, account: &Value) {
    let none = spec["imagePullSecrets"].as_array().is_none_or(Vec::is_empty);
    if none && account["imagePullSecrets"].is_array() {
        spec["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
}

/// The pod decides, then its account.
fn wants_token(spec: &Value, account: &Value) -> bool {
    let says = |value: &Value| value["automountServiceAccountToken"].as_bool();
    says(spec).or_else(|| says(account)).unwrap_or(true)
}

/// Mounts the volume where nothing is mounted, and adds it if somebody mounts it.
fn mount(spec: &mut Value, draw: impl Fn() -> String) {
    let has = |volume: &&Value| volume["name"].as_str().is_some_and(|name| name.starts_with(VOLUME));
    let there = spec["volumes"].as_array().into_iter().flatten().find(has);
    let (name, is_new) = match there.and_then(|volume| volume["name"].as_str()) {
        Some(name) => (name.to_string(), false),
        None => (draw(), true),
    };
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in items_mut(spec, list) {
            mounted |= mount_in(container, &name);
        }
    }
    if mounted && is_new {
        push(spec, "volumes", volume(&name));
    }
}

/// Whether a mount was added.
fn mount_in(container: &mut Value, name: &str) -> bool {
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    if !container.is_object() || mounts.into_iter().any(|mount| mount["mountPath"] == MOUNT) {
        return false;
    }
    push(container, "volumeMounts", json!({"name": name, "readOnly": true, "mountPath": MOUNT}));
    true
}

fn push(object: &mut Value, field: &str, item: Value) {
    match object[field].as_array_mut() {
        Some(list) => list.push(item),
        None => object[field] = json!([item]),
    }
}

fn volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": POD_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_decides_about_a_token_and_then_its_account() {
        let check = |pod: Value, account: Value, expected: bool| {
            let of = |value: &Value| json!({"automountServiceAccountToken": value});
            assert_eq!(wants_token(&of(&pod), &of(&account)), expected, "{pod} {account}");
        };
        check(Value::Null, Value::Null, true);
        check(Value::Null, json!(false), false);
        check(json!(true), json!(false), true);
        check(json!(false), json!(true), false);
    }

    #[test]
    fn containers_mount_the_volume_unless_something_is_there() {
        let check = |given: Value, expected: Value| {
            let mut spec = given.clone();
            mount(&mut spec, || "kube-api-access-new".to_string());
            assert_eq!(spec, expected, "{given}");
        };
        let own = |name: &str| json!([{"name": name, "readOnly": true, "mountPath": MOUNT}]);
        let other = json!([{"name": "x", "mountPath": MOUNT}]);
        check(
            json!({"containers": [{"name": "a"}], "initContainers": [{"name": "b", "volumeMounts": other}]}),
            json!({"containers": [{"name": "a", "volumeMounts": own("kube-api-access-new")}],
                "initContainers": [{"name": "b", "volumeMounts": other}],
                "volumes": [volume("kube-api-access-new")]}),
        );
        let all_taken =
            json!({"containers": [{"name": "a", "volumeMounts": other}], "volumes": [{"name": "x"}]});
        check(all_taken.clone(), all_taken);
        let volumes = json!([{"name": "kube-api-access-old"}]);
        check(
            json!({"containers": [{"name": "a"}], "volumes": volumes}),
            json!({"containers": [{"name": "a", "volumeMounts": own("kube-api-access-old")}], "volumes": volumes}),
        );
    }
}
