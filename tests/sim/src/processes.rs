//! The control loops as processes that crash, start again, and take turns as the leader.
//!
//! The loop `daemonsets` is a process of its own, so that it is known who wrote what; the other loops are another one. In a part
//! of the seeds it is more than that: [`Place::Apart`], wired as `everynode controller` is (`everynode/compose/controller`).

use crate::chance::Chance;
use crate::clock;
use crate::faults::{Faults, Wire};
use crate::invariants::OTHERS;
use crate::trace::Trace;
use apiserver::{ApiServer, User};
use controllers::calls::{self, Door, Pace};
use controllers::leader::Election;
use controllers::limits::Limits;
use controllers::metrics::Metrics;
use controllers::{Config, LoopError, Loops};
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::client::Body;
use std::time::Duration;

/// The longest time until a process that has ended starts again.
const LONGEST_ABSENCE: Duration = Duration::from_secs(10);

/// As servers know it: up to the slash it is [`controllers::MANAGER`].
const OUR_AGENT: HeaderValue = HeaderValue::from_static("everynode-controllers/sim");

/// The lease of `everynode controller`.
pub(crate) const LEASE: &str = "everynode-daemonsets";

/// Where a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the server, the only one with its loops.
    Alone,
    /// In one of several servers: another one runs the same loops, and they take turns.
    InTurns,
    /// Beside a server that may have had another controller: it leads by a lease of its own, goes through the door of requests, and
    /// asks before its first write what a takeover changes.
    Apart,
}

/// One process.
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) loops: Loops,
    pub(crate) place: Place,
    pub(crate) chance: Chance,
    /// How often it has started.
    pub(crate) starts: u32,
}

/// What a process runs against.
#[derive(Clone)]
pub(crate) struct Around {
    pub(crate) server: ApiServer,
    pub(crate) faults: Faults,
    pub(crate) trace: Trace,
}

impl Around {
    /// A client with a wire of its own.
    pub(crate) fn client(&self, name: &str) -> kube::Client {
        kube::Client::new(self.wire(name), "default")
    }

    fn wire(&self, name: &str) -> Wire {
        let user = User::authenticated("system:everynode:controllers", ["system:masters".to_string()]);
        let server = self.server.as_user(user);
        Wire { client: name.to_string(), server, faults: self.faults.clone() }
    }
}

impl Process {
    /// Runs for ever, and starts again after each crash.
    pub(crate) async fn keep(mut self, around: Around) {
        loop {
            let crashed = around.faults.started(&self.name);
            self.starts += 1;
            around.trace.say(format_args!("process {} starts", self.name));
            if self.starts > 1 {
                let group = if self.name == OTHERS { "others" } else { "loop" };
                around.trace.met(group, "start again after a crash");
                if self.place == Place::Apart {
                    around.trace.met("apart", "starts again");
                }
            }
            let (client, config) = self.wired(&around);
            let run = controllers::run(client, self.loops.clone(), config, std::future::pending());
            let mut run = tokio::spawn(run);
            tokio::select! {
                biased;
                () = crashed.notified() => {
                    run.abort();
                    // A cancelled task's answer says nothing.
                    let _ = (&mut run).await;
                    around.trace.say(format_args!("process {} has crashed", self.name));
                }
                end = &mut run => self.ended(end, &around.trace),
            }
            let absence = self.chance.within(LONGEST_ABSENCE);
            tokio::time::sleep(absence).await;
        }
    }

    fn ended(&self, end: Result<Result<(), LoopError>, tokio::task::JoinError>, trace: &Trace) {
        match end {
            Ok(Err(LoopError::Leader(_))) if self.place != Place::Alone => {
                trace.say(format_args!("process {} leads no more", self.name));
                trace.met(if self.place == Place::Apart { "apart" } else { "loop" }, "loses its lease");
            }
            Ok(Err(error)) => {
                trace.broken("loops never end by themselves", format_args!("{}: {error}", self.name))
            }
            Ok(Ok(())) => trace.broken("loops never end by themselves", &self.name),
            Err(error) => trace.broken("loops never end by themselves", error),
        }
    }

    /// Its way to the server, and what it is told.
    fn wired(&self, around: &Around) -> (kube::Client, Config) {
        // A process that starts again is another one.
        let identity = around.faults.identity(&self.name);
        let election = |lease: &str| Election::new("kube-system", lease, identity);
        let config = Config { now: clock::of_loops, ..Config::default() };
        match self.place {
            Place::Alone => (around.client(&self.name), config),
            Place::InTurns => {
                let election = Some(election("everynode-controllers"));
                (around.client(&self.name), Config { election, now: clock::of_controller, ..config })
            }
            Place::Apart => apart(around, &self.name, election(LEASE)),
        }
    }
}

/// As `everynode controller` is wired with its defaults.
fn apart(around: &Around, name: &str, election: Election) -> (kube::Client, Config) {
    let named = |mut request: http::Request<Body>| {
        request.headers_mut().insert(USER_AGENT, OUR_AGENT);
        request
    };
    let client = kube::Client::new(tower::ServiceExt::map_request(around.wire(name), named), "default");
    let metrics = Metrics::default();
    let limits = Limits::new(metrics.clone());
    let door = Door {
        term: Some(election.term.clone()),
        pace: Some(Pace::POLITE),
        metrics: metrics.clone(),
        limits: limits.clone(),
        ..Door::default()
    };
    let config = Config {
        election: Some(election),
        manager: Some(controllers::MANAGER),
        metrics,
        limits,
        now: clock::of_controller,
        ..Config::default()
    };
    (calls::behind(door, client), config)
}
