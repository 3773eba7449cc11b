//! Who owns which field of an object, and what a write does to that.
//!
//! Every write goes through one of three doors: [`created`], [`updated`], and [`applied`], which also decides what the
//! object becomes. Pure; the writer and the time come in. Invariants: a field that a write changes is the writer's and
//! nobody else's, unless others apply the same value; an object whose managers have been reset names none until
//! somebody applies (wire 4.5.9); [`UNTRACKED`] is nobody's.
//! Kubernetes: `apimachinery/pkg/util/managedfields`, `structured-merge-diff/merge` (wire 4.5).

mod difference;
mod fields;
mod managers;
mod merge;
mod owners;
mod shape;

use crate::decode;
use crate::error::ApiError;
use crate::resources::Kind;
use crate::schema::schema;
use difference::{Difference, difference, whole};
use fields::Fields;
pub use managers::{Manager, Managers, Operation};
pub use owners::Owners;
use serde_json::{Value, json};
use shape::{Form, Nameless};

/// What nobody owns (wire 4.5.5).
const UNTRACKED: &[&[&str]] = &[
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
];

/// Who owned what there was before anybody applied (wire 4.5.9).
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// kubectl's record of client-side apply.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What kubectl calls itself when it applies on the server.
const KUBECTL: &str = "kubectl";

/// Who writes, through which door, and when.
#[derive(Debug, Clone)]
pub struct Writer<'a> {
    /// The field manager of the request.
    pub name: &'a str,
    /// `status`, or empty.
    pub subresource: &'a str,
    /// RFC 3339, whole seconds.
    pub now: &'a str,
}

impl Writer<'_> {
    fn manager(&self, kind: &Kind, operation: Operation) -> Manager {
        Manager {
            operation,
            name: self.name.to_string(),
            api_version: crate::schema::Gvk::from(kind).api_version(),
            subresource: self.subresource.to_string(),
        }
    }

    /// The fields that a door never lets through: the status on the main one, all else on the status' one.
    fn shut(&self) -> &'static str {
        if self.subresource == "status" { "f:spec" } else { "f:status" }
    }
}

/// The owners of a new object: its creator owns everything.
pub fn created(kind: &Kind, object: &Value, writer: &Writer<'_>) -> Owners {
    let difference = changes(kind, &json!({}), object);
    let mut managers = Managers::default();
    managers.set(&writer.manager(kind, Operation::Update), difference.set, writer.now);
    Owners::of(&managers)
}

/// The owners of an object that has been changed by anything but apply. `given` are those that the client has sent along;
/// an empty list, as one sends that does not know them, changes nothing.
pub fn updated(
    kind: &Kind,
    (old, known): (&Value, &Owners),
    (new, given): (&Value, &Value),
    writer: &Writer<'_>,
) -> Owners {
    if managers::is_reset(given) && writer.subresource.is_empty() {
        return Owners::default();
    }
    let (difference, given) = (changes(kind, old, new), Managers::read(given));
    if given.is_none() && difference.is_empty() {
        return known.clone();
    }
    let Some(mut managers) = given.or_else(|| known.managers()) else { return Owners::default() };
    take_over(&mut managers, &writer.manager(kind, Operation::Update), &difference, writer.now);
    managers.cap();
    Owners::of(&managers)
}

/// An updater owns what it has changed, and nobody owns what is gone.
fn take_over(managers: &mut Managers, manager: &Manager, difference: &Difference, now: &str) {
    if difference.is_empty() {
        return;
    }
    managers.take_from_others(manager, &difference.set);
    managers.take_from_others(manager, &difference.removed);
    let mut owned = managers.take(manager).map(|owned| owned.fields).unwrap_or_default();
    owned.union(&difference.set);
    owned.subtract(&difference.removed);
    managers.set(manager, owned, now);
}

/// Another manager's value stands in the way of an apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Whose.
    pub manager: Manager,
    /// Where.
    pub paths: Vec<String>,
}

/// What an apply makes of an object: the fields of `config` laid over `live`, less what its applier no longer wants.
/// `live` is an empty object when there is none.
///
/// # Errors
/// 400 for a list whose items cannot be told apart; 409 when others own fields that would change, unless `force`.
pub fn applied(
    kind: &Kind,
    live: &Value,
    config: &Value,
    force: bool,
    writer: &Writer<'_>,
) -> Result<(Value, Managers), ApiError> {
    let (form, manager) = (form(kind), writer.manager(kind, Operation::Apply));
    let mut managers = known(kind, live, writer);
    let mut wanted = whole(form, config).map_err(|ambiguous| not_told_apart(kind, config, &ambiguous))?;
    UNTRACKED.iter().for_each(|path| wanted.cut(path));
    wanted.cut(&[writer.shut()]);
    let last = managers.of(&manager).cloned();
    let (owned, since) = last.map_or_else(Default::default, |last| (last.fields, last.time));
    managers.set(&manager, wanted.clone(), &since);
    let mut object = merge::merge(form, live, config);
    merge::prune(form, &mut object, &owned, &managers.everything());
    settle(kind, live, &mut object)?;
    let difference = changes(kind, live, &object);
    let conflicts = conflicts(&managers, &manager, &difference, &recorded(form, live, writer));
    if !force && !conflicts.is_empty() {
        return Err(refused(&conflicts));
    }
    managers.take_from_others(&manager, &difference.set);
    managers.take_from_others(&manager, &difference.removed);
    if owned != wanted || !difference.is_empty() {
        managers.set(&manager, wanted, writer.now);
    }
    renew_record(&mut object, config, writer);
    Ok((object, managers))
}

