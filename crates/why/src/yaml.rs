//! A toleration as YAML that can be pasted, on one line or as a block.
//!
//! Keys and values stand plain where YAML reads them as text in any case, else in quotes: `true` or `1` must stay text.

use k8s_openapi::api::core::v1::Toleration;

/// Words that YAML 1.1 or 1.2 reads as something else.
const NOT_TEXT: &[&str] = &["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// `{key: …, operator: …}`.
pub(crate) fn one_line(toleration: &Toleration) -> String {
    let fields: Vec<String> = fields(toleration).map(|(name, value)| format!("{name}: {value}")).collect();
    format!("{{{}}}", fields.join(", "))
}

/// A list entry, each field on its line, so many blanks in.
pub(crate) fn block(toleration: &Toleration, indent: usize) -> String {
    let blanks = " ".repeat(indent);
    let lines = fields(toleration).enumerate().map(|(index, (name, value))| {
        format!("{blanks}{} {name}: {value}\n", if index == 0 { "-" } else { " " })
    });
    lines.collect()
}

fn fields(toleration: &Toleration) -> impl Iterator<Item = (&'static str, String)> {
    let Toleration { key, operator, value, effect, .. } = toleration;
    [("key", key), ("operator", operator), ("value", value), ("effect", effect)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, scalar(value.as_deref()?))))
}

fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && !NOT_TEXT.contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_string() } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_pasted_reads_back_as_the_same_toleration() {
        for value in ["db", "true", "1", "1.5", "No", "a_b.c-d", "nan", "1e3"] {
            let written = json!({"key": "example.org/for", "operator": "Equal", "value": value, "effect": "NoSchedule"});
            let toleration: Toleration = serde_json::from_value(written.clone()).unwrap();
            let read: Value = serde_saphyr::from_str(&one_line(&toleration)).unwrap();
            assert_eq!(read, written, "{}", one_line(&toleration));
            let read: Value = serde_saphyr::from_str(&block(&toleration, 2)).unwrap();
            assert_eq!(read, json!([written]));
        }
    }
}
