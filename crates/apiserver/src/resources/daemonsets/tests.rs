//! The rules of DaemonSets against the upstream matrices: TE-43, TE-44, TE-45 and the printed sample of wire 5.1.

use super::*;
use crate::error::Problem;

fn daemonset() -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "img:9"}]}},
        },
    });
    DaemonSets.default(&mut object);
    object
}

fn created() -> Value {
    let mut object = daemonset();
    object["metadata"]["generation"] = json!(1);
    DaemonSets.prepare_create(&mut object);
    object
}

fn with(path: &str, value: Value) -> Value {
    let mut object = daemonset();
    *object.pointer_mut(path).unwrap() = value;
    object
}

fn lines(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(|e| format!("{}: {}", e.field, e.text())).collect()
}

#[test]
fn every_default_is_filled_in() {
    // TE-45, AP-4…AP-8, AP-11; AP-10: nothing is derived from the labels of the template.
    let expected = json!({
        "selector": {"matchLabels": {"app": "x"}},
        "template": {
            "metadata": {"labels": {"app": "x"}},
            "spec": {
                "containers": [{"name": "c", "image": "img:9", "imagePullPolicy": "IfNotPresent", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
                "securityContext": {}, "schedulerName": "default-scheduler",
            },
        },
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
        "revisionHistoryLimit": 10,
    });
    assert_eq!(daemonset()["spec"], expected);
}

#[test]
fn defaults_respect_what_the_user_says() {
    // TE-45, AP-7: OnDelete untouched, own history limit, AP-6 on its own.
    let check = |spec: Value, field: &str, expected: Value| {
        let mut object = json!({ "spec": spec });
        DaemonSets.default(&mut object);
        assert_eq!(object["spec"][field], expected);
    };
    let on_delete = json!({"type": "OnDelete"});
    check(json!({"updateStrategy": on_delete}), "updateStrategy", on_delete);
    let odd = json!({"type": "OnDelete", "rollingUpdate": {"maxSurge": 5}});
    check(json!({"updateStrategy": odd}), "updateStrategy", odd);
    check(json!({"revisionHistoryLimit": 0}), "revisionHistoryLimit", json!(0));
    check(
        json!({"updateStrategy": {"rollingUpdate": {"maxSurge": "10%"}}}),
        "updateStrategy",
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": "10%"}}),
    );
}

#[test]
fn create_wipes_status_and_sets_the_template_generation() {
    // AP-15, OW-26.
    let check = |given: Value, expected: &str| {
        let mut object = daemonset();
        object["status"] = json!({"numberReady": 7});
        if !given.is_null() {
            object["metadata"]["annotations"] = json!({TEMPLATE_GENERATION: given});
        }
        DaemonSets.prepare_create(&mut object);
        assert_eq!(object["status"], empty_status());
        assert_eq!(object["metadata"]["annotations"][TEMPLATE_GENERATION], expected);
    };
    check(Value::Null, "1");
    check(json!("5"), "5");
    check(json!("0"), "1");
    check(json!("-3"), "1");
    check(json!("many"), "many");
    let mut object = created();
    object["metadata"]["annotations"] = json!({TEMPLATE_GENERATION: "many"});
    let errors = DaemonSets.validate_create(&object);
    assert_eq!(
        errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(),
        ["metadata.annotations[deprecated.daemonset.template.generation]",]
    );
}

#[test]
fn generations_rise_with_meaning_only() {
    // AP-16, AP-17, OW-26, OW-27.
    let check = |change: &dyn Fn(&mut Value), generation: i64, template: &str| {
        let old = created();
        let mut new = old.clone();
        new["status"] = json!({"numberReady": 9});
        change(&mut new);
        DaemonSets.default(&mut new);
        new["metadata"]["generation"] = json!(1);
        DaemonSets.prepare_update(&mut new, &old);
        assert_eq!(new["metadata"]["generation"], generation, "{new}");
        assert_eq!(new["metadata"]["annotations"][TEMPLATE_GENERATION], template, "{new}");
        assert_eq!(new["status"], old["status"]);
    };
    check(&|_| {}, 1, "1");
    check(&|new| new["metadata"]["labels"] = json!({"a": "b"}), 1, "1");
    check(&|new| new["metadata"]["annotations"] = json!({}), 1, "1");
    check(&|new| new["metadata"]["annotations"] = json!({TEMPLATE_GENERATION: "99"}), 1, "1");
    check(&|new| new["metadata"]["annotations"] = json!({TEMPLATE_GENERATION: "many"}), 1, "1");
    check(&|new| new["spec"]["template"]["spec"]["tolerations"] = json!([]), 1, "1");
    check(&|new| new["spec"]["minReadySeconds"] = json!(5), 2, "1");
    check(&|new| new["spec"]["updateStrategy"] = json!({"type": "OnDelete"}), 2, "1");
    check(&|new| new["spec"]["template"]["spec"]["containers"][0]["image"] = json!("img:10"), 2, "2");
    check(&|new| new["spec"]["template"]["metadata"]["annotations"] = json!({"a": "b"}), 2, "2");
}

#[test]
fn a_quantity_written_differently_is_no_change() {
    // AP-17.
    let with_limit = |limit: &str| {
        let mut object = created();
        object["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": limit}});
        object
    };
    let old = with_limit("1");
    let mut new = with_limit("1000m");
    DaemonSets.prepare_update(&mut new, &old);
    assert_eq!(new["metadata"]["generation"], 1);
}

