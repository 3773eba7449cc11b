//! PUT and PATCH of an object or of one part of it (wire 2.2–2.4, 4.1).
//!
//! - A part changes only what is its own (2.4).
//! - A write that changes nothing is not stored (2.2.7).
//! - The last finalizer's removal from a terminating object is its end (2.2.9).
//! - Only a write that names no revision is tried again after a conflict; the others hear 409.

use super::{Call, WRITE_TRIES, Written, apply, create, delete, ending, metadata, same};
use crate::Known;
use crate::addresses;
use crate::admission;
use crate::claims::{self, Claim};
use crate::decode;
use crate::encode;
use crate::error::{ApiError, FieldError};
use crate::node_ports;
use crate::options::WriteOptions;
use crate::ownership::{self, Owners};
use crate::patch;
use crate::reply::Reply;
use crate::resources::pods;
use bytes::Bytes;
use serde_json::Value;
use store::Revision;

/// What of an object a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status.
    Main,
    /// The status, and metadata.
    Status,
    /// `spec.finalizers` of a namespace.
    Finalize,
    /// The conditions that approve or deny a certificate request.
    Approval,
    /// The containers that are added to a running pod to debug it.
    EphemeralContainers,
    /// Anything, by the server itself (binding, eviction); no request names this part.
    Own,
}

impl Part {
    /// The part that a subresource writes.
    pub fn of(subresource: &str) -> Option<Self> {
        match subresource {
            "status" => Some(Part::Status),
            "finalize" => Some(Part::Finalize),
            "approval" => Some(Part::Approval),
            "ephemeralcontainers" => Some(Part::EphemeralContainers),
            _ => None,
        }
    }
}

/// PUT.
pub async fn put(call: &Call<'_>, part: Part, body: &Bytes) -> Result<Reply, ApiError> {
    let options = WriteOptions::parse(&call.request.query, "UpdateOptions", call.header("user-agent"))?;
    let decoded = decode::body(call.header("content-type"), body, call.kind, options.validation)?;
    let mut object = decoded.object;
    named_as_url(call, &mut object)?;
    let target = call.target;
    if part == Part::Main && call.kind.traits.create_on_update {
        let found = call.server.read(call.kind, &target.namespace, &target.name).await?;
        if found.is_none() {
            call.may_create().await?;
            metadata::set(&mut object, "resourceVersion", Value::Null);
            let record = create::Record::Updated(&options.field_manager);
            let new = create::New { object, record, warnings: decoded.warnings, dry_run: options.dry_run };
            return create::new_object(call, new).await?.reply(call);
        }
    }
    let expected = match expected_revision(call, &object) {
        // What is not there is missing before the body lacks anything.
        Err(_) if call.server.read(call.kind, &target.namespace, &target.name).await?.is_none() => {
            return Err(call.not_found());
        }
        expected => expected?,
    };
    let (record, warnings) = (Record::Updated(&options.field_manager), decoded.warnings);
    let write = Write { expected, warnings, ..Write::of(part, record, options.dry_run) };
    rewrite(call, write, |_| Ok((object.clone(), Vec::new()))).await?.reply(call)
}

/// PATCH.
pub async fn patch(call: &Call<'_>, part: Part, body: &Bytes) -> Result<Reply, ApiError> {
    let content_type = call.header("content-type");
    if decode::media_type(content_type) == patch::APPLY_PATCH {
        return apply::apply(call, part, body).await;
    }
    let options = WriteOptions::parse(&call.request.query, "PatchOptions", call.header("user-agent"))?;
    if call.kind.custom().is_some() && decode::media_type(content_type) == patch::STRATEGIC_PATCH {
        return Err(ApiError::unsupported_media_type(patch::ACCEPTED_BY_CUSTOM));
    }
    let patch = patch::Patch::parse(content_type, body)?;
    if call.request.query.has("force") {
        let error = FieldError::forbidden("force", "may not be specified for non-apply patch");
        return Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", &[error]));
    }
    let write = Write::of(part, Record::Updated(&options.field_manager), options.dry_run);
    // The other formats say what is to stand there; only this one speaks of what stands there now.
    let write = Write { shows_owners: matches!(patch, patch::Patch::Json(_)), ..write };
    let patched = rewrite(call, write, |current| {
        let (mut object, warnings) = patch.apply(current, call.kind, options.validation)?;
        named_as_url(call, &mut object)?;
        Ok((object, warnings))
    });
    patched.await?.reply(call)
}

/// What a write does to `metadata.managedFields`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// Nothing: the server itself writes.
    Kept,
    /// This manager owns what it has changed.
    Updated(&'a str),
    /// They come with the object.
    Applied,
}

