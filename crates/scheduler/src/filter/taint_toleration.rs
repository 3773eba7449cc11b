//! A taint with NoSchedule or NoExecute refuses whoever does not tolerate it; the first such taint is named.
//!
//! Kubernetes: plugins/tainttoleration/taint_toleration.go. 1.34 and later no longer name the taint.

use super::{Plugin, Refusal};
use crate::Asking;
use k8s_openapi::api::core::v1::Node;
use objects::taints::{Effect, untolerated};

pub(super) fn refuses(asking: &Asking<'_>, node: &Node) -> Option<Refusal> {
    let taints = node.spec.as_ref()?.taints.as_deref()?;
    let tolerations = asking.spec.tolerations.as_deref().unwrap_or_default();
    let taint = untolerated(taints, tolerations, &[Effect::NoSchedule, Effect::NoExecute])?;
    let value = taint.value.as_deref().unwrap_or_default();
    let reason = format!("node(s) had untolerated taint {{{}: {value}}}", taint.key);
    Some(Refusal::of_node(Plugin::TaintToleration, reason))
}
