//! Server-side apply as values: who owns what after each write (wire 4.5).

use super::*;
use crate::resources::find;

const EARLY: &str = "2026-01-01T00:00:00Z";
const LATE: &str = "2026-01-02T00:00:00Z";

fn config_map() -> &'static Kind {
    find("", "v1", "configmaps").unwrap()
}

fn writer<'a>(name: &'a str, now: &'a str) -> Writer<'a> {
    Writer { name, subresource: "", now }
}

fn data(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data})
}

/// `manager/operation: .data.a .data.b`, an entry a line.
fn owners(object: &Value) -> Vec<String> {
    let managers = Managers::read(&object["metadata"]["managedFields"]).unwrap_or_default();
    let line = |manager: &Manager, owned: &managers::Owned| {
        format!("{}/{:?}: {}", manager.name, manager.operation, owned.fields.paths().join(" "))
    };
    managers.0.iter().map(|(manager, owned)| line(manager, owned)).collect()
}

fn apply(live: &Value, name: &str, config: Value, force: bool) -> Result<Value, ApiError> {
    let (mut object, managers) = applied(config_map(), live, &config, force, &writer(name, LATE))?;
    write_managers(&mut object, &managers);
    Ok(object)
}

fn update(live: &Value, name: &str, change: impl Fn(&mut Value)) -> Value {
    let mut new = live.clone();
    change(&mut new);
    let (known, given) =
        (Owners::of_value(&live["metadata"]["managedFields"]), new["metadata"]["managedFields"].take());
    let owners = updated(config_map(), (live, &known), (&new, &given), &writer(name, LATE));
    crate::verbs::metadata::set(&mut new, "managedFields", owners.value());
    new
}

fn create(object: &mut Value, writer: &Writer<'_>) {
    let owners = created(config_map(), object, writer);
    crate::verbs::metadata::set(object, "managedFields", owners.value());
}

