//! Is there a reason to leave old pods alone, whatever the budget says?
//!
//! 1. `OnDelete`: an old pod goes when somebody deletes it (RU-1).
//! 2. Paused by the annotation [`PAUSED_ANNOTATION`]: no old pod is replaced, and nothing else stops. A node that gets
//!    its first daemon, or loses one, gets one of the newest template (KR-15): there is no other that it could be made
//!    from, and a Deployment that is paused does the same when it is scaled. What a surge has begun on a node is ended.
//! 3. Taken over (TK-5): the status was written by another controller, which took pods for updated that we take for old.
//!    Then one of us is wrong, and nothing is restarted until the template changes, which `kubectl rollout restart` is
//!    enough for (docs/takeover.md), or no old pod is left, or someone agrees ([`takeover::AGREED_ANNOTATION`]).
//! 4. The strategy cannot be read, so that nobody knows how many may go (RU-4).
//! 5. What a takeover has found is found on one day, and remembered in our own status, under another hold too: neither a
//!    pause nor a change of anything but the template makes an old pod less doubtful (RU-22).

use crate::budget::{Budget, BudgetError};
use crate::conditions;
use crate::snapshot::{PAUSED_ANNOTATION, Subject};
use crate::takeover;
use crate::tally::Tally;
use k8s_openapi::api::apps::v1::DaemonSet;
use std::fmt;

/// Why old pods stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The update strategy says so.
    OnDelete,
    /// Somebody has paused the rollout.
    Paused,
    /// The controller before us took some of the old pods for updated.
    Takeover,
    /// Nobody can tell how many may be replaced at a time.
    BadStrategy,
}

/// Whether there is a rollout in one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Holds {
    /// What it may do, or why old pods stay: of several reasons the one that a user has chosen.
    pub(crate) rollout: Result<Budget, Hold>,
    /// A takeover is in dispute, whether that is what holds now or not.
    pub(crate) is_disputed: bool,
}

impl Holds {
    /// `hash` is the current revision's.
    pub(crate) fn of(
        subject: &Subject<'_>,
        tally: Tally,
        hash: &str,
        budget: &Result<Option<Budget>, BudgetError>,
    ) -> Self {
        let is_disputed = !takeover::is_agreed(subject.daemon_set) && is_disputed(subject, tally, hash);
        let rollout = match budget {
            Ok(None) => Err(Hold::OnDelete),
            _ if paused(subject.daemon_set) == Ok(true) => Err(Hold::Paused),
            Err(_) => Err(Hold::BadStrategy),
            Ok(Some(_)) if is_disputed => Err(Hold::Takeover),
            Ok(Some(budget)) => Ok(*budget),
        };
        Self { rollout, is_disputed }
    }
}

/// Whether the rollout is paused; an error for a value that is neither `true` nor `false`, which pauses nothing.
pub fn paused(daemon_set: &DaemonSet) -> Result<bool, String> {
    let annotations = daemon_set.metadata.annotations.as_ref();
    match annotations.and_then(|annotations| annotations.get(PAUSED_ANNOTATION)).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(format!(
            "the annotation {PAUSED_ANNOTATION} is {other:?}, which is neither \"true\" nor \"false\"; the rollout is \
             not paused"
        )),
    }
}

/// Whether the controller before us took pods for updated that are not of the current revision, which has this hash
/// (TK-5). A status without our conditions is that controller's. A pod that it took for updated and we for old is missing
/// from one number and too many in the other. A node that has come back since only brings an old pod, and one that has
/// gone only takes an updated one away.
///
/// Differs: TK-5 compares the old pods alone, and so holds up a rollout whenever a node comes back in the meantime.
fn is_disputed(subject: &Subject<'_>, tally: Tally, hash: &str) -> bool {
    let Some(status) = &subject.daemon_set.status else { return false };
    if conditions::are_ours(status) {
        return conditions::is_disputed(status, hash) && tally.outdated() > 0;
    }
    if status.observed_generation.unwrap_or_default() != subject.generation {
        return false;
    }
    let updated = status.updated_number_scheduled.unwrap_or_default();
    tally.updated < updated && tally.outdated() > status.current_number_scheduled - updated
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnDelete => "it is replaced when somebody deletes it (OnDelete)",
            Self::Paused => "the rollout is paused",
            Self::BadStrategy => "it stays, because the update strategy cannot be read",
            Self::Takeover => {
                "the controller before this one did not think so, so it stays until the template changes"
            }
        })
    }
}
