//! PATCH with `application/apply-patch+yaml`: server-side apply (wire 4.5).
//!
//! What the object becomes, and whose its fields are, is decided in [`crate::ownership`]; here is the way there and back.
//! An apply to nothing is a create (4.5.2); one that changes nothing is not stored (4.5.6).

use super::update::{self, Part, Write};
use super::{Call, create, metadata};
use crate::admission;
use crate::decode;
use crate::error::{ApiError, FieldError};
use crate::options::WriteOptions;
use crate::ownership::{self, Writer};
use crate::reply::Reply;
use bytes::Bytes;
use serde_json::{Value, json};

/// PATCH of an apply configuration.
pub async fn apply(call: &Call<'_>, part: Part, body: &Bytes) -> Result<Reply, ApiError> {
    let options = WriteOptions::parse(&call.request.query, "PatchOptions", call.header("user-agent"))?;
    named_manager(call)?;
    let decode::Decoded { object: mut config, warnings } =
        decode::partial(body, call.kind, options.validation)?;
    if !config["metadata"]["managedFields"].is_null() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    update::named_as_url(call, &mut config)?;
    let now = create::seconds(call.server.now());
    let subresource = call.target.subresource.as_str();
    let writer = Writer { name: &options.field_manager, subresource, now: &now };
    let force = call.request.query.flag("force");
    let (namespace, name) = (&call.target.namespace, &call.target.name);
    if call.server.read(call.kind, namespace, name).await?.is_none() {
        call.may_create().await?;
        let object = absent(call, &config, force, &writer)?;
        let new = create::New { dry_run: options.dry_run, warnings, ..object };
        return create::new_object(call, new).await?.reply(call);
    }
    let write = Write { warnings, ..Write::of(part, update::Record::Applied, options.dry_run) };
    let applied = update::rewrite(call, write, |live| {
        let (mut object, managers) = ownership::applied(call.kind, live, &config, force, &writer)?;
        ownership::write_managers(&mut object, &managers);
        Ok((object, Vec::new()))
    });
    applied.await?.reply(call)
}

/// An applier has a name of its own; the user agent is none.
fn named_manager(call: &Call<'_>) -> Result<(), ApiError> {
    match call.request.query.get("fieldManager") {
        "" => {
            let error = FieldError::required("fieldManager", "is required for apply patch");
            Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", &[error]))
        }
        _ => Ok(()),
    }
}

/// An apply where there is nothing yet.
fn absent<'a>(
    call: &Call<'_>,
    config: &Value,
    force: bool,
    writer: &Writer<'_>,
) -> Result<create::New<'a>, ApiError> {
    if !writer.subresource.is_empty() {
        return Err(call.not_found());
    }
    let uid = metadata::text(config, "uid");
    if !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(ApiError::conflict(admission::resource(call.kind), &call.target.name, why));
    }
    let (object, managers) = ownership::applied(call.kind, &json!({}), config, force, writer)?;
    let record = create::Record::Applied(managers);
    Ok(create::New { object, record, warnings: Vec::new(), dry_run: false })
}
