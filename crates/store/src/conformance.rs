//! One suite that every backend passes.
//!
//! Each check takes an empty store of its own. No check assumes that revisions follow
//! each other without a gap, that they are known before the write, or that two stores share anything: an etcd
//! cluster, with others writing beside, passes as well. A failed check panics with its name.

use crate::watch::{Batch, Watch};
use crate::{Error, Event, EventKind, MAX_KEY, MAX_VALUE, Revision, Store};
use bytes::Bytes;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The longest wait for something that must come. A level, not a pace: nothing sleeps for it.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs every check. `fresh` gives a store without entries.
pub async fn all(fresh: impl AsyncFn() -> Arc<dyn Store>) {
    an_empty_store_has_a_revision_that_is_not_zero(fresh().await).await;
    what_was_created_is_read_and_listed(fresh().await).await;
    a_write_needs_the_revision_that_stands(fresh().await).await;
    a_refused_write_changes_nothing(fresh().await).await;
    revisions_only_grow(fresh().await).await;
    a_list_is_ordered_and_takes_only_its_prefix(fresh().await).await;
    too_large_is_refused(fresh().await).await;
    a_watch_replays_then_follows(fresh().await).await;
    a_watch_sees_only_its_prefix_and_its_progress_moves(fresh().await).await;
    a_watch_from_the_future_waits_for_it(fresh().await).await;
    a_dropped_wait_loses_nothing(fresh().await).await;
    a_long_history_comes_in_batches(fresh().await).await;
    compacted_history_is_refused_and_state_stays(fresh().await).await;
    a_slow_watcher_falls_off(fresh().await).await;
    concurrent_counters_are_linear(fresh().await).await;
    of_many_creators_one_wins(fresh().await).await;
    list_and_watch_never_miss_a_change(fresh().await).await;
}

async fn an_empty_store_has_a_revision_that_is_not_zero(store: Arc<dyn Store>) {
    let listing = store.list("").await.unwrap();
    assert!(listing.entries.is_empty());
    assert!(listing.revision > 0 && store.current().await.unwrap() >= listing.revision);
}

async fn what_was_created_is_read_and_listed(store: Arc<dyn Store>) {
    let before = store.current().await.unwrap();
    let revision = store.create("a/ü", Bytes::from_static(b"\0\xff")).await.unwrap();
    assert!(revision > before);
    let entry = store.get("a/ü").await.unwrap().unwrap();
    assert_eq!((&*entry.key, &entry.value[..]), ("a/ü", &b"\0\xff"[..]));
    assert_eq!((entry.revision, entry.created), (revision, revision));
    assert_eq!(store.list("a/").await.unwrap().entries, [entry]);
    assert_eq!(store.get("a").await.unwrap(), None);
    store.create("empty", Bytes::new()).await.unwrap();
    assert_eq!(store.get("empty").await.unwrap().unwrap().value, Bytes::new());
}

async fn a_write_needs_the_revision_that_stands(store: Arc<dyn Store>) {
    let missing = Error::Missing { key: "k".into() };
    assert_eq!(store.update("k", "x".into(), 1).await, Err(missing.clone()));
    assert_eq!(store.delete("k", 1).await, Err(missing.clone()));
    let first = store.create("k", "1".into()).await.unwrap();
    let second = store.update("k", "2".into(), first).await.unwrap();
    let stale = Error::Conflict { key: "k".into(), expected: first, actual: second };
    assert_eq!(store.update("k", "x".into(), first).await, Err(stale.clone()));
    assert_eq!(store.delete("k", first).await, Err(stale));
    assert_eq!(store.create("k", "x".into()).await, Err(Error::Exists { key: "k".into(), created: first }));
    let entry = store.get("k").await.unwrap().unwrap();
    assert_eq!((entry.value, entry.revision, entry.created), ("2".into(), second, first));
    store.delete("k", second).await.unwrap();
    assert_eq!(store.get("k").await.unwrap(), None);
    assert_eq!(store.delete("k", second).await, Err(missing));
    let again = store.create("k", "3".into()).await.unwrap();
    assert_eq!(store.get("k").await.unwrap().unwrap().created, again);
}