/// One write of a part.
pub struct Write<'a> {
    /// The part.
    pub part: Part,
    /// Who owns what afterwards.
    pub record: Record<'a>,
    /// Whether the change is shown `managedFields`: few read them.
    pub shows_owners: bool,
    /// The revision that the writer has seen; none: any.
    pub expected: Option<Revision>,
    /// Warnings so far.
    pub warnings: Vec<String>,
    /// Everything but the write.
    pub dry_run: bool,
    /// How often a conflict is tried again.
    pub tries: usize,
}

impl<'a> Write<'a> {
    /// A write of this part.
    pub fn of(part: Part, record: Record<'a>, dry_run: bool) -> Self {
        let shows_owners = record == Record::Applied;
        Self { part, record, shows_owners, expected: None, warnings: Vec::new(), dry_run, tries: WRITE_TRIES }
    }

    /// A write of the server itself.
    pub fn own(dry_run: bool) -> Self {
        Self::of(Part::Own, Record::Kept, dry_run)
    }
}

/// Reads, changes and writes an object until nobody interferes. `change` gets the object with its revision.
pub async fn rewrite(
    call: &Call<'_>,
    mut write: Write<'_>,
    change: impl Fn(&Value) -> Result<(Value, Vec<String>), ApiError>,
) -> Result<Written, ApiError> {
    let (server, kind, target) = (call.server, call.kind, call.target);
    for _ in 0..write.tries {
        let known = server.read_whole(kind, &target.namespace, &target.name).await?;
        let Known { object: old, owners: known, bytes, revision } = known.ok_or_else(|| call.not_found())?;
        if write.expected.is_some_and(|expected| expected != revision) {
            return Err(stale(call));
        }
        let (mut new, mut warnings) = match write.shows_owners {
            true => change(&with_owners(&old, &known))?,
            false => change(&old)?,
        };
        match metadata::text(&new, "resourceVersion") {
            "" | "0" => {}
            seen if seen == revision.to_string() => {}
            _ => return Err(stale(call)),
        }
        let given = metadata::fields(&mut new).remove("managedFields").unwrap_or_default();
        settle(call, write.part, &mut new, &old)?;
        let owners = record(call, write.record, (&old, &known), (&new, &given));
        let mut claims = Vec::new();
        if write.part == Part::Main && addresses::is_service(kind) {
            claims.extend(addresses::assign(server, &mut new, &old, write.dry_run).await?);
            let assigned = node_ports::assign(server, &mut new, &old, &mut claims, write.dry_run).await;
            given_back(call, assigned, &mut claims).await?;
        }
        warnings.extend(kind.rules.warnings(&new, Some(&old)));
        if write.part == Part::EphemeralContainers {
            warnings.extend(admission::pod_security::of_debugging(server, kind, &new).await?);
        }
        if write.part == Part::Main {
            warnings.extend(admission::pod_security::warnings_of_change(server, kind, &new, &old).await?);
        }
        warnings.extend(metadata::finalizer_warnings(&new, kind));
        warnings.splice(0..0, std::mem::take(&mut write.warnings));
        encode::set_revision(&mut new, revision);
        let changed = owners != known || !same::unchanged(kind.traits.verbatim, &new, &old);
        if !changed && (write.dry_run || !ending::is_over(kind, &new)) {
            return Ok(Written { object: old, bytes, revision, code: 200, warnings });
        }
        let bytes = encode::stored_with(kind, &new, &owners);
        if write.dry_run {
            return Ok(Written { object: new, bytes, revision, code: 200, warnings });
        }
        let charged = admission::quota::charge(server, kind, &new, Some(&old), write.dry_run).await;
        given_back(call, charged, &mut claims).await?;
        let lost = addresses::lost(server, kind, &old, &new).await;
        let committed = commit(call, &new, bytes.clone(), revision).await;
        match given_back(call, committed, &mut claims).await? {
            Committed::At(revision) => {
                claims::release(server, lost).await;
                encode::set_revision(&mut new, revision);
                return Ok(Written { object: new, bytes, revision, code: 200, warnings });
            }
            Committed::Interfered => {
                claims::release(server, claims).await;
                write.warnings = warnings;
            }
        }
    }
    Err(stale(call))
}

fn with_owners(object: &Value, owners: &Owners) -> Value {
    let mut whole = object.clone();
    metadata::set(&mut whole, "managedFields", owners.value());
    whole
}

/// The outcome; with a refusal, what was claimed is free again. With 504 nobody knows whether it was written.
async fn given_back<T>(
    call: &Call<'_>,
    outcome: Result<T, ApiError>,
    claims: &mut Vec<Claim>,
) -> Result<T, ApiError> {
    if outcome.as_ref().is_err_and(|error| error.code != 504) {
        claims::release(call.server, std::mem::take(claims)).await;
    }
    outcome
}

/// Who owns what, once the new object is what it will be; `given` is what came with it.
fn record(
    call: &Call<'_>,
    record: Record<'_>,
    (old, known): (&Value, &Owners),
    (new, given): (&Value, &Value),
) -> Owners {
    match record {
        Record::Kept => known.clone(),
        Record::Applied => Owners::of_value(given),
        Record::Updated(name) => {
            let now = create::seconds(call.server.now());
            let writer = ownership::Writer { name, subresource: &call.target.subresource, now: &now };
            ownership::updated(call.kind, (old, known), (new, given), &writer)
        }
    }
}

