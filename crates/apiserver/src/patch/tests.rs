//! Originals, patches and what comes of them.

mod properties;

use super::*;
use crate::resources::KINDS;
use serde_json::json;

fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|k| k.kind == name).unwrap_or_else(|| panic!("{name} is not served"))
}

fn patched(content_type: &str, kind_name: &str, original: &Value, patch: &Value) -> Result<Value, ApiError> {
    Patch::parse(content_type, patch.to_string().as_bytes())?.raw(original, kind(kind_name).into())
}

/// `original` and `expected` are what stands under `pointer` of the object; so is the patch.
#[track_caller]
fn check_at(kind: &str, path: &[&str], original: Value, patch: Value, expected: Value) {
    let wrap = |value: Value| path.iter().rev().fold(value, |inner, key| json!({ *key: inner }));
    let result = patched(STRATEGIC_PATCH, kind, &wrap(original), &wrap(patch.clone())).unwrap();
    assert_eq!(result, wrap(expected), "{patch}");
}

#[track_caller]
fn check_pod_spec(original: Value, patch: Value, expected: Value) {
    check_at("Pod", &["spec"], original.clone(), patch.clone(), expected.clone());
    check_at("DaemonSet", &["spec", "template", "spec"], original, patch, expected);
}

#[track_caller]
fn check_refused(content_type: &str, original: Value, patch: Value, code: u16, message: &str) {
    let error = patched(content_type, "Pod", &original, &patch).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (code, message), "{patch}");
}

#[test]
fn maps_merge_null_deletes_and_scalars_replace() {
    let at = |original, patch, expected| check_at("Pod", &["metadata"], original, patch, expected);
    at(
        json!({"labels": {"a": "1", "b": "2"}}),
        json!({"labels": {"a": null, "c": "3"}}),
        json!({"labels": {"b": "2", "c": "3"}}),
    );
    at(
        json!({"name": "x"}),
        json!({"labels": {"a": null, "b": "1"}}),
        json!({"name": "x", "labels": {"b": "1"}}),
    );
    at(json!({"labels": {"a": "1"}}), json!({"labels": null}), json!({}));
    at(json!({"labels": "odd"}), json!({"labels": {"a": "1"}}), json!({"labels": {"a": "1"}}));
}

#[test]
fn lists_without_a_merge_key_are_replaced() {
    check_at(
        "Node",
        &["spec"],
        json!({"taints": [{"key": "a", "effect": "NoSchedule"}], "unschedulable": true}),
        json!({"taints": [{"key": "b", "effect": "NoExecute"}]}),
        json!({"taints": [{"key": "b", "effect": "NoExecute"}], "unschedulable": true}),
    );
    check_at("Node", &["spec"], json!({"taints": [{"key": "a"}]}), json!({"taints": null}), json!({}));
    check_pod_spec(
        json!({"tolerations": [{"key": "a"}]}),
        json!({"tolerations": []}),
        json!({"tolerations": []}),
    );
}

#[test]
fn items_merge_by_their_key_and_new_ones_come_first() {
    check_pod_spec(
        json!({"containers": [{"name": "a", "image": "1", "env": [{"name": "E", "value": "e"}]}, {"name": "b", "image": "2"}]}),
        json!({"containers": [{"name": "a", "image": "3"}]}),
        json!({"containers": [{"name": "a", "image": "3", "env": [{"name": "E", "value": "e"}]}, {"name": "b", "image": "2"}]}),
    );
    check_pod_spec(
        json!({"containers": [{"name": "a"}]}),
        json!({"containers": [{"name": "new", "image": "i", "env": null}]}),
        json!({"containers": [{"name": "new", "image": "i"}, {"name": "a"}]}),
    );
    check_pod_spec(
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "x"}]}]}),
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "hostPort": 8080}]}]}),
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "x", "hostPort": 8080}]}]}),
    );
}

