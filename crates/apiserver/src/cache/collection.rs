//! All objects of one kind, in the order of their keys, with the ring of their last events and their watchers.
//!
//! Watchers pull: a broad one holds a place in the ring, a narrow one (one name, or the pods of one node) has a
//! short queue of its own, so that an event wakes only those it concerns. A watcher that falls behind is told so
//! and closed; nobody waits for it (3.3.8).

mod subscription;

use subscription::Place;
pub use subscription::{Subscription, Taken};

use super::item::{Aim, Filter, Item};
use super::kin::Kindred;
use super::ring::{Event, FINISHED_EVENTS, Ring};
use crate::resources::KindRef;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use store::Revision;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Most events that a narrow watcher may leave unread before it is closed.
const NARROW_QUEUE: usize = 10_000;

/// The objects of one kind.
pub struct Collection {
    /// Its kind, in the version that it is stored as.
    pub kind: KindRef,
    /// Key prefix of all its objects.
    pub prefix: String,
    /// The kind is another now, or gone: watches end.
    pub ended: CancellationToken,
    state: RwLock<State>,
}

struct State {
    items: BTreeMap<Arc<str>, Arc<Item>>,
    /// Keys of the pods of each node.
    by_node: BTreeMap<String, BTreeSet<Arc<str>>>,
    kindred: Kindred,
    ring: Ring,
    /// Everything up to here is in `items`.
    revision: Revision,
    next_watcher: u64,
    broad: BTreeMap<u64, Arc<Notify>>,
    narrow: BTreeMap<Aim, BTreeMap<u64, Arc<Narrow>>>,
}

#[derive(Default)]
struct Narrow {
    notify: Arc<Notify>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Arc<Event>>,
    overflown: bool,
}

/// The asked revision is older than what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOld {
    /// The newest revision.
    pub current: Revision,
}

/// What one key holds since a revision; none: nothing any more.
pub type Written = (Arc<str>, Revision, Option<Item>);

/// Items as of one revision.
pub struct Snapshot {
    /// The revision.
    pub revision: Revision,
    /// In the order of keys.
    pub items: Vec<Arc<Item>>,
}

impl Collection {
    /// A collection with what a list at `revision` found.
    pub fn new(kind: KindRef, items: Vec<Item>, revision: Revision) -> Self {
        let mut state = State {
            by_node: BTreeMap::new(),
            kindred: Kindred::default(),
            items: BTreeMap::new(),
            ring: Ring::new(revision),
            revision,
            next_watcher: 0,
            broad: BTreeMap::new(),
            narrow: BTreeMap::new(),
        };
        state.fill(items);
        let prefix = crate::encode::prefix(&kind);
        Self { kind, prefix, ended: CancellationToken::new(), state: RwLock::new(state) }
    }

    /// Takes what a later list found in place of everything. What happened in between is unknown: every watcher has
    /// lost it and is told so.
    pub fn replace(&self, items: Vec<Item>, revision: Revision) {
        let mut state = self.write();
        state.fill(items);
        state.ring.forget(revision);
        state.revision = revision;
        state.broad.values().for_each(|notify| notify.notify_one());
        state.narrow.values().flat_map(BTreeMap::values).for_each(|watcher| watcher.lose());
    }

    /// Takes changes in order: what each key holds now (none: it is gone). Wakes whom they concern.
    pub fn apply(&self, changes: Vec<Written>, up_to: Revision) {
        let now = Instant::now();
        let mut state = self.write();
        // A collection that was made later has seen the first ones already.
        let (seen, mut told) = (state.revision, false);
        for (key, revision, item) in changes.into_iter().filter(|(_, revision, _)| *revision > seen) {
            let item = item.map(|item| Arc::new(state.related(&key, item)));
            let previous = match &item {
                Some(item) => state.items.insert(key, item.clone()),
                None => state.items.remove(&key),
            };
            if item.is_none() && previous.is_none() {
                continue;
            }
            state.place(previous.as_deref(), item.as_deref());
            let event = Arc::new(Event::new(revision, item, previous));
            state.tell_narrow(&event);
            if let Some(item) = state.ring.push(event, now).and_then(|late| late.item.clone()) {
                state.kindred.shorten(&item);
            }
            // Once for all changes of a batch: whoever wakes waits for the lock, and takes them together.
            if !std::mem::replace(&mut told, true) {
                state.broad.values().for_each(|notify| notify.notify_one());
            }
        }
        state.revision = up_to.max(seen);
    }

