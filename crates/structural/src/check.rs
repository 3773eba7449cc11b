//! Which rules of its schema does an object break?
//!
//! Texts are those of Kubernetes, which has them from go-openapi. A part of an object that an update does not change
//! is not checked again (ratcheting), so that a stricter schema does not lock old objects. Work is bounded by
//! [`MAX_STEPS`]. Kubernetes: `kube-openapi/pkg/validation/validate`, `apiserver/validation`.

use crate::finding::{Finding, Problem};
use crate::path::Path;
use crate::schema::{Additional, Conditions, Schema, Type};
use crate::{MAX_FINDINGS, MAX_STEPS, lists};
use serde_json::{Map, Number, Value};

/// Bytes of a finding's text that are as much work as a step.
const BYTES_OF_A_STEP: usize = 256;

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// A whole object.
    Object,
    /// What stands at this path; findings are below it.
    Part(&'a str),
}

/// Every broken rule. `old` is what stood there before an update.
pub fn check(value: &Value, old: Option<&Value>, schema: &Schema, scope: Scope<'_>) -> Vec<Finding> {
    check_within(&mut { MAX_STEPS }, value, old, schema, scope)
}

/// The same, with these many steps.
pub(crate) fn check_within(
    left: &mut usize,
    value: &Value,
    old: Option<&Value>,
    schema: &Schema,
    scope: Scope<'_>,
) -> Vec<Finding> {
    let mut checker = Checker { left: *left };
    let mut found = checker.node(value, old, schema, &Path::Root).found;
    found.truncate(MAX_FINDINGS);
    let before = old.map(|old| lists::check(old, schema)).unwrap_or_default();
    if before.is_empty() {
        found.extend(lists::check(value, schema));
    }
    if checker.left == 0 {
        found = vec![Finding::forbidden("<nil>", "the object is too large to be checked against its schema")];
    }
    *left = checker.left;
    found.into_iter().map(|finding| placed(finding, scope)).collect()
}

/// Puts a finding where the part stands.
fn placed(mut finding: Finding, scope: Scope<'_>) -> Finding {
    if let Scope::Part(prefix) = scope {
        finding.field = match finding.field.as_str() {
            "" | "<nil>" => prefix.to_string(),
            field if field.starts_with('[') => format!("{prefix}{field}"),
            field => format!("{prefix}.{field}"),
        };
    }
    finding
}

/// What one node has found, and how many keywords were content: the best of several failures is shown.
#[derive(Default)]
struct Outcome {
    found: Vec<Finding>,
    content: usize,
    /// Bytes of its own findings, kept or not.
    told: usize,
}

impl Outcome {
    fn merge(&mut self, other: Outcome) {
        let room = MAX_FINDINGS.saturating_sub(self.found.len());
        self.found.extend(other.found.into_iter().take(room));
        self.content += other.content;
    }

    fn add(&mut self, finding: Finding) {
        self.told += finding.field.len() + finding.detail.len();
        if self.found.len() < MAX_FINDINGS {
            self.found.push(finding);
        }
    }

    fn is_good(&self) -> bool {
        self.found.is_empty()
    }
}

struct Checker {
    left: usize,
}

impl Checker {
    fn node(&mut self, value: &Value, old: Option<&Value>, schema: &Schema, at: &Path<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || old == Some(value) {
            outcome.content += 1;
            return outcome;
        }
        of_type(value, schema, at, &mut outcome);
        if !value.is_null() {
            self.quantifiers(value, schema, at, &mut outcome);
        }
        let conditions = &schema.conditions;
        match value {
            Value::String(text) => self.text(text, conditions, at, &mut outcome),
            Value::Number(number) => self::number(number, schema, at, &mut outcome),
            Value::Array(items) => self.items(items, old, schema, at, &mut outcome),
            _ => {}
        }
        one_of_values(value, conditions, at, &mut outcome);
        if let Value::Object(map) = value {
            self.object(map, old, schema, at, &mut outcome);
        }
        // A path that holds one long key is written for each value below it.
        self.left = self.left.saturating_sub(outcome.told / BYTES_OF_A_STEP);
        outcome
    }

