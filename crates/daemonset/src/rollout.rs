//! Which outdated pod goes next? (RU)
//!
//! 1. Runs only when coverage has nothing to do, and never for `OnDelete` (RU-1).
//! 2. Of the available old pods at most as many go as the budget leaves; old pods that are not available go in any case:
//!    they serve nobody, and mending them is what the update may be for (RU-8, ≥ 1.31).
//! 3. Candidates go in the order of their nodes' names. Kubernetes takes them in no order (RU-9).
//!
//! Kubernetes: `daemon/update.go` (`rollingUpdate`).
//! Differs: with surge, an old pod on a node that is gone is judged like one on a node that does not want it, and fails
//! nothing (BUG-5).

use crate::budget::Budget;
use crate::coverage::{Removal, Work};
use crate::plan::{Cause, Doing};
use crate::seats::{Seat, Seats, Sitter};

/// What the rollout does within its budget.
pub(crate) fn roll<'a>(seats: &mut Seats<'a>, budget: Budget) -> Work<'a> {
    match budget {
        Budget::None => Work::default(),
        Budget::Unavailable(max) => replace(seats, max),
        Budget::Surge(max) => surge(seats, max),
    }
}

/// The pods of a node by version (RU-6); pods on the way count as new.
#[derive(Debug, Clone)]
enum Pair<'a> {
    /// More than one of a version.
    Unclear,
    None,
    New {
        available: bool,
    },
    Old(Sitter<'a>),
    Both {
        new_available: bool,
        old: Sitter<'a>,
    },
}

fn pair<'a>(seat: &Seat<'a>) -> Pair<'a> {
    let (new, old): (Vec<_>, Vec<_>) = seat.live().partition(|pod| pod.updated);
    match (new.as_slice(), seat.coming, old.as_slice()) {
        ([], 0, []) => Pair::None,
        ([new], 0, []) => Pair::New { available: new.is_available() },
        ([], 1, []) => Pair::New { available: false },
        ([], 0, [old]) => Pair::Old((*old).clone()),
        ([new], 0, [old]) => Pair::Both { new_available: new.is_available(), old: (*old).clone() },
        ([], 1, [old]) => Pair::Both { new_available: false, old: (*old).clone() },
        _ => Pair::Unclear,
    }
}

/// Nodes that count: those that want a daemon, and all others where one is (RU-2).
fn entries<'s, 'a>(seats: &'s mut Seats<'a>) -> impl Iterator<Item = (&'a str, &'s mut Seat<'a>)> {
    seats
        .iter_mut()
        .map(|(node, seat)| (*node, seat))
        .filter(|(_, seat)| seat.wanted() || !seat.sitters.is_empty() || seat.coming > 0)
}

/// RU-7, RU-8.
fn replace<'a>(seats: &mut Seats<'a>, max: usize) -> Work<'a> {
    let mut work = Work::default();
    let (mut unavailable, mut candidates) = (0, Vec::new());
    for (node, seat) in entries(seats) {
        match pair(seat) {
            Pair::Unclear | Pair::None | Pair::Both { .. } | Pair::New { available: false } => {
                unavailable += 1
            }
            Pair::New { available: true } => {}
            Pair::Old(old) if old.is_available() => candidates.push((node, old, seat)),
            Pair::Old(old) => {
                unavailable += 1;
                delete(&mut work, seat, node, old, Cause::OutdatedUnavailable);
            }
        }
    }
    let room = max.saturating_sub(unavailable);
    for (index, (node, old, seat)) in candidates.into_iter().enumerate() {
        match index < room {
            true => delete(&mut work, seat, node, old, Cause::Outdated),
            false => seat.doing = Some(Doing::WaitingForBudget { pod: old.name().to_string() }),
        }
    }
    work
}

/// RU-14, RU-15, RU-16.
fn surge<'a>(seats: &mut Seats<'a>, max: usize) -> Work<'a> {
    let mut work = Work::default();
    let (mut surging, mut available, mut wanted) = (0, 0_usize, 0_usize);
    let (mut candidates, mut surplus) = (Vec::new(), Vec::new());
    for (node, seat) in entries(seats) {
        wanted += usize::from(seat.wanted());
        let pair = pair(seat);
        available += usize::from(serves(&pair));
        match pair {
            Pair::Unclear => surging += 1,
            Pair::None | Pair::New { .. } => {}
            Pair::Both { new_available: true, old } => delete(&mut work, seat, node, old, Cause::Superseded),
            Pair::Both { new_available: false, old } => {
                surging += 1;
                seat.doing = Some(Doing::WaitingForNew { old: old.name().to_string() });
            }
            Pair::Old(old) if !seat.wanted() && old.is_available() => surplus.push((node, old, seat)),
            Pair::Old(old) if !seat.wanted() => {
                delete(&mut work, seat, node, old, Cause::OutdatedUnavailable);
            }
            Pair::Old(old) if old.is_available() => candidates.push((node, old, seat)),
            Pair::Old(_) => create(&mut work, seat, node),
        }
    }
    let room = max.saturating_sub(surging);
    for (index, (node, old, seat)) in candidates.into_iter().enumerate() {
        match index < room {
            true => create(&mut work, seat, node),
            false => seat.doing = Some(Doing::WaitingForBudget { pod: old.name().to_string() }),
        }
    }
    for (node, old, seat) in surplus.into_iter().take(available.saturating_sub(wanted)) {
        delete(&mut work, seat, node, old, Cause::Surplus);
    }
    work
}

/// Whether the node's old pod, or its new one if there is no old, is available (RU-16).
fn serves(pair: &Pair<'_>) -> bool {
    match pair {
        Pair::Unclear | Pair::None => false,
        Pair::New { available } => *available,
        Pair::Old(old) | Pair::Both { old, .. } => old.is_available(),
    }
}

fn delete<'a>(work: &mut Work<'a>, seat: &mut Seat<'a>, node: &'a str, pod: Sitter<'a>, cause: Cause) {
    seat.doing = Some(Doing::Deleting { pod: pod.name().to_string(), cause: cause.clone() });
    work.deletes.push(Removal { pod, node, cause });
}

fn create<'a>(work: &mut Work<'a>, seat: &mut Seat<'a>, node: &'a str) {
    seat.doing = Some(Doing::Creating);
    work.creates.push(node);
}