#[test]
fn a_status_write_keeps_spec_and_template_generation() {
    // AP-18, OW-27.
    let old = created();
    let mut new = old.clone();
    new["spec"]["minReadySeconds"] = json!(9);
    new["status"] = json!({"numberReady": 1});
    new["metadata"]["annotations"] = json!({"mine": "1"});
    DaemonSets.prepare_status(&mut new, &old);
    assert_eq!(new["spec"], old["spec"]);
    assert_eq!(new["status"], json!({"numberReady": 1}));
    assert_eq!(new["metadata"]["annotations"], json!({"mine": "1", TEMPLATE_GENERATION: "1"}));
}

#[test]
fn validation_speaks_with_kubernetes_texts() {
    // TE-44, AP-25…AP-30.
    let check = |path: &str, value: Value, expected: &[&str]| {
        let object = with(path, value);
        assert_eq!(lines(&DaemonSets.validate_create(&object)), expected, "{path}");
    };
    const MISMATCH: &str = "spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`";
    check("/metadata/name", json!("x"), &[]);
    check("/spec/selector", Value::Null, &[MISMATCH]);
    check(
        "/spec/selector",
        json!({}),
        &["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"],
    );
    check("/spec/selector", json!({"matchLabels": {"app": "y"}}), &[MISMATCH]);
    check(
        "/spec/selector",
        json!({"matchExpressions": [{"key": "app", "operator": "In"}]}),
        &[
            "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ],
    );
    check(
        "/spec/selector",
        json!({"matchExpressions": [{"key": "app", "operator": "Exists", "values": ["x"]}]}),
        &[
            "spec.selector.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ],
    );
    check(
        "/spec/selector",
        json!({"matchExpressions": [{"key": "app", "operator": "Like"}]}),
        &[
            "spec.selector.matchExpressions[0].operator: Invalid value: \"Like\": not a valid selector operator",
        ],
    );
    check(
        "/spec/template/spec/restartPolicy",
        json!("OnFailure"),
        &["spec.template.spec.restartPolicy: Unsupported value: \"OnFailure\": supported values: \"Always\""],
    );
    check(
        "/spec/template/spec/restartPolicy",
        json!("Never"),
        &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
    );
    check("/spec/template/spec/containers", json!([]), &["spec.template.spec.containers: Required value"]);
    check(
        "/spec/revisionHistoryLimit",
        json!(-1),
        &["spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0"],
    );
    check(
        "/spec/updateStrategy",
        json!({"type": "RollingUpdate"}),
        &["spec.updateStrategy.rollingUpdate: Required value"],
    );
    check(
        "/spec/updateStrategy",
        json!({"type": "Sudden"}),
        &[
            "spec.updateStrategy: Unsupported value: {\"type\":\"Sudden\"}: supported values: \"RollingUpdate\", \"OnDelete\"",
        ],
    );
    // AP-32: nobody looks.
    check("/spec/updateStrategy", json!({"type": "OnDelete", "rollingUpdate": {"maxSurge": -9}}), &[]);
}

#[test]
fn a_host_port_may_meet_itself_during_surge() {
    // AP-33: the new pod waits for the port; nobody refuses it.
    let mut object = daemonset();
    object["spec"]["template"]["spec"]["containers"][0]["ports"] =
        json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]);
    object["spec"]["updateStrategy"]["rollingUpdate"] = json!({"maxUnavailable": 0, "maxSurge": 1});
    assert_eq!(DaemonSets.validate_create(&object), []);
}

