//! The shared store: an etcd cluster behind several servers.
//!
//! Invariants:
//! 1. A write is one transaction: it compares the key's revision, writes the key, and writes `head` with it. So the
//!    revision of `head` is the revision of this store's last write, whatever else stands in the same etcd, and the
//!    watch reaches it by an event: no progress notification is believed (before 3.4.25 one could come too early).
//! 2. Reads are linearizable: they ask the leader. One question about `head` answers everybody who waited for it.
//! 3. A write whose answer is lost is [`Error::Unknown`], never [`Error::Conflict`]; it is not repeated
//!    ([`members`]).
//! 4. A watch resumes after the last revision that it has delivered, at any member ([`watching`]).
//! 5. Revisions never go back. If etcd's do (a backup was restored beneath us), the store stops
//!    ([`EtcdStore::stopped`]): what the servers hold in memory is no longer what is stored.
//!
//! Kubernetes: storage/etcd3/store.go.

mod beginning;
mod compaction;
mod keys;
mod members;
mod messages;
mod options;
mod refusal;
mod watching;

pub use options::{Login, OpenError, Options, PREFIX, Tls};

use crate::{Entry, Error, Listing, Result, Revision, Store, Watch, check_size};
use bytes::Bytes;
use futures::future::BoxFuture;
use keys::{Keys, number, own, revision};
use members::{Effect, Failure, Members};
use messages as m;
use messages::Ask;
use refusal::is_compacted;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Mutex, watch};

/// What `head` holds: who writes here, and how. Any change of [`keys`] takes the next number.
const FORMAT: &str = "everynode store, format 1";

/// Entries in one answer. Kubernetes: etcd3's `maxLimit` is 10,000, for smaller objects and a larger client limit.
const PAGE: i64 = 256;

/// How often a list begins anew because its revision was forgotten while its pages came.
const LIST_TRIES: usize = 3;

const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";

/// A store in an etcd cluster. Clones are the same store.
#[derive(Clone)]
pub struct EtcdStore {
    inner: Arc<Inner>,
}

struct Inner {
    members: Members,
    keys: Keys,
    /// The members, for messages.
    place: Arc<str>,
    /// `head` is this old; nothing of ours happened before.
    base: Revision,
    /// The highest revision of ours that any answer showed.
    known: watch::Sender<Revision>,
    stopped: watch::Sender<Option<Error>>,
    asked: AtomicU64,
    flight: Mutex<Landed>,
    /// etcd's count of the writes of `compacted` when we last looked.
    compactor: Mutex<Revision>,
}

/// The last answer about `head`: which question it answers, and the answer.
struct Landed {
    number: u64,
    answer: Result<Revision>,
}

impl EtcdStore {
    /// Opens the store below the options' prefix, or begins one there.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        options.check()?;
        let members = Members::new(&options)?;
        let keys = Keys::new(&options.prefix);
        let place = options.place();
        let base = beginning::begin(&members, &keys, &options.prefix, &place).await?;
        let (known, stopped) = (watch::Sender::new(base), watch::Sender::new(None));
        let flight = Mutex::new(Landed { number: 0, answer: Ok(base) });
        let (asked, compactor) = (AtomicU64::new(0), Mutex::new(0));
        let inner = Inner { members, keys, place, base, known, stopped, asked, flight, compactor };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Waits until the store can go on no more, and says why. For whoever supervises the process.
    pub async fn stopped(&self) -> Error {
        let mut stopped = self.inner.stopped.subscribe();
        let why = stopped.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.unwrap_or_else(|| self.inner.unavailable("it was closed"))
    }
}

fn compare(key: Bytes, target: i32, against: m::Against) -> m::Compare {
    m::Compare { target, key, against: Some(against) }
}

fn put_head(keys: &Keys) -> m::Operation {
    Ask::Put(m::PutRequest { key: keys.head(), value: FORMAT.into() }).operation()
}

