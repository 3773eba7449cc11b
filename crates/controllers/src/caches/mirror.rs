//! What one watch has shown, as a sorted map with indexes.
//!
//! 1. One writer: the feed of this kind. Any number of readers; a reader never waits for the network.
//! 2. Readers get the objects in key order: order is part of the answer.
//! 3. Whoever asked to hear of changes hears each one after it can be read, in order, with old and new. A listener only
//!    notes keys (it runs inside the feed).
//! 4. A repeated event with the same resourceVersion is no change (WE-5).
//!
//! Kubernetes: `client-go/tools/cache` (`Indexer`, `SharedInformer`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use objects::key::ObjectKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Notify;

/// Something that a mirror can hold.
pub trait Kept: Send + Sync + 'static {
    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;
}

impl<K> Kept for K
where
    K: kube::Resource + Send + Sync + 'static,
{
    fn meta(&self) -> &ObjectMeta {
        kube::Resource::meta(self)
    }
}

/// One change of one object.
#[derive(Debug)]
pub struct Change<'a, T> {
    /// Before; none for a new object.
    pub old: Option<&'a Arc<T>>,
    /// After; none for an object that is gone.
    pub new: Option<&'a Arc<T>>,
}

impl<'a, T: Kept> Change<'a, T> {
    /// The newest state that is known, also of an object that is gone.
    pub fn latest(&self) -> Option<&'a Arc<T>> {
        self.new.or(self.old)
    }

    /// The object's key.
    pub fn key(&self) -> ObjectKey {
        self.latest().map(|object| ObjectKey::of(object.meta())).unwrap_or_default()
    }
}

/// Gives the value under which an object is found in an index.
pub type IndexBy<T> = fn(&T) -> Option<String>;

