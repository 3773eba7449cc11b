//! What keeps a pod away from a node, in words and as data: key and value, term, taint, and what would let it in.
//!
//! The first obstacle gives the line its word; the sentence names all (EL-3…EL-6).

use crate::reason::{Finding, Reason};
use crate::report::{Obstacle, Term, Unmet};
use crate::yaml;
use objects::node_affinity::{self, Mismatch, TermMismatch};
use objects::taints;

/// The obstacles as data.
pub(crate) fn obstacles(found: &[daemonset::Obstacle]) -> Vec<Obstacle> {
    found.iter().map(obstacle).collect()
}

/// The obstacles in words; `None` if there are none.
pub(crate) fn finding(found: &[Obstacle]) -> Option<Finding> {
    let reason = match found.first()? {
        Obstacle::OtherNode { .. } => Reason::OtherNode,
        Obstacle::NodeSelector { .. } => Reason::NodeSelector,
        Obstacle::NodeAffinity { .. } => Reason::NodeAffinity,
        Obstacle::Taint { .. } => Reason::Taint,
    };
    let texts: Vec<String> = found.iter().map(text).collect();
    Some(Finding::new(reason, texts.join("; ")))
}

fn obstacle(found: &daemonset::Obstacle) -> Obstacle {
    match found.clone() {
        daemonset::Obstacle::OtherNode { wanted } => Obstacle::OtherNode { wanted },
        daemonset::Obstacle::Mismatch(Mismatch::Selector { key, wanted, found }) => {
            Obstacle::NodeSelector { key, wanted, found }
        }
        daemonset::Obstacle::Mismatch(Mismatch::NoTerms) => Obstacle::NodeAffinity { terms: Vec::new() },
        daemonset::Obstacle::Mismatch(Mismatch::Terms(terms)) => {
            Obstacle::NodeAffinity { terms: terms.into_iter().map(term).collect() }
        }
        daemonset::Obstacle::Taint { taint, toleration } => Obstacle::Taint { taint, toleration },
    }
}

fn term(term: TermMismatch) -> Term {
    match term {
        TermMismatch::Unmet(unmet) => {
            let unmet = unmet.into_iter().map(|node_affinity::Unmet { key, operator, values, found }| {
                Unmet { key, operator, values, found }
            });
            Term { error: None, unmet: unmet.collect() }
        }
        other => Term { error: Some(other.to_string()), unmet: Vec::new() },
    }
}

fn text(obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::OtherNode { wanted } => format!("the template's nodeName is {wanted}"),
        Obstacle::NodeSelector { key, wanted, found } => {
            format!("nodeSelector needs {key}={wanted}, {}", has(key, found.as_deref()))
        }
        Obstacle::NodeAffinity { terms } if terms.is_empty() => {
            "required node affinity has no terms and so matches no node".to_string()
        }
        Obstacle::NodeAffinity { terms } => {
            let texts: Vec<String> =
                terms.iter().enumerate().map(|(index, term)| term_text(index, term)).collect();
            format!("required node affinity: {}", texts.join("; or "))
        }
        Obstacle::Taint { taint, toleration } => {
            let toleration = yaml::one_line(toleration);
            format!("taint {} is not tolerated, it needs the toleration {toleration}", taints::text(taint))
        }
    }
}

fn term_text(index: usize, term: &Term) -> String {
    let number = index + 1;
    if let Some(error) = &term.error {
        return format!("term {number}: {error}");
    }
    let needs: Vec<String> = term.unmet.iter().map(unmet_text).collect();
    format!("term {number} needs {}", needs.join(", and "))
}

fn unmet_text(unmet: &Unmet) -> String {
    let Unmet { key, operator, values, found } = unmet.clone();
    let has = has(&unmet.key, unmet.found.as_deref());
    format!("{}, {has}", node_affinity::Unmet { key, operator, values, found })
}

fn has(key: &str, found: Option<&str>) -> String {
    match found {
        Some(found) if key == node_affinity::NAME_FIELD => format!("the node is {found}"),
        Some(found) => format!("the node has {key}={found}"),
        None => format!("the node has no label {key}"),
    }
}
