//! What does a JSONPath of a printer column find in an object?
//!
//! [`JsonPath`] is read once; looking is linear in the object. Fields, keys in quotes, indices, wildcards and filters on
//! one field, as `kubectl` charts use them; recursive descent, slices and scripts are not read.
//! Kubernetes: `client-go/util/jsonpath`.

use serde_json::Value;

/// Most steps of one path.
const MAX_STEPS: usize = 64;

/// A path that has been read.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    /// Negative counts from the end.
    Index(i64),
    All,
    Filter(Filter),
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    path: JsonPath,
    test: Option<(Operator, Value)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const OPERATORS: &[(&str, Operator)] = &[
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl JsonPath {
    /// Reads `.spec.list[0].name`, `.status.conditions[?(@.type=="Ready")].status`. None for what is not read.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if steps.len() == MAX_STEPS {
                return None;
            }
            let (step, after) = match rest.strip_prefix('.') {
                Some(after) if after.is_empty() || after.starts_with('[') => {
                    rest = after;
                    continue;
                }
                Some(after) => dotted(after)?,
                None => bracketed(rest.strip_prefix('[')?)?,
            };
            steps.push(step);
            rest = after;
        }
        Some(Self { steps })
    }

    /// The first value that it finds.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        first(&self.steps, value)
    }
}

fn first<'a>(steps: &[Step], value: &'a Value) -> Option<&'a Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => first(rest, map.get(name)?),
        (Step::Index(index), Value::Array(items)) => {
            let length = i64::try_from(items.len()).ok()?;
            let at = if *index < 0 { length.checked_add(*index)? } else { *index };
            first(rest, items.get(usize::try_from(at).ok()?)?)
        }
        (Step::All, Value::Array(items)) => items.iter().find_map(|item| first(rest, item)),
        (Step::All, Value::Object(map)) => map.values().find_map(|item| first(rest, item)),
        (Step::Filter(filter), Value::Array(items)) => {
            items.iter().filter(|item| filter.holds(item)).find_map(|item| first(rest, item))
        }
        _ => None,
    }
}

impl Filter {
    fn holds(&self, item: &Value) -> bool {
        let found = self.path.first(item);
        match (&self.test, found) {
            (None, found) => found.is_some(),
            (Some(_), None) => false,
            (Some((operator, wanted)), Some(found)) => operator.holds(found, wanted),
        }
    }
}

impl Operator {
    fn holds(self, found: &Value, wanted: &Value) -> bool {
        let order = match (found, wanted) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (a, b) => (a == b).then_some(std::cmp::Ordering::Equal),
        };
        match self {
            Operator::Equal => order.is_some_and(|order| order.is_eq()),
            Operator::NotEqual => !order.is_some_and(|order| order.is_eq()),
            Operator::Less => order.is_some_and(|order| order.is_lt()),
            Operator::LessOrEqual => order.is_some_and(|order| order.is_le()),
            Operator::Greater => order.is_some_and(|order| order.is_gt()),
            Operator::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
        }
    }
}

/// A name up to the next dot or bracket; a backslash takes the next character as it is.
fn dotted(text: &str) -> Option<(Step, &str)> {
    let mut name = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match c {
            '.' | '[' => break,
            '\\' => {
                let escaped = rest.chars().nth(1)?;
                name.push(escaped);
                rest = rest.get(1 + escaped.len_utf8()..)?;
                continue;
            }
            c => name.push(c),
        }
        rest = rest.get(c.len_utf8()..)?;
    }
    match name.as_str() {
        "" => None,
        "*" => Some((Step::All, rest)),
        _ => Some((Step::Field(name), rest)),
    }
}

/// What stands between brackets; `text` begins after the first one.
fn bracketed(text: &str) -> Option<(Step, &str)> {
    if let Some(inner) = text.strip_prefix("?(") {
        let (filter, rest) = inner.split_once(")]")?;
        return Some((Step::Filter(self::filter(filter.trim())?), rest));
    }
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote) {
            let (name, rest) = inner.split_once(&format!("{quote}]"))?;
            return Some((Step::Field(name.to_string()), rest));
        }
    }
    let (inner, rest) = text.split_once(']')?;
    match inner.trim() {
        "*" => Some((Step::All, rest)),
        number => Some((Step::Index(number.parse().ok()?), rest)),
    }
}

fn filter(text: &str) -> Option<Filter> {
    let text = text.strip_prefix('@')?;
    let found = OPERATORS.iter().filter_map(|(sign, operator)| Some((text.find(sign)?, *sign, *operator)));
    // The first sign in the text, the longer one of two at the same place.
    let sign = found.min_by_key(|(at, sign, _)| (*at, std::cmp::Reverse(sign.len())));
    let Some((at, sign, operator)) = sign else {
        return Some(Filter { path: JsonPath::parse(text)?, test: None });
    };
    let (path, wanted) = (text.get(..at)?, text.get(at + sign.len()..)?);
    let test = Some((operator, literal(wanted.trim())?));
    Some(Filter { path: JsonPath::parse(path.trim())?, test })
}

fn literal(text: &str) -> Option<Value> {
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|inner| inner.strip_suffix(quote)) {
            return Some(inner.into());
        }
    }
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_path_finds_the_first_value() {
        let object = json!({
            "metadata": {"annotations": {"a.example/b": "dotted"}},
            "spec": {"list": [{"name": "x", "n": 1}, {"name": "y", "n": 2}], "map": {"k": "v"}},
            "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}});
        let check = |path: &str, expected: Option<Value>| {
            let found = JsonPath::parse(path).and_then(|path| path.first(&object).cloned());
            assert_eq!(found, expected, "{path}");
        };
        check(".spec.map.k", Some(json!("v")));
        check(".spec.list[0].name", Some(json!("x")));
        check(".spec.list[-1].name", Some(json!("y")));
        check(".spec.list[*].name", Some(json!("x")));
        check(".spec.list[?(@.n>1)].name", Some(json!("y")));
        check(".status.conditions[?(@.type==\"Ready\")].status", Some(json!("True")));
        check(".status.conditions[?(@.type=='Gone')].status", None);
        check(".metadata.annotations.a\\.example/b", Some(json!("dotted")));
        check(".metadata.annotations['a.example/b']", Some(json!("dotted")));
        check(".spec.missing.deeper", None);
        check(".spec..name", None);
        check(".spec.list[0:1]", None);
        check(".", Some(object.clone()));
    }

    #[test]
    fn rubbish_is_no_path_and_no_panic() {
        for text in
            ["[", ".a[", ".a[?(", ".a[?(@", ".a\\", "a", ".a[?(x)]", "..", ".é\\é[", &".a".repeat(1000)]
        {
            let _ = JsonPath::parse(text);
        }
        assert_eq!(JsonPath::parse(&".a".repeat(1000)), None);
    }
}
