//! GET: one object, a list, a watch (wire 3). Answered from the cache, after it has caught up with the store; with
//! `resourceVersion=0` at once, with whatever is there (3.1.3).

use super::Call;
use crate::accept::{self, Shape};
use crate::cache::CacheError;
use crate::cache::collection::{Collection, Snapshot};
use crate::cache::item::Filter;
use crate::encode;
use crate::error::ApiError;
use crate::limits;
use crate::options::{At, ListOptions, Resume};
use crate::reply::{self, Page, Reply, pieces};
use crate::resources::KindRef;
use crate::watch;
use serde_json::json;
use std::sync::Arc;

/// One object, or 404.
pub async fn get(call: &Call<'_>) -> Result<Reply, ApiError> {
    let form = call.form()?;
    let collection = collection(call)?;
    if call.request.query.get("resourceVersion") != "0" {
        call.server.consistent().await?;
    }
    let key = encode::key(call.kind, &call.target.namespace, &call.target.name);
    let item = collection.get(&key).ok_or_else(|| call.not_found())?;
    Ok(reply::item(call.kind, &item, form))
}

/// A list, or one page of it.
pub async fn list(call: &Call<'_>) -> Result<Reply, ApiError> {
    let form = accept::form(call.header("accept"), &call.request.query, Shape::List)?;
    let options = ListOptions::parse(&call.request.query, false)?;
    let filter = filter(call, &options)?;
    let collection = collection(call)?;
    if options.revision != Some(0) {
        call.server.consistent().await?;
    }
    let snapshot = match &options.resume {
        Some(resume) if resume.revision > 0 => resumed(&collection, &filter, resume)?,
        _ => snapshot(call, &collection, &filter, options.at).await?,
    };
    let after = options.resume.as_ref().map(|resume| resume.after.as_str());
    let mut items = snapshot.items;
    items.drain(..after.map_or(0, |after| items.partition_point(|item| item.key.as_ref() <= after)));
    let size = if options.limit == 0 { items.len() } else { options.limit.min(items.len()) };
    let remaining = items.len() - size;
    items.truncate(size);
    let resume = items
        .last()
        .filter(|_| remaining > 0)
        .map(|last| Resume { revision: snapshot.revision, after: last.key.to_string() }.token());
    let page = Page {
        revision: snapshot.revision,
        remaining: resume.is_some().then_some(remaining).filter(|_| !filter.selects()),
        resume: resume.unwrap_or_default(),
    };
    Ok(pieces::list(kind(call, &collection), &page, items, form))
}

/// A stream of events.
pub async fn watch(call: &Call<'_>) -> Result<Reply, ApiError> {
    let form = accept::form(call.header("accept"), &call.request.query, Shape::Watch)?;
    let options = ListOptions::parse(&call.request.query, true)?;
    let filter = filter(call, &options)?;
    let collection = collection(call)?;
    let server = call.server;
    let kind = kind(call, &collection);
    server.consistent().await?;
    let start = watch::start(&options);
    if let (watch::Start::Streamed, Some(revision)) = (start, options.revision)
        && let Err(error) = reached(call, revision).await
    {
        return Ok(watch::error_event(&error));
    }
    let permit = server.watches.clone().try_acquire_owned().map_err(|_| limits::too_many())?;
    Ok(watch::answer(watch::Watcher {
        kind,
        collection,
        filter,
        form,
        start,
        bookmarks: options.bookmarks,
        timeout_seconds: options.timeout_seconds,
        spread: crate::chance::fraction(server.config.sources.chance),
        closing: server.closing.clone(),
        permit,
    }))
}

/// What a list or watch is about; a field that the kind does not select by is refused (3.8).
pub fn filter(call: &Call<'_>, options: &ListOptions) -> Result<Filter, ApiError> {
    let target = call.target;
    let known = call.kind.rules.selectable_fields();
    for requirement in options.fields.requirements() {
        let path = requirement.path.as_str();
        let common = path == "metadata.name" || (path == "metadata.namespace" && call.kind.namespaced);
        let alias = path == "spec.host" && call.kind.plural == "pods";
        if common || alias || known.contains(&path) {
            continue;
        }
        return Err(ApiError::bad_request(match known.is_empty() {
            true => format!(
                "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            ),
            false => format!("field label not supported: {path}"),
        }));
    }
    let namespace = (!target.namespace.is_empty()).then(|| target.namespace.clone());
    let mut fields = options.fields.clone();
    if !target.name.is_empty() {
        // The old `/watch/…/NAME` path means a field selector.
        fields = objects::selector::FieldSelector::parse(&format!("metadata.name={}", target.name))
            .map_err(|e| ApiError::bad_request(e.to_string()))?;
    }
    Ok(Filter { namespace, labels: options.labels.clone(), fields })
}

/// The collection of the call's kind.
pub fn collection(call: &Call<'_>) -> Result<Arc<Collection>, ApiError> {
    call.server.cache.of(call.kind).ok_or_else(ApiError::no_such_path)
}

/// The call's kind, in the version that is asked for, to hold on to.
fn kind(call: &Call<'_>, collection: &Collection) -> KindRef {
    let target = call.target;
    let found = call.server.cache.find(&target.group, &target.version, &target.plural);
    found.unwrap_or_else(|| collection.kind.clone())
}

async fn snapshot(
    call: &Call<'_>,
    collection: &Collection,
    filter: &Filter,
    at: At,
) -> Result<Snapshot, ApiError> {
    match at {
        At::Latest => Ok(collection.select(filter)),
        At::NotOlderThan(revision) => {
            reached(call, revision).await?;
            Ok(collection.select(filter))
        }
        At::Exact(revision) => {
            reached(call, revision).await?;
            collection
                .select_at(filter, revision)
                .map_err(|_| ApiError::expired("The resourceVersion for the provided list is too old."))
        }
    }
}

/// 504 for a revision that does not come (3.1.3).
async fn reached(call: &Call<'_>, revision: store::Revision) -> Result<(), ApiError> {
    match call.server.cache.reach(revision).await {
        Ok(()) => Ok(()),
        Err(CacheError::Behind { wanted, at }) => Err(ApiError {
            details: json!({"causes": [
                {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}),
            retry_after: Some(1),
            ..ApiError::plain(
                504,
                "Timeout",
                format!("Timeout: Too large resource version: {wanted}, current: {at}"),
            )
        }),
        Err(error) => Err(call.server.cache_error(error)),
    }
}

fn resumed(collection: &Collection, filter: &Filter, resume: &Resume) -> Result<Snapshot, ApiError> {
    collection.select_at(filter, resume.revision).map_err(|_| {
        let restart = Resume { revision: 0, after: resume.after.clone() };
        let mut error = ApiError::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new \
             list without the continue parameter, or use the continue token in this response to retrieve the \
             remainder of the results. Continuing with the provided token results in an inconsistent list - objects \
             that were created, modified, or deleted between the time the first chunk was returned and now may show \
             up in the list.",
        );
        error.resume = Some(restart.token());
        error
    })
}