    /// One object.
    pub fn get(&self, key: &str) -> Option<Arc<Item>> {
        self.read().items.get(key).cloned()
    }

    /// The pods of a node.
    pub fn of_node(&self, node: &str) -> Vec<Arc<Item>> {
        let state = self.read();
        let keys = state.by_node.get(node).into_iter().flatten();
        keys.filter_map(|key| state.items.get(key)).cloned().collect()
    }

    /// How many objects there are.
    pub fn count(&self) -> usize {
        self.read().items.len()
    }

    /// What a filter finds now.
    pub fn select(&self, filter: &Filter) -> Snapshot {
        let state = self.read();
        Snapshot { revision: state.revision, items: self.found(&state, filter) }
    }

    /// What a filter found at an earlier revision: today's items with the later events taken back.
    pub fn select_at(&self, filter: &Filter, revision: Revision) -> Result<Snapshot, TooOld> {
        let state = self.read();
        let too_old = TooOld { current: state.revision };
        if revision >= state.revision {
            return Ok(Snapshot {
                revision: state.revision.min(revision),
                items: self.found(&state, filter),
            });
        }
        if revision < state.ring.oldest() {
            return Err(too_old);
        }
        let mut items: BTreeMap<Arc<str>, Arc<Item>> = state.items.clone();
        for event in state.ring.from(state.ring.after(revision)).ok_or(too_old)?.rev() {
            match (&event.previous, &event.item) {
                (Some(before), _) => drop(items.insert(before.key.clone(), before.clone())),
                (None, Some(after)) => drop(items.remove(&after.key)),
                (None, None) => {}
            }
        }
        let items = items.into_values().filter(|item| filter.matches(item)).collect();
        Ok(Snapshot { revision, items })
    }

    /// Begins a watch for what happens after a revision.
    pub fn watch_after(self: &Arc<Self>, filter: Filter, revision: Revision) -> Result<Subscription, TooOld> {
        let mut state = self.write();
        if revision < state.ring.oldest() {
            return Err(TooOld { current: state.revision });
        }
        let from = state.ring.after(revision);
        Ok(self.subscribe(&mut state, filter, from))
    }

    /// What is there now, and a watch for what happens next.
    pub fn watch_now(self: &Arc<Self>, filter: Filter) -> (Snapshot, Subscription) {
        let mut state = self.write();
        let snapshot = Snapshot { revision: state.revision, items: self.found(&state, &filter) };
        let from = state.ring.end();
        (snapshot, self.subscribe(&mut state, filter, from))
    }

    fn subscribe(self: &Arc<Self>, state: &mut State, filter: Filter, from: u64) -> Subscription {
        let id = state.next_watcher;
        state.next_watcher += 1;
        let place = match filter.aim() {
            None => {
                let notify = Arc::new(Notify::new());
                state.broad.insert(id, notify.clone());
                Place::Broad { cursor: from, notify }
            }
            Some(aim) => {
                let narrow = Arc::new(Narrow::default());
                let past = state.ring.from(from).into_iter().flatten();
                let events = past.filter(|event| event.seen_by(&filter).is_some()).cloned().collect();
                *narrow.queue() = Queue { events, overflown: false };
                state.narrow.entry(aim.clone()).or_default().insert(id, narrow.clone());
                Place::Narrow { aim, narrow }
            }
        };
        Subscription { collection: self.clone(), filter, id, place }
    }

