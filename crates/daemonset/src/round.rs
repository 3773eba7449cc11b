//! One round with a known history: coverage, else rollout; then history's end and the status (MG-1.7…10).
//!
//! It reads the [`Book`] and no object, so that it costs as much as there is to do. Kubernetes: `updateDaemonSet`.

use crate::book::{Book, Entry};
use crate::budget::{self, Budget};
use crate::conditions::{self, Facts};
use crate::hold::{self, Hold, Holds};
use crate::plan::{Action, Doing, Name, Plan, Verdict};
use crate::seats::{Phase, Seat};
use crate::snapshot::Subject;
use crate::unseen::Unseen;
use crate::work::Doings;
use crate::{rollout, status};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What a round is made from.
#[derive(Debug)]
pub(crate) struct Round<'r> {
    pub(crate) subject: &'r Subject<'r>,
    /// The hash for new pods.
    pub(crate) hash: &'r str,
    pub(crate) unseen: &'r Unseen,
    pub(crate) now: Timestamp,
}

/// Which part of the round decides about old pods.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// None: coverage has something to do.
    Coverage,
    Held(Hold),
    Rollout(Budget),
}

impl Round<'_> {
    /// The plan without verdicts. `before` is done first; `drops` are old revisions, for a round that is quiet (RV-20).
    /// Also tells what is to be said of each node, for [`Remarks::verdict`].
    pub(crate) fn plan(
        &self,
        book: &Book,
        before: Vec<Action>,
        drops: impl FnOnce() -> Vec<Action>,
    ) -> (Plan, Remarks) {
        let budget = budget::budget(self.subject.spec, book.desired());
        let holds = Holds::of(self.subject, book.tally(), self.hash, &budget);
        let (mut work, stage) = match (book.coverage(), holds.rollout) {
            (cover, _) if !cover.is_empty() => (cover, Stage::Coverage),
            (idle, Err(hold)) => (idle, Stage::Held(hold)),
            (_, Ok(budget)) => (rollout::roll(book, budget), Stage::Rollout(budget)),
        };
        let acts = !work.is_empty();
        // RV-20: only when nothing can fail before it, and every pod of an older revision is seen.
        let is_quiet = !acts && budget.is_ok() && self.unseen.expires(self.now).is_none();
        let mut doings = work.doings();
        let more = work.limit(&mut doings);
        let mut plan = Plan { actions: before, more, ..Plan::default() };
        for (node, removal) in &work.deletes {
            if let Some((event, failure)) = &removal.failure {
                plan.events.push(event.clone());
                plan.backoff.push((node.to_string(), *failure));
            }
        }
        plan.actions.extend(work.actions(self.subject, self.hash));
        plan.actions.extend(if is_quiet { drops() } else { Vec::new() });
        plan.problems.extend(budget.as_ref().err().map(ToString::to_string));
        self.finish(book, &self.facts(book, holds, acts, &plan.problems), &mut plan);
        (plan, Remarks { doings, stage, more })
    }

    fn facts(&self, book: &Book, holds: Holds, acts: bool, problems: &[String]) -> Facts<'_> {
        let tally = book.tally();
        let mut faults: Vec<_> =
            problems.iter().map(|text| (conditions::BAD_STRATEGY, text.clone())).collect();
        faults.extend(hold::paused(self.subject.daemon_set).err().map(|text| ("InvalidAnnotation", text)));
        Facts {
            tally,
            hold: holds.rollout.err(),
            disputed: holds.is_disputed.then_some(self.hash),
            max_unavailable: holds.rollout.map_or(0, Budget::unavailable),
            newest_wait: book.waits().next_back(),
            newest_stall: book.stalls().next_back(),
            stalls: book.stalls().len(),
            acts,
            overdue: book.overdue(self.now),
            refusal: self.unseen.refusal(self.now).filter(|_| tally.current < tally.desired),
            faults,
            now: self.now,
        }
    }

    /// The status, and when to look again.
    fn finish(&self, book: &Book, facts: &Facts<'_>, plan: &mut Plan) {
        let old = self.subject.daemon_set.status.as_ref();
        let (conditions, news) = conditions::conditions(old, facts);
        plan.status = status::status(self.subject, facts.tally, conditions);
        plan.news = news.into_iter().collect();
        if status::differs(self.subject, &plan.status) {
            plan.actions.push(Action::WriteStatus(Box::new(plan.status.clone())));
        }
        let wakes = [
            book.next_due(),
            conditions::wakes(book.waits(), facts.refusal, self.now),
            conditions::wakes(book.stalls().filter(|_| facts.rolls()), None, self.now),
            self.unseen.expires(self.now),
        ];
        plan.wake_at = wakes.into_iter().flatten().min();
    }
}

/// What the round has to say of nodes.
#[derive(Debug)]
pub(crate) struct Remarks {
    doings: Doings,
    stage: Stage,
    more: bool,
}

impl Remarks {
    /// The nodes about which something is done now, or would be.
    pub(crate) fn acted(&self) -> impl Iterator<Item = &Name> {
        self.doings.keys()
    }

    /// What is to be said of these nodes, if they are listed.
    pub(crate) fn verdicts<'e>(
        &self,
        entries: impl Iterator<Item = (&'e Name, &'e Entry)>,
    ) -> BTreeMap<Name, Verdict> {
        entries.filter_map(|(node, entry)| Some((node.clone(), self.verdict(node, entry)?))).collect()
    }

    /// First what is done, then what coverage or the rollout waits for, then what is simply there.
    fn verdict(&self, node: &Name, entry: &Entry) -> Option<Verdict> {
        let placement = entry.seat.placement.clone()?;
        let doing = match self.doings.get(node) {
            Some(Doing::NextBurst) => Some(Doing::NextBurst),
            // The book has given no more than a burst; this node comes after it.
            None if entry.is_work() => Some(Doing::NextBurst),
            // Where coverage acts, it also says on which of several pods.
            done if self.stage == Stage::Coverage => entry.doing().or_else(|| done.cloned()),
            done => done.cloned(),
        };
        let doing = doing.or_else(|| entry.doing()).or_else(|| self.of_rollout(entry));
        let doing = doing.unwrap_or_else(|| at_rest(&entry.seat));
        Some(Verdict { placement, doing })
    }

    fn of_rollout(&self, entry: &Entry) -> Option<Doing> {
        let class = entry.class?;
        match self.stage {
            Stage::Coverage => None,
            Stage::Rollout(budget) => rollout::waiting(&entry.seat, class, budget, self.more),
            Stage::Held(why) => match class {
                rollout::Class::Old { .. } => {
                    let pod = rollout::old(&entry.seat)?.name.clone();
                    Some(Doing::OnHold { pod, why })
                }
                _ => None,
            },
        }
    }
}

/// What is to be said where nothing is done.
fn at_rest(seat: &Seat) -> Doing {
    match seat.speaker() {
        _ if seat.coming > 0 => Doing::Coming,
        None => Doing::Nothing,
        Some(first) => match seat.sitters.iter().find(|sitter| sitter.phase() != Phase::Ending) {
            Some(live) => Doing::Serving { pod: live.name.clone() },
            None => Doing::WaitingForEnd { pod: first.name.clone() },
        },
    }
}
