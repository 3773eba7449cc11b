//! DELETE of one object or of a collection (wire 2.6). What it makes of an object is decided in [`super::ending`].

use super::ending::{self, Plan};
use super::{Call, WRITE_TRIES, metadata, read};
use crate::accept::{self, Form, Shape};
use crate::addresses;
use crate::admission;
use crate::cache::item::Item;
use crate::claims;
use crate::decode;
use crate::deletion::DeleteOptions;
use crate::encode;
use crate::error::ApiError;
use crate::options::ListOptions;
use crate::ownership::Owners;
use crate::reply::{self, Page, Reply};
use crate::resources::Kind;
use crate::{Inner, Known};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use store::Revision;

/// What became of an object.
pub enum Ended {
    /// It waits for its grace or its finalizers.
    Marked(Bytes, Revision),
    /// It is gone; this was its last state.
    Gone(Last),
}

/// An object that is gone.
pub struct Last {
    object: Value,
    owners: Owners,
    revision: Revision,
}

/// DELETE of one object.
pub async fn one(call: &Call<'_>, body: &Bytes) -> Result<Reply, ApiError> {
    let options = options(call, body)?;
    let form = call.form()?;
    match end(call, &call.target.name, &options).await? {
        Ended::Marked(bytes, revision) => Ok(reply::stored(200, call.kind, (&bytes, revision), form)),
        Ended::Gone(last) if call.kind.traits.delete_returns_object => {
            let bytes = encode::stored_with(call.kind, &last.object, &last.owners);
            Ok(reply::stored(200, call.kind, (&bytes, last.revision), form))
        }
        Ended::Gone(last) => Ok(reply::json_value(200, &success(call, &last.object))),
    }
}

/// DELETE of a collection: each object by itself, those that are gone already are skipped (2.6.8).
pub async fn collection(call: &Call<'_>, body: &Bytes) -> Result<Reply, ApiError> {
    let options = options(call, body)?;
    let list = ListOptions::parse(&call.request.query, false)?;
    let filter = read::filter(call, &list)?;
    call.server.consistent().await?;
    let mut snapshot = read::collection(call)?.select(&filter);
    if list.limit > 0 {
        snapshot.items.truncate(list.limit);
    }
    for item in &snapshot.items {
        match end(call, &item.name, &options).await {
            Err(error) if error.code == 404 => {}
            other => drop(other?),
        }
    }
    let form = accept::form(call.header("accept"), &call.request.query, Shape::List).unwrap_or(Form::Object);
    let page = Page { revision: snapshot.revision, resume: String::new(), remaining: None };
    let items = snapshot.items.iter().map(<Arc<Item>>::as_ref);
    Ok(reply::json_bytes(200, reply::list(call.kind, &page, items, form)))
}

/// Ends one object of the call's kind and namespace.
pub async fn end(call: &Call<'_>, name: &str, options: &DeleteOptions) -> Result<Ended, ApiError> {
    let (server, kind, namespace) = (call.server, call.kind, &call.target.namespace);
    let resource = admission::resource(kind);
    for _ in 0..WRITE_TRIES {
        let known = server.read_whole(kind, namespace, name).await?;
        let Known { object, owners, bytes, revision } =
            known.ok_or_else(|| ApiError::not_found(resource, name))?;
        preconditions(call, name, &object, options)?;
        admission::delete(call.user, kind, &object)?;
        let result = match ending::plan(kind, &object, options, server.now()) {
            Plan::Nothing => return Ok(Ended::Marked(bytes, revision)),
            Plan::Remove => {
                let mut last = Last { object, owners, revision };
                if kind.traits.graceful_delete {
                    metadata::set(&mut last.object, "deletionGracePeriodSeconds", 0.into());
                }
                if options.dry_run {
                    return Ok(Ended::Gone(last));
                }
                remove(server, kind, &last.object, revision).await.map(|_| Ended::Gone(last))
            }
            Plan::Mark(marked) => {
                let (key, bytes) =
                    (encode::key(kind, namespace, name), encode::stored_with(kind, &marked, &owners));
                if options.dry_run {
                    return Ok(Ended::Marked(bytes, revision));
                }
                let written = server.store.update(&key, bytes.clone(), revision).await;
                written.map(|written| Ended::Marked(bytes, written))
            }
        };
        return match result {
            Ok(ended) => Ok(ended),
            Err(store::Error::Conflict { .. }) => continue,
            Err(store::Error::Missing { .. }) => Err(ApiError::not_found(resource, name)),
            Err(error) => Err(server.store_error(error)),
        };
    }
    Err(ApiError::stale(resource, name))
}

/// Takes an object out of the store as it was seen, and then gives back what only one object may have.
pub async fn remove(
    server: &Inner,
    kind: &Kind,
    object: &Value,
    revision: Revision,
) -> store::Result<Revision> {
    let key = encode::key(kind, metadata::text(object, "namespace"), metadata::text(object, "name"));
    let claims = addresses::lost(server, kind, object, &Value::Null).await;
    let removed = server.store.delete(&key, revision).await?;
    claims::release(server, claims).await;
    Ok(removed)
}

/// The options: from the body when there is one, else from the query, never from both (2.6.1).
fn options(call: &Call<'_>, body: &Bytes) -> Result<DeleteOptions, ApiError> {
    if body.is_empty() {
        return DeleteOptions::from_query(&call.request.query);
    }
    let options = decode::delete_options(call.header("content-type"), body)?;
    DeleteOptions::from_body(&options)
}

/// 2.6.4. Here the details name the Kind.
fn preconditions(
    call: &Call<'_>,
    name: &str,
    object: &Value,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let kind = crate::error::ResourceName { group: call.kind.group, plural: call.kind.kind };
    let uid = metadata::text(object, "uid");
    if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
        let why = format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        );
        return Err(ApiError::conflict(kind, name, why));
    }
    let revision = metadata::text(object, "resourceVersion");
    if let Some(wanted) = options.resource_version.as_deref().filter(|wanted| *wanted != revision) {
        let why = format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({revision}). The object might have been modified"
        );
        return Err(ApiError::conflict(kind, name, why));
    }
    Ok(())
}

/// The Status of an immediate deletion (2.6.2).
fn success(call: &Call<'_>, object: &Value) -> Value {
    let mut details = json!({"name": metadata::text(object, "name"), "kind": call.kind.plural,
        "uid": metadata::text(object, "uid")});
    if !call.kind.group.is_empty() {
        details["group"] = call.kind.group.into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