#[test]
fn a_daemon_pod_has_neither_deadline_nor_ephemeral_containers() {
    // AP-28.
    let mut object = daemonset();
    let pod = &mut object["spec"]["template"]["spec"];
    pod["activeDeadlineSeconds"] = json!(5);
    pod["ephemeralContainers"] = json!([{"name": "e", "image": "i", "imagePullPolicy": "Always",
        "terminationMessagePolicy": "File"}]);
    assert_eq!(
        lines(&DaemonSets.validate_create(&object)),
        [
            "spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template",
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
        ]
    );
}

#[test]
fn rolling_update_bounds_obey_the_matrix() {
    // TE-44 UpdateMaxSurge, AP-31: every pair of values through defaulting and validation.
    let values = [
        Value::Null,
        json!(0),
        json!("0%"),
        json!(1),
        json!("1%"),
        json!(2),
        json!("100%"),
        json!("101%"),
        json!(-1),
        json!("abc"),
    ];
    for unavailable in &values {
        for surge in &values {
            check_bounds(unavailable, surge);
        }
    }
}

fn check_bounds(unavailable: &Value, surge: &Value) {
    let mut rolling = json!({});
    for (field, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        if !value.is_null() {
            rolling[field] = value.clone();
        }
    }
    let mut object = with("/spec/updateStrategy", json!({"type": "RollingUpdate", "rollingUpdate": rolling}));
    DaemonSets.default(&mut object);
    let errors = DaemonSets.validate_create(&object);
    let found: Vec<(&str, Problem)> = errors
        .iter()
        .map(|e| (e.field.trim_start_matches("spec.updateStrategy.rollingUpdate."), e.problem))
        .collect();
    let zero = |value: &Value, unset: bool| match value {
        Value::Null => unset,
        Value::String(text) => text == "0%" || text == "abc",
        value => value == 0,
    };
    let mut expected = Vec::new();
    for (name, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        if value == "abc" || value == -1 {
            expected.push((name, Problem::Invalid));
        }
    }
    for (name, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        if value == "101%" {
            expected.push((name, Problem::Invalid));
        }
    }
    match (zero(unavailable, false), zero(surge, true)) {
        (false, false) => expected.push(("maxSurge", Problem::Invalid)),
        (true, true) => expected.push(("maxUnavailable", Problem::Required)),
        _ => {}
    }
    assert_eq!(found, expected, "maxUnavailable {unavailable} maxSurge {surge}");
}

