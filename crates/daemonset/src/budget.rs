//! How many daemons may be missing, or doubled, during a rollout? (RU-4)
//!
//! Percentages are of the wanted nodes and round up. If neither is allowed, one daemon may be missing, so that a rollout
//! always moves. Kubernetes: `update.go` (`updatedDesiredNodeCounts`), `daemonset_util.go` (`UnavailableCount`,
//! `SurgeCount`).

use k8s_openapi::api::apps::v1::{DaemonSetSpec, RollingUpdateDaemonSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use objects::int_or_percent::{ScaleError, scaled};

/// What a rollout may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    /// So many daemons may be unavailable.
    Unavailable(usize),
    /// So many nodes may have two.
    Surge(usize),
}

impl Budget {
    /// How many daemons may be unavailable; with surge none.
    pub(crate) fn unavailable(self) -> i32 {
        match self {
            Self::Unavailable(max) => i32::try_from(max).unwrap_or(i32::MAX),
            Self::Surge(_) => 0,
        }
    }
}

/// A field that cannot be scaled. The texts are Kubernetes' (RU-4).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BudgetError {
    #[error("couldn't get unavailable numbers: invalid value for MaxUnavailable: {0}")]
    Unavailable(#[source] ScaleError),
    #[error("couldn't get unavailable numbers: invalid value for MaxUnavailable: nil value for IntOrString")]
    NoUnavailable,
    #[error("couldn't get unavailable numbers: invalid value for MaxSurge: {0}")]
    Surge(#[source] ScaleError),
}

/// The budget when so many nodes want a daemon; none for `OnDelete`, where nothing is ever deleted for being old (RU-1).
pub(crate) fn budget(spec: &DaemonSetSpec, wanted: usize) -> Result<Option<Budget>, BudgetError> {
    if !rolls(spec) {
        return Ok(None);
    }
    let wanted = i32::try_from(wanted).unwrap_or(i32::MAX);
    let (unavailable, surge) = match rolling(spec) {
        None => (0, 0),
        Some(rolling) => {
            let unavailable = rolling.max_unavailable.as_ref().ok_or(BudgetError::NoUnavailable)?;
            let unavailable = scaled(unavailable, wanted, true).map_err(BudgetError::Unavailable)?;
            (unavailable, surge(rolling.max_surge.as_ref(), wanted)?)
        }
    };
    if surge > 0 {
        return Ok(Some(Budget::Surge(number(surge))));
    }
    let least = usize::from(wanted > 0);
    Ok(Some(Budget::Unavailable(number(unavailable).max(least))))
}

/// Whether a node may have two daemons at all (MG-13, MG-14): `maxSurge` of one node is more than none.
pub(crate) fn surges(spec: &DaemonSetSpec) -> bool {
    let max = rolling(spec).and_then(|rolling| rolling.max_surge.as_ref());
    rolls(spec) && surge(max, 1).is_ok_and(|surge| surge > 0)
}

/// An absent type reads as the default (AP-4).
fn rolls(spec: &DaemonSetSpec) -> bool {
    let strategy = spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    matches!(strategy, None | Some("" | "RollingUpdate"))
}

fn rolling(spec: &DaemonSetSpec) -> Option<&RollingUpdateDaemonSet> {
    spec.update_strategy.as_ref()?.rolling_update.as_ref()
}

fn surge(max: Option<&IntOrString>, wanted: i32) -> Result<i32, BudgetError> {
    max.map_or(Ok(0), |max| scaled(max, wanted, true).map_err(BudgetError::Surge))
}

fn number(scaled: i32) -> usize {
    usize::try_from(scaled).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(strategy: Value) -> DaemonSetSpec {
        serde_json::from_value(json!({"selector": {}, "template": {}, "updateStrategy": strategy})).unwrap()
    }

    fn check(unavailable: Value, surge: Value, wanted: usize, expected: Budget) {
        let rolling = json!({"maxUnavailable": unavailable, "maxSurge": surge});
        let spec = spec(json!({"type": "RollingUpdate", "rollingUpdate": rolling}));
        assert_eq!(budget(&spec, wanted), Ok(Some(expected)), "RU-4 {unavailable} {surge} of {wanted}");
    }

    #[test]
    fn budgets_follow_the_table_of_ru_4() {
        use Budget::{Surge, Unavailable};
        check(json!(0), json!(0), 0, Unavailable(0));
        check(json!(0), json!(0), 2, Unavailable(1));
        check(json!("50%"), json!(0), 2, Unavailable(1));
        check(json!("50%"), json!(null), 3, Unavailable(2));
        check(json!("25%"), json!(0), 10, Unavailable(3));
        check(json!(0), json!("50%"), 2, Surge(1));
        check(json!(0), json!("100%"), 2, Surge(2));
        check(json!(0), json!("1%"), 100, Surge(1));
        check(json!(0), json!("1%"), 101, Surge(2));
        assert_eq!(budget(&spec(json!({"type": "OnDelete"})), 5), Ok(None), "RU-1");
        assert_eq!(budget(&spec(json!({"type": "RollingUpdate"})), 5), Ok(Some(Unavailable(1))));
        assert_eq!(budget(&spec(json!(null)), 5), Ok(Some(Unavailable(1))));
    }

    #[test]
    fn what_cannot_be_scaled_is_named() {
        let text =
            |rolling: Value| budget(&spec(json!({"rollingUpdate": rolling})), 5).unwrap_err().to_string();
        assert_eq!(
            text(json!({"maxUnavailable": "abc"})),
            "couldn't get unavailable numbers: invalid value for MaxUnavailable: invalid value for IntOrString: invalid \
             type: string is not a percentage"
        );
        assert_eq!(
            text(json!({"maxSurge": 1})),
            "couldn't get unavailable numbers: invalid value for MaxUnavailable: nil value for IntOrString"
        );
        assert!(text(json!({"maxUnavailable": 0, "maxSurge": "x"})).contains("MaxSurge"));
    }

    #[test]
    fn surging_is_a_question_about_one_node() {
        let surging = |max: Value, strategy: &str| {
            let rolling = json!({"maxUnavailable": 0, "maxSurge": max});
            surges(&spec(json!({"type": strategy, "rollingUpdate": rolling})))
        };
        assert!(surging(json!("1%"), "RollingUpdate"));
        assert!(surging(json!(1), "RollingUpdate"));
        assert!(!surging(json!(0), "RollingUpdate"));
        assert!(!surging(json!("x"), "RollingUpdate"));
        assert!(!surging(json!(1), "OnDelete"));
    }
}
