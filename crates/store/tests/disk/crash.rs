//! Killed with -9 at any moment: every answered write is there, none is half there.
//!
//! A child writes with many clients and prints each answer; the parent kills it, opens the file and compares. In every
//! second round the child dies by itself at a chosen point of the writer's work. Then the same files are opened as a power
//! cut may leave them ([`crate::power`]). `cargo xtask crash --rounds 1000` makes a longer run, `--seed S` another one.

use crate::{Random, State, child_command, child_file, points, power, state};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use store::history::Limits;
use store::sqlite::{OpenError, Options, SqliteStore};
use store::{EventKind, Revision, Store};

const CLIENTS: u64 = 16;

/// Every round leaves its entries, and every start reads them all: a long run takes a new file now and then.
const ROUNDS_PER_FILE: u64 = 10;

/// More writes than a client makes in a round.
const MOST_STEPS: u64 = 5_000;

/// Few changes fit, so that pruning is always at work when the kill comes.
const OPTIONS: Options = Options {
    limits: Limits {
        events: 300,
        events_kept: 100,
        age: Duration::from_millis(50),
        bytes: 4 << 20,
        bytes_read: 4 << 20,
    },
    quota: None,
};

#[tokio::test]
async fn killed_at_any_moment_no_answered_write_is_lost() {
    let number = |name, default| std::env::var(name).ok().map_or(default, |text| text.parse().unwrap());
    let (rounds, seed) = (number("STORE_CRASH_ROUNDS", 20), number("STORE_CRASH_SEED", 1));
    println!("{rounds} rounds, seed {seed}");
    let mut folder = tempfile::tempdir().unwrap();
    let mut random = Random(seed);
    let mut before = State::new();
    let mut answered = 0;
    let mut outcomes = BTreeMap::new();
    for round in 0..rounds {
        if round.is_multiple_of(ROUNDS_PER_FILE) {
            folder = tempfile::tempdir().unwrap();
            before = State::new();
        }
        let file = folder.path().join("store.db");
        let chosen = (round % 2 == 1).then(|| points::choose(&mut random));
        let delay = Duration::from_micros(random.below(250_000));
        let answers = write_and_kill(&file, round, delay, chosen.as_deref());
        answered += answers.len();
        for cut in power::cuts(&file, &mut random) {
            let expected = Expected { round, answers: &answers, before: &before };
            *outcomes.entry(power_cut(&cut, &expected).await).or_insert(0) += 1;
        }
        before = check(&file, round, &answers, before).await;
    }
    println!("{answered} answered writes survived {rounds} kills; power cuts: {outcomes:?}");
    assert!(answered > rounds as usize * 10, "the children hardly wrote");
}

/// One printed answer.
#[derive(Debug, PartialEq)]
struct Answer {
    client: u64,
    step: u64,
    revision: Revision,
}

/// What was known before the power went.
struct Expected<'a> {
    round: u64,
    answers: &'a [Answer],
    before: &'a State,
}

