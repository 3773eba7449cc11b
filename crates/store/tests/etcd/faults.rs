//! Three members, each killed and frozen in turn under load: what clients saw has one order, no answered write is
//! lost, and the watch tells every write once.
//!
//! `STORE_FAULT_ROUNDS=20` makes a longer run.

use crate::cluster::Cluster;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::Store;
use store::linear::workload::{Load, run};

/// How long a member is away: longer than an election, so that the others go on meanwhile.
const AWAY: Duration = Duration::from_secs(2);
/// Between two faults: the member catches up.
const CALM: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_member_is_killed_and_frozen_in_turn_under_load() {
    let rounds = std::env::var("STORE_FAULT_ROUNDS").map_or(1, |text| text.parse().unwrap());
    let mut cluster = Cluster::start(3);
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for first in 0..3 {
        stores.push(Arc::new(cluster.store("/everynode", first).await));
    }
    for round in 0..rounds {
        let faults = 6 * (AWAY + CALM);
        let load = Load {
            clients: 9,
            keys: 4,
            time: faults + CALM,
            calls_per_key: 1_500,
            pause: Duration::from_millis(25),
            seed: round,
        };
        let begun = Instant::now();
        let breaking = std::thread::spawn(move || {
            break_each(&mut cluster);
            cluster
        });
        let summary = run(&stores, &format!("round{round}/"), load).await;
        cluster = breaking.join().unwrap();
        println!("round {round}: {summary:?} in {:.1?}", begun.elapsed());
        assert!(summary.written > 200, "the clients hardly wrote: {summary:?}");
        assert!(summary.answered > 10 * (summary.lost + summary.refused), "too much was lost: {summary:?}");
    }
}

/// The pauses are the faults' own length, not a wait for anything.
fn break_each(cluster: &mut Cluster) {
    for member in 0..3 {
        std::thread::sleep(CALM);
        cluster.kill(member);
        std::thread::sleep(AWAY);
        cluster.run(member);
        std::thread::sleep(CALM);
        cluster.signal(member, "-STOP");
        std::thread::sleep(AWAY);
        cluster.signal(member, "-CONT");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_written_and_nothing_is_claimed() {
    let mut cluster = Cluster::start(3);
    let store = cluster.store("/everynode", 0).await;
    let revision = store.create("k", "1".into()).await.unwrap();
    cluster.kill(1);
    cluster.kill(2);
    let (read, written) = tokio::join!(store.get("k"), store.update("k", "2".into(), revision));
    assert!(matches!(read, Err(store::Error::Unavailable { .. })), "{read:?}");
    // Never a conflict, and never a success.
    let open = matches!(written, Err(store::Error::Unknown { .. } | store::Error::Unavailable { .. }));
    assert!(open, "{written:?}");
    cluster.run(1);
    cluster.run(2);
    let deadline = Instant::now() + Duration::from_secs(60);
    let entry = loop {
        match store.get("k").await {
            Ok(entry) => break entry.unwrap(),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    assert!(entry.revision >= revision && ["1", "2"].iter().any(|value| entry.value == *value));
    store.update("k", "3".into(), entry.revision).await.unwrap();
}
