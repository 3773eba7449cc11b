//! One member, nothing broken: the suite that every backend passes, and what only etcd has.

use crate::cluster::Cluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store::etcd::{EtcdStore, OpenError};
use store::linear::workload::{Load, run};
use store::{Error, Store};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_conforms() {
    let cluster = Cluster::start(1);
    let count = AtomicU64::new(0);
    let fresh = async || {
        let number = count.fetch_add(1, Ordering::Relaxed);
        Arc::new(cluster.store(&format!("/check{number}"), 0).await) as Arc<dyn Store>
    };
    store::conformance::all(fresh).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_concurrent_clients_see_has_one_order() {
    let cluster = Cluster::start(1);
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(cluster.store("/everynode", 0).await));
    }
    let (time, pause) = (Duration::from_secs(20), Duration::ZERO);
    let load = Load { clients: 12, keys: 3, time, calls_per_key: 700, pause, seed: 1 };
    let summary = run(&stores, "", load).await;
    println!("{summary:?}");
    assert!(summary.written > 150 && summary.lost == 0 && summary.refused == 0, "{summary:?}");
}

#[tokio::test]
async fn a_write_of_one_server_is_known_to_the_other() {
    let cluster = Cluster::start(1);
    let (a, b) = (cluster.store("/everynode", 0).await, cluster.store("/everynode", 0).await);
    let stranger = cluster.store("/other", 0).await;
    let mut watch = b.watch("", b.current().await.unwrap()).await.unwrap();
    for round in 0..20 {
        let written = a.create(&format!("k{round}"), "v".into()).await.unwrap();
        stranger.create(&format!("k{round}"), "v".into()).await.unwrap();
        assert_eq!(b.current().await, Ok(written), "another cluster's writes do not count");
        assert_eq!(watch.next().await.unwrap().unwrap().up_to, written);
    }
    assert_eq!(b.list("").await.unwrap().entries.len(), 20);
}

#[tokio::test]
async fn a_value_above_etcds_limit_is_named() {
    let cluster = Cluster::start(1);
    let store = cluster.store("/everynode", 0).await;
    for size in [1_600_000, 4_000_000] {
        let refused = store.create("big", vec![7; size].into()).await;
        assert_eq!(refused, Err(Error::TooLarge { key: "big".into(), size, limit: 1_572_864 }));
    }
    store.create("big", vec![7; 1_400_000].into()).await.unwrap();
    assert_eq!(store.get("big").await.unwrap().unwrap().value.len(), 1_400_000);
}

#[tokio::test]
async fn a_long_list_comes_in_pages_of_one_revision() {
    let cluster = Cluster::start(1);
    let store = Arc::new(cluster.store("/everynode", 0).await);
    let keys: Vec<String> = (0..900).map(|number| format!("k{number:04}")).collect();
    futures::future::join_all(keys.iter().map(|key| store.create(key, "v".into()))).await;
    let mover = tokio::spawn({
        let store = store.clone();
        // Moves one entry from the first page to the last and back: it is never seen twice, or not at all.
        async move {
            for round in 0..60 {
                let (from, to) = if round % 2 == 0 { ("k0000", "k9999") } else { ("k9999", "k0000") };
                store.create(to, "v".into()).await.unwrap_or_default();
                let gone = store.get(from).await.unwrap().unwrap();
                store.delete(from, gone.revision).await.unwrap();
            }
        }
    });
    while !mover.is_finished() {
        let listing = store.list("k").await.unwrap();
        assert!((900..=901).contains(&listing.entries.len()), "{}", listing.entries.len());
        assert!(listing.entries.is_sorted_by(|a, b| a.key < b.key));
        assert!(listing.entries.iter().all(|entry| entry.revision <= listing.revision));
    }
    mover.await.unwrap();
}

#[tokio::test]
async fn old_revisions_are_forgotten_by_one_server_until_it_is_gone() {
    let cluster = Cluster::start(1);
    let (a, b) = (cluster.store("/everynode", 0).await, cluster.store("/everynode", 0).await);
    let start = a.create("k", "0".into()).await.unwrap();
    let mut revision = start;
    for round in 0..4 {
        revision = a.update("k", round.to_string().into(), revision).await.unwrap();
    }
    a.compact(revision).await.unwrap();
    let forgotten = |watch: store::Result<store::Watch>| matches!(watch, Err(Error::Compacted { .. }));
    assert!(forgotten(b.watch("", start).await), "a was first");
    let next = a.update("k", "x".into(), revision).await.unwrap();
    let last = a.update("k", "y".into(), next).await.unwrap();
    b.compact(last).await.unwrap();
    assert!(!forgotten(b.watch("", revision).await), "b sees that a is at it");
    drop(a);
    b.compact(last).await.unwrap();
    assert!(forgotten(b.watch("", revision).await), "a has done nothing since: b does it");
}

#[tokio::test]
async fn what_is_not_ours_is_refused() {
    let cluster = Cluster::start(1);
    let other = cluster.store("/ours", 0).await;
    // A store below another's keys would be read by both.
    other.create("/x/data/k", "v".into()).await.unwrap();
    let below = store::etcd::Options { prefix: "/ours/data/x".into(), ..cluster.options(0) };
    let error = EtcdStore::open(below).await.err().unwrap();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    let nobody = store::etcd::Options { endpoints: vec!["http://127.0.0.1:9".into()], ..cluster.options(0) };
    let error = EtcdStore::open(nobody).await.err().unwrap().to_string();
    assert!(error.contains("http://127.0.0.1:9") && error.contains("refused"), "{error}");
}
