//! What a running cluster does when somebody asks with `everynode node …`.
//!
//! A node is in the record before anything of it is made, and until everything of it is gone.

use super::control::{Reply, Request};
use super::{Nodes, READY_LIMIT, Up, Waiting, data_dir_flag, names_of, say};
use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::time::Instant;
use tokio::sync::oneshot;

impl Up {
    pub(super) fn finish_waiting(&mut self, number: u32, reply: &Reply) {
        let (done, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|w| w.number == number);
        self.waiting = waiting;
        let done: Vec<Waiting> = done;
        for waiting in done {
            let _ = waiting.reply.send(reply.clone());
        }
    }

    pub(super) fn give_up_waiting(&mut self) {
        let now = Instant::now();
        let late: BTreeSet<u32> = self.waiting.iter().filter(|w| w.until < now).map(|w| w.number).collect();
        for number in late {
            let log = self.data_dir().join(format!("nodes/n{number}/var/log/everynode-agent.log"));
            let limit = READY_LIMIT.as_secs();
            self.finish_waiting(
                number,
                &Err(format!("n{number} is not Ready after {limit} s; see {}", log.display())),
            );
        }
    }

    pub(super) async fn answer(&mut self, request: Request, reply: oneshot::Sender<Reply>) {
        let done = match request {
            Request::Add(number) => match self.add(number).await {
                Ok(()) => {
                    let until = Instant::now() + READY_LIMIT;
                    return self.waiting.push(Waiting { number, reply, until });
                }
                Err(error) => Err(error),
            },
            Request::Remove(number) => return self.leave(number, reply).await,
            Request::Start(number) => self.start_agent(number).await,
            Request::Stop(number) => self.stop_agent(number).await,
            Request::List => Ok(self.list()),
        };
        let _ = reply.send(done.map_err(|error| format!("{error:#}")));
    }

    async fn add(&mut self, number: u32) -> Result<()> {
        self.expect_to_stay(number)?;
        if !self.record.nodes.insert(number) {
            bail!("n{number} is there already");
        }
        say(format!("n{number}: is added"));
        self.write_record()?;
        let added = match &mut self.nodes {
            Nodes::Hosts(hosts) => hosts.add(number, &self.events).await,
            _ => self.set_fleets().await,
        };
        if added.is_err() {
            self.record.nodes.remove(&number);
        }
        self.write_record()?;
        added
    }

    async fn start_agent(&mut self, number: u32) -> Result<String> {
        self.expect(number)?;
        self.record.stopped.remove(&number);
        let done = match &mut self.nodes {
            Nodes::Hosts(hosts) => hosts.start(number, &self.events).await?,
            _ => {
                self.set_fleets().await?;
                format!("n{number} is starting")
            }
        };
        self.write_record()?;
        Ok(done)
    }

    async fn stop_agent(&mut self, number: u32) -> Result<String> {
        self.expect(number)?;
        match &mut self.nodes {
            Nodes::Hosts(hosts) => hosts.stop(number).await?,
            _ => {
                self.record.stopped.insert(number);
                self.set_fleets().await?;
            }
        }
        Ok(format!(
            "the agent of n{number} ends; its containers go on; start it again with: everynode node start n{number}{}",
            data_dir_flag(self.data_dir())
        ))
    }

    fn expect(&self, number: u32) -> Result<()> {
        self.expect_to_stay(number)?;
        match self.record.nodes.contains(&number) {
            true => Ok(()),
            false => bail!("there is no n{number}; there are {}", names_of(&self.record.nodes)),
        }
    }

    fn expect_to_stay(&self, number: u32) -> Result<()> {
        match self.leaving.contains_key(&number) {
            false => Ok(()),
            true => bail!("n{number} is being removed; try again when it is gone"),
        }
    }

    fn list(&self) -> String {
        let line = |number: &u32| {
            let name = format!("n{number}");
            let ready = if self.ready.contains(&name) { "Ready" } else { "NotReady" };
            let (address, agent) = match &self.nodes {
                Nodes::Hosts(hosts) => (hosts.network().node(*number).to_string(), hosts.agent_runs(*number)),
                _ => ("simulated".into(), !self.record.stopped.contains(number)),
            };
            let agent = match agent {
                _ if self.leaving.contains_key(number) => "is being removed",
                true => "agent runs",
                false => "agent ended",
            };
            format!("{name:<6} {address:<15} {ready:<9} {agent}")
        };
        let lines: Vec<String> = self.record.nodes.iter().map(line).collect();
        lines.join("\n")
    }
}