/// Differs: kube-apiserver compares before it defaults, and so finds a conflict between an atomic struct and the same
/// one with its default (`fieldRef` without `apiVersion`).
fn settle(kind: &Kind, live: &Value, object: &mut Value) -> Result<(), ApiError> {
    decode::check(kind, object, live, decode::FieldValidation::Ignore)?;
    kind.rules.default(object);
    Ok(())
}

/// kubectl keeps its record of client-side apply true where there is one.
fn renew_record(object: &mut Value, config: &Value, writer: &Writer<'_>) {
    if writer.name == KUBECTL && object["metadata"]["annotations"][LAST_APPLIED].is_string() {
        object["metadata"]["annotations"][LAST_APPLIED] = format!("{config}\n").into();
    }
}

/// The managers of a live object. If it names none, what stands there belongs to those before the first apply.
fn known(kind: &Kind, live: &Value, writer: &Writer<'_>) -> Managers {
    if let Some(managers) = Managers::read(&live["metadata"]["managedFields"]) {
        return managers;
    }
    let before = Writer { name: BEFORE_FIRST_APPLY, subresource: "", ..*writer };
    let mut managers = Managers::default();
    let set = changes(kind, &json!({}), live).set;
    managers.set(&before.manager(kind, Operation::Update), set, writer.now);
    managers
}

/// What kubectl itself has applied from the client's side: its own fields are not in its way.
fn recorded(form: Form, live: &Value, writer: &Writer<'_>) -> Fields {
    let record = live["metadata"]["annotations"][LAST_APPLIED].as_str().filter(|_| writer.name == KUBECTL);
    let object: Option<Value> = record.and_then(|text| serde_json::from_str(text).ok());
    object.and_then(|object| whole(form, &object).ok()).unwrap_or_default()
}

fn conflicts(
    managers: &Managers,
    manager: &Manager,
    difference: &Difference,
    recorded: &Fields,
) -> Vec<Conflict> {
    let owned = managers.conflicts(manager, &difference.set).into_iter();
    let in_the_way = owned.map(|(other, mut fields)| {
        fields.subtract(recorded);
        Conflict { manager: other.clone(), paths: fields.paths() }
    });
    in_the_way.filter(|conflict| !conflict.paths.is_empty()).collect()
}

/// 409 with one cause a field (wire 4.5.7).
fn refused(conflicts: &[Conflict]) -> ApiError {
    let causes: Vec<Value> = conflicts
        .iter()
        .flat_map(|conflict| conflict.paths.iter().map(move |path| (conflict, path)))
        .map(|(conflict, path)| {
            json!({"reason": "FieldManagerConflict", "field": path,
                "message": format!("conflict with {}", shown(&conflict.manager))})
        })
        .collect();
    let texts: Vec<String> = conflicts
        .iter()
        .map(|conflict| match conflict.paths.as_slice() {
            [path] => format!("conflict with {}: {path}", shown(&conflict.manager)),
            paths => format!("conflicts with {}:\n- {}", shown(&conflict.manager), paths.join("\n- ")),
        })
        .collect();
    let count = causes.len();
    let plural = if count == 1 { "" } else { "s" };
    let message = format!("Apply failed with {count} conflict{plural}: {}", texts.join("\n"));
    ApiError { details: json!({ "causes": causes }), ..ApiError::plain(409, "Conflict", message) }
}

/// `"m" with subresource "status" using v1`.
fn shown(manager: &Manager) -> String {
    let mut text = format!("{:?}", manager.name);
    if !manager.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", manager.subresource));
    }
    if manager.operation == Operation::Update {
        text.push_str(&format!(" using {}", manager.api_version));
    }
    text
}

fn not_told_apart(kind: &Kind, config: &Value, ambiguous: &difference::Ambiguous) -> ApiError {
    let why = match &ambiguous.why {
        Nameless::Duplicate(step) => format!("duplicate entries for key {}", fields::shown(step)),
        Nameless::NoKey => "associative list with keys has an element that omits key field".to_string(),
    };
    let name = |field: &str| config["metadata"][field].as_str().unwrap_or_default();
    ApiError::bad_request(format!(
        "failed to create typed patch object ({}/{}; {}, Kind={}): {}: {why}",
        name("namespace"),
        name("name"),
        crate::schema::Gvk::from(kind).api_version(),
        kind.kind,
        ambiguous.path,
    ))
}

/// The tracked difference between two objects.
fn changes(kind: &Kind, old: &Value, new: &Value) -> Difference {
    let mut found = difference(form(kind), Some(old), Some(new));
    for fields in [&mut found.set, &mut found.removed] {
        fields.owned = false;
        UNTRACKED.iter().for_each(|path| fields.cut(path));
    }
    found
}

/// Writes the managers into an object.
pub fn write_managers(object: &mut Value, managers: &Managers) {
    crate::verbs::metadata::set(object, "managedFields", managers.to_json());
}

fn form(kind: &Kind) -> Form<'_> {
    if let Some(custom) = kind.custom() {
        return Form::Object(&custom.schema);
    }
    schema().kind(kind.into()).map_or(Form::Leaf, Form::of_type)
}

#[cfg(test)]
mod tests;
