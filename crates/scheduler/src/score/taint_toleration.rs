//! A node with fewer PreferNoSchedule taints that the pod does not tolerate is better.
//!
//! Kubernetes: plugins/tainttoleration/taint_toleration.go `Score`.

use super::{Candidate, share_below_highest};
use crate::Asking;
use k8s_openapi::api::core::v1::Taint;

pub(super) fn scores(asking: &Asking<'_>, candidates: &[Candidate<'_>]) -> Vec<i128> {
    let counts = candidates.iter().map(|(_, node)| {
        let spec = node.object().and_then(|node| node.spec.as_ref());
        let taints = spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        taints.iter().filter(|taint| is_disliked(asking, taint)).count() as i128
    });
    share_below_highest(&counts.collect::<Vec<_>>())
}

fn is_disliked(asking: &Asking<'_>, taint: &Taint) -> bool {
    let mut tolerations = asking.spec.tolerations.iter().flatten();
    taint.effect == "PreferNoSchedule"
        && !tolerations.any(|toleration| objects::taints::tolerates(toleration, taint))
}
