//! Does a toleration let a pod past a taint? (EL-15, EL-16)
//!
//! `tolerationSeconds` plays no part: a pod that tolerates for thirty seconds tolerates.
//! Kubernetes: `core/v1/toleration.go` (`ToleratesTaint`), `component-helpers/scheduling/corev1`.

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// What a taint does to pods that do not tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// New pods stay away.
    NoSchedule,
    /// New pods rather stay away.
    PreferNoSchedule,
    /// New pods stay away and running ones are evicted.
    NoExecute,
}

impl Effect {
    /// The effect's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }

    /// The effect of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::NoSchedule, Self::PreferNoSchedule, Self::NoExecute].into_iter().find(|e| e.as_str() == name)
    }
}

/// Whether the toleration matches the taint (EL-15): effect empty or equal, key empty or equal, and operator `Exists`,
/// or `Equal` (also when absent) with equal values. Any other operator matches nothing.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let empty_or = |field: &Option<String>, wanted: &str| {
        field.as_deref().is_none_or(|value| value.is_empty() || value == wanted)
    };
    empty_or(&toleration.effect, &taint.effect)
        && empty_or(&toleration.key, &taint.key)
        && match toleration.operator.as_deref() {
            Some("Exists") => true,
            None | Some("" | "Equal") => text(&toleration.value) == text(&taint.value),
            Some(_) => false,
        }
}

/// The first taint with one of these effects that no toleration matches.
pub fn untolerated<'a>(
    taints: &'a [Taint],
    tolerations: &[Toleration],
    effects: &[Effect],
) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| effects.iter().any(|effect| effect.as_str() == taint.effect))
        .find(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

/// The taint as kubectl writes it: `key=value:Effect`, or `key:Effect` without a value.
pub fn text(taint: &Taint) -> String {
    match taint.value.as_deref() {
        None | Some("") => format!("{}:{}", taint.key, taint.effect),
        Some(value) => format!("{}={value}:{}", taint.key, taint.effect),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint { key: key.into(), value: Some(value.into()), effect: effect.into(), time_added: None }
    }

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        let text = |t: &str| (!t.is_empty()).then(|| t.to_string());
        Toleration {
            key: text(key),
            operator: text(operator),
            value: text(value),
            effect: text(effect),
            toleration_seconds: None,
        }
    }

    #[test]
    fn tolerating_follows_el_15() {
        let dedicated = taint("dedicated", "gpu", "NoSchedule");
        let cases = [
            (toleration("dedicated", "", "gpu", "NoSchedule"), true),
            (toleration("dedicated", "Equal", "gpu", ""), true),
            (toleration("dedicated", "Equal", "cpu", ""), false),
            (toleration("dedicated", "Equal", "", ""), false),
            (toleration("dedicated", "Exists", "", "NoSchedule"), true),
            (toleration("dedicated", "Exists", "", "NoExecute"), false),
            (toleration("other", "Exists", "", ""), false),
            (toleration("", "Exists", "", ""), true),
            (toleration("dedicated", "Gt", "1", ""), false),
        ];
        for (toleration, expected) in cases {
            assert_eq!(tolerates(&toleration, &dedicated), expected, "{toleration:?}");
        }
        // EL-16: the seconds play no part.
        let mut short = toleration("", "Exists", "", "");
        short.toleration_seconds = Some(30);
        assert!(tolerates(&short, &taint("a", "", "NoExecute")));
    }

    #[test]
    fn only_the_asked_effects_count() {
        let taints = [
            taint("soft", "", "PreferNoSchedule"),
            taint("a", "1", "NoSchedule"),
            taint("b", "", "NoExecute"),
        ];
        let first = |effects: &[Effect]| untolerated(&taints, &[], effects).map(text);
        assert_eq!(first(&[Effect::NoSchedule, Effect::NoExecute]), Some("a=1:NoSchedule".to_string()));
        assert_eq!(first(&[Effect::NoExecute]), Some("b:NoExecute".to_string()));
        assert_eq!(first(&[]), None);
        let all = [toleration("", "Exists", "", "")];
        assert_eq!(untolerated(&taints, &all, &[Effect::NoSchedule, Effect::NoExecute]), None);
    }

    #[test]
    fn an_effect_reads_back_its_name() {
        for effect in [Effect::NoSchedule, Effect::PreferNoSchedule, Effect::NoExecute] {
            assert_eq!(Effect::parse(effect.as_str()), Some(effect));
        }
        assert_eq!(Effect::parse("noexecute"), None);
    }
}
