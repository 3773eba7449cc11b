//! Which names of a definition are accepted, and is its kind served?
//!
//! PURE. A name that another definition of the group has is refused, and told in `NamesAccepted`; with all names accepted
//! the kind is `Established`, and stays so. What a definition in deletion still waits for is told in `Terminating`.
//! Kubernetes: `pkg/controller/{status,establish,finalizer}`.

use crate::resources::fields::{flag, items, text, texts};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The finalizer that stands for the objects of a kind.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What is to be done about a definition.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing.
    Rest,
    /// Its status becomes this.
    Status(Value),
    /// Its objects go; its status becomes this.
    Empty(Value),
    /// It may go; its status becomes this.
    Release(Value),
}

/// What is to be done about a definition, of all that there are. `left` says how many objects of its kind there are.
pub fn step(definition: &Value, all: &[Value], left: usize, now: &str) -> Step {
    if !definition["metadata"]["deletionTimestamp"].is_string() {
        let status = accepted(definition, all, now);
        return if status == definition["status"] { Step::Rest } else { Step::Status(status) };
    }
    if !items(&definition["metadata"], "finalizers").iter().any(|finalizer| finalizer == CLEANUP) {
        return Step::Rest;
    }
    let mut status = definition["status"].clone();
    let established = is_true(&status, "Established");
    let (state, reason, message) = match (established, left) {
        (false, _) => ("False", "NeverEstablished", "resource was never established"),
        (true, 0) => ("False", "InstanceDeletionCompleted", "removed all instances"),
        (true, _) => ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"),
    };
    set(&mut status, "Terminating", state, reason, message, now);
    if established && left > 0 { Step::Empty(status) } else { Step::Release(status) }
}

/// What a definition that is marked for deletion says of itself.
pub fn marked(status: &Value, now: &str) -> Value {
    let mut status = status.clone();
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set(&mut status, "Terminating", "True", "InstanceDeletionPending", message, now);
    status
}

fn accepted(definition: &Value, all: &[Value], now: &str) -> Value {
    let wanted = &definition["spec"]["names"];
    let mut status = definition["status"].clone();
    let had = status["acceptedNames"].clone();
    let (resources, kinds) = taken(definition, all);
    let mut names = if had.is_object() { had.clone() } else { json!({}) };
    let mut refused: Option<(&str, String)> = None;
    for (field, used, reason) in [
        ("plural", &resources, "PluralConflict"),
        ("singular", &resources, "SingularConflict"),
        ("kind", &kinds, "KindConflict"),
        ("listKind", &kinds, "ListKindConflict"),
    ] {
        let name = text(wanted, field);
        if name != text(&had, field) && used.contains(name) {
            refused = Some((reason, in_use(name)));
        } else {
            names[field] = name.into();
        }
    }
    let known = texts(&had, "shortNames");
    let short: Vec<String> = texts(wanted, "shortNames")
        .into_iter()
        .filter(|name| !known.contains(name) && resources.contains(*name))
        .map(in_use)
        .collect();
    if short.is_empty() {
        take(&mut names, wanted, "shortNames");
    } else {
        refused = Some(("ShortNamesConflict", short.join(", ")));
    }
    take(&mut names, wanted, "categories");
    status["acceptedNames"] = names;
    match refused {
        Some((reason, message)) => {
            set(&mut status, "NamesAccepted", "False", reason, &message, now);
            if !is_true(&status, "Established") {
                set(&mut status, "Established", "False", "NotAccepted", "not all names are accepted", now);
            }
        }
        None => {
            set(&mut status, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now);
            let message = "the initial names have been accepted";
            if !is_true(&status, "Established") {
                set(&mut status, "Established", "True", "InitialNamesAccepted", message, now);
            }
        }
    }
    status
}

fn in_use(name: &str) -> String {
    format!("{name:?} is already in use")
}

fn take(names: &mut Value, wanted: &Value, field: &str) {
    match &wanted[field] {
        Value::Null => drop(names.as_object_mut().map(|map| map.remove(field))),
        value => names[field] = value.clone(),
    }
}

/// Names of resources and of kinds that other definitions of the group have.
fn taken<'a>(definition: &Value, all: &'a [Value]) -> (BTreeSet<&'a str>, BTreeSet<&'a str>) {
    let others = all.iter().filter(|other| {
        other["spec"]["group"] == definition["spec"]["group"]
            && other["metadata"]["name"] != definition["metadata"]["name"]
    });
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for names in others.map(|other| &other["status"]["acceptedNames"]) {
        resources.extend([text(names, "plural"), text(names, "singular")]);
        resources.extend(texts(names, "shortNames"));
        kinds.extend([text(names, "kind"), text(names, "listKind")]);
    }
    (resources, kinds)
}

