//! Pods of one controller are spread: a node with fewer of them is better.
//!
//! `Differs:` upstream's default for this is topology spread over hostname and zone; one node's failure is what
//! small clusters fear, so the node is the only domain here.

use super::{Candidate, share_below_highest};
use crate::Asking;

pub(super) fn scores(asking: &Asking<'_>, candidates: &[Candidate<'_>]) -> Vec<i128> {
    let controller = objects::owner::controller_of(&asking.pod.metadata);
    let siblings = |(_, node): &Candidate<'_>| {
        let of = |owner: &String| controller.is_some_and(|controller| controller.uid == *owner);
        node.pods().iter().filter(|placed| placed.shape.owner.as_ref().is_some_and(of)).count() as i128
    };
    share_below_highest(&candidates.iter().map(siblings).collect::<Vec<_>>())
}