async fn a_refused_write_changes_nothing(store: Arc<dyn Store>) {
    let revision = store.create("k", "1".into()).await.unwrap();
    let mut watch = store.watch("k", revision).await.unwrap();
    store.create("k", "2".into()).await.unwrap_err();
    store.update("k", "2".into(), revision + 1).await.unwrap_err();
    store.delete("k", revision + 1).await.unwrap_err();
    let written = store.update("k", "3".into(), revision).await.unwrap();
    let events = take(&mut watch, 1).await;
    assert_eq!(events, [put(written, "k", "3", Some("1"))]);
}

async fn revisions_only_grow(store: Arc<dyn Store>) {
    let mut last = store.current().await.unwrap();
    for round in 0..20 {
        let key = format!("k{}", round % 3);
        let revision = match store.get(&key).await.unwrap() {
            None => store.create(&key, "v".into()).await.unwrap(),
            Some(entry) if round % 2 == 0 => store.delete(&key, entry.revision).await.unwrap(),
            Some(entry) => store.update(&key, "v".into(), entry.revision).await.unwrap(),
        };
        assert!(revision > last);
        assert!(store.current().await.unwrap() >= revision, "an answered write is visible");
        last = revision;
    }
}

async fn a_list_is_ordered_and_takes_only_its_prefix(store: Arc<dyn Store>) {
    for key in ["b/2", "a/1", "b/10", "b", "c/1", "b/1", "b0"] {
        store.create(key, "v".into()).await.unwrap();
    }
    let keys = |listing: crate::Listing| -> Vec<String> {
        listing.entries.iter().map(|entry| entry.key.to_string()).collect()
    };
    assert_eq!(keys(store.list("b/").await.unwrap()), ["b/1", "b/10", "b/2"]);
    assert_eq!(keys(store.list("b").await.unwrap()), ["b", "b/1", "b/10", "b/2", "b0"]);
    assert_eq!(keys(store.list("").await.unwrap()).len(), 7);
    assert_eq!(keys(store.list("d").await.unwrap()).len(), 0);
}

async fn too_large_is_refused(store: Arc<dyn Store>) {
    let key = "k".repeat(MAX_KEY + 1);
    assert!(matches!(store.create(&key, "v".into()).await, Err(Error::TooLarge { limit: MAX_KEY, .. })));
    let value = Bytes::from(vec![0; MAX_VALUE + 1]);
    let refused = store.create("k", value).await;
    assert!(matches!(refused, Err(Error::TooLarge { limit: MAX_VALUE, .. })));
    store.create(&"k".repeat(MAX_KEY), "v".into()).await.unwrap();
}

async fn a_watch_replays_then_follows(store: Arc<dyn Store>) {
    let start = store.current().await.unwrap();
    let created = store.create("k", "1".into()).await.unwrap();
    let updated = store.update("k", "2".into(), created).await.unwrap();
    let mut watch = store.watch("k", start).await.unwrap();
    let mut later = store.watch("k", created).await.unwrap();
    let deleted = store.delete("k", updated).await.unwrap();
    let all = [
        put(created, "k", "1", None),
        put(updated, "k", "2", Some("1")),
        Event { revision: deleted, key: "k".into(), kind: EventKind::Delete, previous: Some("2".into()) },
    ];
    assert_eq!(take(&mut watch, 3).await, all);
    assert_eq!(take(&mut later, 2).await, all[1..]);
}

async fn a_watch_sees_only_its_prefix_and_its_progress_moves(store: Arc<dyn Store>) {
    let mut watch = store.watch("a/", store.current().await.unwrap()).await.unwrap();
    store.create("b/1", "v".into()).await.unwrap();
    let created = store.create("a/1", "v".into()).await.unwrap();
    assert_eq!(take(&mut watch, 1).await, [put(created, "a/1", "v", None)]);
    assert!(watch.up_to() >= created);
}

async fn a_watch_from_the_future_waits_for_it(store: Arc<dyn Store>) {
    let first = store.create("k", "1".into()).await.unwrap();
    let mut watch = store.watch("k", first + 1).await.unwrap();
    let mut revision = first;
    for value in ["2", "3", "4"] {
        revision = store.update("k", value.into(), revision).await.unwrap();
    }
    let mut events = Vec::new();
    while events.last().is_none_or(|event: &Event| event.revision < revision) {
        events.extend(next(&mut watch).await.events);
    }
    assert!(events.iter().all(|event| event.revision > first + 1));
}

