//! What stands where an object says nothing? Defaults, and away with nulls that mean nothing.
//!
//! A null where the schema allows none counts as absent. Filling is idempotent. What it adds is limited, because a
//! list of a million empty items costs its sender three bytes each.
//! Kubernetes: `apiserver/schema/defaulting/algorithm.go`, `prunenulls.go`.

use crate::MAX_FILLED;
use crate::schema::{Additional, Schema};
use serde_json::Value;

/// The defaults would make the object too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch;

/// Fills in defaults. True when anything has changed.
///
/// # Errors
/// [`TooMuch`] when more than [`MAX_FILLED`] bytes would be added; the object is then half filled and not to be used.
pub fn fill(value: &mut Value, schema: &Schema) -> Result<bool, TooMuch> {
    let mut filler = Filler { left: MAX_FILLED, changed: false };
    filler.fill(value, schema)?;
    Ok(filler.changed)
}

struct Filler {
    left: usize,
    changed: bool,
}

impl Filler {
    fn fill(&mut self, value: &mut Value, schema: &Schema) -> Result<(), TooMuch> {
        match value {
            Value::Object(map) => {
                for (name, property) in &schema.properties {
                    let Some(default) = &property.default else { continue };
                    if map.get(name).is_none_or(|value| property.refuses(value)) {
                        self.pay(default)?;
                        map.insert(name.clone(), default.clone());
                    }
                }
                for (name, value) in map.iter_mut() {
                    match (schema.properties.get(name), &schema.additional) {
                        (Some(property), _) => self.fill(value, property)?,
                        (None, Additional::Of(schema)) => self.element(value, schema)?,
                        (None, Additional::Nothing | Additional::Any) => {}
                    }
                }
                let before = map.len();
                map.retain(|name, value| !schema.key(name).is_some_and(|schema| schema.refuses(value)));
                self.changed |= map.len() != before;
            }
            Value::Array(items) => {
                let Some(schema) = &schema.items else { return Ok(()) };
                items.iter_mut().try_for_each(|item| self.element(item, schema))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn element(&mut self, value: &mut Value, schema: &Schema) -> Result<(), TooMuch> {
        if schema.refuses(value)
            && let Some(default) = &schema.default
        {
            self.pay(default)?;
            *value = default.clone();
        }
        self.fill(value, schema)
    }

    fn pay(&mut self, default: &Value) -> Result<(), TooMuch> {
        self.changed = true;
        self.left = self.left.checked_sub(cost(default)).ok_or(TooMuch)?;
        Ok(())
    }
}

/// About the bytes of a value.
fn cost(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 16,
        Value::Array(items) => 16 + items.iter().map(cost).sum::<usize>(),
        Value::Object(map) => 16 + map.iter().map(|(name, value)| name.len() + cost(value)).sum::<usize>(),
        _ => 16,
    }
}
