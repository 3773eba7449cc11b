//! POST `serviceaccounts/NAME/token`: a token for an account, perhaps bound to a Pod, a Secret or a Node (wire 7.4.2).
//!
//! Nothing is stored: what was issued is known by the signature alone. Who may ask is decided before, as for every request.
//! Kubernetes: `registry/core/serviceaccount/storage/token.go`, `apis/authentication/validation`.

use super::claims::{Bound, Claims, Named, Wish};
use super::{Issuer, signed};
use crate::admission;
use crate::chance;
use crate::decode::{self, Decoded};
use crate::error::{ApiError, FieldError, ResourceName};
use crate::options::WriteOptions;
use crate::reply::{self, Reply};
use crate::resources::{Kind, nodes, pods, secrets};
use crate::schema::Gvk;
use crate::verbs::metadata::{self, text};
use crate::verbs::{Call, create};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Life of a token whose request does not say it, in seconds.
const SECONDS: i64 = 3600;
/// Shorter lives would make clients ask all the time.
const SHORTEST: i64 = 600;
/// Kubernetes' own bound.
const LONGEST: i64 = 1 << 32;
/// Texts of a request are in every later request's header.
const AUDIENCES_MAX: usize = 64;

const REVIEWS: &str = "authentication.k8s.io";

/// Answers with a token.
pub async fn answer(call: &Call<'_>, body: &Bytes) -> Result<Reply, ApiError> {
    let issuer = call.server.config.issuer.as_ref().ok_or_else(ApiError::no_such_path)?;
    let options = WriteOptions::parse(&call.request.query, "CreateOptions", call.header("user-agent"))?;
    let expected = Gvk::new("authentication.k8s.io/v1", "TokenRequest");
    let decoded = decode::body_as(call.header("content-type"), body, expected, options.validation)?;
    let Decoded { object: mut request, warnings } = decoded;
    place(call, &request)?;
    let account = call.server.read(call.kind, &call.target.namespace, &call.target.name).await?;
    let (account, _) = account.ok_or_else(|| call.not_found())?;
    admission::token(call, &request["spec"]).await?;
    let now = call.server.now();
    fill(call, issuer, &mut request, now);
    validate(&request)?;
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(SECONDS);
    let mut bound = Bound {
        namespace: call.target.namespace.clone(),
        node: None,
        pod: None,
        secret: None,
        serviceaccount: named(&account),
        warnafter: None,
    };
    bind(call, &request["spec"]["boundObjectRef"], &mut bound).await?;
    let audiences = strings(&request["spec"]["audiences"]);
    let wish = Wish { bound, audiences, seconds, id: chance::uuid(call.server.config.sources.chance) };
    let claims = serde_json::to_value(Claims::new(issuer, wish, now)).map_err(ApiError::internal)?;
    let token = signed::sign(&issuer.keys, &claims)
        .ok_or_else(|| ApiError::internal("failed to generate token: the system gives no randomness"))?;
    let end = now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    request["status"] = serde_json::json!({"token": token, "expirationTimestamp": create::seconds(end)});
    Ok(reply::with_warnings(reply::json_value(201, &request), &warnings))
}

/// Name and namespace in the body must be those of the URL.
fn place(call: &Call<'_>, request: &Value) -> Result<(), ApiError> {
    let target = call.target;
    for (field, wanted) in [("name", &target.name), ("namespace", &target.namespace)] {
        let given = text(request, field);
        if !given.is_empty() && given != wanted {
            let why = format!("must match the service account {field} if specified");
            let error = FieldError::invalid(format!("metadata.{field}"), given, why);
            return Err(ApiError::invalid(REVIEWS, "TokenRequest", &target.name, &[error]));
        }
    }
    Ok(())
}

fn fill(call: &Call<'_>, issuer: &Issuer, request: &mut Value, now: Timestamp) {
    metadata::set(request, "name", call.target.name.as_str().into());
    metadata::set(request, "namespace", call.target.namespace.as_str().into());
    metadata::set(request, "creationTimestamp", create::seconds(now).into());
    if !request["spec"].is_object() {
        request["spec"] = serde_json::json!({});
    }
    let spec = &mut request["spec"];
    if spec["audiences"].as_array().is_none_or(Vec::is_empty) {
        spec["audiences"] = issuer.audiences.clone().into();
    }
    if spec["expirationSeconds"].is_null() {
        spec["expirationSeconds"] = SECONDS.into();
    }
}

