//! Which node gets which pod, in which order, and what the status says.
//!
//! [`plan()`] is the whole controller as one function: a [`Snapshot`] and the time go in, a [`Plan`] comes out, with
//! everything to do, in order, and for every node the reason. Pure: the same input gives the same plan, whatever the
//! order of its lists; nothing here waits, logs or asks the clock.
//!
//! Read in this order; the first lines of each file say what it decides:
//!
//! | question | files |
//! |---|---|
//! | What may be looked at? What have we done that is not seen yet? | [`snapshot`], [`unseen`], [`backoff`] |
//! | Whose are these pods and revisions? Which template is the current one? | `claims`, [`revision`] |
//! | Does this node want a daemon? Who sits there? | [`placement`], `seats` |
//! | What does one node ask for, whatever the age of its pods? | `coverage` |
//! | Which old pod goes next, if one may? | [`hold`], `budget`, `rollout` |
//! | How much at once, and what does a new pod look like? | `work`, `template` |
//! | What does the status say? | `tally`, `status`, [`conditions`] |
//! | Does taking over from another controller change anything? | [`takeover`](mod@takeover) |
//! | All of it together | `round`, [`plan`](mod@plan) |
//! | The same for the price of what has changed | `book`, [`ledger`] |
//!
//! [`current`](mod@current) and [`obstacles`] are for those who explain. Kubernetes: `pkg/controller/daemon`.
//!
//! Codes like `RU-8` are rules: what upstream does, found out and numbered. `xtask/rules/book.txt` has each in a line, and
//! `cargo xtask rules RU-8` names the tests that prove it.
//!
//! | code | rules about |
//! |---|---|
//! | EL | which nodes want a daemon: selectors, affinity, taints, default tolerations |
//! | MG | one round: a daemon where one is missing, none where none shall be, failures, bursts, unseen writes |
//! | RU | the rolling update and its budget |
//! | RV, TK | ControllerRevisions; taking over from another controller without restarting anything |
//! | ST | the status |
//! | OW | whose a pod or revision is: selectors, adoption, release, deletion |
//! | AP, WE, NP, DR | what others do: the API server, events and queues, nodes and their pods, `kubectl drain` |
//! | TE, NX | upstream's own tests; what newer releases changed |
//! | BUG | what upstream gets wrong: mended, and then `Differs:` says how, or kept "as upstream" |
//! | OPP | what its users wish |
//!
//! Words that Kubernetes does not have:
//!
//! | word | means |
//! |---|---|
//! | seat, sitter | a node as one DaemonSet sees it, and one of its pods there |
//! | updated or new; outdated or old | of the current template, or not (RU-5) |
//! | unseen | done by us and not shown by the cache yet; it counts as done |
//! | coverage | a daemon where one is missing and none where none shall be; upstream's `manage` |
//! | duty | what coverage wants of one node |
//! | class, shelf | what a rollout sees of a node, and the nodes of a class |
//! | share, tally | what one node adds to the numbers of the status, and the sum |
//! | book, ledger | all seats with their sums, and a book that is kept up to date |
//! | round | one plan made from a book |
//! | doing, verdict | what happens on a node, and that with its placement |

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
pub mod takeover;
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
pub use takeover::Takeover;
pub use unseen::Unseen;
pub use work::BURST;

use jiff::Timestamp;

/// What shall be done about a DaemonSet, seen like this, now: a full pass over everything.
///
/// A loop that plans again and again keeps a [`Ledger`], which gives the same plans for the price of what has changed.
pub fn plan(seen: &Snapshot<'_>, now: Timestamp) -> Plan {
    Ledger::open(seen, now).0
}
