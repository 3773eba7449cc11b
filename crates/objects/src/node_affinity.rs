//! Does a node match what a pod requires of it, and if not, what misses? (EL-9…EL-14, EL-33)
//!
//! 1. `nodeSelector` and the required block are ANDed, terms are ORed, requirements inside a term are ANDed.
//! 2. A term without requirements matches no node; a required block without terms neither.
//! 3. A broken requirement breaks its term and nothing else (EL-14). Preferred terms play no part.
//!
//! [`Required`] is made once per pod template and asked for every node. Kubernetes: `component-helpers/nodeaffinity`.

use crate::node;
use k8s_openapi::api::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use std::collections::BTreeMap;
use std::fmt;

/// The only field that `matchFields` knows (EL-13).
pub const NAME_FIELD: &str = "metadata.name";

/// Why a node does not match.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mismatch {
    /// A pair of `nodeSelector` that the node's labels lack.
    Selector {
        /// The label's key.
        key: String,
        /// What the pod requires.
        wanted: String,
        /// What the node has.
        found: Option<String>,
    },
    /// The required block has no terms.
    NoTerms,
    /// No term matches; each in its place, with the first of its requirements that fails, or with all of them.
    Terms(Vec<TermMismatch>),
}

/// Why one term does not match.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TermMismatch {
    /// It has no requirements.
    Empty,
    /// It cannot be understood.
    Broken(String),
    /// Requirements that the node does not meet; not empty.
    Unmet(Vec<Unmet>),
}

/// A requirement that a node does not meet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unmet {
    /// A label's key, or [`NAME_FIELD`].
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: String,
    /// What it is compared with.
    pub values: Vec<String>,
    /// What the node has.
    pub found: Option<String>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Selector { key, wanted, found: Some(found) } => {
                write!(f, "nodeSelector requires {key}={wanted}, the node has {key}={found}")
            }
            Self::Selector { key, wanted, found: None } => {
                write!(f, "nodeSelector requires {key}={wanted}, the node has no label {key}")
            }
            Self::NoTerms => f.write_str("required node affinity has no terms and so matches no node"),
            Self::Terms(terms) => {
                let texts: Vec<String> = terms.iter().map(ToString::to_string).collect();
                write!(f, "required node affinity does not match: {}", texts.join("; or "))
            }
        }
    }
}

impl fmt::Display for TermMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an empty term matches no node"),
            Self::Broken(text) => write!(f, "broken term: {text}"),
            Self::Unmet(requirements) => {
                let texts: Vec<String> = requirements.iter().map(ToString::to_string).collect();
                write!(f, "needs {}", texts.join(" and "))
            }
        }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator.as_str() {
            "In" => write!(f, "{key} in ({values})"),
            "NotIn" => write!(f, "{key} notin ({values})"),
            "Exists" => write!(f, "label {key}"),
            "DoesNotExist" => write!(f, "no label {key}"),
            "Gt" => write!(f, "{key}>{values}"),
            "Lt" => write!(f, "{key}<{values}"),
            operator => write!(f, "{key} {operator} ({values})"),
        }
    }
}

/// Whether the node matches the pod's `nodeSelector` and required node affinity (EL-9).
pub fn required_matches(spec: &PodSpec, node: &Node) -> bool {
    Required::of(spec).check(node).is_ok()
}

/// Whether one of the terms matches the node.
pub fn terms_match(selector: &NodeSelector, node: &Node) -> bool {
    Terms::of(selector).check(node, node.metadata.labels.as_ref()).is_ok()
}

/// What a pod requires of its node, read once.
#[derive(Debug, Clone)]
pub struct Required<'a> {
    selector: Option<&'a BTreeMap<String, String>>,
    terms: Option<Terms<'a>>,
}

impl<'a> Required<'a> {
    /// Reads a pod's requirements. Never fails: what is broken matches nothing (EL-14).
    pub fn of(spec: &'a PodSpec) -> Self {
        Self { selector: spec.node_selector.as_ref(), terms: required(spec).map(Terms::of) }
    }

    /// Whether the node meets them, or why not.
    pub fn check(&self, node: &Node) -> Result<(), Mismatch> {
        let first = self.lacking(node).next();
        first.map_or(Ok(()), Err)?;
        let labels = node.metadata.labels.as_ref();
        self.terms.as_ref().map_or(Ok(()), |terms| terms.check(node, labels))
    }