async fn a_dropped_wait_loses_nothing(store: Arc<dyn Store>) {
    let mut watch = store.watch("k", store.current().await.unwrap()).await.unwrap();
    for round in 0..20 {
        // Polled once, then dropped.
        let waited = futures::FutureExt::now_or_never(watch.next());
        assert!(waited.is_none(), "nothing was written yet in round {round}");
        let key = format!("k{round}");
        let revision = store.create(&key, "v".into()).await.unwrap();
        assert_eq!(take(&mut watch, 1).await, [put(revision, &key, "v", None)]);
    }
}

async fn a_long_history_comes_in_batches(store: Arc<dyn Store>) {
    let start = store.current().await.unwrap();
    let count = 2 * crate::watch::BATCH_EVENTS + 7;
    let keys: Vec<String> = (0..count).map(|number| format!("k{number:05}")).collect();
    join_all(keys.iter().map(|key| store.create(key, "v".into()))).await;
    let mut watch = store.watch("k", start).await.unwrap();
    let events = take(&mut watch, count).await;
    assert!(events.is_sorted_by(|a, b| a.revision < b.revision));
    let mut seen: Vec<String> = events.iter().map(|event| event.key.to_string()).collect();
    seen.sort();
    assert_eq!(seen, keys);
}

async fn compacted_history_is_refused_and_state_stays(store: Arc<dyn Store>) {
    let start = store.current().await.unwrap();
    let first = store.create("k", "1".into()).await.unwrap();
    let gone = store.create("gone", "1".into()).await.unwrap();
    let second = store.update("k", "2".into(), first).await.unwrap();
    store.delete("gone", gone).await.unwrap();
    let third = store.update("k", "3".into(), second).await.unwrap();
    store.compact(third).await.unwrap();
    for after in [start, second] {
        match store.watch("", after).await {
            Err(Error::Compacted { oldest }) => assert!(oldest > after && oldest < third),
            other => panic!("watch after {after} gave {other:?}"),
        }
    }
    let mut watch = store.watch("", third - 1).await.unwrap();
    assert_eq!(take(&mut watch, 1).await, [put(third, "k", "3", Some("2"))]);
    let listing = store.list("").await.unwrap();
    assert_eq!(listing.entries.len(), 1);
    assert_eq!((listing.entries[0].revision, listing.entries[0].created), (third, first));
    store.compact(first).await.unwrap();
    assert!(store.watch("", start).await.is_err(), "an older compaction brings nothing back");
}

