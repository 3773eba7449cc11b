//! What only pods have: binding to a node and eviction (wire 2.4.4, 2.8).
//!
//! Who may be evicted is decided in [`super::eviction`]; an eviction marks the pod with its reason and then deletes it.

use super::update::{Write, rewrite};
use super::{Call, create, delete, eviction, metadata};
use crate::admission;
use crate::decode;
use crate::deletion::DeleteOptions;
use crate::error::{ApiError, FieldError, ResourceName};
use crate::options::WriteOptions;
use crate::reply::{self, Reply};
use crate::schema::Gvk;
use bytes::Bytes;
use serde_json::{Value, json};

/// POST `pods/NAME/binding`.
pub async fn bind(call: &Call<'_>, body: &Bytes) -> Result<Reply, ApiError> {
    let options = WriteOptions::parse(&call.request.query, "CreateOptions", call.header("user-agent"))?;
    let binding =
        decode::body_as(call.header("content-type"), body, Gvk::new("v1", "Binding"), options.validation)?;
    let binding = binding.object;
    let target = &binding["target"];
    let node = target["name"].as_str().unwrap_or_default().to_string();
    let mut errors = Vec::new();
    if !matches!(target["kind"].as_str(), None | Some("" | "Node")) {
        errors.push(FieldError::not_supported("target.kind", target["kind"].clone(), &["Node", "<empty>"]));
    }
    if node.is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid("", "Binding", &call.target.name, &errors));
    }
    let wanted = metadata::text(&binding, "uid").to_string();
    change_pod(call, options.dry_run, |pod| {
        if !wanted.is_empty() && wanted != metadata::text(pod, "uid") {
            return Err(binding_conflict(
                call,
                format!(
                    "Precondition failed: UID in precondition: {wanted}, UID in object meta: {}",
                    metadata::text(pod, "uid")
                ),
            ));
        }
        bound(call, pod, &node)
    })
    .await?;
    Ok(reply::json_value(201, &done()))
}

fn bound(call: &Call<'_>, pod: &Value, node: &str) -> Result<Value, ApiError> {
    let name = &call.target.name;
    if metadata::is_terminating(pod) {
        return Err(binding_conflict(
            call,
            format!("pod {name} is being deleted, cannot be assigned to a host"),
        ));
    }
    if let Some(now) = pod["spec"]["nodeName"].as_str().filter(|now| !now.is_empty()) {
        return Err(binding_conflict(call, format!("pod {name} is already assigned to node {now:?}")));
    }
    let mut pod = pod.clone();
    pod["spec"]["nodeName"] = node.into();
    set_condition(&mut pod, json!({"type": "PodScheduled", "status": "True"}), call.server.now());
    Ok(pod)
}

fn binding_conflict(call: &Call<'_>, why: String) -> ApiError {
    ApiError::conflict(ResourceName { group: "", plural: "pods/binding" }, &call.target.name, why)
}

/// POST `pods/NAME/eviction`.
pub async fn evict(call: &Call<'_>, body: &Bytes) -> Result<Reply, ApiError> {
    let write = WriteOptions::parse(&call.request.query, "CreateOptions", call.header("user-agent"))?;
    let expected = Gvk::new("policy/v1", "Eviction");
    let asked = decode::body_as(call.header("content-type"), body, expected, write.validation)?;
    let options = DeleteOptions::from_body(&asked.object["deleteOptions"])?;
    let options = DeleteOptions { dry_run: options.dry_run || write.dry_run, ..options };
    let target = call.target;
    let found = call.server.read(call.kind, &target.namespace, &target.name).await?;
    let (pod, _) = found.ok_or_else(|| call.not_found())?;
    admission::evict(call.user, &pod)?;
    eviction::permit(call, &pod, options.dry_run).await?;
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting"});
    change_pod(call, options.dry_run, |pod| {
        let mut pod = pod.clone();
        if !metadata::is_terminating(&pod) {
            set_condition(&mut pod, condition.clone(), call.server.now());
        }
        Ok(pod)
    })
    .await?;
    delete::end(call, &call.target.name, &options).await?;
    Ok(reply::json_value(201, &done()))
}

/// Writes the pod itself, past the rules for users: the change is ours.
async fn change_pod(
    call: &Call<'_>,
    dry_run: bool,
    change: impl Fn(&Value) -> Result<Value, ApiError>,
) -> Result<(), ApiError> {
    let write = Write::own(dry_run);
    rewrite(call, write, |pod| Ok((change(pod)?, Vec::new()))).await.map(drop)
}

fn set_condition(pod: &mut Value, mut condition: Value, now: jiff::Timestamp) {
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let now = create::seconds(now);
    let old =
        conditions.iter().find(|c| c["type"] == condition["type"] && c["status"] == condition["status"]);
    condition["lastTransitionTime"] =
        old.and_then(|c| c["lastTransitionTime"].as_str()).unwrap_or(now.as_str()).into();
    conditions.retain(|c| c["type"] != condition["type"]);
    conditions.push(condition);
    if !pod["status"].is_object() {
        pod["status"] = json!({});
    }
    pod["status"]["conditions"] = conditions.into();
}

fn done() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}
