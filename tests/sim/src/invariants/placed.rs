//! Never a new pod where EL wants none.

use super::{Look, Verdict};
use crate::truth::Pair;
use crate::words;
use daemonset::Placement;
use k8s_openapi::api::core::v1::Pod;

const PROMISE: &str = "a daemon is created only where one is wanted";

pub(super) fn check(look: &Look<'_>, pair: &Pair<Pod>) -> Verdict {
    let (None, Some(new)) = (&pair.old, &pair.new) else { return Ok(()) };
    let Some((key, uid)) = Look::owner(new).filter(|_| look.is_ours("post", "pods", "")) else {
        return Ok(());
    };
    let node = words::target(new);
    let placements = look.placements(&look.sets(&key, &uid), &node);
    if placements.iter().flatten().any(Placement::runs) {
        return Ok(());
    }
    let found: Vec<String> = placements.iter().flatten().map(ToString::to_string).collect();
    Err((PROMISE, format!("{} is created for {node}: {}", pair.key, found.join("; "))))
}
