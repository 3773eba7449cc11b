//! How much may one user, and one sort of users, ask for at once? What is above gets 429 and comes again.
//!
//! 1. Each sort has a share of its own, so that users cannot starve the nodes' heartbeats, nor strangers the users. Members
//!    of `system:masters` and the loops in this process have no limit, as in Kubernetes: who may delete everything
//!    needs no flood.
//! 2. Within a share no user takes more than a part. Who counts is whoever has shown a credential, not whom they impersonate.
//! 3. A refusal is immediate, costs nothing, and tells the client to come again in a second: client-go does so ten times.
//!    Differs: Kubernetes queues (APF). With answers in milliseconds a queue would only hide who floods.
//!
//! Kubernetes: `apiserver/pkg/server/filters/maxinflight.go`, `util/flowcontrol`.

use crate::authn::{MASTERS, UNAUTHENTICATED, User};
use crate::error::ApiError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Seconds until a refused client comes again.
const AGAIN_SECONDS: u32 = 1;

/// What a request holds while it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// Milliseconds.
    Short,
    /// As long as the client listens: watch, log, exec, proxy.
    Stream,
}

/// Users with a share in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Node,
    User,
    /// Without a credential, or with a join token.
    Stranger,
}

/// How many at once.
#[derive(Debug, Clone, Copy)]
struct Share {
    /// Of one user.
    each: usize,
    /// Of the sort.
    all: usize,
}

impl Sort {
    /// None has no limit.
    fn of(user: &User) -> Option<Self> {
        if user.is_in(MASTERS) {
            return None;
        }
        if user.node().is_some() {
            return Some(Sort::Node);
        }
        let is_stranger = user.is_in(UNAUTHENTICATED) || user.is_in("system:bootstrappers");
        Some(if is_stranger { Sort::Stranger } else { Sort::User })
    }

    fn share(self, hold: Hold) -> Share {
        let (each, all) = match (self, hold) {
            // A hundred pods that start at once, each with a few writes; 1,000 nodes that all come back.
            (Sort::Node, Hold::Short) => (100, 2_000),
            // Half a dozen watches, and a log or two for each pod.
            (Sort::Node, Hold::Stream) => (500, 10_000),
            // All of it is Kubernetes' 400 + 200 (--max-requests-inflight). A service account is one user on every node.
            (Sort::User, Hold::Short) => (200, 600),
            // A service account that watches three kinds from each of 1,000 nodes.
            (Sort::User, Hold::Stream) => (3_000, 8_000),
            // Health checks, and machines that join: 1,000 at once wait a second or ten.
            (Sort::Stranger, Hold::Short) => (100, 200),
            // Joining nodes watch their request for a certificate.
            (Sort::Stranger, Hold::Stream) => (100, 1_000),
        };
        Share { each, all }
    }
}

/// Who holds how much.
#[derive(Debug, Default)]
pub struct Limits {
    held: Mutex<BTreeMap<(Sort, Hold), Held>>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    /// By name; nobody who holds nothing.
    each: BTreeMap<String, usize>,
    refused: u64,
}

/// A place in a share; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    of: Option<(Arc<Limits>, (Sort, Hold), String)>,
}

impl Limits {
    /// A place for one request of a user, or 429.
    pub fn enter(self: &Arc<Self>, user: &User, hold: Hold) -> Result<Place, ApiError> {
        let Some(sort) = Sort::of(user) else { return Ok(Place { of: None }) };
        let (share, kind) = (sort.share(hold), (sort, hold));
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = all.entry(kind).or_default();
        let own = held.each.get(&user.name).copied().unwrap_or_default();
        if own >= share.each || held.all >= share.all {
            held.refused += 1;
            tracing::debug!(user = user.name, ?kind, own, all = held.all, "a request was refused: too many");
            return Err(too_many());
        }
        held.all += 1;
        held.each.insert(user.name.clone(), own + 1);
        Ok(Place { of: Some((self.clone(), kind, user.name.clone())) })
    }

    /// For `/metrics`: sort, hold, how many are held, how many were refused so far.
    pub fn figures(&self) -> Vec<(&'static str, &'static str, usize, u64)> {
        let all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = all.iter().map(|((sort, hold), held)| {
            let sort = match sort {
                Sort::Node => "node",
                Sort::User => "user",
                Sort::Stranger => "stranger",
            };
            let hold = if *hold == Hold::Short { "request" } else { "stream" };
            (sort, hold, held.all, held.refused)
        });
        figures.collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((limits, kind, name)) = self.of.take() else { return };
        let mut all = limits.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = all.get_mut(&kind) else { return };
        held.all = held.all.saturating_sub(1);
        match held.each.get_mut(&name) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(held.each.remove(&name)),
        }
    }
}

/// 429, as client-go wants it: the header, and the same number in the Status.
pub fn too_many() -> ApiError {
    ApiError {
        retry_after: Some(AGAIN_SECONDS),
        ..ApiError::plain(429, "TooManyRequests", "Too many requests, please try again later.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, group: &str) -> User {
        User::authenticated(name, [group.to_string()])
    }

    fn fill(limits: &Arc<Limits>, user: &User, hold: Hold) -> Vec<Place> {
        std::iter::from_fn(|| limits.enter(user, hold).ok()).take(20_000).collect()
    }

    #[test]
    fn a_user_has_a_part_of_a_share_and_gets_it_back() {
        let limits = Arc::new(Limits::default());
        let alice = user("alice", "devs");
        let mut held = fill(&limits, &alice, Hold::Short);
        assert_eq!(held.len(), 200);
        let refused = limits.enter(&alice, Hold::Short).unwrap_err();
        assert_eq!((refused.code, refused.retry_after), (429, Some(1)));
        assert!(limits.enter(&alice, Hold::Stream).is_ok(), "streams are counted by themselves");
        held.pop();
        assert!(limits.enter(&alice, Hold::Short).is_ok());
        drop(held);
        assert_eq!(fill(&limits, &alice, Hold::Short).len(), 200);
        assert_eq!(limits.figures(), [("user", "request", 0, 3), ("user", "stream", 0, 0)]);
    }

    #[test]
    fn nobody_takes_the_share_of_another_sort() {
        let limits = Arc::new(Limits::default());
        let users = ["a", "b", "c", "d"].map(|name| fill(&limits, &user(name, "devs"), Hold::Short));
        assert_eq!(users.each_ref().map(Vec::len), [200, 200, 200, 0]);
        let strangers = fill(&limits, &User::anonymous(), Hold::Short);
        let joining = fill(&limits, &user("system:bootstrap:abcdef", "system:bootstrappers"), Hold::Short);
        assert_eq!((strangers.len(), joining.len()), (100, 100));
        assert_eq!(fill(&limits, &user("system:node:n1", "system:nodes"), Hold::Short).len(), 100);
        assert_eq!(fill(&limits, &user("root", MASTERS), Hold::Short).len(), 20_000, "masters have no limit");
        assert!(limits.enter(&user("n1", "system:nodes"), Hold::Short).is_err(), "n1 is no node, but a user");
    }
}