    fn found(&self, state: &State, filter: &Filter) -> Vec<Arc<Item>> {
        if let (Some(namespace), Some(name)) = (&filter.namespace, filter.exact("metadata.name")) {
            let key = crate::encode::key(&self.kind, namespace, name);
            let item = state.items.get(key.as_str()).filter(|item| filter.matches(item));
            return item.cloned().into_iter().collect();
        }
        if let Some(keys) = filter.exact("spec.nodeName").map(|node| state.by_node.get(node)) {
            let here = keys.into_iter().flatten().filter_map(|key| state.items.get(key));
            return here.filter(|item| filter.matches(item)).cloned().collect();
        }
        let start = match &filter.namespace {
            Some(namespace) if self.kind.namespaced => format!("{}{namespace}/", self.prefix),
            _ => self.prefix.clone(),
        };
        let from = (Bound::Included(start.as_str()), Bound::Unbounded);
        let range = state.items.range::<str, _>(from).take_while(|(key, _)| key.starts_with(&start));
        range.map(|(_, item)| item).filter(|item| filter.matches(item)).cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fill(&mut self, items: Vec<Item>) {
        let kindred = &mut self.kindred;
        let items = items.into_iter().map(|item| Arc::new(kindred.welcome(item)));
        self.items = items.map(|item| (item.key.clone(), item)).collect();
        if self.items.len() > FINISHED_EVENTS {
            self.items.values().for_each(|item| self.kindred.shorten(item));
        }
        self.by_node.clear();
        let items: Vec<_> = self.items.values().cloned().collect();
        items.iter().for_each(|item| self.place(None, Some(item.as_ref())));
    }

    /// With what it has in common with the state before, or with others.
    fn related(&mut self, key: &Arc<str>, item: Item) -> Item {
        match self.items.get(key) {
            Some(before) => item.after(before),
            None => self.kindred.welcome(item),
        }
    }

    /// Keeps the index of nodes when an item comes, changes or goes.
    fn place(&mut self, before: Option<&Item>, now: Option<&Item>) {
        let node = |item: Option<&Item>| item.map(|item| item.field("spec.nodeName").to_string());
        let (from, to) = (node(before).unwrap_or_default(), node(now).unwrap_or_default());
        if from == to {
            return;
        }
        if let (Some(item), Some(keys)) = (before, self.by_node.get_mut(&from)) {
            keys.remove(&item.key);
            if keys.is_empty() {
                self.by_node.remove(&from);
            }
        }
        if let Some(item) = now.filter(|_| !to.is_empty()) {
            self.by_node.entry(to).or_default().insert(item.key.clone());
        }
    }

    fn tell_narrow(&self, event: &Arc<Event>) {
        if self.narrow.is_empty() {
            return;
        }
        let mut aims = Vec::with_capacity(3);
        for item in event.previous.iter().chain(&event.item) {
            for aim in [Aim::Name(item.name.to_string()), Aim::Node(item.field("spec.nodeName").to_string())]
            {
                if !aims.contains(&aim) {
                    aims.push(aim);
                }
            }
        }
        for watcher in aims.iter().filter_map(|aim| self.narrow.get(aim)).flat_map(BTreeMap::values) {
            watcher.push(event.clone());
        }
    }
}

impl Narrow {
    fn lose(&self) {
        *self.queue() = Queue { events: VecDeque::new(), overflown: true };
        self.notify.notify_one();
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: Arc<Event>) {
        let mut queue = self.queue();
        if queue.events.len() >= NARROW_QUEUE {
            queue.overflown = true;
            queue.events.clear();
        }
        if !queue.overflown {
            queue.events.push_back(event);
        }
        self.notify.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring::RING_EVENTS;
    use super::*;
    use crate::resources::find;
    use objects::selector::FieldSelector;
    use serde_json::json;

    fn pod(name: &str, node: &str, revision: Revision) -> Written {
        let kind = find("", "v1", "pods").unwrap();
        let object = json!({"metadata": {"name": name, "namespace": "a"}, "spec": {"nodeName": node}});
        let key: Arc<str> = crate::encode::key(kind, "a", name).into();
        let value = crate::encode::stored(kind, &object);
        (key.clone(), revision, Some(Item::read(kind, key, revision, value, None).unwrap()))
    }

    fn pods() -> Arc<Collection> {
        Arc::new(Collection::new(find("", "v1", "pods").unwrap().into(), Vec::new(), 1))
    }

    fn filter(fields: &str) -> Filter {
        let fields = FieldSelector::parse(fields).unwrap();
        Filter { namespace: None, labels: Default::default(), fields }
    }

    fn taken(subscription: &mut Subscription) -> String {
        match subscription.take() {
            Taken::Events(events) => format!("{:?}", events.iter().map(|e| e.revision).collect::<Vec<_>>()),
            Taken::UpTo(revision) => format!("up to {revision}"),
            Taken::Lost => "lost".to_string(),
        }
    }

    #[test]
    fn a_narrow_watcher_is_given_only_what_may_concern_it() {
        let pods = pods();
        let (_, mut all) = pods.watch_now(filter(""));
        let (_, mut n1) = pods.watch_now(filter("spec.nodeName=n1"));
        let (_, mut one) = pods.watch_now(filter("metadata.name=q"));
        pods.apply(vec![pod("p", "", 2), pod("q", "n2", 3), pod("p", "n1", 4)], 5);
        assert_eq!([taken(&mut all), taken(&mut n1), taken(&mut one)], ["[2, 3, 4]", "[4]", "[3]"]);
        assert_eq!([taken(&mut all), taken(&mut n1), taken(&mut one)], ["up to 5", "up to 5", "up to 5"]);
        drop(n1);
        drop(one);
        assert!(pods.read().narrow.is_empty());
    }

    #[test]
    fn the_pods_of_a_node_are_known_as_they_come_and_go() {
        let known = Arc::new(Collection::new(
            find("", "v1", "pods").unwrap().into(),
            pod("p", "n1", 1).2.into_iter().collect(),
            1,
        ));
        let names = |node: &str| {
            let listed = known.select(&filter(&format!("spec.nodeName={node}"))).items;
            let found = known.of_node(node);
            assert!(listed.iter().map(|item| &item.key).eq(found.iter().map(|item| &item.key)));
            found.iter().map(|item| item.name.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!([names("n1"), names("n2")], ["p", ""]);
        known.apply(vec![pod("q", "", 2), pod("q", "n1", 3), pod("r", "n2", 4)], 4);
        assert_eq!([names("n1"), names("n2")], ["p q", "r"]);
        let (gone, ..) = pod("p", "", 0);
        known.apply(vec![(gone, 5, None), pod("r", "n1", 6)], 6);
        assert_eq!([names("n1"), names("n2")], ["q r", ""]);
        assert_eq!(known.read().by_node.len(), 1);
    }

    #[test]
    fn a_watcher_that_falls_behind_is_told_so() {
        let pods = pods();
        let (_, mut all) = pods.watch_now(filter(""));
        let (_, mut n1) = pods.watch_now(filter("spec.nodeName=n1"));
        let events = (0..=RING_EVENTS as Revision).map(|n| pod("p", "n1", n + 2));
        pods.apply(events.collect(), RING_EVENTS as Revision + 2);
        assert_eq!([taken(&mut all), taken(&mut n1)], ["lost", "lost"]);
        assert!(pods.watch_after(filter(""), 1).is_err());
    }

    #[test]
    fn after_a_gap_the_new_state_is_there_and_every_watcher_is_told() {
        let pods = pods();
        pods.apply(vec![pod("p", "n1", 2), pod("q", "n1", 3)], 3);
        let (_, mut all) = pods.watch_now(filter(""));
        let (_, mut n1) = pods.watch_now(filter("spec.nodeName=n1"));
        let (_, revision, r) = pod("r", "n1", 8);
        pods.replace(vec![r.unwrap()], 9);
        assert_eq!([taken(&mut all), taken(&mut n1)], ["lost", "lost"]);
        let names = |items: Vec<Arc<Item>>| items.iter().map(|i| i.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(pods.select(&filter("")).items), ["r"]);
        assert_eq!(names(pods.of_node("n1")), ["r"]);
        assert!(pods.watch_after(filter(""), revision).is_err());
        let mut later = pods.watch_after(filter(""), 9).unwrap_or_else(|_| panic!("9 is what was listed"));
        pods.apply(vec![pod("s", "n1", 10)], 10);
        assert_eq!(taken(&mut later), "[10]");
    }

    #[test]
    fn an_earlier_state_is_todays_with_the_later_events_taken_back() {
        let pods = pods();
        pods.apply(vec![pod("p", "", 2), pod("q", "", 3)], 3);
        let (gone, ..) = pod("q", "", 0);
        pods.apply(vec![pod("p", "n1", 4), (gone, 5, None), pod("r", "", 6)], 6);
        let names = |revision| {
            let found = pods.select_at(&filter(""), revision).ok()?;
            Some(
                found
                    .items
                    .iter()
                    .map(|i| format!("{}@{}", i.name, i.revision))
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        };
        for (revision, expected) in
            [(6, "p@4 r@6"), (5, "p@4"), (4, "p@4 q@3"), (3, "p@2 q@3"), (2, "p@2"), (1, "")]
        {
            assert_eq!(names(revision).as_deref(), Some(expected), "{revision}");
        }
        assert_eq!(names(0), None);
    }
}
