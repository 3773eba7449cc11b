//! Label selectors: requirements, what they match, how they print.
//!
//! `notin`, `!=` and `!key` also match objects that lack the key. Requirements are kept sorted by key, and so printing
//! is canonical. Kubernetes: `apimachinery/pkg/labels`, `apis/meta/v1/helpers.go` (`LabelSelectorAsSelector`).

use super::parse;
use crate::name;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// `k in (a,b)`
    In,
    /// `k notin (a,b)`
    NotIn,
    /// `k=a`
    Equals,
    /// `k==a`; kept apart so that it prints as it was written.
    DoubleEquals,
    /// `k!=a`
    NotEquals,
    /// `k`
    Exists,
    /// `!k`
    DoesNotExist,
    /// `k>5`
    GreaterThan,
    /// `k<5`
    LessThan,
}

/// One requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

/// Requirements that all must hold; none selects everything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Selector(Vec<Requirement>);

/// A selector that cannot be understood, in Kubernetes' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub(super) String);

impl Selector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Reads a text (3.7.1); the empty text selects everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::requirements(text).map(Self::new)
    }

    /// The selector of an object's `spec.selector`. An empty one selects everything; that an absent one selects nothing
    /// is the caller's affair.
    pub fn from_label_selector(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let pairs = selector.match_labels.iter().flatten();
        let pairs = pairs.map(|(key, value)| Requirement::new(key, Operator::Equals, [value.clone()]));
        let expressions = selector.match_expressions.iter().flatten().map(expression);
        pairs.chain(expressions).collect::<Result<_, _>>().map(Self::new)
    }

    /// A selector from its requirements.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self(requirements)
    }

    /// Whether these labels meet every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The requirements, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{requirement}")?;
        }
        Ok(())
    }
}

/// Most broken values that an error names: a selector of a URL may have a hundred thousand.
const BROKEN_MAX: usize = 100;

