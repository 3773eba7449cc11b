//! What do the columns of a defined kind's Table say?
//!
//! Name, then what `additionalPrinterColumns` find, or Age when none are declared. A cell that finds nothing is null.
//! Kubernetes: `registry/customresource/tableconvertor`.

use crate::resources::cells;
use jiff::Timestamp;
use serde_json::{Value, json};
use structural::column::JsonPath;

/// A declared column.
#[derive(Debug, Clone)]
pub struct PrinterColumn {
    definition: Value,
    kind: String,
    path: Option<JsonPath>,
}

impl PrinterColumn {
    /// Reads `additionalPrinterColumns[]`.
    pub fn read(column: &Value) -> Self {
        let text = |field: &str| column[field].as_str().unwrap_or_default().to_string();
        let path = text("jsonPath");
        let description = match text("description").as_str() {
            "" => format!("Custom resource definition column (in JSONPath format): {path}"),
            said => said.to_string(),
        };
        let definition = json!({"name": text("name"), "type": text("type"), "format": text("format"),
            "description": description, "priority": column["priority"].as_i64().unwrap_or_default()});
        Self { definition, kind: text("type"), path: JsonPath::parse(&path) }
    }

    /// What every kind without columns shows.
    pub fn age() -> Self {
        Self::read(
            &json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description":
            "CreationTimestamp is a timestamp representing the server time when this object was created."}),
        )
    }

    /// As the Table has it.
    pub fn definition(&self) -> Value {
        self.definition.clone()
    }

    /// The cell of one object.
    pub fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let Some(value) = self.path.as_ref().and_then(|path| path.first(object)) else { return Value::Null };
        match (self.kind.as_str(), value) {
            ("string", value) => printed(value).into(),
            ("integer", Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => whole.into(),
                // As Go converts a float: towards zero.
                (None, Some(float)) => (float as i64).into(),
                _ => Value::Null,
            },
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
            ("date", Value::String(text)) => match text.parse::<Timestamp>() {
                Ok(_) => cells::since(value, now).into(),
                Err(_) => "<invalid>".into(),
            },
            _ => Value::Null,
        }
    }
}

/// Texts as they are, everything else as JSON.
fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_of_its_columns_type_or_nothing() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let object = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {
            "s": "text", "i": 3, "f": 2.5, "b": true, "l": ["a", 1], "soon": "soon"}});
        let check = |kind: &str, path: &str, expected: Value| {
            let column = PrinterColumn::read(&json!({"name": "N", "type": kind, "jsonPath": path}));
            assert_eq!(column.cell(&object, now), expected, "{kind} {path}");
        };
        check("string", ".spec.s", json!("text"));
        check("string", ".spec.i", json!("3"));
        check("string", ".spec.l", json!("[\"a\",1]"));
        check("string", ".spec.none", json!(null));
        check("integer", ".spec.i", json!(3));
        check("integer", ".spec.f", json!(2));
        check("integer", ".spec.s", json!(null));
        check("number", ".spec.f", json!(2.5));
        check("boolean", ".spec.b", json!(true));
        check("date", ".metadata.creationTimestamp", json!("10m"));
        check("date", ".spec.soon", json!("<invalid>"));
    }
}
