//! Generated names in a store where nearly every name is taken (OW-15, wire 2.1.9).

use crate::harness::{Harness, config, config_map, masters};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use store::memory::MemoryStore;
use store::{Entry, Error, Listing, Result, Revision, Store, Watch};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A store in which the next few names that begin with `x-` are taken.
struct Crowded {
    inner: MemoryStore,
    taken: Arc<AtomicU32>,
}

impl Store for Crowded {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        self.inner.get(key)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing>> {
        self.inner.list(prefix)
    }

    fn create<'a>(&'a self, key: &'a str, value: Bytes) -> BoxFuture<'a, Result<Revision>> {
        let one_less = |left: u32| left.checked_sub(1);
        let order = Ordering::SeqCst;
        if key.contains("/x-") && self.taken.fetch_update(order, order, one_less).is_ok() {
            return async { Err(Error::Exists { key: key.to_string(), created: 1 }) }.boxed();
        }
        self.inner.create(key, value)
    }

    fn update<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Revision,
    ) -> BoxFuture<'a, Result<Revision>> {
        self.inner.update(key, value, expected)
    }

    fn delete<'a>(&'a self, key: &'a str, expected: Revision) -> BoxFuture<'a, Result<Revision>> {
        self.inner.delete(key, expected)
    }

    fn current(&self) -> BoxFuture<'_, Result<Revision>> {
        self.inner.current()
    }

    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> BoxFuture<'a, Result<Watch>> {
        self.inner.watch(prefix, after)
    }

    fn compact(&self, before: Revision) -> BoxFuture<'_, Result<()>> {
        self.inner.compact(before)
    }
}

#[tokio::test]
async fn a_taken_name_is_drawn_eight_times() {
    // OW-15.
    let taken = Arc::new(AtomicU32::new(0));
    let store = Crowded { inner: MemoryStore::new(), taken: taken.clone() };
    let server = apiserver::ApiServer::open(Arc::new(store), config()).await.unwrap();
    let api = Harness { server, user: masters() };
    let generated = || json!({"metadata": {"generateName": "x-"}});
    taken.store(7, Ordering::SeqCst);
    let made = api.create(CONFIG_MAPS, generated()).await;
    assert_eq!(made["metadata"]["name"].as_str().unwrap().len(), "x-".len() + 5);
    taken.store(8, Ordering::SeqCst);
    let refused = api.call(&format!("POST {CONFIG_MAPS}"), generated()).await;
    assert_eq!((refused.code, &refused.json["reason"]), (409, &json!("AlreadyExists")), "{}", refused.text);
    assert!(refused.message().ends_with("the server was not able to generate a unique name for the object"));
    taken.store(1, Ordering::SeqCst);
    let refused = api.call(&format!("POST {CONFIG_MAPS}"), config_map("x-1", json!({}))).await;
    assert_eq!(refused.message(), "configmaps \"x-1\" already exists", "a given name is tried once");
}
