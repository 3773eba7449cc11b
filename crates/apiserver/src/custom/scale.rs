//! `/scale` of a defined kind: its replicas, as an `autoscaling/v1` Scale.
//!
//! The paths come from the definition. A write changes the replicas and nothing else; everything of the main resource
//! holds for it too. Kubernetes: `registry/customresource/etcd.go` (ScaleREST).

use super::Custom;
use crate::decode;
use crate::error::{ApiError, FieldError};
use crate::options::WriteOptions;
use crate::patch::{self, Patch};
use crate::reply::{self, Reply};
use crate::request::Verb;
use crate::schema::Gvk;
use crate::verbs::update::{Part, Record, Write, rewrite};
use crate::verbs::{Call, metadata};
use bytes::Bytes;
use serde_json::{Value, json};

const SCALE: Gvk<'static> = Gvk { group: "autoscaling", version: "v1", kind: "Scale" };
/// What a PATCH of a scale may be.
const ACCEPTED: &[&str] = &[patch::JSON_PATCH, patch::MERGE_PATCH];

/// Where the numbers stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `.spec.replicas`
    spec: Vec<String>,
    /// `.status.replicas`
    status: Vec<String>,
    /// `.status.selector`; empty when there is none.
    selector: Vec<String>,
}

impl Paths {
    /// Reads `subresources.scale`.
    pub fn read(scale: &Value) -> Option<Self> {
        let path = |field: &str| {
            let text = scale[field].as_str().unwrap_or_default();
            text.split('.').filter(|name| !name.is_empty()).map(str::to_string).collect::<Vec<_>>()
        };
        scale.is_object().then(|| Self {
            spec: path("specReplicasPath"),
            status: path("statusReplicasPath"),
            selector: path("labelSelectorPath"),
        })
    }
}

/// Replicas that are no number of replicas.
pub fn errors(paths: &Paths, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for path in [&paths.spec, &paths.status] {
        let field = format!(".{}", path.join("."));
        match at(object, path) {
            None => {}
            Some(value) => match value.as_i64() {
                None => {
                    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_string);
                    let detail = format!(
                        "{field} accessor error: {shown} is of the type {}, expected int64",
                        go_type(value)
                    );
                    errors.push(FieldError::invalid(field, 0, detail));
                }
                Some(count) if count < 0 => {
                    errors.push(FieldError::invalid(field, count, "should be a non-negative integer"));
                }
                Some(count) if count > i64::from(i32::MAX) => {
                    let detail = format!("should be less than or equal to {}", i32::MAX);
                    errors.push(FieldError::invalid(field, count, detail));
                }
                Some(_) => {}
            },
        }
    }
    errors
}

