//! Keeps the statuses of definitions, and ends the objects of a kind that goes: watch → snapshot → plan → act.
//!
//! What is to be done is decided by [`naming::step`]. Every server of several does this; each write is a
//! compare-and-swap, and who comes second finds it done. Kubernetes: `pkg/controller` of apiextensions.

use super::naming::{self, Step};
use crate::deletion::{DeleteOptions, Propagation};
use crate::error::ApiError;
use crate::resources::customresourcedefinitions::KIND;
use crate::resources::{Kind, KindRef};
use crate::verbs::own::as_server;
use crate::verbs::update::{Write, rewrite};
use crate::verbs::{create, delete, metadata};
use crate::{Inner, cache::item::Filter};
use serde_json::{Value, json};
use std::time::Duration;

/// How often a definition in deletion looks for objects that are left: each may wait for finalizers of its own.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Runs for ever.
pub async fn run(server: &Inner) {
    let mut changes = server.cache.definitions();
    loop {
        changes.borrow_and_update();
        let waiting = all(server).await;
        if waiting {
            let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
        } else if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Looks at every definition once. True when one of them waits, or could not be written.
async fn all(server: &Inner) -> bool {
    let all = server.cached(&KIND);
    let mut waiting = false;
    for definition in &all {
        let kind = server.cache.storage_of(metadata::text(definition, "name"));
        let left = kind.as_ref().map_or(0, |kind| server.items(kind).len());
        let now = create::seconds(server.now());
        let step = naming::step(definition, &all, left, &now);
        waiting |= !matches!(step, Step::Rest);
        if let Err(error) = act(server, definition, step, kind.as_ref()).await
            && error.code != 404
            && error.code != 409
        {
            let name = metadata::text(definition, "name");
            tracing::warn!(%error, definition = name, "a definition is not as it should be");
        }
    }
    waiting
}

async fn act(server: &Inner, definition: &Value, step: Step, kind: Option<&KindRef>) -> Result<(), ApiError> {
    match (step, kind) {
        (Step::Rest, _) => Ok(()),
        (Step::Status(status), _) => written(server, definition, status, false).await,
        (Step::Release(status), _) => written(server, definition, status, true).await,
        (Step::Empty(status), Some(kind)) => {
            written(server, definition, status, false).await?;
            empty(server, kind).await
        }
        (Step::Empty(_), None) => Ok(()),
    }
}

/// Writes a status, and takes the finalizer away when the definition may go.
async fn written(server: &Inner, definition: &Value, status: Value, release: bool) -> Result<(), ApiError> {
    let name = metadata::text(definition, "name");
    as_server(server, &KIND, ("", name), async |call| {
        // Decided from this state: a newer one is decided again.
        let expected = metadata::text(definition, "resourceVersion").parse().ok();
        let write = Write { expected, ..Write::own(false) };
        let changed = rewrite(call, write, |live| {
            let mut new = live.clone();
            new["status"] = status.clone();
            if release {
                let left = metadata::finalizers(live).into_iter().filter(|f| *f != naming::CLEANUP);
                let left: Vec<&str> = left.collect();
                metadata::set(
                    &mut new,
                    "finalizers",
                    if left.is_empty() { Value::Null } else { json!(left) },
                );
            }
            Ok((new, Vec::new()))
        });
        changed.await.map(drop)
    })
    .await
}

/// Deletes every object of a kind.
async fn empty(server: &Inner, kind: &Kind) -> Result<(), ApiError> {
    let Some(collection) = server.cache.of(kind) else { return Ok(()) };
    let options = DeleteOptions {
        dry_run: false,
        grace: None,
        propagation: Propagation::Unsaid,
        uid: None,
        resource_version: None,
    };
    let items = collection.select(&Filter::default()).items;
    for item in items.iter().filter(|item| !item.terminating) {
        let ended = as_server(server, kind, (&item.namespace, &item.name), async |call| {
            delete::end(call, &item.name, &options).await.map(drop)
        });
        match ended.await {
            Err(error) if error.code == 404 => {}
            other => other?,
        }
    }
    Ok(())
}