    /// Everything that the node misses, and in each term every requirement: empty exactly where [`Required::check`] finds
    /// nothing.
    pub fn mismatches(&self, node: &Node) -> Vec<Mismatch> {
        let labels = node.metadata.labels.as_ref();
        let terms = self.terms.as_ref().and_then(|terms| terms.explain(node, labels, usize::MAX));
        self.lacking(node).chain(terms).collect()
    }

    /// The pairs of `nodeSelector` that the node lacks, by key.
    fn lacking(&self, node: &Node) -> impl Iterator<Item = Mismatch> {
        let labels = node.metadata.labels.as_ref();
        self.selector.into_iter().flatten().filter_map(move |(key, wanted)| {
            let found = labels.and_then(|labels| labels.get(key));
            let lacks =
                || Mismatch::Selector { key: key.clone(), wanted: wanted.clone(), found: found.cloned() };
            (found != Some(wanted)).then(lacks)
        })
    }
}

/// Where a pod is pinned to by its affinity could not be told (EL-33).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// There is no such requirement.
    #[error("no node name found in the pod's required node affinity")]
    Absent,
    /// There is one, with another number of values than one.
    #[error("a requirement on metadata.name must have exactly one value")]
    NotOne,
}

/// The node that a pod which is not bound yet is meant for: the first `matchFields` requirement on `metadata.name` with
/// operator `In` (EL-33).
pub fn pinned_node(spec: &PodSpec) -> Result<&str, PinError> {
    let terms = required(spec).into_iter().flat_map(|selector| &selector.node_selector_terms);
    let mut fields = terms.flat_map(|term| term.match_fields.iter().flatten());
    let pin =
        fields.find(|field| field.key == NAME_FIELD && field.operator == "In").ok_or(PinError::Absent)?;
    match pin.values.as_deref() {
        Some([name]) => Ok(name),
        _ => Err(PinError::NotOne),
    }
}

/// The node of an existing pod: where it is bound, else where it is pinned (EL-33).
pub fn target_node(spec: &PodSpec) -> Result<&str, PinError> {
    match spec.node_name.as_deref() {
        None | Some("") => pinned_node(spec),
        Some(name) => Ok(name),
    }
}

fn required(spec: &PodSpec) -> Option<&NodeSelector> {
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    affinity.required_during_scheduling_ignored_during_execution.as_ref()
}

/// A node's.
type Labels<'a> = Option<&'a BTreeMap<String, String>>;

/// Parsed terms; a broken one carries why.
#[derive(Debug, Clone)]
struct Terms<'a>(Vec<Result<Term<'a>, TermMismatch>>);

#[derive(Debug, Clone)]
struct Term<'a> {
    expressions: Vec<Requirement<'a>>,
    fields: Vec<Requirement<'a>>,
}

#[derive(Debug, Clone)]
struct Requirement<'a> {
    source: &'a NodeSelectorRequirement,
    operator: Operator,
}

#[derive(Debug, Clone, Copy)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt(i64),
    Lt(i64),
}

impl<'a> Terms<'a> {
    fn of(selector: &'a NodeSelector) -> Self {
        Self(selector.node_selector_terms.iter().map(term).collect())
    }

    fn check(&self, node: &Node, labels: Labels<'_>) -> Result<(), Mismatch> {
        self.explain(node, labels, 1).map_or(Ok(()), Err)
    }

    /// Why no term matches, with at most so many requirements of each; `None` if one does.
    fn explain(&self, node: &Node, labels: Labels<'_>, most: usize) -> Option<Mismatch> {
        if self.0.is_empty() {
            return Some(Mismatch::NoTerms);
        }
        // Look first, explain later: explaining allocates, and most nodes match.
        let matches = |term: &Result<Term<'_>, TermMismatch>| {
            term.as_ref().is_ok_and(|term| term.unmet(node, labels).next().is_none())
        };
        if self.0.iter().any(matches) {
            return None;
        }
        let explain = |term: &Result<Term<'_>, TermMismatch>| match term {
            Err(broken) => broken.clone(),
            Ok(term) => TermMismatch::Unmet(term.unmet(node, labels).take(most).collect()),
        };
        Some(Mismatch::Terms(self.0.iter().map(explain).collect()))
    }
}