/// What Go calls the type of a value that it has read from JSON.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// GET, PUT or PATCH.
pub async fn answer(call: &Call<'_>, custom: &Custom, verb: Verb, body: &Bytes) -> Result<Reply, ApiError> {
    let paths = custom.scale.as_ref().ok_or_else(ApiError::no_such_path)?;
    match verb {
        Verb::Get => get(call, paths).await,
        Verb::Update => put(call, paths, body).await,
        Verb::Patch => patch(call, paths, body).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

async fn get(call: &Call<'_>, paths: &Paths) -> Result<Reply, ApiError> {
    let found = call.server.read(call.kind, &call.target.namespace, &call.target.name).await?;
    let (object, _) = found.ok_or_else(|| call.not_found())?;
    if at(&object, &paths.spec).is_none() {
        let path = format!(".{}", paths.spec.join("."));
        // Differs: kube-apiserver answers 500, but it is the object that lacks something.
        return Err(ApiError::bad_request(format!("the spec replicas field {path:?} does not exist")));
    }
    Ok(reply::json_value(200, &scale(paths, &object)))
}

async fn put(call: &Call<'_>, paths: &Paths, body: &Bytes) -> Result<Reply, ApiError> {
    let options = WriteOptions::parse(&call.request.query, "UpdateOptions", call.header("user-agent"))?;
    let decoded = decode::body_as(call.header("content-type"), body, SCALE, options.validation)?;
    let mut wanted = decoded.object;
    crate::verbs::update::named_as_url(call, &mut wanted)?;
    let change = |_: &Value| Ok((wanted.clone(), Vec::new()));
    write(call, paths, &options, decoded.warnings, change).await
}

async fn patch(call: &Call<'_>, paths: &Paths, body: &Bytes) -> Result<Reply, ApiError> {
    let options = WriteOptions::parse(&call.request.query, "PatchOptions", call.header("user-agent"))?;
    let content_type = call.header("content-type");
    if !ACCEPTED.contains(&decode::media_type(content_type).as_str()) {
        return Err(ApiError::unsupported_media_type(ACCEPTED));
    }
    let patch = Patch::parse(content_type, body)?;
    let change = |scale: &Value| {
        let mut patched = patch.raw(scale, SCALE)?;
        let warnings = decode::check_as(SCALE, &mut patched, options.validation)?;
        Ok((patched, warnings))
    };
    write(call, paths, &options, Vec::new(), change).await
}

async fn write(
    call: &Call<'_>,
    paths: &Paths,
    options: &WriteOptions,
    warnings: Vec<String>,
    change: impl Fn(&Value) -> Result<(Value, Vec<String>), ApiError>,
) -> Result<Reply, ApiError> {
    let record = Record::Updated(&options.field_manager);
    let write = Write { warnings, ..Write::of(Part::Main, record, options.dry_run) };
    let written = rewrite(call, write, |live| {
        let (wanted, warnings) = change(&scale(paths, live))?;
        let mut object = live.clone();
        let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or_default();
        if !put_at(&mut object, &paths.spec, replicas.into()) {
            let path = format!(".{}", paths.spec.join("."));
            return Err(ApiError::bad_request(format!("the spec replicas field {path:?} cannot be set")));
        }
        metadata::set(&mut object, "resourceVersion", wanted["metadata"]["resourceVersion"].clone());
        Ok((object, warnings))
    });
    let written = written.await?;
    let reply = reply::json_value(written.code, &scale(paths, &written.object));
    Ok(reply::with_warnings(reply, &written.warnings))
}

fn scale(paths: &Paths, object: &Value) -> Value {
    let count = |path: &[String]| at(object, path).and_then(Value::as_i64).unwrap_or_default();
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !object["metadata"][field].is_null() {
            metadata[field] = object["metadata"][field].clone();
        }
    }
    let mut scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": count(&paths.spec)}, "status": {"replicas": count(&paths.status)}});
    if let Some(selector) = at(object, &paths.selector).and_then(Value::as_str) {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    if path.is_empty() { None } else { path.iter().try_fold(object, |value, name| value.get(name)) }
}

/// Sets a value, with the maps that lead to it. False where something else stands in the way.
fn put_at(object: &mut Value, path: &[String], value: Value) -> bool {
    let mut place = object;
    for name in path {
        if place.is_null() {
            *place = json!({});
        }
        let Some(map) = place.as_object_mut() else { return false };
        place = map.entry(name.clone()).or_insert(Value::Null);
    }
    *place = value;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> Paths {
        let scale = json!({"specReplicasPath": ".spec.a.replicas", "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector"});
        Paths::read(&scale).unwrap()
    }

    #[test]
    fn a_scale_shows_the_numbers_of_its_object() {
        let object = json!({"metadata": {"name": "x", "labels": {}}, "spec": {"a": {"replicas": 3}},
            "status": {"replicas": 2, "selector": "a=b"}});
        let expected = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "x"},
            "spec": {"replicas": 3}, "status": {"replicas": 2, "selector": "a=b"}});
        assert_eq!(scale(&paths(), &object), expected);
    }

    #[test]
    fn replicas_are_set_where_there_was_nothing_and_never_into_a_text() {
        let mut object = json!({});
        assert!(put_at(&mut object, &paths().spec, 4.into()));
        assert_eq!(object, json!({"spec": {"a": {"replicas": 4}}}));
        assert!(!put_at(&mut json!({"spec": "text"}), &paths().spec, 4.into()));
    }

    #[test]
    fn replicas_are_whole_and_not_negative() {
        let check = |value: Value, expected: usize| {
            assert_eq!(
                errors(&paths(), &json!({"spec": {"a": {"replicas": value}}})).len(),
                expected,
                "{value}"
            );
        };
        check(json!(0), 0);
        check(json!(-1), 1);
        check(json!(3_000_000_000i64), 1);
        check(json!("three"), 1);
    }
}