#[test]
fn items_are_deleted_and_lists_replaced_by_directive() {
    let two = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    check_pod_spec(
        two.clone(),
        json!({"containers": [{"name": "a", "$patch": "delete"}]}),
        json!({"containers": [{"name": "b"}]}),
    );
    check_pod_spec(
        two.clone(),
        json!({"containers": [{"$patch": "replace"}, {"name": "c", "image": null}]}),
        json!({"containers": [{"name": "c"}]}),
    );
    check_pod_spec(
        json!({}),
        json!({"containers": [{"name": "a", "$patch": "delete"}, {"name": "b"}]}),
        json!({"containers": [{"name": "b"}]}),
    );
    check_pod_spec(
        json!({}),
        json!({"containers": [{"$patch": "replace"}, {"name": "b"}]}),
        json!({"containers": [{"name": "b"}]}),
    );
}

#[test]
fn maps_are_replaced_emptied_or_merged_by_directive() {
    let old = json!({"nodeSelector": {"a": "1", "b": "2"}});
    let with = |directive: &str| json!({"nodeSelector": {"$patch": directive, "c": "3"}});
    check_pod_spec(old.clone(), with("replace"), json!({"nodeSelector": {"c": "3"}}));
    check_pod_spec(old.clone(), with("delete"), json!({"nodeSelector": {}}));
    check_pod_spec(old, with("merge"), json!({"nodeSelector": {"a": "1", "b": "2", "c": "3"}}));
    check_pod_spec(json!({}), with("replace"), json!({"nodeSelector": {"c": "3"}}));
    check_pod_spec(json!({}), with("delete"), json!({}));
}

#[test]
fn rollout_undo_replaces_the_whole_template() {
    // RV-24.
    let original = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}, "annotations": {"x": "y"}},
        "spec": {"containers": [{"name": "new", "image": "2"}], "hostNetwork": true}}}});
    let patch = json!({"spec": {"template": {"$patch": "replace", "metadata": {"creationTimestamp": null, "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "old", "image": "1"}]}}}});
    assert_eq!(
        patched(STRATEGIC_PATCH, "DaemonSet", &original, &patch).unwrap(),
        json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "old", "image": "1"}]}}}}),
    );
}

#[test]
fn scalar_sets_unite_and_lose_values_by_directive() {
    let at = |original, patch, expected| check_at("Pod", &["metadata"], original, patch, expected);
    at(
        json!({"finalizers": ["a/1"]}),
        json!({"finalizers": ["b/2", "a/1"]}),
        json!({"finalizers": ["b/2", "a/1"]}),
    );
    at(json!({"finalizers": ["a/1"]}), json!({"finalizers": ["b/2"]}), json!({"finalizers": ["b/2", "a/1"]}));
    at(
        json!({"finalizers": ["a/1", "b/2", "a/1"]}),
        json!({"$deleteFromPrimitiveList/finalizers": ["a/1"]}),
        json!({"finalizers": ["b/2"]}),
    );
    at(json!({}), json!({"$deleteFromPrimitiveList/finalizers": ["a/1"]}), json!({}));
    at(
        json!({"finalizers": ["a/1", "b/2"]}),
        json!({"$deleteFromPrimitiveList/finalizers": ["a/1"], "$setElementOrder/finalizers": ["c/3", "b/2"], "finalizers": ["c/3"]}),
        json!({"finalizers": ["c/3", "b/2"]}),
    );
}

#[test]
fn set_element_order_arranges_and_server_items_keep_their_place() {
    let named = |names: &[&str]| Value::from(names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>());
    let check = |before: &[&str], patch: &[&str], order: &[&str], after: &[&str]| {
        check_pod_spec(
            json!({"containers": named(before)}),
            json!({"containers": named(patch), "$setElementOrder/containers": named(order)}),
            json!({"containers": named(after)}),
        );
    };
    check(&["a", "b"], &[], &["b", "a"], &["b", "a"]);
    check(&["a", "b"], &["c"], &["a", "b", "c"], &["a", "b", "c"]);
    check(&["a", "server", "b"], &["c"], &["c", "a", "b"], &["c", "a", "server", "b"]);
    check(&["server", "a"], &["b"], &["a", "b"], &["server", "a", "b"]);
    // Only the order, no list: as `kubectl apply` sends it beside other changes.
    check_pod_spec(
        json!({"containers": named(&["a", "b"])}),
        json!({"$setElementOrder/containers": named(&["b", "a"])}),
        json!({"containers": named(&["b", "a"])}),
    );
    // For a list that is not there.
    check_pod_spec(json!({}), json!({"$setElementOrder/containers": named(&["b"])}), json!({}));
}