/// What was on the way to it already may still come; then it is told, or it has got everything.
async fn a_slow_watcher_falls_off(store: Arc<dyn Store>) {
    let start = store.current().await.unwrap();
    let mut slow = store.watch("", start).await.unwrap();
    let first = store.create("k", "1".into()).await.unwrap();
    let second = store.update("k", "2".into(), first).await.unwrap();
    store.compact(second).await.unwrap();
    let all = [put(first, "k", "1", None), put(second, "k", "2", Some("1"))];
    let mut events = Vec::new();
    while events.len() < all.len() {
        match within(slow.next()).await {
            Some(Ok(batch)) => events.extend(batch.events),
            Some(Err(Error::Compacted { .. })) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(all.starts_with(&events), "{events:?}");
    if events.len() < all.len() {
        assert!(within(slow.next()).await.is_none(), "nothing comes after an error");
    }
}

/// Every increment reads, adds one and writes with compare-and-swap; none may be lost or done twice.
async fn concurrent_counters_are_linear(store: Arc<dyn Store>) {
    const CLIENTS: u64 = 16;
    const INCREMENTS: u64 = 25;
    store.create("counter", number(0)).await.unwrap();
    let clients = (0..CLIENTS).map(|_| tokio::spawn(increment(store.clone(), INCREMENTS)));
    let mut answers = Vec::new();
    for client in join_all(clients).await {
        let revisions = client.unwrap();
        assert!(revisions.is_sorted_by(|a, b| a < b), "a client's own writes are in its order");
        answers.extend(revisions);
    }
    let entry = store.get("counter").await.unwrap().unwrap();
    assert_eq!(entry.value, number(CLIENTS * INCREMENTS));
    answers.sort();
    answers.dedup();
    assert_eq!(answers.len() as u64, CLIENTS * INCREMENTS, "every write has its own revision");
    assert_eq!(answers.last(), Some(&entry.revision));
}

async fn increment(store: Arc<dyn Store>, times: u64) -> Vec<Revision> {
    let mut revisions = Vec::new();
    while (revisions.len() as u64) < times {
        let entry = store.get("counter").await.unwrap().unwrap();
        let seen = u64::from_le_bytes(entry.value[..].try_into().unwrap());
        match store.update("counter", number(seen + 1), entry.revision).await {
            Ok(revision) => revisions.push(revision),
            Err(Error::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        // On a single thread the others get their turn.
        tokio::task::yield_now().await;
    }
    revisions
}

async fn of_many_creators_one_wins(store: Arc<dyn Store>) {
    for round in 0..10 {
        let key = format!("k{round}");
        let values: Vec<Bytes> = (0..32u64).map(number).collect();
        let answers = join_all(values.iter().map(|value| store.create(&key, value.clone()))).await;
        let winners: Vec<usize> = (0..answers.len()).filter(|i| answers[*i].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        assert_eq!(store.get(&key).await.unwrap().unwrap().value, values[winners[0]]);
        let losers = answers.iter().filter(|answer| matches!(answer, Err(Error::Exists { .. })));
        assert_eq!(losers.count(), 31);
    }
}

/// Lists taken at any moment, brought forward by their watches, all end in the same state.
async fn list_and_watch_never_miss_a_change(store: Arc<dyn Store>) {
    let writers: Vec<_> = (0..4).map(|writer| tokio::spawn(churn(store.clone(), writer))).collect();
    let mut followers = Vec::new();
    while !writers.iter().all(|writer| writer.is_finished()) {
        let listing = store.list("k").await.unwrap();
        let watch = store.watch("k", listing.revision).await.unwrap();
        followers.push((listing, watch));
        tokio::task::yield_now().await;
        if followers.len() > 50 {
            break;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let end = store.create("k-end", "end".into()).await.unwrap();
    let expected = state(store.list("k").await.unwrap());
    for (listing, mut watch) in followers {
        let mut followed = state(listing);
        let mut last = 0;
        while last < end {
            for event in next(&mut watch).await.events {
                assert!(event.revision > last, "in order");
                last = event.revision;
                replay(&mut followed, event);
            }
        }
        assert_eq!(followed, expected);
    }
}

async fn churn(store: Arc<dyn Store>, writer: usize) {
    for round in 0..60u64 {
        let key = format!("k{writer}-{}", round % 4);
        match store.get(&key).await.unwrap() {
            None => store.create(&key, number(round)).await.unwrap(),
            Some(entry) if round % 5 == 0 => store.delete(&key, entry.revision).await.unwrap(),
            Some(entry) => store.update(&key, number(round), entry.revision).await.unwrap(),
        };
        tokio::task::yield_now().await;
    }
}

type State = BTreeMap<Arc<str>, Bytes>;

fn state(listing: crate::Listing) -> State {
    listing.entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

fn replay(state: &mut State, event: Event) {
    assert_eq!(state.get(&event.key), event.previous.as_ref(), "previous is what stood there");
    match event.kind {
        EventKind::Put { value, created } => {
            assert_eq!(created, event.previous.is_none());
            state.insert(event.key, value);
        }
        EventKind::Delete => {
            state.remove(&event.key);
        }
    }
}

fn put(revision: Revision, key: &str, value: &str, previous: Option<&str>) -> Event {
    let kind = EventKind::Put { value: value.to_string().into(), created: previous.is_none() };
    Event { revision, key: key.into(), kind, previous: previous.map(|value| value.to_string().into()) }
}

fn number(value: u64) -> Bytes {
    Bytes::copy_from_slice(&value.to_le_bytes())
}

/// So many events, from as many batches as it takes; each batch keeps its promises.
async fn take(watch: &mut Watch, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        events.extend(next(watch).await.events);
    }
    assert_eq!(events.len(), count, "{events:?}");
    events
}

async fn next(watch: &mut Watch) -> Batch {
    let batch = within(watch.next()).await.expect("the store is open").expect("not compacted");
    assert!(batch.events.last().is_some_and(|event| event.revision <= batch.up_to), "{batch:?}");
    assert_eq!(watch.up_to(), batch.up_to);
    batch
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("an answer within the limit")
}