    fn quantifiers(&mut self, value: &Value, schema: &Schema, at: &Path<'_>, outcome: &mut Outcome) {
        let conditions = &schema.conditions;
        let composite = |text: String| Finding::invalid("<nil>", "", format!("{:?} {text}", at.to_string()));
        if !conditions.any_of.is_empty() {
            let (good, best) = self.alternatives(value, &conditions.any_of, at);
            if good == 0 {
                outcome.add(composite("must validate at least one schema (anyOf)".into()));
                outcome.merge(best);
            }
        }
        if !conditions.one_of.is_empty() {
            let (good, best) = self.alternatives(value, &conditions.one_of, at);
            let why = match good {
                0 => "Found none valid".to_string(),
                many => format!("Found {many} valid alternatives"),
            };
            if good != 1 {
                outcome.add(composite(format!("must validate one and only one schema (oneOf). {why}")));
            }
            if good == 0 {
                outcome.merge(best);
            }
        }
        let mut broken = 0;
        for condition in &conditions.all_of {
            let inner = self.node(value, None, condition, at);
            broken += usize::from(!inner.is_good());
            outcome.merge(inner);
        }
        if broken > 0 {
            let none = if broken == conditions.all_of.len() { ". None validated" } else { "" };
            outcome.add(composite(format!("must validate all the schemas (allOf){none}")));
        }
        if let Some(condition) = &conditions.not
            && self.node(value, None, condition, at).is_good()
        {
            outcome.add(composite("must not validate the schema (not)".into()));
        }
        outcome.content += 1;
    }

    /// How many hold, and the failure of the one that came furthest.
    fn alternatives(&mut self, value: &Value, all: &[Schema], at: &Path<'_>) -> (usize, Outcome) {
        let (mut good, mut best): (usize, Option<Outcome>) = (0, None);
        for condition in all {
            let outcome = self.node(value, None, condition, at);
            if outcome.is_good() {
                good += 1;
            } else if best.as_ref().is_none_or(|best| outcome.content > best.content) {
                best = Some(outcome);
            }
        }
        (good, best.unwrap_or_default())
    }

    fn text(&mut self, text: &str, conditions: &Conditions, at: &Path<'_>, outcome: &mut Outcome) {
        if let Some(max) = conditions.length.max
            && length(text) > max
        {
            let unit = if max == 1 { "byte" } else { "bytes" };
            let detail = format!("may not be more than {max} {unit}");
            outcome.add(Finding::new(at, Problem::TooLong, Value::Null, detail));
        }
        if let Some(min) = conditions.length.min
            && length(text) < min
        {
            outcome.add(invalid(at, text, format!("should be at least {min} chars long")));
        }
        if let Some((pattern, regex)) = &conditions.pattern {
            self.left = self.left.saturating_sub(text.len());
            if self.left == 0 {
                return;
            }
            if !regex.is_match(text) {
                outcome.add(invalid(at, text, format!("should match '{pattern}'")));
            }
        }
        if let Some(format) = conditions.format.as_ref().filter(|format| !format.accepts(text)) {
            let detail = format!("{at} in body must be of type {}: {text:?}", format.name());
            outcome.add(Finding::new(at, Problem::TypeInvalid, text, detail));
        }
        outcome.content += 1;
    }

    fn items(
        &mut self,
        items: &[Value],
        old: Option<&Value>,
        schema: &Schema,
        at: &Path<'_>,
        outcome: &mut Outcome,
    ) {
        if let Some(inner) = &schema.items {
            let before = old.and_then(Value::as_array).map(|old| lists::by_key(old, &schema.list_type));
            for (index, item) in items.iter().enumerate() {
                let old =
                    before.as_ref().and_then(|before| before.get(&lists::key(item, &schema.list_type)?));
                outcome.merge(self.node(item, old.copied(), inner, &at.index(index)));
            }
        }
        let (count, range) = (items.len() as u64, schema.conditions.items);
        if range.min.is_some_and(|min| count < min) {
            let min = range.min.unwrap_or_default();
            outcome.add(invalid(at, count, format!("should have at least {min} items")));
        }
        if let Some(max) = range.max.filter(|max| count > *max) {
            outcome.add(Finding::new(at, Problem::TooMany, count, format!("must have at most {max} items")));
        }
        outcome.content += 1;
    }

    fn object(
        &mut self,
        map: &Map<String, Value>,
        old: Option<&Value>,
        schema: &Schema,
        at: &Path<'_>,
        outcome: &mut Outcome,
    ) {
        let (count, range) = (map.len() as u64, schema.conditions.properties);
        if let Some(min) = range.min.filter(|min| count < *min) {
            outcome.add(invalid(at, count, format!("should have at least {min} properties")));
        }
        if let Some(max) = range.max.filter(|max| count > *max) {
            outcome.add(Finding::new(at, Problem::TooMany, count, format!("must have at most {max} items")));
        }
        for (name, value) in map {
            let inner = match (schema.properties.get(name), &schema.additional) {
                (Some(property), _) => property,
                (None, Additional::Of(schema)) => schema,
                (None, Additional::Any | Additional::Nothing) => continue,
            };
            let old = old.and_then(|old| old.get(name));
            outcome.merge(self.node(value, old, inner, &at.field(name)));
        }
        for name in schema.conditions.required.iter().filter(|name| !map.contains_key(*name)) {
            outcome.add(Finding::required(at.field(name), ""));
        }
        if schema.is_resource && !matches!(at, Path::Root) {
            for name in ["apiVersion", "kind"] {
                if map.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
                    outcome.add(Finding::required(at.field(name), "must not be empty"));
                }
            }
        }
        outcome.content += 1;
    }
}