#[test]
fn kubectl_apply_of_a_changed_image_and_a_removed_variable() {
    check_pod_spec(
        json!({"containers": [{"name": "c", "image": "i:1", "imagePullPolicy": "Always",
               "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}]}),
        json!({"$setElementOrder/containers": [{"name": "c"}], "containers": [{"name": "c", "image": "i:2",
               "$setElementOrder/env": [{"name": "B"}, {"name": "C"}],
               "env": [{"name": "C", "value": "3"}, {"name": "A", "$patch": "delete"}]}]}),
        json!({"containers": [{"name": "c", "image": "i:2", "imagePullPolicy": "Always",
               "env": [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}]}]}),
    );
}

#[test]
fn retain_keys_drops_what_it_does_not_name() {
    check_pod_spec(
        json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}),
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}),
    );
    check_pod_spec(
        json!({}),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}),
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}),
    );
}

#[test]
fn conditions_merge_by_type() {
    check_at(
        "Node",
        &["status"],
        json!({"conditions": [{"type": "Ready", "status": "True", "reason": "R"}, {"type": "Disk", "status": "False"}]}),
        json!({"$setElementOrder/conditions": [{"type": "Ready"}, {"type": "Disk"}],
               "conditions": [{"type": "Ready", "status": "Unknown"}]}),
        json!({"conditions": [{"type": "Ready", "status": "Unknown", "reason": "R"}, {"type": "Disk", "status": "False"}]}),
    );
}

#[test]
fn a_field_that_nobody_knows_merges_plainly() {
    check_at(
        "Pod",
        &[],
        json!({"x": {"a": 1}}),
        json!({"x": {"b": {"c": null}}, "y": [1]}),
        json!({"x": {"a": 1, "b": {}}, "y": [1]}),
    );
}

#[test]
fn patches_that_do_not_fit_are_refused() {
    const DOES_NOT_FIT: &str = "the server rejected our request due to an error in our request";
    let spec = |inner: Value| json!({ "spec": inner });
    let pod = || json!({"spec": {"containers": [{"name": "a"}], "volumes": [{"name": "v", "emptyDir": {}}]}, "metadata": {"name": "p"}});
    let refused = |patch, code, message| check_refused(STRATEGIC_PATCH, pod(), patch, code, message);
    refused(json!({"$patch": "explode"}), 400, "unknown patch type: explode");
    refused(json!({"$patch": 7}), 400, "unknown patch type: 7");
    refused(
        spec(json!({"containers": [{"image": "x"}]})),
        400,
        "map: {\"image\":\"x\"} does not contain declared merge key: name",
    );
    refused(
        spec(json!({"containers": [{"$patch": "delete"}]})),
        400,
        "map: {\"$patch\":\"delete\"} does not contain declared merge key: name",
    );
    refused(
        spec(json!({"containers": [{"name": "a", "$patch": "merge"}]})),
        400,
        "merging lists cannot yet be specified in the patch",
    );
    let named_null = "map: {\"name\":null} does not contain declared merge key: name";
    refused(spec(json!({"containers": [{"name": null}]})), 400, named_null);
    refused(spec(json!({"containers": ["a"]})), 400, "map: \"a\" does not contain declared merge key: name");
    refused(
        spec(json!({"volumes": [{"name": "v", "$retainKeys": ["name"], "hostPath": {}}]})),
        422,
        DOES_NOT_FIT,
    );
    refused(spec(json!({"$retainKeys": "name"})), 400, "invalid patch format of retainKeys");
    refused(
        spec(json!({"$setElementOrder/containers": 1})),
        400,
        "invalid patch format of setElementOrder list",
    );
    refused(
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": 1}}),
        400,
        "invalid patch format of primitive list",
    );
    refused(
        spec(json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]})),
        400,
        "The order in patch list:\n[{\"name\":\"b\"}]\n doesn't match $setElementOrder list:\n[{\"name\":\"a\"}]\n",
    );

    let json_refused = |patch, code, message| check_refused(JSON_PATCH, pod(), patch, code, message);
    json_refused(json!([{"op": "test", "path": "/metadata/name", "value": "q"}]), 422, DOES_NOT_FIT);
    json_refused(json!([{"op": "remove", "path": "/metadata/labels"}]), 422, DOES_NOT_FIT);
    json_refused(json!([{"op": "replace", "path": "/metadata/labels/x", "value": 1}]), 422, DOES_NOT_FIT);
    let many: Vec<Value> = (0..10_001).map(|_| json!({"op": "test", "path": "", "value": 1})).collect();
    json_refused(many.into(), 413, "The allowed maximum operations in a JSON patch is 10000, got 10001");
}

