//! Who owns which fields: `metadata.managedFields`, read and written.
//!
//! An entry is named by manager, operation, subresource and, for updates, apiVersion. An object that names nobody stays so
//! until somebody applies; entries that cannot be read count as none. At most [`UPDATERS_MAX`] updaters are kept
//! apart. Pure: the time comes in. Kubernetes: `apimachinery/pkg/util/managedfields` (wire 4.5.3, 4.5.8, 4.5.9).

use super::fields::Fields;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// So many updaters have entries of their own; the oldest become one (wire 4.5.8).
const UPDATERS_MAX: usize = 10;
/// What the oldest updaters are called then.
const ANCIENT: &str = "ancient-changes";

/// How a manager writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Everything else.
    Update,
}

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// How.
    pub operation: Operation,
    /// The name that the client gives itself.
    pub name: String,
    /// In which version of the kind.
    pub api_version: String,
    /// `status`, or empty.
    pub subresource: String,
}

impl Manager {
    /// Whether an entry of `other` is this manager's own. The version does not matter to an applier.
    fn is(&self, other: &Manager) -> bool {
        let version = self.operation == Operation::Apply || self.api_version == other.api_version;
        (self.operation, &self.name, &self.subresource) == (other.operation, &other.name, &other.subresource)
            && version
    }
}

/// What a manager owns, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The fields.
    pub fields: Fields,
    /// RFC 3339, whole seconds; empty when the entry has none.
    pub time: String,
}

/// Every manager of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Managers(pub BTreeMap<Manager, Owned>);

impl Managers {
    /// Reads `managedFields`. None: there is nothing, or something that cannot be read.
    pub fn read(entries: &Value) -> Option<Self> {
        let mut managers = Self::default();
        for entry in entries.as_array()?.iter().filter(|entry| !is_zero(entry)) {
            let (manager, owned) = read_entry(entry)?;
            managers.0.insert(manager, owned);
        }
        (!managers.0.is_empty()).then_some(managers)
    }

    /// Reads the text of a stored object's `managedFields`: written by [`Managers::to_text`].
    pub fn of_text(text: &str) -> Option<Self> {
        let entries: Vec<Entry<'_>> = serde_json::from_str(text).ok()?;
        let managers: BTreeMap<_, _> = entries.into_iter().filter_map(Entry::into_owned).collect();
        (!managers.is_empty()).then_some(Self(managers))
    }

    /// As the API writes them: appliers first, then by time and name. Empty, if there are none.
    pub fn to_text(&self) -> String {
        match self.0.is_empty() {
            true => String::new(),
            // Strings and maps of strings can always be written.
            false => serde_json::to_string(&self.entries()).unwrap_or_default(),
        }
    }

    /// The same as a value; null, if there are none.
    pub fn to_json(&self) -> Value {
        match self.0.is_empty() {
            true => Value::Null,
            false => serde_json::to_value(self.entries()).unwrap_or_default(),
        }
    }

    fn entries(&self) -> Vec<Entry<'_>> {
        let mut entries: Vec<(&Manager, &Owned)> = self.0.iter().collect();
        entries.sort_by(|(a, ours), (b, theirs)| {
            (a.operation, &ours.time, &a.name, *a).cmp(&(b.operation, &theirs.time, &b.name, *b))
        });
        entries.into_iter().map(|(manager, owned)| Entry::of(manager, owned)).collect()
    }

    /// What a manager owns.
    pub fn of(&self, manager: &Manager) -> Option<&Owned> {
        self.0.iter().find(|(other, _)| manager.is(other)).map(|(_, owned)| owned)
    }

    /// Takes a manager's entry out.
    pub fn take(&mut self, manager: &Manager) -> Option<Owned> {
        let known = self.0.keys().find(|other| manager.is(other))?.clone();
        self.0.remove(&known)
    }

    /// Gives a manager exactly these fields; with none its entry goes.
    pub fn set(&mut self, manager: &Manager, fields: Fields, time: &str) {
        self.0.retain(|other, _| !manager.is(other));
        if !fields.is_empty() {
            self.0.insert(manager.clone(), Owned { fields, time: time.to_string() });
        }
    }

    /// Takes fields away from everybody but one.
    pub fn take_from_others(&mut self, manager: &Manager, fields: &Fields) {
        let others = self.0.iter_mut().filter(|(other, _)| !manager.is(other));
        others.for_each(|(_, owned)| owned.fields.subtract(fields));
        self.0.retain(|_, owned| !owned.fields.is_empty());
    }

    /// What others own of these fields.
    pub fn conflicts(&self, manager: &Manager, fields: &Fields) -> Vec<(&Manager, Fields)> {
        let others = self.0.iter().filter(|(other, _)| !manager.is(other));
        others
            .map(|(other, owned)| (other, owned.fields.common(fields)))
            .filter(|(_, common)| !common.is_empty())
            .collect()
    }

    /// Everything that anybody owns.
    pub fn everything(&self) -> Fields {
        let mut all = Fields::default();
        self.0.values().for_each(|owned| all.union(&owned.fields));
        all
    }

    /// Makes one entry of the oldest updaters when there are too many.
    pub fn cap(&mut self) {
        let mut updaters: Vec<(String, Manager)> = self
            .0
            .iter()
            .filter(|(manager, _)| manager.operation == Operation::Update)
            .map(|(manager, owned)| (owned.time.clone(), manager.clone()))
            .collect();
        if updaters.len() <= UPDATERS_MAX {
            return;
        }
        updaters.sort();
        // The new entry takes a place of its own.
        for (time, manager) in updaters.iter().take(updaters.len() - UPDATERS_MAX + 1) {
            let Some(owned) = self.0.remove(manager) else { continue };
            let (name, subresource) = (ANCIENT.to_string(), String::new());
            let ancient = Manager { name, subresource, ..manager.clone() };
            let entry =
                self.0.entry(ancient).or_insert(Owned { fields: Fields::default(), time: time.clone() });
            entry.fields.union(&owned.fields);
            entry.time = entry.time.clone().max(owned.time);
        }
    }
}

