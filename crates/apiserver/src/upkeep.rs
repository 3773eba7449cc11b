//! What a server does besides answering: it feeds the cache, keeps the defined kinds, writes down what collecting roles
//! collect, lets old events expire, and compacts the store.
//!
//! One task; its end is the server's end, with a reason ([`crate::ApiServer::ended`]).

use crate::Inner;
use crate::aggregation;
use crate::cache::item::Filter;
use crate::custom::keeper;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How often old objects are looked for: events live an hour, give or take a minute.
const EXPIRY_EVERY: Duration = Duration::from_secs(60);
/// Changes that stay in the store's own history: this server's watches replay from the cache's rings.
const KEEP_REVISIONS: u64 = 10_000;
/// And those of the last so many minutes: another server on the same store may be cut off from it that long.
/// Kubernetes: `--etcd-compaction-interval`.
const KEEP_MINUTES: usize = 5;

/// Runs until the server closes or the store fails; says why it ended.
pub async fn run(server: Arc<Inner>) -> String {
    tokio::select! {
        biased;
        error = server.cache.feed() => {
            tracing::error!(error = &error as &dyn std::error::Error, "the object cache has ended");
            // Watches must not hang on a cache that no longer moves.
            server.closing.cancel();
            format!("the object cache has ended: {error}")
        }
        () = keep(&server) => "the upkeep has ended".to_string(),
        () = keeper::run(&server) => "the keeper of the defined kinds has ended".to_string(),
        () = aggregation::run(&server) => "the collecting of roles has ended".to_string(),
        () = server.closing.cancelled() => "closed".to_string(),
    }
}

async fn keep(server: &Inner) {
    let mut tick = tokio::time::interval(EXPIRY_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut minutes = VecDeque::new();
    loop {
        tick.tick().await;
        expire(server).await;
        let now = server.cache.revision();
        minutes.push_back(now);
        if minutes.len() <= KEEP_MINUTES {
            continue;
        }
        let then = minutes.pop_front().unwrap_or_default();
        let before = then.min(now.saturating_sub(KEEP_REVISIONS));
        if let Err(error) = server.store.compact(before).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store's history was not compacted");
        }
    }
}

/// Deletes objects whose kind expires (events after an hour, 2.10.7).
async fn expire(server: &Inner) {
    let now = server.now();
    for collection in server.cache.collections() {
        let Some(seconds) = collection.kind.traits.expires_seconds else { continue };
        let all = Filter::default();
        for item in collection.select(&all).items {
            if now.duration_since(item.touched).as_secs() < i64::from(seconds) {
                continue;
            }
            match server.store.delete(&item.key, item.revision).await {
                Ok(_) | Err(store::Error::Conflict { .. } | store::Error::Missing { .. }) => {}
                Err(error) => {
                    tracing::warn!(key = &*item.key, error = &error as &dyn std::error::Error, "not expired");
                    return;
                }
            }
        }
    }
}