impl Requirement {
    /// A requirement, with every rule that it breaks in the error, but no values under a key that is none.
    pub fn new(
        key: &str,
        operator: Operator,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Self, SelectorError> {
        let values: BTreeSet<String> = values.into_iter().collect();
        let mut broken = Vec::new();
        if let Err(texts) = name::qualified_name(key) {
            broken.push(format!("key: Invalid value: {key:?}: {}", texts.join("; ")));
        }
        broken.extend(operator.broken(&values));
        // Each text has the key in it.
        let most = if broken.is_empty() { BROKEN_MAX } else { 0 };
        let wrong = |(index, value): (usize, &String)| {
            let texts = name::label_value(value).err()?.join("; ");
            Some(format!("values[{index}][{key}]: Invalid value: {value:?}: {texts}"))
        };
        broken.extend(values.iter().enumerate().filter_map(wrong).take(most));
        match broken.as_slice() {
            [] => Ok(Self { key: key.to_string(), operator, values }),
            [one] => Err(SelectorError(one.clone())),
            many => Err(SelectorError(format!("[{}]", many.join(", ")))),
        }
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it compares.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// With what.
    pub fn values(&self) -> &BTreeSet<String> {
        &self.values
    }

    /// Whether these labels meet it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = labels.get(&self.key);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => {
                found.is_some_and(|value| self.values.contains(value))
            }
            Operator::NotIn | Operator::NotEquals => found.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::GreaterThan => self.compares(found, |value, limit| value > limit),
            Operator::LessThan => self.compares(found, |value, limit| value < limit),
        }
    }

    fn compares(&self, found: Option<&String>, holds: fn(i64, i64) -> bool) -> bool {
        let number = |text: &String| text.parse::<i64>().ok();
        let limit = self.values.iter().next().and_then(number);
        found.and_then(number).zip(limit).is_some_and(|(value, limit)| holds(value, limit))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let values = self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

impl Operator {
    /// The rule that this number or form of values breaks, in Kubernetes' words.
    fn broken(self, values: &BTreeSet<String>) -> Option<String> {
        let listed = values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(",");
        let invalid = |rule: &str| Some(format!("values: Invalid value: [{listed}]: {rule}"));
        match self {
            Self::In | Self::NotIn if values.is_empty() => {
                invalid("for 'in', 'notin' operators, values set can't be empty")
            }
            Self::Equals | Self::DoubleEquals | Self::NotEquals if values.len() != 1 => {
                invalid("exact-match compatibility requires one single value")
            }
            Self::Exists | Self::DoesNotExist if !values.is_empty() => {
                invalid("values set must be empty for exists and does not exist")
            }
            Self::GreaterThan | Self::LessThan if values.len() != 1 => {
                invalid("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            Self::GreaterThan | Self::LessThan => {
                let wrong = values.iter().find(|value| value.parse::<i64>().is_err())?;
                Some(format!(
                    "values[0]: Invalid value: {wrong:?}: for 'Gt', 'Lt' operators, the value must be an integer"
                ))
            }
            _ => None,
        }
    }
}

fn expression(source: &LabelSelectorRequirement) -> Result<Requirement, SelectorError> {
    let operator = match source.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => return Err(SelectorError(format!("{other:?} is not a valid label selector operator"))),
    };
    Requirement::new(&source.key, operator, source.values.iter().flatten().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn requirements_match_as_in_3_7_1() {
        let cases = [
            ("", "", true),
            ("app", "app=x", true),
            ("app", "a=x", false),
            ("!app", "app=x", false),
            ("!app", "", true),
            ("app=x", "app=x", true),
            ("app==x", "app=y", false),
            ("app=", "app=", true),
            ("app=", "", false),
            ("app!=x", "", true),
            ("app!=x", "app=x", false),
            ("app in (x,y)", "app=y", true),
            ("app in (x,y)", "", false),
            ("app notin (x,y)", "", true),
            ("app notin (x,y)", "app=x", false),
            ("n>5", "n=6", true),
            ("n>5", "n=5", false),
            ("n<5", "n=4", true),
            ("n<5", "n=x", false),
            ("n<5", "", false),
            ("app=x,tier in (a)", "app=x,tier=a", true),
            ("app=x,tier in (a)", "app=x", false),
        ];
        for (selector, given, expected) in cases {
            let answer = Selector::parse(selector).map(|s| s.matches(&labels(given)));
            assert_eq!(answer, Ok(expected), "{selector:?} on {given:?}");
        }
    }

    fn from_json(value: Value) -> Result<String, String> {
        let selector: LabelSelector = serde_json::from_value(value).unwrap();
        Selector::from_label_selector(&selector).map(|s| s.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_selector_of_an_object_prints_sorted_by_key() {
        let value = json!({
            "matchLabels": {"z": "1", "a": "2"},
            "matchExpressions": [
                {"key": "m", "operator": "In", "values": ["y", "x"]},
                {"key": "b", "operator": "DoesNotExist"},
            ],
        });
        assert_eq!(from_json(value), Ok("a=2,!b,m in (x,y),z=1".to_string()));
        assert_eq!(from_json(json!({})), Ok(String::new()));
    }

    #[test]
    fn a_broken_selector_of_an_object_says_what_is_broken() {
        let error = |key: &str, operator: &str, values: &[&str]| {
            from_json(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
                .unwrap_err()
        };
        assert_eq!(error("a", "Near", &[]), "\"Near\" is not a valid label selector operator");
        assert_eq!(
            error("a", "In", &[]),
            "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
        );
        assert_eq!(
            error("a", "Exists", &["x"]),
            "values: Invalid value: [\"x\"]: values set must be empty for exists and does not exist"
        );
        assert!(
            error("a", "In", &["-"]).starts_with("values[0][a]: Invalid value: \"-\": a valid label must be")
        );
    }

    #[test]
    fn very_many_broken_values_are_not_all_told() {
        let values: Vec<String> = (0..100_000).map(|n| format!("-{n}")).collect();
        let error = |key: &str| Requirement::new(key, Operator::In, values.clone()).unwrap_err().to_string();
        assert_eq!(error("a").matches("a valid label must be").count(), BROKEN_MAX);
        // Each would have the key in it.
        assert!(error(&"k".repeat(100_000)).len() < 200_000);
    }
}
