//! The fewer pods of the kind where a node is, the better, for each constraint with whenUnsatisfiable: ScheduleAnyway.
//!
//! `Differs:` upstream weighs constraints by the number of their places; here each counts the same. A node without the
//! label is worst, as upstream.
//! Kubernetes: plugins/podtopologyspread/scoring.go.

use super::{Candidate, share_below_highest};
use crate::Asking;
use crate::filter::pod_topology_spread::Constraint;
use crate::terms::labels_of;

pub(super) fn scores(asking: &Asking<'_>, candidates: &[Candidate<'_>]) -> Vec<i128> {
    let constraints = Constraint::all_of(asking.pod, asking.spec, asking.cluster, "ScheduleAnyway");
    if constraints.is_empty() {
        return vec![0; candidates.len()];
    }
    let near = |(_, node): &Candidate<'_>| {
        let labels = labels_of(node.object()?);
        constraints
            .iter()
            .map(|constraint| constraint.pods_near(labels).map(i128::from))
            .sum::<Option<i128>>()
    };
    let sums: Vec<Option<i128>> = candidates.iter().map(near).collect();
    let worst = sums.iter().flatten().max().copied().unwrap_or(0) + 1;
    let sums: Vec<i128> = sums.iter().map(|sum| sum.unwrap_or(worst)).collect();
    share_below_highest(&sums)
}
