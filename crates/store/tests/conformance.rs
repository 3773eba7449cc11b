//! The backends that need nothing outside against the one suite, and what goes over them; etcd is in `tests/etcd`.

use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::Store;
use store::linear::workload::{Load, run};
use store::memory::MemoryStore;
use store::sealed::{Key, SealedStore};
use store::sqlite::SqliteStore;

#[tokio::test]
async fn memory_conforms_on_one_thread() {
    store::conformance::all(async || Arc::new(MemoryStore::new()) as Arc<dyn Store>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_conforms_on_many_threads() {
    store::conformance::all(async || Arc::new(MemoryStore::new()) as Arc<dyn Store>).await;
}

#[tokio::test]
async fn sqlite_conforms_on_one_thread() {
    let folders = Folders::default();
    store::conformance::all(async || folders.fresh()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_conforms_on_many_threads() {
    let folders = Folders::default();
    store::conformance::all(async || folders.fresh()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sealed_store_conforms() {
    store::conformance::all(async || {
        let key = Key::new(1, &[7; 32]).unwrap();
        let below = Arc::new(MemoryStore::new());
        Arc::new(SealedStore::new(below, |key| !key.starts_with('b'), &[key]).unwrap()) as Arc<dyn Store>
    })
    .await;
}

#[derive(Default)]
struct Folders(Mutex<Vec<tempfile::TempDir>>);

impl Folders {
    fn fresh(&self) -> Arc<dyn Store> {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("store.db")).unwrap();
        self.0.lock().unwrap().push(folder);
        Arc::new(store)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_concurrent_clients_see_has_one_order() {
    let folders = Folders::default();
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    for (seed, store) in [(1, memory), (2, folders.fresh())] {
        let (time, pause) = (Duration::from_secs(20), Duration::ZERO);
        let load = Load { clients: 12, keys: 3, time, calls_per_key: 1_000, pause, seed };
        let summary = run(&[store], "", load).await;
        assert!(summary.written > 300 && summary.lost == 0 && summary.refused == 0, "{summary:?}");
    }
}
