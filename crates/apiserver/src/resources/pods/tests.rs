//! Pods against wire 2.4.7 and 5.2: what may change, what status may become, and every printed sample.

use super::*;

fn pod() -> Value {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}],
        "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]}});
    Pods.default(&mut pod);
    Pods.prepare_create(&mut pod);
    pod
}

/// The row, which is the same when nothing else of the pod is decoded.
fn printed(pod: &Value, now: Timestamp) -> Row {
    let shown = crate::encode::parts::read(pod.to_string().as_bytes(), Pods.shown()).unwrap();
    let row = Pods.row(pod, now);
    assert_eq!(Pods.row(&shown, now), row, "{pod}");
    row
}

fn fields(errors: &[FieldError]) -> Vec<&str> {
    errors.iter().map(|e| e.field.as_str()).collect()
}

#[test]
fn a_new_pod_is_pending_and_knows_its_class() {
    let mut pod = json!({"spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits":
        {"cpu": "1", "memory": "1Gi"}}}]}, "status": {"phase": "Running"}});
    Pods.default(&mut pod);
    Pods.prepare_create(&mut pod);
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "Guaranteed"}));
    assert_eq!(pod["spec"]["enableServiceLinks"], true);
    assert_eq!(Pods.validate_create(&pod), []);
}

#[test]
fn only_a_few_fields_of_a_pod_change() {
    let check = |change: &dyn Fn(&mut Value), expected: &[&str]| {
        let old = pod();
        let mut new = old.clone();
        change(&mut new["spec"]);
        assert_eq!(fields(&Pods.validate_update(&new, &old)), expected, "{new}");
    };
    check(&|_| {}, &[]);
    check(&|spec| spec["containers"][0]["image"] = json!("i:2"), &[]);
    check(&|spec| spec["containers"][0]["image"] = json!(""), &["spec.containers[0].image"]);
    check(&|spec| spec["activeDeadlineSeconds"] = json!(5), &[]);
    check(&|spec| spec["tolerations"].as_array_mut().unwrap().push(json!({"operator": "Exists"})), &[]);
    check(&|spec| spec["tolerations"][0]["tolerationSeconds"] = json!(5), &[]);
    check(&|spec| spec["tolerations"] = json!([]), &["spec.tolerations"]);
    check(&|spec| spec["tolerations"][0]["key"] = json!("b"), &["spec.tolerations"]);
    check(&|spec| spec["containers"][0]["command"] = json!(["x"]), &["spec"]);
    check(&|spec| spec["nodeName"] = json!("n"), &["spec"]);
    check(&|spec| spec["hostNetwork"] = json!(true), &["spec"]);
    check(&|spec| spec["terminationGracePeriodSeconds"] = json!(1), &["spec"]);
    check(&|spec| spec["schedulingGates"] = json!([{"name": "a.b/c"}]), &["spec.schedulingGates[0].name"]);
    check(
        &|spec| {
            spec["containers"]
                .as_array_mut()
                .unwrap()
                .push(json!({"name": "d", "image": "i", "imagePullPolicy":
            "Always", "terminationMessagePolicy": "File"}))
        },
        &["spec.containers"],
    );
}

#[test]
fn a_frozen_pod_says_what_may_change() {
    let old = pod();
    let mut new = old.clone();
    new["spec"]["hostPID"] = json!(true);
    let errors = Pods.validate_update(&new, &old);
    assert!(
        errors[0].text().starts_with(
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        )
    );
}

#[test]
fn a_deadline_shrinks_and_a_negative_grace_becomes_one() {
    let with = |field: &str, value: Value| {
        let mut pod = pod();
        pod["spec"][field] = value;
        pod
    };
    let check = |field: &str, new: Value, old: Value, expected: &[&str]| {
        let errors = Pods.validate_update(&with(field, new), &with(field, old));
        assert_eq!(fields(&errors), expected, "{field}");
    };
    check("activeDeadlineSeconds", json!(4), json!(5), &[]);
    check("activeDeadlineSeconds", json!(6), json!(5), &["spec.activeDeadlineSeconds"]);
    check("activeDeadlineSeconds", Value::Null, json!(5), &["spec.activeDeadlineSeconds"]);
    check("terminationGracePeriodSeconds", json!(1), json!(-1), &[]);
    check("terminationGracePeriodSeconds", json!(2), json!(-1), &["spec"]);
    check("schedulingGates", json!([]), json!([{"name": "a.b/c"}]), &[]);
}