impl Inner {
    /// One transaction of ours: on `condition` do `change`. Answers the new revision, or what stands at the key.
    async fn write(
        &self,
        key: &str,
        condition: m::Compare,
        change: Ask,
        size: usize,
    ) -> Result<Result<Revision, Option<m::KeyValue>>> {
        let looking = m::RangeRequest { key: condition.key.clone(), keys_only: true, ..Default::default() };
        let request = m::TxnRequest {
            compare: vec![condition],
            success: vec![change.operation(), put_head(&self.keys)],
            failure: vec![Ask::Range(looking).operation()],
        };
        let answer: m::TxnResponse = self.call(TXN, &request, Effect::Write, key, size).await?;
        if answer.succeeded {
            let written = revision(answer.header.unwrap_or_default().revision);
            self.saw(written);
            return Ok(Ok(written));
        }
        let found = answer.responses.into_iter().find_map(|outcome| outcome.range);
        Ok(Err(found.and_then(|range| range.kvs.into_iter().next())))
    }

    /// A write that expects a revision.
    async fn replace(&self, key: &str, expected: Revision, change: Ask, size: usize) -> Result<Revision> {
        // Revision 0 would compare equal to a key that is not there.
        let against = if expected == 0 { i64::MAX } else { number(expected) };
        let condition = compare(self.keys.at(key), m::target::MOD, m::Against::Written(against));
        match self.write(key, condition, change, size).await? {
            Ok(written) => Ok(written),
            Err(None) => Err(Error::Missing { key: key.into() }),
            Err(Some(found)) => {
                let actual = revision(found.mod_revision);
                Err(Error::Conflict { key: key.into(), expected, actual })
            }
        }
    }

    async fn read(&self, request: &m::RangeRequest) -> Result<m::RangeResponse> {
        self.call(RANGE, request, Effect::Read, "", 0).await
    }

    async fn call<Q, A>(
        &self,
        verb: &'static str,
        request: &Q,
        effect: Effect,
        key: &str,
        size: usize,
    ) -> Result<A>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        if let Some(error) = &*self.stopped.borrow() {
            return Err(error.clone());
        }
        let answer = self.members.call(verb, request, effect).await;
        answer.map_err(|failure| refusal::error(&self.place, key, size, failure))
    }

    /// Everything below a prefix: the first page with `head`, the others at its revision.
    async fn list(&self, prefix: &str) -> Result<Listing> {
        let (start, end) = self.keys.range(prefix);
        let mut page = m::RangeRequest { key: start, range_end: end, limit: PAGE, ..Default::default() };
        let head = m::RangeRequest { key: self.keys.head(), keys_only: true, ..Default::default() };
        let operations = vec![Ask::Range(head).operation(), Ask::Range(page.clone()).operation()];
        let request = m::TxnRequest { success: operations, ..Default::default() };
        let answer: m::TxnResponse = self.call(TXN, &request, Effect::Read, "", 0).await?;
        page.revision = answer.header.unwrap_or_default().revision;
        let mut ranges = answer.responses.into_iter().filter_map(|outcome| outcome.range);
        let listed_at = self.head_of(ranges.next().unwrap_or_default())?;
        let mut found = ranges.next().unwrap_or_default();
        let mut entries = Vec::new();
        loop {
            let last = found.kvs.last().map(|kv| kv.key.clone());
            entries.extend(found.kvs.into_iter().filter_map(|kv| self.entry(kv)));
            let Some(last) = last.filter(|_| found.more) else { break };
            // The first key behind the last one.
            page.key = [&last[..], b"\0"].concat().into();
            found = self.read(&page).await?;
        }
        Ok(Listing { revision: listed_at, entries })
    }

    fn entry(&self, kv: m::KeyValue) -> Option<Entry> {
        let key = self.keys.own(&kv.key)?.into();
        let (written, created) = (revision(kv.mod_revision), revision(kv.create_revision));
        Some(Entry { key, value: own(&kv.value), revision: written, created })
    }

    /// The revision of the last write of ours.
    fn head_of(&self, range: m::RangeResponse) -> Result<Revision> {
        match range.kvs.first() {
            Some(head) => {
                let current = revision(head.mod_revision);
                self.saw(current);
                Ok(current)
            }
            None => {
                Err(self.stop("the store's keys in etcd are gone: was it emptied? Start every server again"))
            }
        }
    }

    /// Answers the questions of all who came before it was asked.
    async fn current(&self) -> Result<Revision> {
        let before = self.asked.load(Ordering::SeqCst);
        let mut landed = self.flight.lock().await;
        if landed.number > before {
            return landed.answer.clone();
        }
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        *landed = Landed { number, answer: self.ask_head().await };
        landed.answer.clone()
    }

    async fn ask_head(&self) -> Result<Revision> {
        let seen = *self.known.borrow();
        let head = m::RangeRequest { key: self.keys.head(), keys_only: true, ..Default::default() };
        let current = self.head_of(self.read(&head).await?)?;
        if current < seen {
            let why = format!(
                "etcd's revisions went back from {seen} to {current}: was a backup restored? Start every server again"
            );
            return Err(self.stop(&why));
        }
        Ok(current)
    }

    /// [`Error::Compacted`] when changes after `after` are forgotten already.
    async fn reaches_back_to(&self, after: Revision) -> Result<()> {
        // Revision 0 would ask for the newest.
        let at = number(after.max(1));
        let head =
            m::RangeRequest { key: self.keys.head(), revision: at, keys_only: true, ..Default::default() };
        match self.members.call::<_, m::RangeResponse>(RANGE, &head, Effect::Read).await {
            Ok(_) => Ok(()),
            Err(Failure::Refused(status)) if is_compacted(&status) => {
                Err(Error::Compacted { oldest: watching::oldest(self, at).await })
            }
            Err(Failure::Refused(status)) if refusal::is_future(&status) => Ok(()),
            Err(failure) => Err(refusal::error(&self.place, "", 0, failure)),
        }
    }

    fn saw(&self, revision: Revision) {
        self.known.send_if_modified(|known| {
            let newer = revision > *known;
            *known = revision.max(*known);
            newer
        });
    }

    fn unavailable(&self, reason: &str) -> Error {
        Error::Unavailable { reason: format!("{}: {reason}", self.place).into() }
    }

    /// Remembers a failure that is final.
    fn stop(&self, reason: &str) -> Error {
        let error = self.unavailable(reason);
        self.stopped.send_replace(Some(error.clone()));
        error
    }
}