type Listener<T> = Box<dyn Fn(&Change<'_, T>) + Send + Sync>;

/// The newest known state of all objects of one kind.
pub struct Mirror<T> {
    objects: RwLock<Objects<T>>,
    listeners: RwLock<Vec<Listener<T>>>,
    /// Namespaces whose first list is here; none for a list of all.
    listed: RwLock<BTreeSet<Option<String>>>,
    /// How many there will be.
    lists: AtomicUsize,
    synced: Notify,
}

struct Objects<T> {
    by_key: BTreeMap<Arc<ObjectKey>, Arc<T>>,
    indexes: Vec<Index<T>>,
}

/// Objects by a value that they have. One set of pairs: a set for each value would be room for eleven keys where, as of the
/// pods of most nodes, there are few.
struct Index<T> {
    name: &'static str,
    by: IndexBy<T>,
    pairs: BTreeSet<(Arc<str>, Arc<ObjectKey>)>,
}

impl<T: Kept> Mirror<T> {
    /// An empty mirror with these indexes.
    pub fn new(indexes: &[(&'static str, IndexBy<T>)]) -> Self {
        let index = |(name, by): &(&'static str, IndexBy<T>)| Index { name, by: *by, pairs: BTreeSet::new() };
        let indexes = indexes.iter().map(index).collect();
        Self {
            objects: RwLock::new(Objects { by_key: BTreeMap::new(), indexes }),
            listeners: RwLock::default(),
            listed: RwLock::default(),
            lists: AtomicUsize::new(1),
            synced: Notify::new(),
        }
    }

    /// The object of this key.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.read(|objects| objects.by_key.get(key).cloned())
    }

    /// All objects, in key order.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.read(|objects| objects.by_key.values().cloned().collect())
    }

    /// The objects of a namespace, in the order of names.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<T>> {
        let from = ObjectKey::new(namespace, "");
        self.read(|objects| {
            let found = objects
                .by_key
                .range::<ObjectKey, _>(from..)
                .take_while(|(key, _)| key.namespace == namespace);
            found.map(|(_, object)| object.clone()).collect()
        })
    }

    /// The objects that an index has under this value, in key order. An unknown index has none.
    pub fn by(&self, index: &str, value: &str) -> Vec<Arc<T>> {
        self.read(|objects| {
            let index = objects.indexes.iter().find(|known| known.name == index);
            let keys = index.into_iter().flat_map(|index| index.keys(value));
            keys.filter_map(|key| objects.by_key.get(key).cloned()).collect()
        })
    }

    /// Whether anything is in this index.
    pub fn has(&self, index: &str) -> bool {
        self.read(|objects| {
            objects.indexes.iter().any(|known| known.name == index && !known.pairs.is_empty())
        })
    }

    /// Calls `listener` for every change from now on, and at once for every object that is known already.
    pub fn listen(&self, listener: impl Fn(&Change<'_, T>) + Send + Sync + 'static) {
        let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        for object in self.all() {
            listener(&Change { old: None, new: Some(&object) });
        }
        listeners.push(Box::new(listener));
    }

    /// Tells nobody any more.
    pub(super) fn forget_listeners(&self) {
        let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        let gone = std::mem::take(&mut *listeners);
        // What they hold may end with them, and is not to find the lock taken.
        drop(listeners);
        drop(gone);
    }

    /// Waits until the first complete list is here.
    pub async fn synced(&self) {
        // Asked for before looking, so that the list cannot come in between. Waiters go on in the order in which they
        // came (tokio's `watch` wakes them by chance).
        let synced = self.synced.notified();
        if !self.is_synced() {
            synced.await;
        }
    }

    /// Takes a new or changed object in.
    pub(crate) fn apply(&self, object: T) {
        let (key, object) = (ObjectKey::of(object.meta()), Arc::new(object));
        let old = self.write(|objects| objects.put(key, object.clone()));
        if old.as_ref().is_some_and(|old| same_version(old.as_ref(), object.as_ref())) {
            return;
        }
        match &old {
            // Recreated under the same name between two looks: a deletion and a creation (WE-2).
            Some(old) if old.meta().uid != object.meta().uid => {
                self.tell(&Change { old: Some(old), new: None });
                self.tell(&Change { old: None, new: Some(&object) });
            }
            old => self.tell(&Change { old: old.as_ref(), new: Some(&object) }),
        }
    }

    /// Takes note that an object is gone, with its last state.
    pub(crate) fn remove(&self, last: T) {
        let key = ObjectKey::of(last.meta());
        if self.write(|objects| objects.take(&key)).is_some() {
            self.tell(&Change { old: Some(&Arc::new(last)), new: None });
        }
    }

    fn is_synced(&self) -> bool {
        let listed = self.listed.read().unwrap_or_else(PoisonError::into_inner).len();
        listed >= self.lists.load(Ordering::Acquire)
    }

    /// There is not one list but this many, of a namespace each.
    pub(crate) fn expect_lists(&self, count: usize) {
        self.lists.store(count, Ordering::Release);
    }

    /// Takes a complete list in: what it does not have is gone.
    #[cfg(test)]
    pub(crate) fn replace(&self, all: Vec<T>) {
        self.replace_in(None, all);
    }

    /// Takes the complete list of a namespace, or of everything, in: what it does not have is gone.
    pub(crate) fn replace_in(&self, namespace: Option<&str>, all: Vec<T>) {
        let listed: BTreeSet<ObjectKey> = all.iter().map(|object| ObjectKey::of(object.meta())).collect();
        all.into_iter().for_each(|object| self.apply(object));
        let gone = self.read(|objects| {
            let within = |key: &&ObjectKey| namespace.is_none_or(|namespace| key.namespace == namespace);
            let keys = objects.by_key.keys().map(Arc::as_ref).filter(within);
            keys.filter(|key| !listed.contains(key)).cloned().collect::<Vec<_>>()
        });
        for key in gone {
            if let Some(old) = self.write(|objects| objects.take(&key)) {
                self.tell(&Change { old: Some(&old), new: None });
            }
        }
        let mut lists = self.listed.write().unwrap_or_else(PoisonError::into_inner);
        lists.insert(namespace.map(str::to_string));
        drop(lists);
        self.synced.notify_waiters();
    }

    fn tell(&self, change: &Change<'_, T>) {
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().for_each(|listener| listener(change));
    }

    fn read<R>(&self, f: impl FnOnce(&Objects<T>) -> R) -> R {
        f(&self.objects.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<R>(&self, f: impl FnOnce(&mut Objects<T>) -> R) -> R {
        f(&mut self.objects.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Kept> Objects<T> {
    fn put(&mut self, key: ObjectKey, object: Arc<T>) -> Option<Arc<T>> {
        let (old, key) = (self.take(&key), Arc::new(key));
        self.indexes.iter_mut().for_each(|index| index.put(&key, &object));
        self.by_key.insert(key, object);
        old
    }

    fn take(&mut self, key: &ObjectKey) -> Option<Arc<T>> {
        let (key, old) = self.by_key.remove_entry(key)?;
        self.indexes.iter_mut().for_each(|index| index.take(&key, &old));
        Some(old)
    }
}

impl<T> Index<T> {
    /// The keys under a value, in order.
    fn keys(&self, value: &str) -> impl Iterator<Item = &ObjectKey> {
        self.pairs_of(value.into()).map(|(_, key)| key.as_ref())
    }

    fn put(&mut self, key: &Arc<ObjectKey>, object: &T) {
        let Some(value) = (self.by)(object) else { return };
        let value: Arc<str> = value.into();
        // One copy of what many have.
        let value = self.pairs_of(value.clone()).next().map_or(value, |(known, _)| known.clone());
        self.pairs.insert((value, key.clone()));
    }

    fn take(&mut self, key: &Arc<ObjectKey>, object: &T) {
        if let Some(value) = (self.by)(object) {
            self.pairs.remove(&(value.into(), key.clone()));
        }
    }

    /// The pairs of a value; no key is before the empty one.
    fn pairs_of(&self, value: Arc<str>) -> impl Iterator<Item = &(Arc<str>, Arc<ObjectKey>)> {
        let first = (value.clone(), Arc::default());
        self.pairs.range(first..).take_while(move |(of, _)| *of == value)
    }
}

fn same_version<T: Kept>(old: &T, new: &T) -> bool {
    let (old, new) = (old.meta(), new.meta());
    old.uid == new.uid && old.resource_version.is_some() && old.resource_version == new.resource_version
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;
    use std::sync::Mutex;

    fn pod(name: &str, uid: &str, version: &str, node: Option<&str>) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"namespace": "a", "name": name, "uid": uid, "resourceVersion": version},
            "spec": {"containers": [], "nodeName": node}
        }))
        .unwrap()
    }

    fn mirror() -> (Mirror<Pod>, Arc<Mutex<Vec<String>>>) {
        let mirror = Mirror::new(&[("node", |pod| objects::pod::node_name(pod).map(str::to_string))]);
        let log = Arc::new(Mutex::new(Vec::new()));
        let heard = log.clone();
        mirror.listen(move |change: &Change<'_, Pod>| {
            let word = match (change.old, change.new) {
                (None, _) => "new",
                (Some(_), Some(_)) => "changed",
                (Some(_), None) => "gone",
            };
            heard.lock().unwrap().push(format!("{word} {}", change.key().name));
        });
        (mirror, log)
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<String> {
        pods.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect()
    }

    #[test]
    fn readers_see_key_order_and_indexes_follow_changes() {
        // WE-21.
        let (mirror, _) = mirror();
        mirror.apply(pod("b", "1", "1", None));
        mirror.apply(pod("a", "2", "2", Some("n1")));
        assert_eq!(names(&mirror.in_namespace("a")), ["a", "b"]);
        assert_eq!(names(&mirror.by("node", "n1")), ["a"]);
        mirror.apply(pod("b", "1", "3", Some("n1")));
        assert_eq!(names(&mirror.by("node", "n1")), ["a", "b"]);
        mirror.remove(pod("a", "2", "4", Some("n1")));
        assert_eq!(names(&mirror.by("node", "n1")), ["b"]);
        assert!(mirror.in_namespace("b").is_empty() && mirror.by("zone", "n1").is_empty());
    }

    #[test]
    fn a_list_tells_only_what_it_changes() {
        // WE-2, WE-5, TE-23 DeleteFinalStateUnknown: what went while nobody watched is told too.
        let (mirror, log) = mirror();
        mirror.replace(vec![pod("a", "1", "1", None), pod("b", "2", "1", None), pod("c", "3", "1", None)]);
        mirror.replace(vec![pod("a", "1", "1", None), pod("b", "9", "2", None), pod("d", "4", "2", None)]);
        let expected = ["new a", "new b", "new c", "gone b", "new b", "new d", "gone c"];
        assert_eq!(*log.lock().unwrap(), expected);
    }
}