#[test]
fn a_creator_owns_what_it_created() {
    let mut object = data(json!({"a": "1"}));
    create(&mut object, &writer("kubectl-create", EARLY));
    let expected = json!([{"manager": "kubectl-create", "operation": "Update", "apiVersion": "v1", "time": EARLY,
        "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {".": {}, "f:a": {}}}}]);
    assert_eq!(object["metadata"]["managedFields"], expected);
}

#[test]
fn an_updater_takes_what_it_changes_and_only_that() {
    let mut object = data(json!({"a": "1", "b": "1"}));
    create(&mut object, &writer("one", EARLY));
    let object = update(&object, "two", |new| {
        new["data"]["a"] = "2".into();
        new["data"]["c"] = "1".into();
    });
    assert_eq!(owners(&object), ["one/Update: .data .data.b", "two/Update: .data.a .data.c"]);
    let object = update(&object, "two", |new| drop(new["data"].as_object_mut().unwrap().remove("b")));
    assert_eq!(owners(&object), ["one/Update: .data", "two/Update: .data.a .data.c"]);
    let same = update(&object, "three", |_| {});
    assert_eq!(same, object);
}

#[test]
fn appliers_share_a_value_and_conflict_about_another() {
    let object = apply(&json!({}), "one", data(json!({"a": "1", "b": "1"})), false).unwrap();
    let object = apply(&object, "two", data(json!({"a": "1"})), false).unwrap();
    assert_eq!(owners(&object), ["one/Apply: .data.a .data.b", "two/Apply: .data.a"]);
    let refused = apply(&object, "two", data(json!({"a": "2"})), false).unwrap_err();
    assert_eq!((refused.code, refused.reason), (409, "Conflict"));
    assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"one\": .data.a");
    let cause =
        json!({"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.a"});
    assert_eq!(refused.details["causes"], json!([cause]));
    let forced = apply(&object, "two", data(json!({"a": "2"})), true).unwrap();
    assert_eq!(owners(&forced), ["one/Apply: .data.b", "two/Apply: .data.a"]);
    assert_eq!(forced["data"], json!({"a": "2", "b": "1"}));
}

#[test]
fn conflicts_name_their_updater_with_its_version() {
    let mut object = data(json!({"a": "1", "b": "1"}));
    create(&mut object, &writer("one", EARLY));
    let refused = apply(&object, "two", data(json!({"a": "2", "b": "2"})), false).unwrap_err();
    let expected = "Apply failed with 2 conflicts: conflicts with \"one\" using v1:\n- .data.a\n- .data.b";
    assert_eq!(refused.message, expected);
}

#[test]
fn what_an_applier_leaves_out_goes_unless_others_own_it() {
    let object = apply(&json!({}), "one", data(json!({"a": "1", "b": "1", "c": "1"})), false).unwrap();
    let object = apply(&object, "two", data(json!({"b": "1"})), false).unwrap();
    let object = update(&object, "three", |new| new["data"]["d"] = "1".into());
    let object = apply(&object, "one", data(json!({"a": "1"})), false).unwrap();
    assert_eq!(object["data"], json!({"a": "1", "b": "1", "d": "1"}));
    assert_eq!(owners(&object), ["one/Apply: .data.a", "two/Apply: .data.b", "three/Update: .data.d"]);
}

#[test]
fn an_apply_that_changes_nothing_keeps_its_time() {
    let object = apply(&json!({}), "one", data(json!({"a": "1"})), false).unwrap();
    let again = applied(
        config_map(),
        &object,
        &data(json!({"a": "1"})),
        false,
        &writer("one", "2027-01-01T00:00:00Z"),
    );
    let (mut again, managers) = again.unwrap();
    write_managers(&mut again, &managers);
    assert_eq!(again, object);
}

#[test]
fn an_object_that_names_nobody_stays_so_until_somebody_applies() {
    let object = data(json!({"a": "1"}));
    let object = update(&object, "two", |new| new["data"]["b"] = "1".into());
    assert_eq!(owners(&object), [""; 0]);
    let object = apply(&object, "one", data(json!({"b": "1", "c": "1"})), false).unwrap();
    let expected = ["one/Apply: .data.b .data.c", "before-first-apply/Update: .data .data.a .data.b"];
    assert_eq!(owners(&object), expected);
}

#[test]
fn managers_are_reset_by_one_empty_entry_and_not_by_none() {
    let mut object = data(json!({"a": "1"}));
    create(&mut object, &writer("one", EARLY));
    let kept = update(&object, "two", |new| new["metadata"]["managedFields"] = json!([]));
    assert_eq!(owners(&kept), owners(&object));
    let reset = update(&object, "two", |new| new["metadata"]["managedFields"] = json!([{}]));
    assert_eq!(owners(&reset), [""; 0]);
    let rubbish =
        update(&object, "two", |new| new["metadata"]["managedFields"] = json!([{"operation": "?"}]));
    assert_eq!(owners(&rubbish), owners(&object));
}

#[test]
fn kubectls_own_record_is_not_in_its_way_and_is_kept_true() {
    let mut object = data(json!({"a": "1"}));
    object["metadata"]["annotations"] = json!({LAST_APPLIED: data(json!({"a": "1"})).to_string()});
    create(&mut object, &writer("kubectl-client-side-apply", EARLY));
    assert_eq!(apply(&object, "other", data(json!({"a": "2"})), false).unwrap_err().code, 409);
    let object = apply(&object, KUBECTL, data(json!({"a": "2"})), false).unwrap();
    assert_eq!(object["data"]["a"], "2");
    let record: Value =
        serde_json::from_str(object["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap()).unwrap();
    assert_eq!(record["data"]["a"], "2");
}

#[test]
fn the_status_door_lets_no_spec_through() {
    // AP-19.
    let kind = find("apps", "v1", "daemonsets").unwrap();
    let config = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x"},
        "spec": {"minReadySeconds": 1}, "status": {"numberReady": 1}});
    for (subresource, path) in [("", ".spec.minReadySeconds"), ("status", ".status.numberReady")] {
        let door = Writer { name: "m", subresource, now: EARLY };
        let (_, managers) = applied(kind, &json!({}), &config, false, &door).unwrap();
        assert_eq!(managers.everything().paths(), [path]);
    }
}
