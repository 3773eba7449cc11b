//! How many durable writes a second the embedded store does: `cargo run --release -p store --example durable_writes`.
//!
//! Each client updates one key of its own and waits for the answer before the next write. The file lies in the
//! folder given as argument, else in the system's folder for temporary files: mind which disk that is.

use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::Store;
use store::sqlite::SqliteStore;

const VALUE: usize = 1_024;
const DURATION: Duration = Duration::from_secs(3);

fn main() {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for clients in [1, 64] {
        let file = folder.join(format!("durable-writes-{}-{clients}.db", std::process::id()));
        let (writes, slowest) = runtime.block_on(measure(&file, clients));
        let per_second = writes as f64 / DURATION.as_secs_f64();
        println!(
            "{clients:>3} clients: {per_second:>7.0} durable writes/s of {VALUE} bytes, slowest {slowest:?}"
        );
        for suffix in ["", "-wal", "-lock"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
        }
    }
}

async fn measure(file: &std::path::Path, clients: usize) -> (u64, Duration) {
    let store = Arc::new(SqliteStore::open(file).expect("the store opens"));
    let end = Instant::now() + DURATION;
    let clients: Vec<_> =
        (0..clients).map(|client| tokio::spawn(write_until(store.clone(), client, end))).collect();
    let (mut writes, mut slowest) = (0, Duration::ZERO);
    for client in clients {
        let (count, slow) = client.await.expect("the client ends");
        writes += count;
        slowest = slowest.max(slow);
    }
    (writes, slowest)
}

async fn write_until(store: Arc<SqliteStore>, client: usize, end: Instant) -> (u64, Duration) {
    let (key, value) = (format!("/bench/{client}"), Bytes::from(vec![client as u8; VALUE]));
    let mut revision = store.create(&key, value.clone()).await.expect("created");
    let (mut writes, mut slowest) = (1, Duration::ZERO);
    while Instant::now() < end {
        let start = Instant::now();
        revision = store.update(&key, value.clone(), revision).await.expect("updated");
        slowest = slowest.max(start.elapsed());
        writes += 1;
    }
    (writes, slowest)
}