enum Committed {
    At(Revision),
    Interfered,
}

async fn commit(
    call: &Call<'_>,
    object: &Value,
    bytes: Bytes,
    revision: Revision,
) -> Result<Committed, ApiError> {
    let (server, kind) = (call.server, call.kind);
    let key = encode::key(kind, metadata::text(object, "namespace"), metadata::text(object, "name"));
    let result = match ending::is_over(kind, object) {
        true => delete::remove(server, kind, object, revision).await,
        false => server.store.update(&key, bytes, revision).await,
    };
    match result {
        Ok(written) => Ok(Committed::At(written)),
        Err(store::Error::Conflict { .. }) => Ok(Committed::Interfered),
        Err(store::Error::Missing { .. }) => Err(call.not_found()),
        Err(error) => Err(server.store_error(error)),
    }
}

/// Makes the new object what it may become: defaults, the part's own fields, rules, admission.
fn settle(call: &Call<'_>, part: Part, new: &mut Value, old: &Value) -> Result<(), ApiError> {
    let (kind, rules) = (call.kind, &call.kind.rules);
    let name = metadata::text(old, "name");
    let (given, stored) = (metadata::text(new, "uid").to_string(), metadata::text(old, "uid"));
    if !given.is_empty() && given != stored && call.request.method == http::Method::PUT {
        let why = format!("Precondition failed: UID in precondition: {given}, UID in object meta: {stored}");
        return Err(ApiError::conflict(admission::resource(kind), name, why));
    }
    match part {
        Part::Finalize => *new = only(old, new, &["spec", "finalizers"]),
        Part::EphemeralContainers => *new = only(old, new, &["spec", "ephemeralContainers"]),
        Part::Approval => *new = ending::approved(old, new, &create::seconds(call.server.now())),
        Part::Main | Part::Status | Part::Own => {}
    }
    metadata::carry(new, old);
    rules.default(new);
    match part {
        Part::Main => {
            rules.prepare_update(new, old);
            ending::keep_namespace_finalizers(kind, new, old);
        }
        Part::Status => rules.prepare_status(new, old),
        Part::Finalize | Part::Approval | Part::EphemeralContainers | Part::Own => {}
    }
    same::tidied(kind.traits.verbatim, new);
    let mut errors = metadata::validate_update(new, old, kind);
    errors.extend(match part {
        Part::Main => rules.validate_update(new, old),
        Part::Status => rules.validate_status(new, old),
        Part::EphemeralContainers => pods::validate_debugging(new, old),
        Part::Finalize | Part::Approval | Part::Own => Vec::new(),
    });
    call.check(new, &errors)?;
    admission::update(call, new, old)
}

/// The old object with one field of the new one.
fn only(old: &Value, new: &Value, path: &[&str]) -> Value {
    let mut out = old.clone();
    let (mut from, mut to) = (new, &mut out);
    for step in path {
        from = &from[*step];
        if !to.is_object() {
            *to = Value::Object(serde_json::Map::new());
        }
        to = &mut to[*step];
    }
    *to = from.clone();
    metadata::set(&mut out, "resourceVersion", new["metadata"]["resourceVersion"].clone());
    out
}

/// The body names the object of the URL, or nothing (2.2.1, 4.1.4).
pub fn named_as_url(call: &Call<'_>, object: &mut Value) -> Result<(), ApiError> {
    let (name, wanted) = (metadata::text(object, "name").to_string(), &call.target.name);
    if name.is_empty() {
        metadata::set(object, "name", wanted.as_str().into());
    } else if name != *wanted {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({wanted})"
        )));
    }
    metadata::in_namespace(object, call.kind, &call.target.namespace)
}

/// The revision that a PUT was made from (2.2.2, 2.2.3).
fn expected_revision(call: &Call<'_>, object: &Value) -> Result<Option<Revision>, ApiError> {
    match metadata::text(object, "resourceVersion") {
        "" | "0" if call.kind.traits.unconditional_update => Ok(None),
        "" | "0" => {
            let error = FieldError {
                field: "metadata.resourceVersion".into(),
                problem: crate::error::Problem::Invalid,
                value: Value::from(0),
                detail: "must be specified for an update".into(),
            };
            let mut refused = ApiError::invalid(call.kind.group, call.kind.kind, &call.target.name, &[error]);
            // Kubernetes prints the number in its own base here.
            refused.message = refused.message.replace("Invalid value: 0:", "Invalid value: 0x0:");
            Err(refused)
        }
        text => text.parse().map(Some).map_err(|_| stale(call)),
    }
}

fn stale(call: &Call<'_>) -> ApiError {
    ApiError::stale(admission::resource(call.kind), &call.target.name)
}
