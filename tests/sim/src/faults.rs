//! What goes wrong between a client and the server.
//!
//! Every client of the cluster speaks through a [`Wire`] of its own. Each call draws its fate from the seed: it comes
//! late, is refused, is lost before or after it took effect, or its caller dies before or after it. Watches are in
//! [`stream`]. Which of all this may happen, and how often, are [`Dials`]; each seed turns on a part of them only
//! ("swarm"), because faults hide one another.
//!
//! Only what Kubernetes' protocol allows: a stream loses nothing unless it breaks, a list asked for without a revision
//! is not stale, and a refused call had no effect.

mod by_hand;
pub(crate) mod dials;
pub(crate) mod stream;
pub(crate) mod wire;

pub(crate) use dials::Dials;
pub(crate) use wire::Wire;

use crate::chance::Chance;
use crate::clock;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::Revision;
use tokio::sync::Notify;

/// Calls that are remembered to say who wrote what: more than one instant ever sees.
const REMEMBERED: usize = 256;

/// The faults of a run. Clones are the same.
#[derive(Clone)]
pub(crate) struct Faults(Arc<Mutex<Inner>>);

struct Inner {
    chance: Chance,
    dials: Dials,
    /// Nothing goes wrong while this is false.
    on: bool,
    /// Clients whose calls stand still.
    hung: BTreeSet<String>,
    /// Clients that have crashed and not started again: their calls lead nowhere.
    dead: BTreeSet<String>,
    crashes: BTreeMap<String, Arc<Notify>>,
    /// Faults that a script has asked for.
    asked: Vec<Asked>,
    /// Watches that give nothing: client and plural.
    held: BTreeMap<(String, String), u32>,
    calls: VecDeque<Call>,
    /// The last call of a user.
    by_hand: Option<Call>,
    /// How far each client's watch of each kind is.
    heard: BTreeMap<(String, String), Revision>,
    told: BTreeMap<&'static str, u64>,
    /// Until when clients are cut off from the server.
    cut_off: BTreeMap<String, Duration>,
    /// How often each process has started.
    starts: BTreeMap<String, u32>,
    /// When calls of each client were refused with 429, the last one first.
    turned_away: BTreeMap<String, VecDeque<Duration>>,
    /// A namespace's account may come later than its first pods.
    late_accounts: bool,
}

/// Before the call reaches the server, or after it took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

/// One call, as far as it concerns faults and claims.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) client: String,
    /// `get`, `list`, `watch`, `post`, `put`, `patch`, `delete`.
    pub(crate) verb: &'static str,
    pub(crate) plural: String,
    /// `namespace/name`, or the name alone; `namespace/` or nothing for a collection that is deleted.
    pub(crate) key: String,
    /// When it reached the server.
    pub(crate) at: Duration,
}

impl Call {
    /// Whether it is about a collection, and this object in it.
    fn is_of_all(&self, key: &str) -> bool {
        self.key.is_empty() || self.key.ends_with('/') && key.starts_with(&self.key)
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fate {
    pub(crate) late: Duration,
    pub(crate) answer_late: Duration,
    pub(crate) what: What,
}

/// A fault that a script asks for; `*` is any verb or plural.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) client: String,
    pub(crate) verb: String,
    pub(crate) plural: String,
    pub(crate) what: What,
    /// Calls that pass before it strikes.
    pub(crate) pass: u64,
    /// Calls that it strikes at.
    pub(crate) times: u64,
}

/// The end of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum What {
    #[default]
    Served,
    /// The server refuses it with this code; no effect.
    Refused(u16),
    /// The connection breaks before the server has it.
    LostBefore,
    /// The connection breaks when the server has done it.
    LostAfter,
    /// The server has done it and answers 504.
    TimeoutAfter,
    /// The caller's process dies.
    Crash(Moment),
}