fn validate(request: &Value) -> Result<(), ApiError> {
    let (seconds, path) = (request["spec"]["expirationSeconds"].as_i64(), "spec.expirationSeconds");
    let mut errors = Vec::new();
    if seconds.is_none_or(|seconds| seconds < SHORTEST) {
        let why = "may not specify a duration less than 10 minutes";
        errors.push(FieldError::invalid(path, request["spec"]["expirationSeconds"].clone(), why));
    }
    if seconds.is_some_and(|seconds| seconds > LONGEST) {
        let why = "may not specify a duration larger than 2^32 seconds";
        errors.push(FieldError::invalid(path, request["spec"]["expirationSeconds"].clone(), why));
    }
    let audiences = request["spec"]["audiences"].as_array().map_or(0, Vec::len);
    if audiences > AUDIENCES_MAX {
        errors.push(FieldError::too_many("spec.audiences", audiences, AUDIENCES_MAX));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(ApiError::invalid(REVIEWS, "TokenRequest", "", &errors)),
    }
}

/// Reads what the token is to be bound to.
async fn bind(call: &Call<'_>, reference: &Value, bound: &mut Bound) -> Result<(), ApiError> {
    if !reference.is_object() {
        return Ok(());
    }
    let word = |field: &str| reference[field].as_str().unwrap_or_default();
    let (api_version, kind, name) = (word("apiVersion"), word("kind"), word("name"));
    let namespace = call.target.namespace.as_str();
    let object = match (api_version.split_once('/').is_some(), kind) {
        (false, "Pod") => {
            let pod = existing(call, &pods::KIND, namespace, name).await?;
            let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
            if account != call.target.name {
                return Err(other_account(&call.target.name));
            }
            bound.pod = Some(named(&pod));
            bound.node = node_of(call, &pod).await?;
            pod
        }
        (false, "Secret") => {
            let secret = existing(call, &secrets::KIND, namespace, name).await?;
            bound.secret = Some(named(&secret));
            secret
        }
        (false, "Node") => {
            let node = existing(call, &nodes::KIND, "", name).await?;
            bound.node = Some(named(&node));
            node
        }
        _ => {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let text = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(ApiError::bad_request(text));
        }
    };
    same(kind, name, word("uid"), text(&object, "uid"))
}

async fn existing(call: &Call<'_>, kind: &Kind, namespace: &str, name: &str) -> Result<Value, ApiError> {
    let found = call.server.read(kind, namespace, name).await?;
    found.map(|(object, _)| object).ok_or_else(|| ApiError::not_found(admission::resource(kind), name))
}

fn other_account(name: &str) -> ApiError {
    ApiError::bad_request(format!(
        "cannot bind token for serviceaccount {name:?} to pod running with different serviceaccount name."
    ))
}

/// The node of a pod, for who reads the token; one that has no object is only named.
async fn node_of(call: &Call<'_>, pod: &Value) -> Result<Option<Named>, ApiError> {
    let Some(name) = pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let node = call.server.read(&nodes::KIND, "", name).await?;
    let unknown = || Named { name: name.to_string(), uid: String::new() };
    Ok(Some(node.map_or_else(unknown, |(node, _)| named(&node))))
}

/// Whether the object is the one that the client means.
fn same(kind: &str, name: &str, wanted: &str, is: &str) -> Result<(), ApiError> {
    if wanted.is_empty() || wanted == is {
        return Ok(());
    }
    let why = format!(
        "the UID in the bound object reference ({wanted}) does not match the UID in record. \
         The object might have been deleted and then recreated"
    );
    Err(ApiError::conflict(ResourceName { group: "", plural: kind }, name, why))
}

fn named(object: &Value) -> Named {
    Named { name: text(object, "name").to_string(), uid: text(object, "uid").to_string() }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect()
}
