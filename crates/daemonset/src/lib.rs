//! Which node gets which pod, in which order, and what the status says.
//!
//! [`plan`] is the whole controller as one function: a [`Snapshot`] and the time go in, a [`Plan`] comes out, with
//! everything to do, in order, and for every node the reason. Pure: the same input gives the same plan, whatever the
//! order of its lists; nothing here waits, logs or asks the clock.
//!
//! Reading order: [`snapshot`], [`placement`] (does this node want a daemon?), `seats` (who is where?), `coverage`
//! (create and delete until each wanted node has one), `rollout` and `budget` (replace what is old), [`revision`] (what
//! is old?), `status`, [`plan`](mod@plan). Kubernetes: `pkg/controller/daemon`; rules EL, MG, RU, RV, TK, ST, OW.

pub mod backoff;
mod budget;
mod claims;
mod coverage;
pub mod current;
pub mod obstacles;
pub mod placement;
pub mod plan;
pub mod revision;
mod rollout;
mod seats;
pub mod snapshot;
mod status;
mod template;
pub mod unseen;

pub use backoff::Backoff;
pub use current::{Current, current};
pub use obstacles::Obstacle;
pub use placement::{Judge, Placement};
pub use plan::{Action, Cause, Change, Doing, Event, EventKind, Obsolete, Plan, Verdict};
pub use revision::NewRevision;
pub use snapshot::{Snapshot, Standstill};
pub use unseen::Unseen;

use claims::Claims;
use coverage::{Notes, Question, Work};
use jiff::{SignedDuration, Timestamp};
use objects::pod::Availability;
use revision::{Collision, History};
use seats::{Seat, Seats, Versions};
use snapshot::Subject;

/// Creates, and deletes, of one plan (MG-17): upstream's burst, so that one DaemonSet cannot flood the server.
pub const BURST: usize = 250;

/// A pod becomes available strictly after its time (RU-3); so much later is surely after.
const JUST_AFTER: SignedDuration = SignedDuration::from_millis(1);

/// What shall be done about a DaemonSet, seen like this, now.
pub fn plan(seen: &Snapshot<'_>, now: Timestamp) -> Plan {
    match Subject::read(seen) {
        Ok(subject) => plan_for(seen, &subject, now),
        Err(standstill) => {
            let event = (standstill == Standstill::SelectsAll).then(|| {
                let text = "This daemon set is selecting all pods. A non-empty selector is required.";
                Event::warning("SelectingAll", text.to_string())
            });
            let events = event.into_iter().collect();
            Plan { standstill: Some(standstill), events, ..Plan::default() }
        }
    }
}

fn plan_for<'a>(seen: &Snapshot<'a>, subject: &Subject<'a>, now: Timestamp) -> Plan {
    let claims = claims::claim(seen, subject);
    match revision::history(seen, subject, &claims) {
        Ok(history) => round(seen, subject, &claims, &history, now),
        // Everything else needs the hash, and so waits for the next plan.
        Err(Collision { to }) => {
            let mut actions = claims.actions;
            actions.push(Action::RaiseCollisionCount { to });
            let status = subject.daemon_set.status.clone().unwrap_or_default();
            Plan { actions, status, ..Plan::default() }
        }
    }
}

