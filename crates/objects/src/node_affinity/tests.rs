//! Node affinity as tables, one node for all: `n1` with labels `disk=ssd`, `cpus=8`, `odd=x`.

use super::*;
use serde_json::{Value, json};

fn node() -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": "n1", "labels": {"disk": "ssd", "cpus": "8", "odd": "x"}}
    }))
    .unwrap()
}

fn spec(selector: Value, terms: Value) -> PodSpec {
    let required = if terms.is_null() { Value::Null } else { json!({"nodeSelectorTerms": terms}) };
    serde_json::from_value(json!({
        "containers": [],
        "nodeSelector": selector,
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}},
    }))
    .unwrap()
}

fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
    json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
}

fn name(operator: &str, values: &[&str]) -> Value {
    json!({"matchFields": [{"key": "metadata.name", "operator": operator, "values": values}]})
}

#[test]
fn every_operator_matches_as_el_12_and_el_13_say() {
    let cases = [
        (expression("disk", "In", &["ssd", "nvme"]), true),
        (expression("disk", "In", &["hdd"]), false),
        (expression("none", "In", &["x"]), false),
        (expression("disk", "NotIn", &["ssd"]), false),
        (expression("none", "NotIn", &["x"]), true),
        (expression("disk", "Exists", &[]), true),
        (expression("none", "Exists", &[]), false),
        (expression("disk", "DoesNotExist", &[]), false),
        (expression("none", "DoesNotExist", &[]), true),
        (expression("cpus", "Gt", &["7"]), true),
        (expression("cpus", "Gt", &["8"]), false),
        (expression("cpus", "Lt", &["9"]), true),
        (expression("odd", "Gt", &["0"]), false),
        (expression("none", "Gt", &["0"]), false),
        (name("In", &["n1"]), true),
        (name("In", &["n2"]), false),
        (name("NotIn", &["n2"]), true),
        (name("NotIn", &["n1"]), false),
        // EL-14: what is broken matches nothing.
        (expression("cpus", "Gt", &["many"]), false),
        (expression("cpus", "Gt", &["1", "2"]), false),
        (expression("disk", "Exists", &["ssd"]), false),
        (expression("disk", "In", &[]), false),
        (expression("disk", "Near", &["ssd"]), false),
        (name("In", &["n1", "n2"]), false),
        (name("Exists", &[]), false),
        (json!({"matchFields": [{"key": "spec.x", "operator": "In", "values": ["n1"]}]}), false),
        // EL-11
        (json!({}), false),
    ];
    for (term, expected) in cases {
        assert_eq!(required_matches(&spec(json!({}), json!([term])), &node()), expected, "{term}");
    }
}

#[test]
fn terms_are_alternatives_and_requirements_are_not() {
    let good = expression("disk", "In", &["ssd"]);
    let bad = expression("disk", "In", &["hdd"]);
    let both = json!({"matchExpressions": [good["matchExpressions"][0], bad["matchExpressions"][0]]});
    let broken = expression("disk", "Near", &[]);
    let cases = [
        (json!(null), Value::Null, true),
        (json!({"disk": "ssd"}), Value::Null, true),
        (json!({"disk": "hdd"}), Value::Null, false),
        (json!({"disk": "hdd"}), json!([good]), false),
        (json!({}), json!([]), false),
        (json!({}), json!([bad, good]), true),
        (json!({}), json!([broken, good]), true),
        (json!({}), json!([both]), false),
    ];
    for (selector, terms, expected) in cases {
        let spec = spec(selector.clone(), terms.clone());
        assert_eq!(required_matches(&spec, &node()), expected, "EL-9…EL-14 {selector} {terms}");
    }
}

#[test]
fn a_mismatch_says_what_misses() {
    let text = |selector: Value, terms: Value| {
        let spec = spec(selector, terms);
        Required::of(&spec).check(&node()).unwrap_err().to_string()
    };
    assert_eq!(
        text(json!({"disk": "hdd"}), Value::Null),
        "nodeSelector requires disk=hdd, the node has disk=ssd"
    );
    assert_eq!(
        text(json!({"gpu": "yes"}), Value::Null),
        "nodeSelector requires gpu=yes, the node has no label gpu"
    );
    assert_eq!(text(json!({}), json!([])), "required node affinity has no terms and so matches no node");
    assert_eq!(
        text(
            json!({}),
            json!([expression("disk", "In", &["hdd", "tape"]), expression("cpus", "Gt", &["many"]), {}])
        ),
        "required node affinity does not match: needs disk in (hdd,tape); or broken term: cpus: Gt and Lt need a whole \
         number; or an empty term matches no node"
    );
}

#[test]
fn everything_that_misses_can_be_told() {
    let both = json!({"matchExpressions": [
        {"key": "disk", "operator": "In", "values": ["hdd"]}, {"key": "gpu", "operator": "Exists"},
        {"key": "cpus", "operator": "Gt", "values": ["4"]}]});
    let spec = spec(json!({"disk": "hdd", "odd": "x", "zone": "a"}), json!([both, {}, name("In", &["n2"])]));
    let unmet = |key: &str, operator: &str, values: &[&str], found: Option<&str>| Unmet {
        key: key.into(),
        operator: operator.into(),
        values: values.iter().map(ToString::to_string).collect(),
        found: found.map(str::to_string),
    };
    let lacks = |key: &str, wanted: &str, found: Option<&str>| Mismatch::Selector {
        key: key.into(),
        wanted: wanted.into(),
        found: found.map(str::to_string),
    };
    let expected = [
        lacks("disk", "hdd", Some("ssd")),
        lacks("zone", "a", None),
        Mismatch::Terms(vec![
            TermMismatch::Unmet(vec![
                unmet("disk", "In", &["hdd"], Some("ssd")),
                unmet("gpu", "Exists", &[], None),
            ]),
            TermMismatch::Empty,
            TermMismatch::Unmet(vec![unmet("metadata.name", "In", &["n2"], Some("n1"))]),
        ]),
    ];
    assert_eq!(Required::of(&spec).mismatches(&node()), expected, "EL-9…EL-14");
}

#[test]
fn the_pin_is_the_first_name_field_of_any_term() {
    let cases = [
        (json!([name("In", &["n7"])]), Ok("n7")),
        (json!([expression("a", "Exists", &[]), name("NotIn", &["n1"]), name("In", &["n8"])]), Ok("n8")),
        (json!([name("In", &["a", "b"]), name("In", &["n8"])]), Err(PinError::NotOne)),
        (json!([name("In", &[])]), Err(PinError::NotOne)),
        (json!([expression("a", "Exists", &[])]), Err(PinError::Absent)),
        (json!([]), Err(PinError::Absent)),
        (Value::Null, Err(PinError::Absent)),
    ];
    for (terms, expected) in cases {
        assert_eq!(pinned_node(&spec(json!({}), terms.clone())), expected, "EL-33, TE-42 {terms}");
    }
    let mut bound = spec(json!({}), json!([name("In", &["n7"])]));
    bound.node_name = Some("n1".into());
    assert_eq!(target_node(&bound), Ok("n1"));
    bound.node_name = Some(String::new());
    assert_eq!(target_node(&bound), Ok("n7"));
}
