//! The control loops as processes that crash, start again, and take turns as the leader.
//!
//! The loop `daemonsets` is a process of its own, so that it is known who wrote what; the other loops are another one.

use crate::chance::Chance;
use crate::clock;
use crate::faults::{Faults, Wire};
use crate::invariants::OTHERS;
use crate::trace::Trace;
use apiserver::{ApiServer, User};
use controllers::leader::Election;
use controllers::{Config, LoopError, Loops};
use std::time::Duration;

/// The longest time until a process that has ended starts again.
const LONGEST_ABSENCE: Duration = Duration::from_secs(10);

/// One process.
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) loops: Loops,
    /// Another process runs the same loops: they take turns.
    pub(crate) takes_turns: bool,
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
        let user = User::authenticated("system:everynode:controllers", ["system:masters".to_string()]);
        let server = self.server.as_user(user);
        kube::Client::new(Wire { client: name.to_string(), server, faults: self.faults.clone() }, "default")
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
            }
            let run = controllers::run(
                around.client(&self.name),
                self.loops.clone(),
                self.config(),
                std::future::pending(),
            );
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
            Ok(Err(LoopError::Leader(_))) if self.takes_turns => {
                trace.say(format_args!("process {} leads no more", self.name));
                trace.met("loop", "loses its lease");
            }
            Ok(Err(error)) => {
                trace.broken("loops never end by themselves", format_args!("{}: {error}", self.name))
            }
            Ok(Ok(())) => trace.broken("loops never end by themselves", &self.name),
            Err(error) => trace.broken("loops never end by themselves", error),
        }
    }

    fn config(&self) -> Config {
        let election = self.takes_turns.then(|| {
            // A process that starts again is another one.
            let identity = format!("{} {}", self.name, self.starts);
            Election::new("kube-system", "everynode-controllers", identity)
        });
        Config { election, now: clock::of_loops, ..Config::default() }
    }
}
