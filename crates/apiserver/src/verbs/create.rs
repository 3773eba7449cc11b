//! POST of a new object (wire 2.1): decode, place, default, admit, stamp, prepare, validate, store.
//!
//! A generated name that is taken is drawn again (2.1.9). A dry run does everything but the last step (2.5.1).

use super::{Call, Written, metadata, same};
use crate::addresses;
use crate::admission;
use crate::chance;
use crate::claims::{self, Claim};
use crate::custom::Custom;
use crate::decode;
use crate::encode;
use crate::error::{ApiError, ResourceName};
use crate::node_ports;
use crate::options::WriteOptions;
use crate::ownership::{self, Owners};
use crate::reply::Reply;
use bytes::Bytes;
use serde_json::Value;
use store::Revision;

/// How many generated names are tried before the client must try again.
const NAME_TRIES: usize = 8;

/// POST on a collection.
pub async fn create(call: &Call<'_>, body: &Bytes) -> Result<Reply, ApiError> {
    let options = WriteOptions::parse(&call.request.query, "CreateOptions", call.header("user-agent"))?;
    let decoded = decode::body(call.header("content-type"), body, call.kind, options.validation)?;
    let record = Record::Updated(&options.field_manager);
    let new = New { object: decoded.object, record, warnings: decoded.warnings, dry_run: options.dry_run };
    new_object(call, new).await?.reply(call)
}

/// Whose the fields of a new object are.
#[derive(Debug, Clone)]
pub enum Record<'a> {
    /// All of them this manager's.
    Updated(&'a str),
    /// As an apply says.
    Applied(ownership::Managers),
}

/// An object to create.
pub struct New<'a> {
    /// As the client sent it.
    pub object: Value,
    /// Who owns it.
    pub record: Record<'a>,
    /// Warnings so far.
    pub warnings: Vec<String>,
    /// Everything but the write.
    pub dry_run: bool,
}

/// Stores a decoded object, also for a PUT or an apply that creates (2.2.4, 4.5.2).
pub async fn new_object(call: &Call<'_>, new: New<'_>) -> Result<Written, ApiError> {
    let _one_at_a_time = match addresses::is_service(call.kind) {
        true => Some(call.server.addresses.lock().await),
        false => None,
    };
    let mut claims = Vec::new();
    let written = stored_object(call, new, &mut claims).await;
    // With 504 nobody knows whether the service is there.
    if written.as_ref().is_err_and(|error| error.code != 504) {
        claims::release(call.server, claims).await;
    }
    written
}

async fn stored_object(call: &Call<'_>, new: New<'_>, claims: &mut Vec<Claim>) -> Result<Written, ApiError> {
    let New { mut object, record, mut warnings, dry_run } = new;
    let (server, kind) = (call.server, call.kind);
    if kind.custom().is_some_and(Custom::is_terminating) {
        return Err(going());
    }
    metadata::place(&mut object, kind, &call.target.namespace)?;
    kind.rules.default(&mut object);
    let base = metadata::text(&object, "generateName").to_string();
    let generated = metadata::text(&object, "name").is_empty() && !base.is_empty();
    let admitted = admission::create(server, call.user, kind, &mut object).await?;
    if addresses::is_service(kind) {
        claims.extend(addresses::assign(server, &mut object, &Value::Null, dry_run).await?);
        node_ports::assign(server, &mut object, &Value::Null, claims, dry_run).await?;
    }
    let now = server.now();
    metadata::stamp(&mut object, kind, &chance::uuid(server.config.sources.chance), &seconds(now));
    kind.rules.prepare_create(&mut object);
    same::tidied(kind.traits.verbatim, &mut object);
    let owners = owners(call, &record, &object, &seconds(now));
    warnings.extend(kind.rules.warnings(&object, None));
    warnings.extend(admitted);
    warnings.extend(metadata::finalizer_warnings(&object, kind));
    for attempt in 0..NAME_TRIES {
        if generated {
            let name = objects::name::generate(&base, &mut || {
                u32::from_le_bytes(chance::bytes(server.config.sources.chance))
            });
            metadata::set(&mut object, "name", name.into());
        }
        let mut errors = metadata::validate(&object, kind);
        errors.extend(kind.rules.validate_create(&object));
        call.check(&object, &errors)?;
        if attempt == 0 {
            admission::quota::charge(server, kind, &object, None, dry_run).await?;
        }
        let bytes = encode::stored_with(kind, &object, &owners);
        match store(call, &object, bytes.clone(), dry_run).await {
            Err(error) if generated && error.reason == "AlreadyExists" => continue,
            Err(error) => return Err(error),
            Ok(revision) => {
                if !dry_run {
                    encode::set_revision(&mut object, revision);
                }
                return Ok(Written { object, bytes, revision, code: 201, warnings });
            }
        }
    }
    Err(no_unique_name(admission::resource(kind), &base))
}

fn owners(call: &Call<'_>, record: &Record<'_>, object: &Value, now: &str) -> Owners {
    match record {
        Record::Updated(name) => {
            let writer = ownership::Writer { name, subresource: "", now };
            ownership::created(call.kind, object, &writer)
        }
        Record::Applied(managers) => Owners::of(managers),
    }
}

async fn store(call: &Call<'_>, object: &Value, bytes: Bytes, dry_run: bool) -> Result<Revision, ApiError> {
    let server = call.server;
    let (namespace, name) = (metadata::text(object, "namespace"), metadata::text(object, "name"));
    if dry_run {
        return match server.read(call.kind, namespace, name).await? {
            Some((existing, _)) => Err(exists(call, name, &existing)),
            None => Ok(encode::UNSTORED),
        };
    }
    match server.store.create(&encode::key(call.kind, namespace, name), bytes).await {
        Ok(revision) => Ok(revision),
        Err(store::Error::Exists { .. }) => {
            let existing = server.read(call.kind, namespace, name).await?.map(|(object, _)| object);
            Err(exists(call, name, &existing.unwrap_or_default()))
        }
        Err(error) => Err(server.store_error(error)),
    }
}

/// 405 while the kind itself is being deleted (2.11.4).
fn going() -> ApiError {
    let message = "create not allowed while custom resource definition is terminating".to_string();
    ApiError { message, ..ApiError::method_not_allowed() }
}

/// 409 of a taken name; a terminating holder is said so (2.1.8).
fn exists(call: &Call<'_>, name: &str, existing: &Value) -> ApiError {
    let error = ApiError::already_exists(admission::resource(call.kind), name);
    match metadata::is_terminating(existing) {
        true => ApiError { message: format!("object is being deleted: {}", error.message), ..error },
        false => error,
    }
}

fn no_unique_name(resource: ResourceName<'_>, base: &str) -> ApiError {
    let error = ApiError::already_exists(resource, base);
    ApiError {
        message: format!(
            "{}, the server was not able to generate a unique name for the object",
            error.message
        ),
        retry_after: Some(1),
        ..error
    }
}

/// A time as `metav1.Time` writes it: whole seconds, `Z`.
pub fn seconds(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
