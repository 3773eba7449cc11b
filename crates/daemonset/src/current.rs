//! Which pods are ours, and which of them are of the current template: what the plan knows and its actions do not say.
//!
//! For readers that explain a DaemonSet without planning for it. The answers are the plan's own (OW-1, RU-5, TK-2), so
//! that an explanation never disagrees with what is done.

use crate::seats::Versions;
use crate::snapshot::{Snapshot, Subject};
use crate::{claims, revision};
use k8s_openapi::api::core::v1::Pod;

/// A DaemonSet's pods.
#[derive(Debug, Clone, PartialEq)]
pub struct Current<'a> {
    /// The hash that new pods get.
    pub hash: String,
    /// Every pod that it controls or adopts, by name, and whether it is up to date.
    pub pods: Vec<(&'a Pod, bool)>,
}

/// What is current; `None` where nothing is planned, or while the history cannot be told (RV-14).
pub fn current<'a>(seen: &Snapshot<'a>) -> Option<Current<'a>> {
    let subject = Subject::read(seen.daemon_set, seen.raw).ok()?;
    let claims = claims::claim(seen, &subject);
    let history = revision::history(seen, &subject, &claims).ok()?;
    let versions = Versions::of(&subject, history.hashes);
    let pods = claims.pods.iter().map(|pod| (*pod, versions.is_updated(pod))).collect();
    Some(Current { hash: history.hash, pods })
}