#[test]
fn rolling_update_errors_read_as_kubernetes_writes_them() {
    // AP-31.
    let check = |rolling: Value, expected: &[&str]| {
        let object = with("/spec/updateStrategy", json!({"type": "RollingUpdate", "rollingUpdate": rolling}));
        let found: Vec<String> = DaemonSets
            .validate_create(&object)
            .iter()
            .map(|e| {
                format!("{}: {}", e.field.trim_start_matches("spec.updateStrategy.rollingUpdate."), e.text())
            })
            .collect();
        assert_eq!(found, expected);
    };
    check(
        json!({"maxUnavailable": 0, "maxSurge": 0}),
        &["maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
    );
    check(
        json!({"maxUnavailable": 1, "maxSurge": "1%"}),
        &["maxSurge: Invalid value: \"1%\": may not be set when maxUnavailable is non-zero"],
    );
    check(
        json!({"maxUnavailable": "150%", "maxSurge": 0}),
        &["maxUnavailable: Invalid value: \"150%\": must not be greater than 100%"],
    );
    check(
        json!({"maxUnavailable": -1, "maxSurge": 0}),
        &["maxUnavailable: Invalid value: -1: must be greater than or equal to 0"],
    );
    check(
        json!({"maxUnavailable": "abc", "maxSurge": 1}),
        &[
            "maxUnavailable: Invalid value: \"abc\": a valid percent string must be a numeric string followed by an ending \
         '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ],
    );
}

#[test]
fn the_selector_is_for_ever() {
    // TE-43, AP-34, AP-35.
    let check = |change: &dyn Fn(&mut Value), expected: &[&str]| {
        let old = created();
        let mut new = old.clone();
        change(&mut new);
        let errors = DaemonSets.validate_update(&new, &old);
        let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(fields, expected, "{new}");
    };
    check(&|_| {}, &[]);
    check(&|new| new["spec"]["template"]["spec"]["containers"][0]["image"] = json!("i:2"), &[]);
    check(&|new| new["spec"]["updateStrategy"] = json!({"type": "OnDelete"}), &[]);
    check(&|new| new["spec"]["minReadySeconds"] = json!(3), &[]);
    check(
        &|new| {
            new["spec"]["selector"]["matchLabels"]["app"] = json!("y");
            new["spec"]["template"]["metadata"]["labels"]["app"] = json!("y");
        },
        &["spec.selector"],
    );
    check(
        &|new| new["spec"]["selector"] = json!({"matchExpressions": []}),
        &["spec.selector", "spec.selector"],
    );
    check(&|new| new["spec"]["updateStrategy"] = json!({"type": "x"}), &["spec.updateStrategy"]);
    check(
        &|new| new["spec"]["template"]["spec"]["restartPolicy"] = json!("Never"),
        &["spec.template.spec.restartPolicy"],
    );
}

#[test]
fn a_bad_value_that_was_there_may_stay() {
    // TE-43 ValidateToleratingBadLabels.
    let bad = json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["bad value"]}]});
    let object = with("/spec/selector", bad);
    let errors = DaemonSets.validate_create(&object);
    assert_eq!(errors.first().map(|e| e.field.as_str()), Some("spec.selector.matchExpressions[0].values[0]"));
    assert_eq!(DaemonSets.validate_update(&object, &object), []);
}

#[test]
fn status_counts_are_not_negative_and_collisions_only_grow() {
    // TE-44 StatusUpdate, AP-36.
    let check = |new: Value, old: Value, expected: &[&str]| {
        assert_eq!(
            lines(&DaemonSets.validate_status(&json!({"status": new}), &json!({"status": old}))),
            expected
        );
    };
    for field in [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ] {
        check(json!({field: 0}), json!({}), &[]);
        let expected = format!("status.{field}: Invalid value: -1: must be greater than or equal to 0");
        check(json!({field: -1}), json!({}), &[&expected]);
    }
    check(json!({"collisionCount": 2}), json!({"collisionCount": 1}), &[]);
    let shrunk = "status.collisionCount: Invalid value: 0: cannot be decremented";
    check(json!({}), json!({"collisionCount": 1}), &[shrunk]);
    check(json!({"collisionCount": 0}), json!({"collisionCount": 1}), &[shrunk]);
}

#[test]
fn the_row_reads_as_the_sample() {
    // Wire 5.1, ST-18.
    let mut object = daemonset();
    object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    object["status"] = json!({"desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberReady": 2,
        "updatedNumberScheduled": 2, "numberAvailable": 2});
    let row = DaemonSets.row(&object, "2026-01-01T00:13:05Z".parse().unwrap());
    let expected = json!(["x", 2, 2, 2, 2, 2, "<none>", "13m", "c", "img:9", "app=x"]);
    assert_eq!(Value::Array(row.cells), expected);
    let row = DaemonSets.row(&json!({"metadata": {"name": "y"}}), Timestamp::UNIX_EPOCH);
    let expected = json!(["y", 0, 0, 0, 0, 0, "<none>", "<unknown>", "", "", "<none>"]);
    assert_eq!(Value::Array(row.cells), expected);
}

#[test]
fn warnings_come_with_a_new_template_only() {
    // AP-20.
    let mut new = created();
    new["spec"]["template"]["spec"]["nodeSelector"] = json!({"beta.kubernetes.io/os": "linux"});
    assert_eq!(DaemonSets.warnings(&new, None).len(), 1);
    assert_eq!(DaemonSets.warnings(&new, Some(&new)), Vec::<String>::new());
    let old = created();
    DaemonSets.prepare_update(&mut new, &old);
    assert_eq!(DaemonSets.warnings(&new, Some(&old)).len(), 1);
}
