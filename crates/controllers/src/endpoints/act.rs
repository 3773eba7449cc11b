//! Carries out what was planned for the slices of one owner, and remembers what was written.
//!
//! Changes go as merge patches with the resourceVersion that was seen: another's write in between is a conflict, and the
//! key runs again. What is gone already, or cannot be created because its namespace ends, is as good as done.

use super::fill::Plan;
use super::trigger;
use super::written::Written;
use crate::act::is_namespace_terminating;
use crate::{Shared, tolerate};
use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Writes slices; `since` is the moment of the news that they tell.
pub(crate) async fn slices(
    shared: &Shared,
    namespace: &str,
    plan: Plan,
    since: Option<Timestamp>,
    written: &mut Written,
) -> kube::Result<()> {
    let api = Api::<EndpointSlice>::namespaced(shared.client.clone(), namespace);
    for mut slice in plan.create {
        if let Some(since) = since {
            let annotations = slice.metadata.annotations.get_or_insert_default();
            annotations.insert(trigger::ANNOTATION.to_string(), since.to_string());
        }
        let outcome = api.create(&PostParams::default(), &slice).await;
        if let Some(stored) = tolerate(outcome, is_namespace_terminating)? {
            written.stored(&stored.metadata, Instant::now());
        }
    }
    for (seen, new) in plan.update {
        let body = json!({"metadata": metadata(&seen.metadata, &new.metadata, since),
            "endpoints": new.endpoints, "ports": new.ports});
        let name = seen.metadata.name.as_deref().unwrap_or_default();
        let outcome = api.patch(name, &PatchParams::default(), &Patch::Merge(body)).await;
        if let Some(stored) = tolerate(outcome, Status::is_not_found)? {
            written.stored(&stored.metadata, Instant::now());
        }
    }
    for seen in plan.delete {
        let name = seen.metadata.name.as_deref().unwrap_or_default();
        tolerate(api.delete(name, &this_one(&seen.metadata)).await, Status::is_not_found)?;
        written.deleted(&seen.metadata, Instant::now());
    }
    Ok(())
}

/// A deletion of this object and of no other of its name.
pub(crate) fn this_one(meta: &ObjectMeta) -> DeleteParams {
    let preconditions = Preconditions { uid: meta.uid.clone(), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

/// The change from one metadata to another, as a merge patch. Without news, the moment of the last ones goes.
pub(super) fn metadata(seen: &ObjectMeta, new: &ObjectMeta, since: Option<Timestamp>) -> Value {
    let mut annotations = difference(seen.annotations.as_ref(), new.annotations.as_ref());
    annotations.insert(trigger::ANNOTATION.to_string(), json!(since.map(|since| since.to_string())));
    json!({"resourceVersion": seen.resource_version, "annotations": annotations,
        "labels": difference(seen.labels.as_ref(), new.labels.as_ref())})
}

fn difference(
    seen: Option<&BTreeMap<String, String>>,
    new: Option<&BTreeMap<String, String>>,
) -> Map<String, Value> {
    let none = BTreeMap::new();
    let (seen, new) = (seen.unwrap_or(&none), new.unwrap_or(&none));
    let gone = seen.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let other = new.iter().filter(|(key, value)| seen.get(*key) != Some(value));
    gone.chain(other.map(|(key, value)| (key.clone(), json!(value)))).collect()
}