#[test]
fn what_cannot_be_read_is_refused() {
    for (content_type, text, code) in [
        (JSON_PATCH, "{}", 400),
        (JSON_PATCH, "[{\"op\":\"fly\"}]", 400),
        (MERGE_PATCH, "[]", 400),
        (MERGE_PATCH, "{", 400),
        (STRATEGIC_PATCH, "7", 400),
        (STRATEGIC_PATCH, "", 400),
        ("application/json", "{}", 415),
        ("", "{}", 415),
    ] {
        let error = Patch::parse(content_type, text.as_bytes()).unwrap_err();
        assert_eq!(error.code, code, "{content_type} {text}");
        assert!(code == 415 || error.message.starts_with("error decoding patch: "), "{}", error.message);
    }
    assert!(Patch::parse("application/merge-patch+json; charset=utf-8", b"{}").is_ok());
}

#[test]
fn json_patch_adds_removes_moves_and_copies() {
    let original = json!({"metadata": {"annotations": {"a/b": "1", "c~d": "2"}, "finalizers": ["x"]}});
    let patch = json!([
        {"op": "test", "path": "/metadata/annotations/a~1b", "value": "1"},
        {"op": "replace", "path": "/metadata/annotations/c~0d", "value": "3"},
        {"op": "add", "path": "/metadata/finalizers/-", "value": "y"},
        {"op": "add", "path": "/metadata/finalizers/0", "value": "w"},
        {"op": "copy", "from": "/metadata/finalizers", "path": "/metadata/copy"},
        {"op": "move", "from": "/metadata/copy", "path": "/metadata/moved"},
        {"op": "remove", "path": "/metadata/annotations/a~1b"},
    ]);
    assert_eq!(
        patched(JSON_PATCH, "Pod", &original, &patch).unwrap(),
        json!({"metadata": {"annotations": {"c~d": "3"}, "finalizers": ["w", "x", "y"], "moved": ["w", "x", "y"]}}),
    );
}

#[test]
fn repeated_copies_cannot_make_a_huge_or_deep_object() {
    let original = json!({"a": ["x".repeat(1000)]});
    let doubling: Vec<Value> =
        (0..30).map(|i| json!({"op": "copy", "from": "/a", "path": format!("/a/{i}")})).collect();
    let error = patched(JSON_PATCH, "Pod", &original, &doubling.into()).unwrap_err();
    assert!(matches!(error.code, 413 | 422), "{error}");
    let nesting: Vec<Value> = (0..200)
        .map(|_| json!({"op": "move", "from": "/a", "path": "/b"}))
        .zip((0..200).map(|_| json!({"op": "add", "path": "/a", "value": {}})))
        .flat_map(|(m, a)| [m, a, json!({"op": "move", "from": "/b", "path": "/a/n"})])
        .collect();
    assert_eq!(patched(JSON_PATCH, "Pod", &original, &nesting.into()).unwrap_err().code, 422);
}

