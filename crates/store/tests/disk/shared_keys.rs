//! Two processes that seal values of one store, and a key that one of them has made.

use bytes::Bytes;
use futures::future::BoxFuture;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::memory::MemoryStore;
use store::sealed::{Keeper, Key, SealedStore};
use store::{Error, EventKind, Result, Store};

#[derive(Default)]
struct Kept(Mutex<Vec<Key>>);

impl Keeper for Kept {
    fn keys(&self) -> BoxFuture<'_, Result<Vec<Key>>> {
        Box::pin(async {
            // As long as asking a server takes.
            tokio::task::yield_now().await;
            Ok(self.0.lock().unwrap().clone())
        })
    }
}

fn key(id: u32) -> Key {
    Key::new(id, &[id as u8; 32]).unwrap()
}

fn pair(kept: &Arc<Kept>) -> (SealedStore, SealedStore) {
    let below = Arc::new(MemoryStore::new());
    let one = || SealedStore::shared(below.clone(), |_| true, &[key(1)], kept.clone()).unwrap();
    (one(), one())
}

#[tokio::test]
async fn a_key_that_another_has_made_is_asked_for_when_it_is_needed() {
    let kept = Arc::new(Kept::default());
    let (writer, reader) = pair(&kept);
    let mut watch = reader.watch("", reader.current().await.unwrap()).await.unwrap();
    writer.seal_with(key(2));
    writer.create("a", "word".into()).await.unwrap();
    let refused = reader.get("a").await;
    assert!(matches!(refused, Err(Error::Unreadable { .. })), "nobody tells the key: {refused:?}");

    kept.0.lock().unwrap().push(key(2));
    assert_eq!(reader.get("a").await.unwrap().unwrap().value, Bytes::from_static(b"word"));
    let (_, fresh) = pair(&kept);
    drop(fresh);
    // Dropped in the middle of asking, nothing of the watch is lost.
    let (_, late) = pair(&kept);
    drop(late);
    let event = loop {
        match tokio::time::timeout(Duration::ZERO, watch.next()).await {
            Ok(next) => break next.unwrap().unwrap().events.remove(0),
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(event.kind, EventKind::Put { value: "word".into(), created: true });
    assert_eq!(reader.list("").await.unwrap().entries.len(), 1);
    reader.create("b", "own".into()).await.unwrap();
    assert_eq!(
        writer.get("b").await.unwrap().unwrap().value,
        Bytes::from_static(b"own"),
        "still the older key"
    );
}

#[tokio::test(start_paused = true)]
async fn who_has_not_looked_for_the_newest_key_seals_nothing() {
    let (store, _) = pair(&Arc::default());
    store.good_until(tokio::time::Instant::now() + Duration::from_secs(10));
    let first = store.create("a", "1".into()).await.unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    let refused = store.update("a", "2".into(), first).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    assert_eq!(store.get("a").await.unwrap().unwrap().value, Bytes::from_static(b"1"));
    store.good_until(tokio::time::Instant::now() + Duration::from_secs(10));
    store.update("a", "2".into(), first).await.unwrap();
}