/// `<path> in body <text>` about a value.
fn invalid(at: &Path<'_>, value: impl Into<Value>, text: String) -> Finding {
    Finding::invalid(at, value, format!("{at} in body {text}"))
}

fn length(text: &str) -> u64 {
    text.chars().count() as u64
}

fn of_type(value: &Value, schema: &Schema, at: &Path<'_>, outcome: &mut Outcome) {
    let wanted = match (schema.int_or_string, schema.ty) {
        (true, _) => "integer,string",
        (false, Some(ty)) => ty.as_str(),
        (false, None) => return outcome.content += 1,
    };
    let (found, good) = match value {
        Value::Null => ("null", schema.nullable),
        Value::Bool(_) => ("boolean", schema.ty == Some(Type::Boolean)),
        Value::String(_) => ("string", schema.ty == Some(Type::String) || schema.int_or_string),
        Value::Array(_) => ("array", schema.ty == Some(Type::Array)),
        Value::Object(_) => ("object", schema.ty == Some(Type::Object)),
        Value::Number(number) => {
            let whole = is_whole(number);
            let takes_whole = schema.int_or_string || schema.ty == Some(Type::Integer);
            let kind = if number.is_f64() { "number" } else { "integer" };
            (kind, schema.ty == Some(Type::Number) || (whole && takes_whole))
        }
    };
    match good {
        true => outcome.content += 1,
        false => {
            let detail = format!("{at} in body must be of type {wanted}: {found:?}");
            outcome.add(Finding::new(at, Problem::TypeInvalid, found, detail));
        }
    }
}

fn is_whole(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|value| value.fract() == 0.0 && value.abs() < 9.0e15)
}

fn one_of_values(value: &Value, conditions: &Conditions, at: &Path<'_>, outcome: &mut Outcome) {
    let Some(values) = &conditions.one_of_values else { return };
    match values.iter().any(|known| equal(known, value)) {
        true => outcome.content += 1,
        false => outcome.add(Finding::not_supported(at, value.clone(), values.iter().cloned())),
    }
}

/// Equal as JSON Schema has it: `1` is `1.0`.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

fn number(number: &Number, schema: &Schema, at: &Path<'_>, outcome: &mut Outcome) {
    let conditions = &schema.conditions;
    let order = |limit: &Number| compare(number, limit);
    if let Some(text) = conditions.format.as_ref().and_then(|format| format.out_of_range(number)) {
        outcome.add(Finding::invalid("<nil>", "", format!("Checked value must be of type {text} in {at}")));
    }
    if let Some(factor) = conditions.multiple_of.as_ref().filter(|factor| !is_multiple(number, factor)) {
        outcome.add(invalid(at, number.clone(), format!("should be a multiple of {}", shown(factor))));
    }
    if let Some(max) = &conditions.maximum {
        let words = if max.exclusive { "less than" } else { "less than or equal to" };
        let over = order(&max.value).is_gt() || (max.exclusive && order(&max.value).is_eq());
        if over {
            outcome.add(invalid(at, number.clone(), format!("should be {words} {}", shown(&max.value))));
        }
    }
    if let Some(min) = &conditions.minimum {
        let words = if min.exclusive { "greater than" } else { "greater than or equal to" };
        let under = order(&min.value).is_lt() || (min.exclusive && order(&min.value).is_eq());
        if under {
            outcome.add(invalid(at, number.clone(), format!("should be {words} {}", shown(&min.value))));
        }
    }
    outcome.content += 1;
}

/// Exact for whole numbers, as floats for the others; what cannot be compared counts as equal.
fn compare(a: &Number, b: &Number) -> std::cmp::Ordering {
    if let (Some(a), Some(b)) = (a.as_i128(), b.as_i128()) {
        return a.cmp(&b);
    }
    let (a, b) = (a.as_f64().unwrap_or_default(), b.as_f64().unwrap_or_default());
    a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal)
}

fn is_multiple(number: &Number, factor: &Number) -> bool {
    if let (Some(number), Some(factor)) = (number.as_i128(), factor.as_i128()) {
        return factor != 0 && number % factor == 0;
    }
    let (number, factor) = (number.as_f64().unwrap_or_default(), factor.as_f64().unwrap_or(1.0));
    let times = number / factor;
    times.is_finite() && times.fract() == 0.0
}

/// As Go's `%v` prints it.
fn shown(number: &Number) -> String {
    match number.as_f64() {
        Some(value) if number.is_f64() && value.fract() == 0.0 && value.abs() < 1.0e21 => {
            format!("{value:.0}")
        }
        _ => number.to_string(),
    }
}
