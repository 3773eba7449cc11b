//! `ControllerRevision.data`: the template as a patch that brings it back, byte for byte as Go writes it.
//!
//! 1. `kubectl rollout undo` computes the same bytes from the live DaemonSet and compares (RV-23): keys sorted, no
//!    blanks, HTML escaped, `creationTimestamp: null` in the template's metadata (RV-6).
//! 2. Made from the JSON of the server, so that fields which our types do not know survive (TK-3).
//! 3. Written in the dialect of the history that is there (TK-3): Kubernetes 1.34 left the null time out, and so do we
//!    beside revisions of its making.
//!
//! Kubernetes: `daemon/update.go` (`getPatch`), kubectl `polymorphichelpers/history.go` (`getDaemonSetPatch`),
//! `apimachinery/pkg/util/json`. Checked against kubectl: it answers "skipped rollback" to the bytes of
//! `tests/cases/revision_body_rich.plan`.

use serde_json::{Map, Number, Value, json};
use std::fmt::Write as _;

/// Lists of containers, whose `resources` Go writes even when they are empty.
const CONTAINERS: &[&str] = &["containers", "initContainers"];

/// The data of a template (RV-6).
pub fn data(template: &Value) -> Value {
    let mut template = match template {
        Value::Object(fields) => Value::Object(fields.clone()),
        _ => json!({}),
    };
    write_metadata(&mut template);
    if let Some(spec) = template.get_mut("spec") {
        CONTAINERS.iter().for_each(|list| write_resources(spec, list));
        write_claims(spec);
        write_divisors(spec);
    }
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// The same without the null time of the template, if these data, written before, have none either.
pub(super) fn in_dialect_of(mut data: Value, before: Option<&Value>) -> Value {
    let time = |data: &Value| data.pointer("/spec/template/metadata/creationTimestamp").is_some();
    if before.is_some_and(|before| before["spec"]["template"].is_object() && !time(before))
        && let Some(metadata) = data.pointer_mut("/spec/template/metadata").and_then(Value::as_object_mut)
    {
        metadata.remove("creationTimestamp");
    }
    data
}

/// JSON as Go's `encoding/json` writes a generic map: keys in byte order, no blanks, HTML escaped.
pub fn go_json(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value);
    text
}

/// Go 1.33 writes the zero creation time as null; 1.34 leaves it out (RV-6).
fn write_metadata(object: &mut Value) {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if object["metadata"].get("creationTimestamp").is_none() {
        object["metadata"]["creationTimestamp"] = Value::Null;
    }
}

fn write_resources(spec: &mut Value, list: &str) {
    for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
        if container.is_object() && container["resources"].is_null() {
            container["resources"] = json!({});
        }
    }
}

/// Templates of claims inside ephemeral volumes have metadata and resources of their own.
fn write_claims(spec: &mut Value) {
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        let claim = volume.pointer_mut("/ephemeral/volumeClaimTemplate");
        if let Some(claim) = claim.filter(|claim| claim.is_object()) {
            write_metadata(claim);
            if claim["spec"].is_object() && claim["spec"]["resources"].is_null() {
                claim["spec"]["resources"] = json!({});
            }
        }
    }
}

/// A quantity is never left out: an absent divisor is written as zero (TK-10).
fn write_divisors(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                if name == "resourceFieldRef" && field.is_object() && field["divisor"].is_null() {
                    field["divisor"] = json!("0");
                }
                write_divisors(field);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_divisors),
        _ => {}
    }
}

fn write(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write_number(text, number),
        Value::String(string) => write_string(text, string),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(text, item);
            }
            text.push(']');
        }
        Value::Object(fields) => write_fields(text, fields),
    }
}

fn write_fields(text: &mut String, fields: &Map<String, Value>) {
    // Sorted here: whether a map keeps its order is a feature of serde_json that any crate can switch on.
    let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
    sorted.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    text.push('{');
    for (index, (key, value)) in sorted.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write_string(text, key);
        text.push(':');
        write(text, value);
    }
    text.push('}');
}

/// Whole numbers stay whole, however large: Kubernetes' own JSON reader keeps an int64 where plain Go would make it a
/// float (TK-10; kubectl 1.32 agrees).
fn write_number(text: &mut String, number: &Number) {
    let written = match number.as_f64() {
        Some(float) if number.as_i64().is_none() => write!(text, "{float}"),
        _ => write!(text, "{number}"),
    };
    // Writing to a String cannot fail.
    debug_assert!(written.is_ok());
}

fn write_string(text: &mut String, string: &str) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let written = write!(text, "\\u{:04x}", u32::from(c));
                debug_assert!(written.is_ok());
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_what_kubectl_computes() {
        // Taken from the rules of RV-6; kubectl 1.33 prints the same for this template.
        let template = json!({
            "metadata": {"labels": {"app": "x"}},
            "spec": {
                "containers": [{"name": "c", "image": "img:1", "args": ["a<b && c>d", "tab\there"]}],
                "terminationGracePeriodSeconds": 30,
                "hostNetwork": true,
            },
        });
        assert_eq!(
            go_json(&data(&template)),
            "{\"spec\":{\"template\":{\"$patch\":\"replace\",\"metadata\":{\"creationTimestamp\":null,\"labels\":\
             {\"app\":\"x\"}},\"spec\":{\"containers\":[{\"args\":[\"a\\u003cb \\u0026\\u0026 c\\u003ed\",\
             \"tab\\there\"],\"image\":\"img:1\",\"name\":\"c\",\"resources\":{}}],\"hostNetwork\":true,\
             \"terminationGracePeriodSeconds\":30}}}}"
        );
    }

    #[test]
    fn a_template_without_metadata_has_some_in_data() {
        let text = go_json(&data(&json!({"spec": {}})));
        assert_eq!(
            text,
            r#"{"spec":{"template":{"$patch":"replace","metadata":{"creationTimestamp":null},"spec":{}}}}"#
        );
    }

    #[test]
    fn numbers_and_texts_are_written_as_by_go() {
        let cases = [
            (json!(9_007_199_254_740_992_i64), "9007199254740992"),
            (json!(9_007_199_254_740_993_i64), "9007199254740993"),
            (json!(-5), "-5"),
            (json!(1.5), "1.5"),
            (json!("\u{2028}\u{1}\u{7f}ä"), "\"\\u2028\\u0001\u{7f}ä\""),
            (json!({"b": 1, "a": [], "B": {}}), r#"{"B":{},"a":[],"b":1}"#),
        ];
        for (value, text) in cases {
            assert_eq!(go_json(&value), text, "TK-10");
        }
    }

    #[test]
    fn what_go_never_leaves_out_is_written() {
        let mut spec = json!({"containers": [{"name": "c", "env": [
            {"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}}]}]});
        write_divisors(&mut spec);
        let divisor = |index: usize| {
            spec["containers"][0]["env"][index]["valueFrom"]["resourceFieldRef"]["divisor"].clone()
        };
        assert_eq!([divisor(0), divisor(1)], [json!("0"), json!("1m")], "TK-10");
    }

    #[test]
    fn new_data_speak_the_dialect_of_the_old() {
        let ours = data(&json!({"spec": {}}));
        let later = json!({"spec": {"template": {"metadata": {}, "spec": {}, "$patch": "replace"}}});
        let texts = [None, Some(&ours), Some(&later), Some(&json!("odd"))]
            .map(|before| go_json(&in_dialect_of(ours.clone(), before)).contains("creationTimestamp"));
        assert_eq!(texts, [true, true, false, true], "TK-3");
    }
}