impl Store for EtcdStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        Box::pin(async move {
            let request = m::RangeRequest { key: self.inner.keys.at(key), ..Default::default() };
            let found = self.inner.read(&request).await?.kvs.into_iter().next();
            Ok(found.and_then(|kv| self.inner.entry(kv)))
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing>> {
        Box::pin(async move {
            let mut answer = self.inner.list(prefix).await;
            for _ in 1..LIST_TRIES {
                if !matches!(answer, Err(Error::Compacted { .. })) {
                    break;
                }
                answer = self.inner.list(prefix).await;
            }
            answer
        })
    }

    fn create<'a>(&'a self, key: &'a str, value: Bytes) -> BoxFuture<'a, Result<Revision>> {
        Box::pin(async move {
            check_size(key, &value)?;
            let (at, size) = (self.inner.keys.at(key), value.len());
            let absent = compare(at.clone(), m::target::CREATE, m::Against::Created(0));
            let put = Ask::Put(m::PutRequest { key: at, value });
            self.inner.write(key, absent, put, size).await?.map_err(|found| Error::Exists {
                key: key.into(),
                created: found.map_or(0, |kv| revision(kv.create_revision)),
            })
        })
    }

    fn update<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Revision,
    ) -> BoxFuture<'a, Result<Revision>> {
        Box::pin(async move {
            check_size(key, &value)?;
            let size = value.len();
            let put = Ask::Put(m::PutRequest { key: self.inner.keys.at(key), value });
            self.inner.replace(key, expected, put, size).await
        })
    }

    fn delete<'a>(&'a self, key: &'a str, expected: Revision) -> BoxFuture<'a, Result<Revision>> {
        Box::pin(async move {
            let delete = Ask::Delete(m::DeleteRangeRequest { key: self.inner.keys.at(key) });
            self.inner.replace(key, expected, delete, 0).await
        })
    }

    fn current(&self) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(self.inner.current())
    }

    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            // Before the store began nothing of ours happened, whatever etcd has forgotten.
            let after = after.max(self.inner.base);
            self.inner.reaches_back_to(after).await?;
            Ok(Watch::new(watching::Watching::new(self.inner.clone(), prefix, after)))
        })
    }

    fn compact(&self, before: Revision) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.inner.compact(before))
    }
}
