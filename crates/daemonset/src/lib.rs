//! Which node gets which pod, in which order, and what the status says.
//!
//! [`plan`] is the whole controller as one function: a [`Snapshot`] and the time go in, a [`Plan`] comes out, with
//! everything to do, in order, and for every node the reason. Pure: the same input gives the same plan, whatever the
//! order of its lists; nothing here waits, logs or asks the clock.
//!
//! Reading order: [`snapshot`], [`placement`] (does this node want a daemon?), `seats` (who is where?), `coverage` (what
//! does one node ask for?), [`revision`] (what is old?), `rollout`, `budget` and [`hold`] (which old pod goes next?),
//! `status` and [`conditions`], [`plan`](mod@plan). `round` puts these together; `book` holds the seats and their sums,
//! and [`ledger`] keeps a book up to date. Kubernetes: `pkg/controller/daemon`; rules EL, MG, RU, RV, TK, ST, OW.

pub mod backoff;
mod book;
mod budget;
mod claims;
pub mod conditions;
mod coverage;
pub mod current;
pub mod hold;
pub mod ledger;
pub mod obstacles;
pub mod placement;
pub mod plan;
pub mod revision;
mod rollout;
mod round;
mod seats;
pub mod snapshot;
mod status;
mod tally;
mod template;
pub mod unseen;
mod work;

pub use backoff::Backoff;
pub use current::{Current, current};
pub use hold::Hold;
pub use ledger::Ledger;
pub use obstacles::Obstacle;
pub use placement::{Judge, Placement};
pub use plan::{Action, Cause, Change, Doing, Event, EventKind, Obsolete, Plan, Verdict};
pub use revision::NewRevision;
pub use snapshot::{Snapshot, Standstill};
pub use unseen::Unseen;
pub use work::BURST;

use jiff::Timestamp;

/// What shall be done about a DaemonSet, seen like this, now: a full pass over everything.
///
/// A loop that plans again and again keeps a [`Ledger`], which gives the same plans for the price of what has changed.
pub fn plan(seen: &Snapshot<'_>, now: Timestamp) -> Plan {
    Ledger::open(seen, now).0
}
