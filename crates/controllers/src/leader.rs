//! One of several processes runs the loops: the holder of a lease.
//!
//! 1. The lease is taken when it is free, released, or has not been renewed for its duration; measured on our own clock from
//!    the last change that we saw, so that clocks need not agree.
//! 2. The holder renews it every [`Times::retry`]; when it has not succeeded for [`Times::renew`], which is shorter than the
//!    duration, it is no leader any more and must end ([`Lost`]). Its writes end with its [`Term`], whoever sends them.
//! 3. Every write carries the version that was read: of two that try at once, one fails.
//!
//! Kubernetes: `client-go/tools/leaderelection`.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long things may take. Kubernetes: `--leader-elect-lease-duration` and the two after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long a lease holds without renewal.
    pub lease: Duration,
    /// After so long without a renewal the holder gives up; shorter than `lease`.
    pub renew: Duration,
    /// Between two attempts; shorter than `renew`.
    pub retry: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { lease: seconds(15), renew: seconds(10), retry: seconds(2) }
    }
}

/// Until when the holder may write, kept up to date by the one who renews and read by all who write: also of a process that
/// was stopped and goes on, no write comes after it ([`crate::calls`]).
#[derive(Debug, Clone, Default)]
pub struct Term(Arc<Mutex<Option<Instant>>>);

impl Term {
    /// Whether it lasts.
    pub fn lasts(&self) -> bool {
        let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        end.is_some_and(|end| Instant::now() < end)
    }

    pub(crate) fn until(&self, end: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }
}

/// Which lease, and who we are.
#[derive(Debug, Clone)]
pub struct Election {
    /// Where the lease is.
    pub namespace: String,
    /// What it is called.
    pub name: String,
    /// Different for every process.
    pub identity: String,
    /// How long things may take.
    pub times: Times,
    /// Until when the holder may write.
    pub term: Term,
}

impl Election {
    /// With upstream's times.
    pub fn new(namespace: &str, name: &str, identity: String) -> Self {
        let (namespace, name) = (namespace.to_string(), name.to_string());
        Self { namespace, name, identity, times: Times::default(), term: Term::default() }
    }
}

/// We were the leader and are not any more.
#[derive(Debug, thiserror::Error)]
#[error("lease {lease} was lost: {reason}")]
pub struct Lost {
    lease: String,
    reason: String,
}

/// The lease is ours, as long as it is kept.
#[derive(Debug)]
pub struct Hold {
    election: Election,
    renewed: Instant,
    now: fn() -> Timestamp,
}

/// What was seen of the lease, and when it last changed.
struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

/// Waits until the lease is ours.
pub async fn acquire(client: &Client, election: Election, now: fn() -> Timestamp) -> Hold {
    let mut seen = None;
    loop {
        let renewed = Instant::now();
        match attempt(client, &election, &mut seen, now()).await {
            Ok(true) => {
                tracing::info!(lease = election.name, identity = election.identity, "leading");
                election.term.until(renewed + election.times.renew);
                return Hold { election, renewed, now };
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(lease = election.name, %error, "cannot try for the lease"),
        }
        tokio::time::sleep(election.times.retry).await;
    }
}

impl Hold {
    /// Renews the lease until that fails for too long.
    pub async fn keep(mut self, client: &Client) -> Lost {
        let lost = |election: &Election, reason: String| Lost {
            lease: format!("{}/{}", election.namespace, election.name),
            reason,
        };
        let Times { renew, retry, .. } = self.election.times;
        let mut seen = None;
        loop {
            tokio::time::sleep(retry).await;
            let (deadline, start) = (self.renewed + renew, Instant::now());
            let renewal = attempt(client, &self.election, &mut seen, (self.now)());
            let reason = match tokio::time::timeout_at(deadline, renewal).await {
                Ok(Ok(true)) => {
                    self.renewed = start;
                    self.election.term.until(start + renew);
                    continue;
                }
                Ok(Ok(false)) => return lost(&self.election, "another process holds it".to_string()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_string(),
            };
            tracing::warn!(lease = self.election.name, reason, "the lease is not renewed");
            if Instant::now() + retry > deadline {
                return lost(&self.election, reason);
            }
        }
    }
}

/// Gives the lease back, so that another process need not wait for its end. Best effort: it runs out by itself.
pub(crate) async fn release(client: &Client, election: &Election) {
    let api = Api::<Lease>::namespaced(client.clone(), &election.namespace);
    let given_back = async {
        let Some(mut live) = api.get_opt(&election.name).await? else { return Ok(()) };
        let spec = live.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&election.identity) {
            return Ok(());
        }
        spec.holder_identity = Some(String::new());
        api.replace(&election.name, &PostParams::default(), &live).await.map(|_| ())
    };
    match tokio::time::timeout(election.times.retry, given_back).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(lease = election.name, %error, "the lease is not given back"),
        Err(_) => tracing::debug!(lease = election.name, "the lease is not given back in time"),
    }
}