/// Opens what a power cut left: everything that was answered, unless the cut is before it; never half a write.
async fn power_cut(cut: &power::Cut, expected: &Expected<'_>) -> &'static str {
    let store = match SqliteStore::open_with(&cut.file, OPTIONS) {
        Ok(store) => store,
        // What was flushed has changed: it is noticed, and not cut away.
        Err(OpenError::Damaged { .. }) => return "refused",
        Err(error) => panic!("{}: {error}", cut.what),
    };
    let last = expected.answers.iter().map(|answer| answer.revision).max().unwrap_or(0);
    let has_all = store.current().await.unwrap() >= last;
    assert!(has_all || !cut.is_flushed_whole, "{}: answered writes are lost", cut.what);
    let now = state(&store).await;
    // The earlier rounds may be in the log too, and then be cut with it.
    let answers = if has_all { expected.answers } else { &[] };
    if has_all {
        let mine = format!("r{}/", expected.round);
        let old = now.iter().filter(|(key, _)| !key.starts_with(&mine));
        assert!(old.eq(expected.before), "{}: earlier rounds have changed", cut.what);
    }
    check_clients(&now, expected.round, answers, if has_all { Steps::AtLeast } else { Steps::Any });
    if has_all { "everything" } else { "a state before" }
}

/// Which writes of a client must be there.
#[derive(Clone, Copy, PartialEq)]
enum Steps {
    /// The answered ones, or one more.
    AtLeast,
    /// Any number, but in their order.
    Any,
}

fn write_and_kill(file: &Path, round: u64, delay: Duration, point: Option<&str>) -> Vec<Answer> {
    let mut child = child_command("crash::child_that_writes_until_it_is_killed", file)
        .env("STORE_ROUND", round.to_string())
        .env("STORE_KILL_AT", point.unwrap_or_default())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.by_ref().map(Result::unwrap).find_map(|line| parse(&line));
    let reader = std::thread::spawn(move || lines.map_while(Result::ok).filter_map(|l| parse(&l)).collect());
    match point {
        // The one thing that is random here is the moment of death.
        None => std::thread::sleep(delay),
        // The point comes, or the child is killed while it waits for it.
        Some(_) => points::wait_for_death(&mut child),
    }
    let _ = child.kill();
    child.wait().unwrap();
    let rest: Vec<Answer> = reader.join().unwrap();
    first.into_iter().chain(rest).collect()
}

fn parse(line: &str) -> Option<Answer> {
    let mut words =
        line.strip_prefix("answered ")?.strip_suffix(" .")?.split(' ').map(|word| word.parse().unwrap());
    Some(Answer { client: words.next()?, step: words.next()?, revision: words.next()? })
}

/// Opens after the kill: the old rounds are as they were, this round is what was answered, or one write more for
/// each client; the history tells the same story.
async fn check(file: &Path, round: u64, answers: &[Answer], before: State) -> State {
    let store = SqliteStore::open_with(file, OPTIONS).unwrap();
    let now = state(&store).await;
    let mine = format!("r{round}/");
    let old: State =
        now.iter().filter(|(k, _)| !k.starts_with(&mine)).map(|(k, v)| (k.clone(), v.clone())).collect();
    assert!(old == before, "round {round} changed what earlier rounds left");
    check_clients(&now, round, answers, Steps::AtLeast);
    let last = answers.iter().map(|answer| answer.revision).max().unwrap_or(0);
    assert!(store.current().await.unwrap() >= last, "revisions went back");
    check_history(&store, &now).await;
    now
}

/// Each client's writes are there in their order, and none is half there.
fn check_clients(now: &State, round: u64, answers: &[Answer], which: Steps) {
    for client in 0..CLIENTS {
        let prefix = format!("r{round}/c{client}/");
        let of_client = answers.iter().filter(|answer| answer.client == client);
        let steps = of_client.map(|answer| answer.step + 1).max().unwrap_or(0);
        let found: BTreeMap<String, Bytes> = now
            .range(prefix.clone()..)
            .take_while(|(k, _)| k.starts_with(&prefix))
            .map(|(k, v)| (k.clone(), v.0.clone()))
            .collect();
        let most = if which == Steps::Any { MOST_STEPS } else { steps + 1 };
        let fits = is_left_by(round, client, steps..=most, &found);
        assert!(
            fits,
            "round {round}, client {client}: {steps} writes were answered, the file has something else"
        );
    }
}

/// The newest event of a key in the window is what stands there.
async fn check_history(store: &SqliteStore, now: &State) {
    let floor = match store.watch("", 0).await {
        Err(store::Error::Compacted { oldest }) => oldest,
        _ => 0,
    };
    let mut watch = store.watch("", floor).await.unwrap();
    let end = store.current().await.unwrap();
    while watch.up_to() < end {
        let Some(batch) = tokio::time::timeout(Duration::from_secs(30), watch.next()).await.unwrap() else {
            return;
        };
        for event in batch.unwrap().events {
            let stands = now.get(&*event.key).filter(|(_, revision)| *revision <= event.revision);
            if let (EventKind::Put { value, .. }, Some((stood, revision))) = (&event.kind, stands) {
                assert_eq!((value, event.revision), (stood, *revision));
            }
        }
    }
}

/// Whether this is what a client's first writes leave behind, for one of these numbers of them.
fn is_left_by(round: u64, client: u64, steps: RangeInclusive<u64>, found: &BTreeMap<String, Bytes>) -> bool {
    // Which step wrote what stands there: values are made only where the keys fit.
    let mut left: BTreeMap<String, u64> = BTreeMap::new();
    for done in 0..=*steps.end() {
        let fits = steps.contains(&done) && left.keys().eq(found.keys());
        if fits && left.iter().all(|(key, step)| found[key] == value(round, client, *step)) {
            return true;
        }
        let key = key(round, client, done);
        if !(deletes(done) && left.remove(&key).is_some()) {
            left.insert(key, done);
        }
    }
    false
}

fn key(round: u64, client: u64, step: u64) -> String {
    format!("r{round}/c{client}/k{}", step % 7)
}

fn deletes(step: u64) -> bool {
    step.is_multiple_of(5)
}

/// Every fifth round is heavy, so that the log is checkpointed while it runs.
fn value(round: u64, client: u64, step: u64) -> Bytes {
    let most = if round.is_multiple_of(5) { 60_000 } else { 3_000 };
    let length = Random(round << 40 | client << 32 | step).below(most) as usize;
    Bytes::from(vec![(step % 251) as u8 ^ client as u8; length])
}

#[test]
#[ignore = "started and killed by the test above"]
fn child_that_writes_until_it_is_killed() {
    let Some(file) = child_file() else { return };
    let round = std::env::var("STORE_ROUND").unwrap().parse().unwrap();
    points::die_at(&std::env::var("STORE_KILL_AT").unwrap_or_default());
    // The harness has begun a line already; an answer must not end up behind it.
    println!();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = std::sync::Arc::new(SqliteStore::open_with(&file, OPTIONS).unwrap());
        let clients = (0..CLIENTS).map(|client| tokio::spawn(write_for_ever(store.clone(), round, client)));
        futures::future::join_all(clients).await;
    });
}

async fn write_for_ever(store: std::sync::Arc<SqliteStore>, round: u64, client: u64) {
    for step in 0.. {
        let (key, value) = (key(round, client, step), value(round, client, step));
        let revision = match store.get(&key).await.unwrap() {
            None => store.create(&key, value).await.unwrap(),
            Some(entry) if deletes(step) => store.delete(&key, entry.revision).await.unwrap(),
            Some(entry) => store.update(&key, value, entry.revision).await.unwrap(),
        };
        println!("answered {client} {step} {revision} .");
    }
}
