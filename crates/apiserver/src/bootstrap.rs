//! What every cluster has from its first second (wire 7.8): namespaces, priority classes, the `kubernetes` service, the
//! configuration that extension servers read, and the roles that clients look for.
//!
//! Written at every start: what is there stays as it is, but the endpoints of the `kubernetes` service follow the servers,
//! and a default role or binding gets back what it lacks.

mod roles;

use crate::addresses::KUBERNETES;
use crate::error::ApiError;
use crate::rbac;
use crate::resources::find;
use crate::verbs::own::as_server;
use crate::verbs::update::{Write, rewrite};
use crate::verbs::{Call, create};
use crate::{Config, Inner, peers};
use serde_json::{Value, json};

/// `true`: the server may restore this role.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// Whose the fields of these objects are.
const MANAGER: &str = "everynode";

/// Writes what is missing.
pub async fn run(server: &Inner) -> Result<(), ApiError> {
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        ensure(server, ("", "v1", "namespaces"), "", json!({"metadata": {"name": namespace}})).await?;
    }
    for object in priority_classes() {
        ensure(server, ("scheduling.k8s.io", "v1", "priorityclasses"), "", object).await?;
    }
    let authentication = extension_authentication(&server.config);
    ensure(server, ("", "v1", "configmaps"), "kube-system", authentication).await?;
    for object in roles::roles() {
        ensure(server, ("rbac.authorization.k8s.io", "v1", "clusterroles"), "", object).await?;
    }
    for object in roles::bindings() {
        ensure(server, ("rbac.authorization.k8s.io", "v1", "clusterrolebindings"), "", object).await?;
    }
    ensure(server, ("", "v1", "services"), "default", kubernetes_service()).await?;
    peers::begin(server).await
}

/// Creates an object that is not there.
async fn ensure(
    server: &Inner,
    (group, version, plural): (&str, &str, &str),
    namespace: &str,
    object: Value,
) -> Result<(), ApiError> {
    let Some(kind) = find(group, version, plural) else { return Ok(()) };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let found = server.read(kind, namespace, name).await?.map(|(found, _)| found);
    as_server(server, kind, (namespace, name), async |call| match (found, plural) {
        (Some(found), "clusterroles" | "clusterrolebindings") => restore(call, &found, &object).await,
        (Some(_), _) => Ok(()),
        (None, _) => new(call, object.clone()).await,
    })
    .await
}

/// Creates an object of the server's own.
pub async fn new(call: &Call<'_>, object: Value) -> Result<(), ApiError> {
    let record = create::Record::Updated(MANAGER);
    let new = create::New { object, record, warnings: Vec::new(), dry_run: false };
    match create::new_object(call, new).await {
        // Another server on the same store was faster.
        Err(error) if error.reason == "AlreadyExists" => Ok(()),
        other => other.map(drop),
    }
}

/// Gives a default role or binding back what it lacks, unless its annotation says to leave it alone. What others added stays.
/// What a role collects is not looked at here: [`crate::aggregation`]. Differs: a default binding to another role stays as it
/// is, where Kubernetes makes it anew.
async fn restore(call: &Call<'_>, found: &Value, wanted: &Value) -> Result<(), ApiError> {
    let lacking = lacking(found, wanted);
    let kept =
        found["metadata"]["annotations"][AUTOUPDATE] != "true" || found["roleRef"] != wanted["roleRef"];
    if kept || lacking.is_empty() {
        return Ok(());
    }
    let field = if wanted["roleRef"].is_null() { "rules" } else { "subjects" };
    let restored = rewrite(call, Write::own(false), |object| {
        let mut object = object.clone();
        let mut list = object[field].as_array().cloned().unwrap_or_default();
        list.extend(lacking.iter().cloned());
        object[field] = list.into();
        Ok((object, Vec::new()))
    });
    restored.await.map(drop)
}

/// Rules of a role, or subjects of a binding.
fn lacking(found: &Value, wanted: &Value) -> Vec<Value> {
    if wanted["roleRef"].is_null() {
        if wanted["aggregationRule"].is_object() {
            return Vec::new();
        }
        let rules = rbac::missing(&rbac::rules(found), &rbac::rules(wanted));
        return rules.iter().map(rbac::Rule::to_json).collect();
    }
    let known = found["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
    let same = |a: &Value, b: &Value| {
        ["apiGroup", "kind", "name", "namespace"].iter().all(|field| a[*field] == b[*field])
    };
    let subjects = wanted["subjects"].as_array().into_iter().flatten();
    subjects.filter(|subject| !known.iter().any(|other| same(subject, other))).cloned().collect()
}

fn kubernetes_service() -> Value {
    let address = KUBERNETES.to_string();
    json!({"metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]}})
}

fn priority_classes() -> [Value; 2] {
    let class = |name: &str, value: i64, description: &str| {
        json!({"metadata": {"name": name}, "value": value, "preemptionPolicy": "PreemptLowerPriority",
            "description": description})
    };
    [
        class(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        class(
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ]
}

fn extension_authentication(config: &Config) -> Value {
    json!({"metadata": {"name": "extension-apiserver-authentication"}, "data": {"client-ca-file": config.ca_pem}})
}

/// Metadata of a default role or binding.
fn default_metadata(name: &str) -> Value {
    json!({"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {AUTOUPDATE: "true"}})
}