/// Takes or renews the lease; false if another process holds it.
async fn attempt(
    client: &Client,
    election: &Election,
    seen: &mut Option<Seen>,
    now: Timestamp,
) -> kube::Result<bool> {
    let api = Api::<Lease>::namespaced(client.clone(), &election.namespace);
    let Some(live) = api.get_opt(&election.name).await? else {
        let metadata = ObjectMeta { name: Some(election.name.clone()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(held(&LeaseSpec::default(), election, now)) };
        return api.create(&PostParams::default(), &lease).await.map(|_| true);
    };
    let spec = live.spec.clone().unwrap_or_default();
    let since = match seen {
        Some(seen) if seen.spec == spec => seen.since,
        _ => Instant::now(),
    };
    *seen = Some(Seen { spec: spec.clone(), since });
    if !may_take(&spec, election, since.elapsed()) {
        return Ok(false);
    }
    let lease = Lease { spec: Some(held(&spec, election, now)), ..live };
    let written = api.replace(&election.name, &PostParams::default(), &lease).await?;
    *seen = Some(Seen { spec: written.spec.unwrap_or_default(), since: Instant::now() });
    Ok(true)
}

/// Whether the lease is ours or nobody's.
fn may_take(spec: &LeaseSpec, election: &Election, unchanged_for: Duration) -> bool {
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let duration = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let duration = duration.map_or(election.times.lease, Duration::from_secs);
    holder.is_empty() || holder == election.identity || unchanged_for > duration
}

/// The lease as ours.
fn held(before: &LeaseSpec, election: &Election, now: Timestamp) -> LeaseSpec {
    let identity = election.identity.as_str();
    let is_ours = before.holder_identity.as_deref() == Some(identity);
    let transitions = before.lease_transitions.unwrap_or(0);
    LeaseSpec {
        holder_identity: Some(identity.to_string()),
        lease_duration_seconds: i32::try_from(election.times.lease.as_secs()).ok(),
        acquire_time: before.acquire_time.clone().filter(|_| is_ours).or(Some(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions + i32::from(!is_ours && before.holder_identity.is_some())),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me(identity: &str) -> Election {
        Election::new("n", "l", identity.to_string())
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_ours_or_stale() {
        let spec = |holder: &str| LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        let second = Duration::from_secs(1);
        assert!(may_take(&LeaseSpec::default(), &me("a"), second));
        assert!(may_take(&spec(""), &me("a"), second));
        assert!(may_take(&spec("a"), &me("a"), second));
        assert!(!may_take(&spec("b"), &me("a"), 15 * second));
        assert!(may_take(&spec("b"), &me("a"), 16 * second));
    }

    #[test]
    fn a_takeover_is_counted_and_a_renewal_is_not() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = held(&LeaseSpec::default(), &me("a"), at(1));
        assert_eq!((first.lease_transitions, first.acquire_time.clone()), (Some(0), Some(MicroTime(at(1)))));
        let renewed = held(&first, &me("a"), at(3));
        assert_eq!(
            (renewed.lease_transitions, renewed.acquire_time.clone()),
            (Some(0), Some(MicroTime(at(1))))
        );
        let taken = held(&renewed, &me("b"), at(20));
        assert_eq!((taken.lease_transitions, taken.acquire_time), (Some(1), Some(MicroTime(at(20)))));
    }
}