impl Term<'_> {
    /// The requirements that the node does not meet, as they stand.
    fn unmet(&self, node: &Node, labels: Labels<'_>) -> impl Iterator<Item = Unmet> {
        let label = move |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
        let expressions = self.expressions.iter().filter_map(move |r| r.unmet(label(&r.source.key)));
        expressions.chain(self.fields.iter().filter_map(|r| r.unmet(Some(node::name(node)))))
    }
}

impl Requirement<'_> {
    fn accepts(&self, found: Option<&str>) -> bool {
        let listed = || found.is_some_and(|value| values(self.source).iter().any(|v| v == value));
        let number = || found.and_then(|value| value.parse::<i64>().ok());
        match self.operator {
            Operator::In => listed(),
            Operator::NotIn => !listed(),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::Gt(limit) => number().is_some_and(|n| n > limit),
            Operator::Lt(limit) => number().is_some_and(|n| n < limit),
        }
    }

    fn unmet(&self, found: Option<&str>) -> Option<Unmet> {
        let unmet = || Unmet {
            key: self.source.key.clone(),
            operator: self.source.operator.clone(),
            values: values(self.source).to_vec(),
            found: found.map(str::to_string),
        };
        (!self.accepts(found)).then(unmet)
    }
}

fn values(requirement: &NodeSelectorRequirement) -> &[String] {
    requirement.values.as_deref().unwrap_or_default()
}

fn term(source: &NodeSelectorTerm) -> Result<Term<'_>, TermMismatch> {
    let list =
        |requirements: &'_ Option<Vec<NodeSelectorRequirement>>| requirements.as_ref().map_or(0, Vec::len);
    if list(&source.match_expressions) + list(&source.match_fields) == 0 {
        return Err(TermMismatch::Empty);
    }
    let expressions = source.match_expressions.iter().flatten().map(expression).collect::<Result<_, _>>();
    let fields = source.match_fields.iter().flatten().map(field).collect::<Result<_, _>>();
    match (expressions, fields) {
        (Ok(expressions), Ok(fields)) => Ok(Term { expressions, fields }),
        (Err(text), _) | (_, Err(text)) => Err(TermMismatch::Broken(text)),
    }
}

/// EL-12.
fn expression(source: &NodeSelectorRequirement) -> Result<Requirement<'_>, String> {
    let key = &source.key;
    let broken = |rule: &str| Err(format!("{key}: {rule}"));
    let operator = match (source.operator.as_str(), values(source)) {
        ("In" | "NotIn", []) => return broken("In and NotIn need values"),
        ("In", _) => Operator::In,
        ("NotIn", _) => Operator::NotIn,
        ("Exists", []) => Operator::Exists,
        ("DoesNotExist", []) => Operator::DoesNotExist,
        ("Exists" | "DoesNotExist", _) => return broken("Exists and DoesNotExist take no values"),
        (operator @ ("Gt" | "Lt"), [value]) => match (operator, value.parse()) {
            ("Gt", Ok(limit)) => Operator::Gt(limit),
            (_, Ok(limit)) => Operator::Lt(limit),
            (_, Err(_)) => return broken("Gt and Lt need a whole number"),
        },
        ("Gt" | "Lt", _) => return broken("Gt and Lt need exactly one value"),
        (operator, _) => return Err(format!("{key}: {operator:?} is not a valid node selector operator")),
    };
    Ok(Requirement { source, operator })
}

/// EL-13.
fn field(source: &NodeSelectorRequirement) -> Result<Requirement<'_>, String> {
    let operator = match (source.key.as_str(), source.operator.as_str(), values(source)) {
        (NAME_FIELD, "In", [_]) => Operator::In,
        (NAME_FIELD, "NotIn", [_]) => Operator::NotIn,
        (NAME_FIELD, "In" | "NotIn", _) => return Err(format!("{NAME_FIELD}: must be only one value")),
        (NAME_FIELD, operator, _) => {
            return Err(format!("{NAME_FIELD}: {operator:?} is not a valid node field selector operator"));
        }
        (key, _, _) => return Err(format!("{key}: not a valid field selector key")),
    };
    Ok(Requirement { source, operator })
}

#[cfg(test)]
mod tests;
