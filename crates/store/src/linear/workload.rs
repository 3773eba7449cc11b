//! Clients that read, create, replace and delete a few keys at once, and write down what they saw.
//!
//! The same clients run against every backend, alone or while somebody breaks it. Beside the order of each key
//! ([`super::check`]) the watch is held against the calls: every write that was answered is told once, with its
//! revision, and nothing is told that nobody tried.

use super::{Answer, Ask, Call, Value, check};
use crate::{Error, EventKind, Revision, Store};
use bytes::Bytes;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The longest wait for the watch to tell everything, once the clients are done and nobody breaks anything.
const WATCH_LIMIT: Duration = Duration::from_secs(60);
/// After a store that did not answer a client waits this long: else it would only count refusals.
const AFTER_REFUSAL: Duration = Duration::from_millis(20);

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many at once; they take the stores in turn.
    pub clients: u64,
    /// How many keys they share.
    pub keys: u64,
    /// They stop when this time is over …
    pub time: Duration,
    /// … or when so many calls are made on a key.
    pub calls_per_key: u64,
    /// A pause after each call, so that a long run stays a short history.
    pub pause: Duration,
    /// The same seed makes the same choices.
    pub seed: u64,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Calls with an answer.
    pub answered: usize,
    /// Writes that happened.
    pub written: usize,
    /// Writes whose answer was lost.
    pub lost: usize,
    /// Calls that the store did not take.
    pub refused: usize,
}

struct Shared {
    clock: AtomicU64,
    values: AtomicU64,
    refused: AtomicU64,
    counts: Vec<AtomicU64>,
    load: Load,
    end: Instant,
}

/// Runs the load on stores that are one store, then checks what was seen. Panics with what is wrong.
pub async fn run(stores: &[Arc<dyn Store>], prefix: &str, load: Load) -> Summary {
    let store = stores.first().expect("a store");
    let start = eventually(store.as_ref()).await;
    let shared = Arc::new(Shared {
        clock: AtomicU64::new(1),
        values: AtomicU64::new(1),
        refused: AtomicU64::new(0),
        counts: (0..load.keys).map(|_| AtomicU64::new(0)).collect(),
        load,
        end: Instant::now() + load.time,
    });
    let clients = (0..load.clients).map(|client| {
        let store = stores[client as usize % stores.len()].clone();
        tokio::spawn(client_runs(store, prefix.to_string(), client, shared.clone()))
    });
    let mut calls: BTreeMap<u64, Vec<Call>> = BTreeMap::new();
    for seen in join_all(clients).await {
        for (key, call) in seen.expect("a client ends") {
            calls.entry(key).or_default().push(call);
        }
    }
    for (key, calls) in &calls {
        check(calls).unwrap_or_else(|violation| panic!("key {key}, seed {}: {violation}", load.seed));
    }
    told(store.as_ref(), prefix, start, &calls).await;
    summary(&calls, shared.refused.load(Ordering::Relaxed) as usize)
}

fn summary(calls: &BTreeMap<u64, Vec<Call>>, refused: usize) -> Summary {
    let mut summary = Summary { refused, ..Summary::default() };
    for call in calls.values().flatten() {
        summary.answered += usize::from(call.answer.is_some());
        summary.written += usize::from(matches!(call.answer, Some(Answer::Written(_))));
        summary.lost += usize::from(call.answer.is_none() && call.ask != Ask::Get);
    }
    summary
}

async fn client_runs(
    store: Arc<dyn Store>,
    prefix: String,
    client: u64,
    shared: Arc<Shared>,
) -> Vec<(u64, Call)> {
    let mut chance = Chance(shared.load.seed.wrapping_mul(0x1_0000_0001).wrapping_add(client));
    let mut seen: BTreeMap<u64, Option<Revision>> = BTreeMap::new();
    let mut calls = Vec::new();
    while Instant::now() < shared.end {
        let key = chance.below(shared.load.keys);
        let count = shared.counts[key as usize].fetch_add(1, Ordering::Relaxed);
        if count >= shared.load.calls_per_key {
            if shared.counts.iter().all(|count| count.load(Ordering::Relaxed) >= shared.load.calls_per_key) {
                break;
            }
            continue;
        }
        let ask = choose(&mut chance, seen.get(&key).copied().flatten(), &shared);
        let began = shared.clock.fetch_add(1, Ordering::SeqCst);
        let answer = ask_store(store.as_ref(), &format!("{prefix}k{key}"), ask).await;
        let ended = shared.clock.fetch_add(1, Ordering::SeqCst);
        match answer {
            Ok(answer) => {
                learn(&mut seen, key, answer, ask);
                calls.push((key, Call { began, ended: Some(ended), ask, answer: Some(answer) }));
            }
            Err(Error::Unknown { .. }) => {
                calls.push((key, Call { began, ended: None, ask, answer: None }));
            }
            Err(_) => {
                shared.refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(AFTER_REFUSAL).await;
            }
        }
        match shared.load.pause.is_zero() {
            true => tokio::task::yield_now().await,
            false => tokio::time::sleep(shared.load.pause).await,
        }
    }
    calls
}

