//! Which of our own slices does the cache not show yet?
//!
//! A plan from a cache that lags would put an endpoint into a second slice. So a service rests until each slice that was
//! written is seen as it was written or newer, and each that was deleted is gone; at most [`PATIENCE`], for a slice that
//! others have deleted between two lists. Kubernetes: `endpointslice/util/endpointslice_tracker.go`.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The watch brings a write within a second; who waits longer waits for something that does not come.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was written for one owner, by uid.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written(BTreeMap<String, (Kind, Instant)>);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// It has this generation or a later one.
    Stored(i64),
    Deleted,
}

impl Written {
    /// The server has stored this slice.
    pub(crate) fn stored(&mut self, meta: &ObjectMeta, now: Instant) {
        self.note(meta, Kind::Stored(meta.generation.unwrap_or_default()), now);
    }

    /// The server has deleted this slice.
    pub(crate) fn deleted(&mut self, meta: &ObjectMeta, now: Instant) {
        self.note(meta, Kind::Deleted, now);
    }

    /// How long to wait for the cache; zero if it shows all that was written.
    pub(crate) fn wait(&mut self, seen: &[Arc<EndpointSlice>], now: Instant) -> Duration {
        let find = |uid: &str| seen.iter().find(|slice| slice.metadata.uid.as_deref() == Some(uid));
        self.0.retain(|uid, (kind, at)| {
            let shown = match (*kind, find(uid)) {
                (Kind::Stored(generation), Some(slice)) => {
                    slice.metadata.generation.unwrap_or_default() >= generation
                }
                (Kind::Stored(_), None) => false,
                (Kind::Deleted, slice) => slice.is_none(),
            };
            !shown && now < *at + PATIENCE
        });
        self.0.values().map(|(_, at)| *at + PATIENCE - now).max().unwrap_or_default()
    }

    /// Whether nothing is waited for.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn note(&mut self, meta: &ObjectMeta, kind: Kind, now: Instant) {
        self.0.insert(meta.uid.clone().unwrap_or_default(), (kind, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slice(uid: &str, generation: i64) -> Arc<EndpointSlice> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"uid": uid, "generation": generation},
                "addressType": "IPv4", "endpoints": []}))
            .unwrap(),
        )
    }

    #[test]
    fn a_service_rests_until_the_cache_shows_what_was_written() {
        let (mut written, now) = (Written::default(), Instant::now());
        assert_eq!(written.wait(&[], now), Duration::ZERO);
        written.stored(&slice("a", 2).metadata, now);
        written.deleted(&slice("b", 1).metadata, now);
        let mut check = |seen: &[Arc<EndpointSlice>], later: u64, waits: bool| {
            let wait = written.wait(seen, now + Duration::from_secs(later));
            assert_eq!(wait > Duration::ZERO, waits, "{wait:?}");
        };
        check(&[slice("a", 1), slice("b", 1)], 0, true);
        check(&[slice("a", 3), slice("b", 1)], 1, true);
        check(&[slice("a", 1)], 1, false);
    }

    #[test]
    fn what_never_shows_is_forgotten() {
        let (mut written, now) = (Written::default(), Instant::now());
        written.stored(&slice("a", 1).metadata, now);
        assert!(written.wait(&[], now + PATIENCE / 2) <= PATIENCE / 2);
        assert_eq!(written.wait(&[], now + PATIENCE), Duration::ZERO);
    }
}
