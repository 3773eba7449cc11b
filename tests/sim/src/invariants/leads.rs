//! Of processes that lead by a lease of their own only the one that leads writes (TK-7): not the one that waits, and not one
//! whose term is over, however long its calls are under way.
//!
//! Held against the lease as the store has it at the very write: a term ends five seconds before anybody else may take the
//! lease, and no call takes that long. Where the loop runs in a server there is no such door, and no such promise.

use super::{Look, Verdict};
use crate::truth::{Change, Pair};

pub(super) fn check(look: &Look<'_>, change: &Change) -> Verdict {
    let (plural, key, verbs) = match change {
        _ if !look.is_apart => return Ok(()),
        Change::Pod(pair) => of("pods", pair),
        Change::Set(pair) => of("daemonsets", pair),
        Change::Revision(pair) => of("controllerrevisions", pair),
        Change::Node(_) | Change::Other => return Ok(()),
    };
    let is_new = verbs == ["post"];
    let asked = |verb: &&str| look.faults.just_now(verb, plural, if is_new { "" } else { &key });
    let calls: Vec<_> = verbs.iter().flat_map(asked).collect();
    let by_ours = !calls.is_empty() && calls.iter().all(|call| look.ours.contains(&call.client));
    let holder = look.truth.holder.as_deref().unwrap_or_default();
    match !by_ours || calls.iter().any(|call| look.faults.identity(&call.client) == holder) {
        true => Ok(()),
        false => Err((
            "only who leads writes",
            format!("{plural} {key} by {}, while {holder:?} leads", calls[0].client),
        )),
    }
}

fn of<T>(plural: &'static str, pair: &Pair<T>) -> (&'static str, String, &'static [&'static str]) {
    let verbs: &[&str] = if pair.old.is_none() { &["post"] } else { &["put", "patch", "delete"] };
    (plural, pair.key.clone(), verbs)
}