/// Whether these entries say that nobody shall own anything: one empty entry.
pub fn is_reset(entries: &Value) -> bool {
    entries.as_array().is_some_and(|entries| entries.len() == 1 && entries.iter().all(is_zero))
}

fn is_zero(entry: &Value) -> bool {
    entry.as_object().is_some_and(Map::is_empty)
}

fn read_entry(entry: &Value) -> Option<(Manager, Owned)> {
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_string();
    let operation = match entry["operation"].as_str()? {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    let fields = match &entry["fieldsV1"] {
        Value::Null => Fields::default(),
        fields => Fields::from_json(fields)?,
    };
    let manager = Manager {
        operation,
        name: text("manager"),
        api_version: text("apiVersion"),
        subresource: text("subresource"),
    };
    (text("fieldsType") == "FieldsV1").then(|| (manager, Owned { fields, time: text("time") }))
}

/// One entry, its fields in the order of their names.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    api_version: Cow<'a, str>,
    fields_type: Cow<'a, str>,
    #[serde(default, rename = "fieldsV1")]
    fields: Cow<'a, Fields>,
    manager: Cow<'a, str>,
    operation: Operation,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    subresource: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    time: Cow<'a, str>,
}

impl<'a> Entry<'a> {
    fn of(manager: &'a Manager, owned: &'a Owned) -> Self {
        Self {
            api_version: (&manager.api_version).into(),
            fields_type: "FieldsV1".into(),
            fields: Cow::Borrowed(&owned.fields),
            manager: (&manager.name).into(),
            operation: manager.operation,
            subresource: (&manager.subresource).into(),
            time: (&owned.time).into(),
        }
    }

    fn into_owned(self) -> Option<(Manager, Owned)> {
        let Self { api_version, fields, manager, operation, subresource, time, .. } = self;
        let (api_version, name, subresource) =
            (api_version.into_owned(), manager.into_owned(), subresource.into_owned());
        let mut fields = fields.into_owned();
        // A set with nothing in it, which at the top of an object has no members.
        fields.owned &= !fields.below.is_empty();
        let owned = Owned { fields, time: time.into_owned() };
        let manager = Manager { operation, name, api_version, subresource };
        (self.fields_type == "FieldsV1").then_some((manager, owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manager(operation: Operation, name: &str) -> Manager {
        let (api_version, subresource) = ("v1".to_string(), String::new());
        Manager { operation, name: name.to_string(), api_version, subresource }
    }

    fn fields(name: &str) -> Fields {
        Fields::from_json(&json!({ format!("f:{name}"): {} })).unwrap()
    }

    #[test]
    fn appliers_come_first_and_then_the_oldest() {
        let mut managers = Managers::default();
        managers.set(&manager(Operation::Update, "late"), fields("a"), "2026-01-02T00:00:00Z");
        managers.set(&manager(Operation::Update, "zeta"), fields("b"), "2026-01-01T00:00:00Z");
        managers.set(&manager(Operation::Apply, "one"), fields("c"), "2026-01-03T00:00:00Z");
        let json = managers.to_json();
        let names: Vec<&str> =
            json.as_array().unwrap().iter().filter_map(|e| e["manager"].as_str()).collect();
        assert_eq!(names, ["one", "zeta", "late"]);
        assert_eq!(Managers::read(&json), Some(managers));
    }

    #[test]
    fn an_applier_is_the_same_in_every_version() {
        let (one, mut managers) = (manager(Operation::Apply, "one"), Managers::default());
        managers.set(&one, fields("a"), "2026-01-01T00:00:00Z");
        let newer = Manager { api_version: "v2".to_string(), ..one.clone() };
        managers.set(&newer, fields("b"), "2026-01-02T00:00:00Z");
        assert_eq!(managers.0.len(), 1);
        assert_eq!(managers.of(&one).unwrap().fields, fields("b"));
        managers.set(&one, Fields::default(), "2026-01-03T00:00:00Z");
        assert_eq!(managers, Managers::default());
    }

    #[test]
    fn what_cannot_be_read_counts_as_nothing() {
        for entries in [
            json!(null),
            json!([]),
            json!([{}]),
            json!([{"manager": "a", "operation": "Delete", "fieldsType": "FieldsV1", "fieldsV1": {}}]),
            json!([{"manager": "a", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"x": 1}}]),
        ] {
            assert_eq!(Managers::read(&entries), None, "{entries}");
        }
        assert!(is_reset(&json!([{}])) && !is_reset(&json!([])));
    }

    #[test]
    fn the_oldest_updaters_become_one_entry() {
        let mut managers = Managers::default();
        for n in 10..22 {
            let subresource = if n % 2 == 0 { "status".to_string() } else { String::new() };
            let updater = Manager { subresource, ..manager(Operation::Update, &format!("m{n}")) };
            managers.set(&updater, fields(&format!("x{n}")), &format!("2026-01-{n}T00:00:00Z"));
        }
        managers.cap();
        assert_eq!(managers.0.len(), UPDATERS_MAX);
        let ancient = managers.of(&manager(Operation::Update, ANCIENT)).unwrap();
        assert_eq!(ancient.fields.paths(), [".x10", ".x11", ".x12"]);
        assert_eq!(ancient.time, "2026-01-12T00:00:00Z");
    }
}
