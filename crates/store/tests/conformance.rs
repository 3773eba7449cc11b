//! Both backends against the one suite.

use std::sync::{Arc, Mutex};
use store::Store;
use store::memory::MemoryStore;
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