#[test]
fn a_patched_object_is_settled_like_a_body() {
    let original =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
    let apply = |patch: &str, validation| {
        Patch::parse(MERGE_PATCH, patch.as_bytes()).unwrap().apply(&original, kind("ConfigMap"), validation)
    };
    let (object, warnings) =
        apply(r#"{"data":{"a":null},"updateStrategy":{}}"#, FieldValidation::Warn).unwrap();
    assert_eq!(object, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}));
    assert_eq!(warnings, ["unknown field \"updateStrategy\""]);
    assert_eq!(apply(r#"{"x":1}"#, FieldValidation::Strict).unwrap_err().code, 400);
    assert_eq!(apply(r#"{"data":[]}"#, FieldValidation::Ignore).unwrap_err().code, 400);
    assert_eq!(apply(r#"{"kind":"Pod"}"#, FieldValidation::Ignore).unwrap_err().code, 400);
}

/// Done in the square of their items, these would take minutes.
#[test]
fn very_long_lists_are_merged_in_no_time() {
    const MANY: usize = 100_000;
    let items = |prefix: &str| -> Vec<Value> {
        (0..MANY).map(|n| json!({"name": format!("{prefix}{n}"), "value": "x"})).collect()
    };
    let env = |items: &Value| json!({"spec": {"containers": [{"name": "c", "env": items}]}});
    let (old, new) = (json!(items("a")), json!(items("b")));
    let count = |value: &Value| value["spec"]["containers"][0]["env"].as_array().map(Vec::len);
    let merged = patched(STRATEGIC_PATCH, "Pod", &env(&old), &env(&new)).unwrap();
    assert_eq!(count(&merged), Some(2 * MANY));
    let same = patched(STRATEGIC_PATCH, "Pod", &merged, &env(&old)).unwrap();
    assert_eq!(count(&same), Some(2 * MANY));
    let gone: Vec<Value> =
        items("a").iter().map(|i| json!({"name": i["name"], "$patch": "delete"})).collect();
    let left = patched(STRATEGIC_PATCH, "Pod", &merged, &env(&json!(gone))).unwrap();
    assert_eq!(left, env(&new));
    let names: Vec<String> = (0..MANY).map(|n| format!("f/{n}")).collect();
    let finalizers = json!({"metadata": {"finalizers": names}});
    let set = patched(STRATEGIC_PATCH, "Pod", &json!({}), &finalizers).unwrap();
    assert_eq!(patched(STRATEGIC_PATCH, "Pod", &set, &finalizers).unwrap(), set);
    let none = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": names}});
    let left = patched(STRATEGIC_PATCH, "Pod", &set, &none).unwrap();
    assert_eq!(left, json!({"metadata": {"finalizers": []}}));
}

#[test]
fn an_item_that_loses_its_name_is_not_found_by_it_again() {
    let old = json!([{"name": "a", "value": "1"}]);
    let patch = json!([{"name": "a", "$retainKeys": ["name"]}, {"name": "a", "value": "2"}]);
    let spec = |env: Value| json!({"spec": {"containers": [{"name": "c", "env": env}]}});
    let merged = patched(STRATEGIC_PATCH, "Pod", &spec(old), &spec(patch)).unwrap();
    assert_eq!(merged, spec(json!([{"name": "a", "value": "2"}])));
}

#[test]
fn a_json_patch_that_moves_much_about_is_refused() {
    let many: Vec<u32> = (0..100_000).collect();
    let object = json!({"a": many});
    let check = |operations: Vec<Value>| {
        let error = patched(JSON_PATCH, "Pod", &object, &json!(operations)).unwrap_err();
        assert_eq!(error.message, "the operations of the JSON patch are too much work");
        assert_eq!(error.code, 413);
    };
    let to_and_fro = [
        json!({"op": "move", "from": "/a", "path": "/b"}),
        json!({"op": "move", "from": "/b", "path": "/a"}),
    ];
    check(to_and_fro.iter().cycle().take(1_000).cloned().collect());
    check(vec![json!({"op": "remove", "path": "/a/0"}); 1_000]);
    check(vec![json!({"op": "add", "path": "/a/0", "value": 1}); 1_000]);
    let few = vec![json!({"op": "remove", "path": "/a/0"}); 50];
    assert!(patched(JSON_PATCH, "Pod", &object, &json!(few)).is_ok());
}
