//! How far back may the loop `daemonsets` be looking when it writes?
//!
//! Its watches are late by what the faults do to them, and a plan that was made a moment ago is carried out over several
//! calls. So a write speaks of some moment between [`Window::since`] and now, and a claim about it must hold for at least
//! one of them. What the watches have shown is known exactly ([`Faults::heard`]); so the window is as short as it can be,
//! and of no length at all while nothing goes wrong.

use crate::faults::Faults;
use crate::truth::Truth;
use std::collections::VecDeque;
use std::time::Duration;

/// Calls of one plan that follow each other: confirm, claim, revision, batches of creates, deletes, status.
const CALLS_IN_A_ROW: u32 = 12;
/// Coalescing, and work in between.
const WORK: Duration = Duration::from_millis(50);
/// So long the API server lets the creation of a pod wait for its namespace's account, which another loop makes: it may be
/// late by any fault.
const ACCOUNT_WAIT: Duration = Duration::from_secs(1);
/// After so long the door of a process that runs apart makes a call again for which the server had no time.
const AGAIN: Duration = Duration::from_secs(1);
/// Kinds that the loop reads.
const READS: [&str; 4] = ["nodes", "pods", "daemonsets", "controllerrevisions"];

/// What the loop may be speaking of.
#[derive(Default)]
pub(crate) struct Window {
    /// When it was noted, and since when something was not shown yet.
    notes: VecDeque<(Duration, Duration)>,
    /// Whose watches and calls it is about.
    clients: Vec<String>,
    /// Calls that were refused with 429 are made again below the loop, which does not know of it.
    is_apart: bool,
}

impl Window {
    /// About these clients.
    pub(crate) fn of(clients: Vec<String>, is_apart: bool) -> Self {
        Self { notes: VecDeque::new(), clients, is_apart }
    }

    /// Notes how far the watches are; after every write.
    pub(crate) fn note(&mut self, truth: &Truth, faults: &Faults, now: Duration) {
        let unseen = self.clients.iter().filter_map(|client| first_unseen(truth, faults, client)).min();
        let planned = self.planned(faults, now);
        self.notes.push_back((now, unseen.unwrap_or(now).min(now)));
        // The last note before the oldest plan under way still counts.
        while self.notes.get(1).is_some_and(|(at, _)| *at < planned) {
            self.notes.pop_front();
        }
    }

    /// The earliest moment that a write of now may speak of.
    pub(crate) fn since(&self, faults: &Faults, now: Duration) -> Duration {
        let oldest = self.notes.iter().map(|(_, since)| *since).min().unwrap_or(now);
        oldest.min(self.planned(faults, now))
    }

    /// When the oldest plan was made that is still carried out.
    fn planned(&self, faults: &Faults, now: Duration) -> Duration {
        let usual = under_way(faults);
        match self.is_apart {
            true => faults.under_way_since(&self.clients, usual, AGAIN + faults.longest_call()),
            false => now.saturating_sub(usual),
        }
    }
}

/// The longest time between a plan and its last write.
fn under_way(faults: &Faults) -> Duration {
    let account = if faults.may_make_accounts_late() { ACCOUNT_WAIT } else { Duration::ZERO };
    WORK + account + faults.longest_call() * CALLS_IN_A_ROW
}

/// When the first write was that this client has not been shown; none if it has not been shown its lists.
fn first_unseen(truth: &Truth, faults: &Faults, client: &str) -> Option<Duration> {
    let heard: Option<Vec<_>> = READS.iter().map(|plural| faults.heard(client, plural)).collect();
    let [nodes, pods, sets, revisions] = heard?.try_into().ok()?;
    let firsts = [
        truth.nodes.first_after(nodes),
        truth.pods.first_after(pods),
        truth.sets.first_after(sets),
        truth.revisions.first_after(revisions),
    ];
    Some(firsts.into_iter().flatten().min().unwrap_or(Duration::MAX))
}