fn choose(chance: &mut Chance, seen: Option<Revision>, shared: &Shared) -> Ask {
    let value = || shared.values.fetch_add(1, Ordering::SeqCst);
    match (chance.below(10), seen) {
        (0..=3, _) => Ask::Get,
        (4, None) => Ask::Delete(chance.below(50)),
        (_, None) => Ask::Create(value()),
        (4, Some(revision)) => Ask::Delete(revision),
        (5, Some(_)) => Ask::Create(value()),
        (_, Some(revision)) => Ask::Update(value(), revision),
    }
}

fn learn(seen: &mut BTreeMap<u64, Option<Revision>>, key: u64, answer: Answer, ask: Ask) {
    let now = match answer {
        Answer::Stands(found) => found.map(|found| found.1),
        Answer::Written(_) if matches!(ask, Ask::Delete(_)) => None,
        Answer::Written(revision) | Answer::Conflict(revision) => Some(revision),
        Answer::Missing => None,
        Answer::Exists => return,
    };
    seen.insert(key, now);
}

async fn ask_store(store: &dyn Store, key: &str, ask: Ask) -> crate::Result<Answer> {
    let answer = match ask {
        Ask::Get => {
            let entry = store.get(key).await?;
            return Ok(Answer::Stands(entry.map(|entry| (read(&entry.value), entry.revision))));
        }
        Ask::Create(value) => store.create(key, write(value)).await,
        Ask::Update(value, expected) => store.update(key, write(value), expected).await,
        Ask::Delete(expected) => store.delete(key, expected).await,
    };
    match answer {
        Ok(revision) => Ok(Answer::Written(revision)),
        Err(Error::Exists { .. }) => Ok(Answer::Exists),
        Err(Error::Missing { .. }) => Ok(Answer::Missing),
        Err(Error::Conflict { actual, .. }) => Ok(Answer::Conflict(actual)),
        Err(error) => Err(error),
    }
}

/// Follows the watch from the beginning to a last write, and compares what it told with what was answered.
async fn told(store: &dyn Store, prefix: &str, start: Revision, calls: &BTreeMap<u64, Vec<Call>>) {
    let last = format!("{prefix}last");
    let end = loop {
        match store.create(&last, write(0)).await {
            Ok(revision) => break revision,
            Err(Error::Exists { created, .. }) => break created,
            Err(_) => tokio::time::sleep(AFTER_REFUSAL).await,
        }
    };
    let mut watch = store.watch(prefix, start).await.expect("the history is kept");
    let mut events = Vec::new();
    while watch.up_to() < end {
        let batch = timeout(WATCH_LIMIT, watch.next()).await.expect("the watch tells everything");
        events.extend(batch.expect("the store is open").expect("nothing is forgotten").events);
    }
    assert!(events.is_sorted_by(|a, b| a.revision < b.revision), "events in order, each once");
    for (key, calls) in calls {
        let name = format!("{prefix}k{key}");
        let mut stands = None;
        let mut told: BTreeMap<Revision, Option<Value>> = BTreeMap::new();
        for event in events.iter().filter(|event| *event.key == *name) {
            assert_eq!(event.previous, stands, "key {key}: previous is what stood there");
            stands = match &event.kind {
                EventKind::Put { value, created } => {
                    assert_eq!(*created, event.previous.is_none());
                    Some(value.clone())
                }
                EventKind::Delete => None,
            };
            told.insert(event.revision, stands.as_deref().map(read));
        }
        for call in calls {
            if let Some(Answer::Written(revision)) = call.answer {
                assert_eq!(
                    told.get(&revision),
                    Some(&call.ask.value()),
                    "key {key}: an answered write is told"
                );
            }
        }
        let tried: Vec<_> = calls.iter().filter_map(|call| call.ask.value()).collect();
        assert!(
            told.values().flatten().all(|value| tried.contains(value)),
            "key {key}: told, but never tried"
        );
    }
}

async fn eventually(store: &dyn Store) -> Revision {
    loop {
        match store.current().await {
            Ok(revision) => return revision,
            Err(_) => tokio::time::sleep(AFTER_REFUSAL).await,
        }
    }
}

fn write(value: Value) -> Bytes {
    Bytes::copy_from_slice(&value.to_le_bytes())
}

fn read(bytes: &[u8]) -> Value {
    bytes.try_into().map_or(0, Value::from_le_bytes)
}

/// Numbers that look random and come again with the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}