#[test]
fn writes_of_spec_and_status_do_not_touch_each_other() {
    let old = pod();
    let mut new = old.clone();
    new["status"]["phase"] = json!("Running");
    Pods.prepare_update(&mut new, &old);
    assert_eq!(new, old);
    let mut new = old.clone();
    new["spec"]["nodeName"] = json!("n");
    new["metadata"]["ownerReferences"] = json!([{}]);
    new["status"] = json!({"phase": "Running"});
    Pods.prepare_status(&mut new, &old);
    assert_eq!(new["spec"], old["spec"]);
    assert_eq!(new["metadata"], old["metadata"]);
    assert_eq!(new["status"], json!({"phase": "Running", "qosClass": "BestEffort"}));
}

#[test]
fn status_does_not_go_back() {
    let with = |restart: &str, state: Value| {
        let mut pod = pod();
        pod["spec"]["restartPolicy"] = json!(restart);
        pod["status"]["containerStatuses"] = json!([{"name": "c", "state": state}]);
        pod
    };
    let check = |restart: &str, exit: i64, expected: &[&str]| {
        let old = with(restart, json!({"terminated": {"exitCode": exit}}));
        let new = with(restart, json!({"running": {}}));
        assert_eq!(fields(&Pods.validate_status(&new, &old)), expected, "{restart} {exit}");
    };
    check("Always", 0, &[]);
    check("OnFailure", 1, &[]);
    check("OnFailure", 0, &["status.containerStatuses[0].state"]);
    check("Never", 1, &["status.containerStatuses[0].state"]);
    let mut new = pod();
    new["status"]["qosClass"] = json!("Guaranteed");
    new["status"]["podIPs"] = json!([{"ip": "nowhere"}]);
    assert_eq!(fields(&Pods.validate_status(&new, &pod())), ["status.qosClass", "status.podIPs[0]"]);
}

#[test]
fn pods_are_found_by_their_fields() {
    let mut pod = pod();
    pod["spec"]["nodeName"] = json!("n1");
    pod["status"]["podIPs"] = json!([{"ip": "10.0.0.1"}]);
    let check = |path: &str, expected: &str| assert_eq!(Pods.field(&pod, path), expected, "{path}");
    check("spec.nodeName", "n1");
    check("spec.restartPolicy", "Always");
    check("spec.hostNetwork", "false");
    check("spec.serviceAccountName", "");
    check("status.phase", "Pending");
    check("status.podIP", "10.0.0.1");
}