/// One round with a known history: coverage, else rollout; then history's end and the status (MG-1.7…10).
fn round<'a>(
    seen: &Snapshot<'a>,
    subject: &Subject<'a>,
    claims: &Claims<'a>,
    history: &History<'a>,
    now: Timestamp,
) -> Plan {
    let versions = Versions {
        hashes: &history.hashes,
        generation: subject.template_generation.map(|generation| generation.to_string()),
        born: subject.born,
    };
    let (mut seats, strays) = seats::seats(seen, subject, &claims.pods, &versions, now);
    let question = Question {
        namespace: subject.namespace,
        generation: subject.generation,
        surges: budget::surges(subject.spec),
        backoff: seen.backoff,
        now,
    };
    let (mut work, notes) = coverage::cover(&mut seats, &strays, question);
    let mut problems = Vec::new();
    if work.is_empty() {
        let wanted = seats.values().filter(|seat| seat.wanted()).count();
        match budget::budget(subject.spec, wanted) {
            Ok(budget) => work = rollout::roll(&mut seats, budget),
            Err(error) => problems.push(error.to_string()),
        }
    }
    // RV-20: only when nothing can fail before it, and every pod of an older revision is seen.
    let is_quiet = work.is_empty() && problems.is_empty() && seen.unseen.expires(now).is_none();
    limit(&mut work, &mut seats);
    let mut actions = [claims.actions.as_slice(), &history.actions].concat();
    actions.extend(act(work, subject, history));
    if is_quiet {
        actions.extend(history.truncate(subject, claims));
    }
    finish(seen, subject, seats, notes, actions, problems, now)
}

/// MG-17; what is cut waits for a later plan.
fn limit(work: &mut Work<'_>, seats: &mut Seats<'_>) {
    let creates = work.creates.drain(BURST.min(work.creates.len())..);
    let deletes = work.deletes.drain(BURST.min(work.deletes.len())..).map(|removal| removal.node);
    for node in creates.chain(deletes) {
        if let Some(seat) = seats.get_mut(node) {
            seat.doing = Some(Doing::NextBurst);
        }
    }
}

fn act(work: Work<'_>, subject: &Subject<'_>, history: &History<'_>) -> Vec<Action> {
    let mut actions = Vec::with_capacity(work.creates.len() + work.deletes.len());
    if !work.creates.is_empty() {
        let stamp = template::Stamp::new(subject, &history.hash);
        let create = |node: &&str| Action::CreatePod { node: (*node).to_string(), pod: stamp.pod(node) };
        actions.extend(work.creates.iter().map(create));
    }
    actions.extend(work.deletes.into_iter().map(|removal| Action::DeletePod {
        name: removal.pod.name().to_string(),
        uid: removal.pod.uid().to_string(),
        node: removal.node.to_string(),
        cause: removal.cause,
    }));
    actions
}

fn finish(
    seen: &Snapshot<'_>,
    subject: &Subject<'_>,
    seats: Seats<'_>,
    notes: Notes,
    mut actions: Vec<Action>,
    problems: Vec<String>,
    now: Timestamp,
) -> Plan {
    let status = status::status(subject, &seats);
    if status::differs(subject, &status) {
        actions.push(Action::WriteStatus(Box::new(status.clone())));
    }
    let wake_at = wake(&seats, &notes).into_iter().chain(seen.unseen.expires(now)).min();
    let nodes =
        seats.into_iter().filter_map(|(node, seat)| Some((node.to_string(), verdict(seat)?))).collect();
    let backoff = notes.backoff.into_iter().collect();
    Plan { standstill: None, actions, nodes, status, events: notes.events, backoff, wake_at, problems }
}

/// The next moment at which time alone changes the plan (BUG-15, BUG-19).
fn wake(seats: &Seats<'_>, notes: &Notes) -> Option<Timestamp> {
    let sitters = seats.values().flat_map(|seat| &seat.sitters);
    let available = sitters.filter_map(|sitter| match sitter.availability {
        Availability::After(time) => time.checked_add(JUST_AFTER).ok(),
        Availability::Yes | Availability::No => None,
    });
    available.chain(notes.wake.iter().copied()).min()
}

/// What is to be said about a listed node.
fn verdict(seat: Seat<'_>) -> Option<Verdict> {
    let placement = seat.placement?;
    let doing = seat.doing.unwrap_or_else(|| match seat.sitters.first() {
        _ if seat.coming > 0 => Doing::Coming,
        None => Doing::Nothing,
        Some(first) => match seat.sitters.iter().find(|sitter| sitter.phase != seats::Phase::Ending) {
            Some(live) => Doing::Serving { pod: live.name().to_string() },
            None => Doing::WaitingForEnd { pod: first.name().to_string() },
        },
    });
    Some(Verdict { placement, doing })
}
