//! The one door through which a process's requests go out: who may write, how fast, and how it went.
//!
//! 1. A rehearsal writes nothing: whatever is not a read is refused here, whoever asks.
//! 2. A process that leads by a lease writes only while its term lasts ([`crate::leader::Term`]), also if it was stopped and
//!    goes on later: another may lead by then. The lease itself may always be written.
//! 3. A request that the server had no time for (429) is made again when the server says, by the same rules; it was not done.
//!    No other is: whoever knows what was asked for knows whether it may be asked for twice.
//! 4. Requests wait for their turn ([`pace`]); events in a lane of their own, so that they never hold up work, and the lease
//!    never waits.
//!
//! Kubernetes: `client-go/util/flowcontrol`, `client-go/tools/metrics`.

mod again;
pub(crate) mod pace;
pub(crate) mod subject;

pub use pace::Pace;

use crate::leader::Term;
use crate::limits::{Limit, Limits};
use crate::metrics::{Metrics, table};
use crate::traces::calls::Sent;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use std::sync::Arc;
use std::time::Duration;
use subject::Subject;
use tokio::time::Instant;

/// What goes through the door, and how.
#[derive(Debug, Clone, Default)]
pub struct Door {
    /// Nothing is written.
    pub rehearses: bool,
    /// Until when may be written; without one, always.
    pub term: Option<Term>,
    /// How fast; without one, as fast as it goes.
    pub pace: Option<Pace>,
    /// The server's address, for metrics.
    pub host: String,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Where it is said what slows us down.
    pub limits: Limits,
}

/// Which queue a request stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Lease,
    Events,
    Work,
}

/// The client behind this door.
pub fn behind(door: Door, client: Client) -> Client {
    let namespace = client.default_namespace().to_string();
    let door = Arc::new(Opened {
        events: door.pace.map(pace::Turns::new),
        work: door.pace.map(pace::Turns::new),
        door,
    });
    let service = tower::service_fn(move |request: Request<Body>| {
        let (door, client) = (door.clone(), client.clone());
        async move { door.send(client, request).await }
    });
    Client::new(service, namespace)
}

struct Opened {
    door: Door,
    events: Option<pace::Turns>,
    work: Option<pace::Turns>,
}

impl Opened {
    async fn send(&self, client: Client, mut request: Request<Body>) -> kube::Result<Response<Body>> {
        let lane = lane(request.uri().path());
        let most = if lane == Lane::Lease { 0 } else { again::MOST };
        let (mut left, sent) = (most, Sent::of(&request));
        loop {
            let same = again::copy(&request);
            let answer = self.send_once(&client, request, lane).await;
            let wait = answer.as_ref().ok().and_then(again::wait);
            let (Some(wait), Some(same), 1..) = (wait, same, left) else {
                sent.iter().for_each(|sent| sent.repeated(most - left));
                return answer;
            };
            self.door.limits.waited(Limit::Server, wait);
            sent.iter().for_each(|sent| sent.waited("server", wait));
            tokio::time::sleep(wait).await;
            (request, left) = (same, left - 1);
        }
    }

    async fn send_once(
        &self,
        client: &Client,
        request: Request<Body>,
        lane: Lane,
    ) -> kube::Result<Response<Body>> {
        let Door { metrics, host, .. } = &self.door;
        let method = request.method().clone();
        self.may(&method, lane)?;
        let wait = self.turn(&method, lane).await;
        Sent::of(&request).iter().for_each(|sent| sent.waited("rate", wait));
        // The wait may have been longer than the term.
        self.may(&method, lane)?;
        let start = Instant::now();
        let answer = client.send(request).await;
        metrics.observe(&table::REQUEST_SECONDS, &[method.as_str(), host], start.elapsed());
        let code = match &answer {
            Ok(answer) => answer.status().as_u16().to_string(),
            Err(_) => "<error>".to_string(),
        };
        metrics.count(&table::REQUESTS, &[&code, method.as_str(), host]);
        answer
    }

    fn may(&self, method: &Method, lane: Lane) -> kube::Result<()> {
        if *method == Method::GET {
            return Ok(());
        }
        let refused =
            |why: &str| Err(kube::Error::Api(Status::failure(why, "Forbidden").with_code(403).boxed()));
        match &self.door.term {
            _ if self.door.rehearses => refused("a rehearsal writes nothing"),
            Some(term) if lane != Lane::Lease && !term.lasts() => refused("no longer the leader"),
            _ => Ok(()),
        }
    }

    /// Waits, and says for how long.
    async fn turn(&self, method: &Method, lane: Lane) -> Duration {
        let turns = match lane {
            Lane::Lease => None,
            Lane::Events => self.events.as_ref(),
            Lane::Work => self.work.as_ref(),
        };
        let Some(turns) = turns else { return Duration::ZERO };
        let wait = turns.next(Instant::now());
        let Door { metrics, limits, host, .. } = &self.door;
        metrics.observe(&table::RATE_SECONDS, &[method.as_str(), host], wait);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
            if lane == Lane::Work {
                let Pace { qps, burst } = turns.pace();
                limits.waited(Limit::Rate { qps, burst }, wait);
            }
        }
        wait
    }
}

fn lane(path: &str) -> Lane {
    let Subject { group, resource, .. } = Subject::of(path).unwrap_or_default();
    match (group, resource) {
        ("coordination.k8s.io", "leases") => Lane::Lease,
        ("" | "events.k8s.io", "events") => Lane::Events,
        _ => Lane::Work,
    }
}

#[cfg(test)]
mod tests;