#[test]
fn every_sample_prints_as_on_a_real_cluster() {
    // Wire 5.2.9.
    let check = |spec: Value, status: Value, expected: [&str; 3]| {
        let pod = json!({"metadata": {"name": "p"}, "spec": spec, "status": status});
        let cells = printed(&pod, "2026-01-01T00:10:00Z".parse().unwrap()).cells;
        assert_eq!(Value::from(cells[1..4].to_vec()), json!(expected), "{pod}");
    };
    let two = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let one = json!({"containers": [{"name": "a"}]});
    let init = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]});
    let running = json!({"name": "a", "ready": true, "state": {"running": {}}});
    let ready = |status: &str| json!([{"type": "Ready", "status": status}]);
    check(two.clone(), json!({"phase": "Pending"}), ["0/2", "Pending", "0"]);
    let crashed = json!({"name": "b", "restartCount": 5, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"finishedAt": "2026-01-01T00:04:30Z"}}});
    check(
        two.clone(),
        json!({"phase": "Running", "containerStatuses": [running, crashed]}),
        ["1/2", "CrashLoopBackOff", "5 (5m30s ago)"],
    );
    let completed = json!({"name": "b", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    let mixed = |status: &str| json!({"phase": "Running", "containerStatuses": [running, completed], "conditions": ready(status)});
    check(two.clone(), mixed("True"), ["1/2", "Running", "0"]);
    check(two.clone(), mixed("False"), ["1/2", "NotReady", "0"]);
    let killed = json!({"name": "a", "state": {"terminated": {"signal": 9, "exitCode": 137}}});
    check(one.clone(), json!({"phase": "Running", "containerStatuses": [killed]}), ["0/1", "Signal:9", "0"]);
    let failed = json!({"name": "a", "state": {"terminated": {"exitCode": 3}}});
    check(one.clone(), json!({"phase": "Failed", "containerStatuses": [failed]}), ["0/1", "ExitCode:3", "0"]);
    check(one.clone(), json!({"phase": "Failed", "reason": "Evicted"}), ["0/1", "Evicted", "0"]);
    check(init.clone(), json!({"phase": "Pending"}), ["0/1", "Pending", "0"]);
    let done = json!({"name": "i", "state": {"terminated": {"exitCode": 0}}});
    let waits = json!({"name": "j", "state": {"waiting": {"reason": "PodInitializing"}}});
    check(
        init.clone(),
        json!({"phase": "Pending", "initContainerStatuses": [done, waits]}),
        ["0/1", "Init:1/2", "0"],
    );
    let loops = json!({"name": "i", "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}}});
    check(
        init.clone(),
        json!({"phase": "Pending", "initContainerStatuses": [loops]}),
        ["0/1", "Init:CrashLoopBackOff", "4"],
    );
    let broken = json!({"name": "i", "state": {"terminated": {"exitCode": 2}}});
    check(
        init,
        json!({"phase": "Pending", "initContainerStatuses": [broken]}),
        ["0/1", "Init:ExitCode:2", "0"],
    );
    let gated = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]);
    check(one, json!({"phase": "Pending", "conditions": gated}), ["0/1", "SchedulingGated", "0"]);
    let side =
        json!({"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
    let car =
        json!({"name": "s", "started": true, "ready": true, "restartCount": 2, "state": {"running": {}}});
    check(
        side,
        json!({"phase": "Running", "initContainerStatuses": [car], "containerStatuses": [running]}),
        ["2/2", "Running", "2"],
    );
}

#[test]
fn a_deleted_pod_is_terminating_whatever_it_does() {
    let check = |reason: &str, expected: &str| {
        let pod = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"containers": [{"name": "a"}]},
            "status": {"phase": "Running", "reason": reason, "containerStatuses":
                [{"name": "a", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}});
        assert_eq!(printed(&pod, Timestamp::UNIX_EPOCH).cells[2], expected);
    };
    check("", "Terminating");
    check("NodeLost", "Unknown");
}

#[test]
fn wide_columns_and_row_conditions() {
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{}], "nodeName": "n1",
        "readinessGates": [{"conditionType": "a.b/c"}, {"conditionType": "a.b/d"}]},
        "status": {"phase": "Succeeded", "podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "a.b/c", "status": "True"}]}});
    let row = printed(&pod, Timestamp::UNIX_EPOCH);
    assert_eq!(Value::from(row.cells[5..].to_vec()), json!(["10.0.0.1", "n1", "<none>", "1/2"]));
    let expected = json!({"type": "Completed", "status": "True", "reason": "Succeeded",
        "message": "The pod has completed successfully."});
    assert_eq!(row.conditions, [expected]);
    let row = printed(&json!({}), Timestamp::UNIX_EPOCH);
    assert_eq!(
        Value::from(row.cells),
        json!(["", "0/0", "", "0", "<unknown>", "<none>", "<none>", "<none>", "<none>"])
    );
}

#[test]
fn tokens_need_an_account_and_mirrors_a_node() {
    let mut token = pod();
    token["spec"]["volumes"] = json!([{"name": "t", "projected": {"sources":
        [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}]}}]);
    assert_eq!(
        fields(&Pods.validate_create(&token)),
        ["spec.volumes[0].projected.sources[0].serviceAccountToken",]
    );
    let mut mirror = pod();
    mirror["metadata"]["annotations"] = json!({MIRROR: "x"});
    assert_eq!(fields(&Pods.validate_create(&mirror)), ["metadata.annotations[kubernetes.io/config.mirror]"]);
}

#[test]
fn a_pod_is_a_mirror_for_its_whole_life() {
    let with = |value: Option<&str>| {
        let mut pod = pod();
        pod["spec"]["nodeName"] = json!("n1");
        pod["metadata"]["annotations"] = value.map_or(json!({}), |value| json!({MIRROR: value}));
        pod
    };
    let check = |old: Option<&str>, new: Option<&str>, expected: &str| {
        let errors = Pods.validate_update(&with(new), &with(old));
        let found: Vec<&str> = errors.iter().map(|error| error.detail.as_str()).collect();
        assert!(found.iter().all(|text| *text == expected), "{found:?}");
        assert_eq!(found.is_empty(), expected.is_empty(), "{old:?} {new:?}");
    };
    check(Some("a"), Some("a"), "");
    check(Some("a"), Some("b"), "may not remove or update mirror pod annotation");
    check(Some("a"), None, "may not remove or update mirror pod annotation");
    check(None, Some("a"), "may not add mirror pod annotation");
}
