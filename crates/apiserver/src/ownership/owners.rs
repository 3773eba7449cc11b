//! `managedFields` as the text that lies in the store.
//!
//! They are half of many objects, and most writes change nothing about them: a binding, a deletion, a status that stays.
//! So they travel beside the object as text, and are read only where a write changes whose a field is. What lies there
//! is ours: steps are canonical already. What a client brings is read by [`Managers::read`].

use super::managers::Managers;
use serde_json::Value;

/// Whose each field of an object is, as text; empty where nobody owns anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners(Box<str>);

impl Owners {
    /// What stands in a stored object.
    pub fn of_text(text: &str) -> Self {
        Self(text.into())
    }

    /// As these managers write it.
    pub fn of(managers: &Managers) -> Self {
        Self(managers.to_text().into())
    }

    /// What stands in an object that somebody has made; entries that cannot be read count as none.
    pub fn of_value(entries: &Value) -> Self {
        Managers::read(entries).as_ref().map_or_else(Self::default, Self::of)
    }

    /// The text of the list; empty where there is none.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The managers; none where nobody owns anything, or the text cannot be read.
    pub fn managers(&self) -> Option<Managers> {
        Managers::of_text(&self.0)
    }

    /// The list as a value; null where there is none.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_text_reads_as_the_value() {
        let entries = json!([
            {"manager": "a", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:x": {}}}},
            {"manager": "b", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "time": "2026-01-01T00:00:00Z",
                "subresource": "status", "fieldsV1": {"f:data": {".": {}, "f:y": {}},
                    "f:list": {"k:{\"name\":\"c\"}": {".": {}, "f:z": {}}}, "f:set": {"v:\"q\"": {}}}}]);
        let owners = Owners::of_value(&entries);
        assert_eq!(owners.value(), entries);
        assert_eq!(owners.text(), entries.to_string(), "as a value is written");
        assert_eq!(owners.managers(), Managers::read(&entries));
        assert_eq!(Owners::of_text(owners.text()), owners);
    }

    #[test]
    fn nobody_is_no_text() {
        for nothing in [Owners::default(), Owners::of_value(&json!([])), Owners::of_value(&json!([{}]))] {
            assert_eq!((nothing.text(), nothing.managers(), nothing.value()), ("", None, Value::Null));
        }
        assert_eq!(Owners::of_text("[{\"manager\":1}]").managers(), None);
    }
}