/// Whether a condition holds.
pub fn is_true(status: &Value, condition: &str) -> bool {
    items(status, "conditions").iter().any(|c| c["type"] == condition && c["status"] == "True")
}

/// Sets a condition; its time changes only with its status.
fn set(status: &mut Value, name: &str, state: &str, reason: &str, message: &str, now: &str) {
    let mut conditions = items(status, "conditions").to_vec();
    let before = conditions.iter().position(|condition| condition["type"] == name);
    let since = before
        .and_then(|at| conditions.get(at))
        .filter(|condition| condition["status"] == state)
        .map_or(json!(now), |condition| condition["lastTransitionTime"].clone());
    let condition = json!({"type": name, "status": state, "lastTransitionTime": since,
        "reason": reason, "message": message});
    match before.and_then(|at| conditions.get_mut(at)) {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
    if !status.is_object() {
        *status = json!({});
    }
    status["conditions"] = conditions.into();
}

/// `status.storedVersions` with the version that objects are stored as now.
pub fn stored_versions(spec: &Value, status: &Value) -> Vec<String> {
    let mut stored: Vec<String> = texts(status, "storedVersions").into_iter().map(str::to_string).collect();
    for version in items(spec, "versions").iter().filter(|version| flag(version, "storage")) {
        let name = text(version, "name");
        if !stored.iter().any(|known| known == name) {
            stored.push(name.to_string());
        }
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str, short: &[&str]) -> Value {
        let names = json!({"plural": plural, "singular": kind.to_lowercase(), "kind": kind,
            "listKind": format!("{kind}List"), "shortNames": short});
        json!({"metadata": {"name": format!("{plural}.a.example")}, "spec": {"group": "a.example", "names": names},
            "status": {"acceptedNames": {"plural": "", "kind": ""}}})
    }

    fn established(mut definition: Value, all: &[Value]) -> Value {
        match step(&definition, all, 0, "then") {
            Step::Status(status) => definition["status"] = status,
            step => panic!("{step:?}"),
        }
        definition
    }

    #[test]
    fn free_names_are_accepted_and_the_kind_is_established() {
        let done = established(definition("widgets", "Widget", &["wd"]), &[]);
        assert_eq!(done["status"]["acceptedNames"], done["spec"]["names"]);
        let conditions: Vec<(&str, &str, &str)> = items(&done["status"], "conditions")
            .iter()
            .map(|c| (text(c, "type"), text(c, "status"), text(c, "reason")))
            .collect();
        assert_eq!(
            conditions,
            [("NamesAccepted", "True", "NoConflicts"), ("Established", "True", "InitialNamesAccepted")]
        );
        assert_eq!(step(&done, &[], 0, "later"), Step::Rest);
    }

    #[test]
    fn a_name_that_another_has_is_refused() {
        let first = established(definition("widgets", "Widget", &["wd"]), &[]);
        let refused = |second: Value, reason: &str, message: &str| {
            let done = established(second, std::slice::from_ref(&first));
            let accepted = &done["status"]["conditions"][0];
            assert_eq!((text(accepted, "reason"), text(accepted, "message")), (reason, message));
            assert!(!is_true(&done["status"], "Established"));
        };
        refused(definition("gadgets", "Widget", &[]), "ListKindConflict", "\"WidgetList\" is already in use");
        refused(definition("gadgets", "Gadget", &["wd"]), "ShortNamesConflict", "\"wd\" is already in use");
        refused(definition("wd", "Gadget", &[]), "PluralConflict", "\"wd\" is already in use");
    }

    #[test]
    fn a_definition_goes_when_its_objects_have_gone() {
        let mut done = established(definition("widgets", "Widget", &[]), &[]);
        done["metadata"]["deletionTimestamp"] = "t".into();
        assert_eq!(step(&done, &[], 5, "now"), Step::Rest);
        done["metadata"]["finalizers"] = json!([CLEANUP]);
        let Step::Empty(status) = step(&done, &[], 5, "now") else { panic!("objects are left") };
        assert!(is_true(&status, "Terminating"));
        let Step::Release(status) = step(&done, &[], 0, "now") else { panic!("none is left") };
        assert_eq!(status["conditions"][2]["reason"], "InstanceDeletionCompleted");
    }

    #[test]
    fn what_was_ever_stored_is_remembered() {
        let spec = json!({"versions": [{"name": "v1", "storage": false}, {"name": "v2", "storage": true}]});
        assert_eq!(stored_versions(&spec, &json!({"storedVersions": ["v1"]})), ["v1", "v2"]);
        assert_eq!(stored_versions(&spec, &json!({"storedVersions": ["v2"]})), ["v2"]);
    }
}