impl Faults {
    /// Faults that draw from `chance`.
    pub(crate) fn new(chance: Chance, dials: Dials) -> Self {
        let inner = Inner {
            chance,
            dials,
            on: false,
            hung: BTreeSet::new(),
            dead: BTreeSet::new(),
            crashes: BTreeMap::new(),
            asked: Vec::new(),
            held: BTreeMap::new(),
            calls: VecDeque::new(),
            by_hand: None,
            heard: BTreeMap::new(),
            told: BTreeMap::new(),
            cut_off: BTreeMap::new(),
            starts: BTreeMap::new(),
            turned_away: BTreeMap::new(),
            late_accounts: false,
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Turns all of them on or off.
    pub(crate) fn turn(&self, on: bool) {
        self.lock().on = on;
    }

    /// The calls of this client stand still, or go on.
    pub(crate) fn hang(&self, client: &str, hangs: bool) {
        let mut inner = self.lock();
        match hangs {
            true => inner.hung.insert(client.to_string()),
            false => inner.hung.remove(client),
        };
    }

    pub(crate) fn is_hung(&self, client: &str) -> bool {
        self.lock().hung.contains(client)
    }

    /// A process starts: it knows nothing. The bell rings when it crashes.
    pub(crate) fn started(&self, client: &str) -> Arc<Notify> {
        let mut inner = self.lock();
        inner.dead.remove(client);
        *inner.starts.entry(client.to_string()).or_default() += 1;
        inner.heard.retain(|(of, _), _| of != client);
        let bell = Arc::new(Notify::new());
        inner.crashes.insert(client.to_string(), bell.clone());
        bell
    }

    /// What a process calls itself: each start is another one.
    pub(crate) fn identity(&self, client: &str) -> String {
        format!("{client} {}", self.lock().starts.get(client).copied().unwrap_or_default())
    }

    /// Strikes at the calls of this client, verb and plural: after `pass` of them at the next `times`.
    pub(crate) fn ask(&self, asked: Asked) {
        self.lock().asked.push(asked);
    }

    /// Whether something asked for has not struck yet.
    pub(crate) fn is_asked(&self) -> bool {
        self.lock().asked.iter().any(|asked| asked.times > 0)
    }

    /// Nothing asked for strikes any more.
    pub(crate) fn heal(&self) {
        self.lock().asked.clear();
    }

    /// The client is cut off for so long: its calls do not reach the server, and its watches give nothing.
    pub(crate) fn cut_off(&self, client: &str, time: Duration) {
        self.lock().cut_off.insert(client.to_string(), clock::elapsed() + time);
    }

    /// The client's watch of a kind gives nothing, or goes on.
    pub(crate) fn hold(&self, client: &str, plural: &str, holds: bool) {
        let (mut inner, watch) = (self.lock(), (client.to_string(), plural.to_string()));
        match holds {
            true => inner.held.insert(watch, 0),
            false => inner.held.remove(&watch),
        };
    }

    /// So many lines of a watch that is held come through nevertheless.
    pub(crate) fn let_through(&self, client: &str, plural: &str, lines: u32) {
        if let Some(left) = self.lock().held.get_mut(&(client.to_string(), plural.to_string())) {
            *left += lines;
        }
    }

    /// Whether the next line of this watch has to wait.
    fn holds_back(&self, client: &str, plural: &str) -> bool {
        let mut inner = self.lock();
        if inner.is_cut_off(client) {
            return true;
        }
        match inner.held.get_mut(&(client.to_string(), plural.to_string())) {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    /// How often each fault has struck.
    pub(crate) fn told(&self) -> BTreeMap<&'static str, u64> {
        self.lock().told.clone()
    }

    /// Since when a call can be under way that is made now, if each time that the server had no time for it (429) it was
    /// made again after `wait`, and else it is under way for `usual`.
    pub(crate) fn under_way_since(&self, clients: &[String], usual: Duration, wait: Duration) -> Duration {
        let (inner, now) = (self.lock(), clock::elapsed());
        let since = clients.iter().map(|client| {
            let times = inner.turned_away.get(client).into_iter().flatten();
            times.fold(now.saturating_sub(usual), |since, at| match *at + wait >= since {
                true => since.saturating_sub(wait.min(now.saturating_sub(*at))),
                false => since,
            })
        });
        since.min().unwrap_or_else(|| now.saturating_sub(usual))
    }

    /// The longest that one call can be under way.
    pub(crate) fn longest_call(&self) -> Duration {
        self.lock().dials.longest_call()
    }

    /// Whether a pod's creation may wait for its namespace's account: the loop that makes it is away, its calls are lost, or it
    /// has not seen the namespace yet.
    pub(crate) fn may_make_accounts_late(&self) -> bool {
        let inner = self.lock();
        inner.late_accounts || inner.dials != Dials::default()
    }

    /// Namespaces are made from now on.
    pub(crate) fn accounts_are_late(&self) {
        self.lock().late_accounts = true;
    }

    /// A call that no process of ours makes reaches the server now.
    pub(crate) fn somebody_else(&self, verb: &'static str, plural: &str, key: &str) {
        let (client, plural, key) = ("somebody else".to_string(), plural.to_string(), key.to_string());
        self.arrives(Call { client, verb, plural, key, at: Duration::ZERO });
    }

    /// How far the client's watch of a kind is; none before its first complete list.
    pub(crate) fn heard(&self, client: &str, plural: &str) -> Option<Revision> {
        self.lock().heard.get(&(client.to_string(), plural.to_string())).copied()
    }

    fn hears(&self, client: &str, plural: &str, revision: Revision) {
        let mut inner = self.lock();
        let heard = inner.heard.entry((client.to_string(), plural.to_string())).or_default();
        *heard = revision.max(*heard);
    }

    /// The calls of this verb on this object that reached the server at this very moment; a new object has no key yet,
    /// and a whole collection may be deleted.
    pub(crate) fn just_now(&self, verb: &str, plural: &str, key: &str) -> Vec<Call> {
        let (inner, now) = (self.lock(), clock::elapsed());
        let is_it = |call: &&Call| {
            call.at == now
                && call.verb == verb
                && call.plural == plural
                && (call.key == key || verb == "delete" && call.is_of_all(key))
        };
        inner.calls.iter().filter(is_it).cloned().collect()
    }

    fn arrives(&self, mut call: Call) {
        call.at = clock::elapsed();
        let mut inner = self.lock();
        if inner.calls.len() >= REMEMBERED {
            inner.calls.pop_front();
        }
        inner.calls.push_back(call);
    }

    /// The process of this client dies.
    pub(crate) fn crash(&self, client: &str) {
        let mut inner = self.lock();
        inner.dead.insert(client.to_string());
        if let Some(bell) = inner.crashes.get(client) {
            bell.notify_one();
        }
    }

    fn is_dead(&self, client: &str) -> bool {
        self.lock().dead.contains(client)
    }

    /// What shall happen to this call.
    fn fate(&self, call: &Call) -> Fate {
        let mut inner = self.lock();
        if let Some(what) = inner.asked_for(call) {
            return Fate { what, ..Fate::default() };
        }
        if !inner.on {
            return Fate::default();
        }
        if inner.is_cut_off(&call.client) {
            return Fate { what: What::LostBefore, ..Fate::default() };
        }
        let (dials, chance) = (inner.dials, &mut inner.chance);
        let fate = dials.fate(call, chance);
        let late = [("late", fate.late), ("answer late", fate.answer_late)];
        let late = late.into_iter().filter(|(_, time)| !time.is_zero()).map(|(name, _)| name);
        for name in late.chain(fate.what.name()) {
            *inner.told.entry(name).or_default() += 1;
        }
        if fate.what == What::Refused(429) {
            let times = inner.turned_away.entry(call.client.clone()).or_default();
            times.truncate(REMEMBERED - 1);
            times.push_front(clock::elapsed());
        }
        fate
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_cut_off(&self, client: &str) -> bool {
        self.on && self.cut_off.get(client).is_some_and(|end| clock::elapsed() < *end)
    }

    fn asked_for(&mut self, call: &Call) -> Option<What> {
        let fits = |asked: &&mut Asked| {
            let fits = |wanted: &str, is: &str| wanted == "*" || wanted == is;
            asked.client == call.client && fits(&asked.verb, call.verb) && fits(&asked.plural, &call.plural)
        };
        let asked = self.asked.iter_mut().filter(|asked| asked.times > 0).find(fits)?;
        if asked.pass > 0 {
            asked.pass -= 1;
            return None;
        }
        asked.times -= 1;
        Some(asked.what)
    }
}

impl What {
    /// Its name in counts; none for a call that is served.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Served => None,
            Self::Refused(409) => Some("conflict"),
            Self::Refused(429) => Some("too many requests"),
            Self::Refused(_) => Some("refused"),
            Self::LostBefore => Some("lost before"),
            Self::LostAfter => Some("lost after"),
            Self::TimeoutAfter => Some("timeout after"),
            Self::Crash(Moment::Before) => Some("crash before"),
            Self::Crash(Moment::After) => Some("crash after"),
        }
    }
}
