//! Bodies as clients send them, and what comes of them.

use super::*;
use crate::resources::KINDS;
use serde_json::json;

fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|k| k.kind == name).unwrap_or_else(|| panic!("{name} is not served"))
}

fn json_body(name: &str, text: &str, validation: FieldValidation) -> Result<Decoded, ApiError> {
    body("application/json", text.as_bytes(), kind(name), validation)
}

#[track_caller]
fn check_refused(name: &str, text: &str, code: u16, message: &str) {
    let error = json_body(name, text, FieldValidation::Strict).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (code, message), "{text}");
}

#[track_caller]
fn check_form(name: &str, sent: Value, expected: Value) {
    let decoded = json_body(name, &sent.to_string(), FieldValidation::Strict).unwrap();
    assert_eq!(decoded.object, expected);
    let again = json_body(name, &expected.to_string(), FieldValidation::Strict).unwrap();
    assert_eq!(again.object, expected, "Go's form is its own Go form");
}

const BOGUS: &str = r#"{"kind":"DaemonSet","apiVersion":"apps/v1","spec":{"bogus":1,
    "template":{"spec":{"containers":[{"name":"c","foo":{"x":1}}]}}}}"#;

#[test]
fn strict_refuses_unknown_fields_with_kubernetes_text() {
    check_refused(
        "DaemonSet",
        BOGUS,
        400,
        "DaemonSet in version \"v1\" cannot be handled as a DaemonSet: strict decoding error: \
         unknown field \"spec.bogus\", unknown field \"spec.template.spec.containers[0].foo\"",
    );
}

#[test]
fn warn_prunes_and_tells_and_ignore_only_prunes() {
    let warned = json_body("DaemonSet", BOGUS, FieldValidation::Warn).unwrap();
    assert_eq!(
        warned.warnings,
        ["unknown field \"spec.bogus\"", "unknown field \"spec.template.spec.containers[0].foo\""]
    );
    assert_eq!(warned.object.pointer("/spec/bogus"), None);
    let ignored = json_body("DaemonSet", BOGUS, FieldValidation::Ignore).unwrap();
    assert_eq!((ignored.object, ignored.warnings), (warned.object, vec![]));
}

#[test]
fn of_two_equal_keys_the_last_wins_and_is_reported() {
    let text = r#"{"metadata":{"name":"a","name":"b","labels":{"x":"1","x":"2"}},"data":{"k":"1"},"data":{"k":"2"}}"#;
    let decoded = json_body("ConfigMap", text, FieldValidation::Warn).unwrap();
    assert_eq!(decoded.object["metadata"]["name"], "b");
    assert_eq!(decoded.object["data"], json!({"k": "2"}));
    assert_eq!(
        decoded.warnings,
        [
            "duplicate field \"metadata.name\"",
            "duplicate field \"metadata.labels.x\"",
            "duplicate field \"data\""
        ]
    );
    check_refused(
        "ConfigMap",
        r#"{"metadata":{"name":"a","name":"b"}}"#,
        400,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: \
         duplicate field \"metadata.name\"",
    );
}

#[test]
fn wrong_types_are_refused_in_gos_words() {
    for (name, text, why) in [
        (
            "ConfigMap",
            r#"{"data":{"k":1}}"#,
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            "DaemonSet",
            r#"{"spec":1}"#,
            "json: cannot unmarshal number into Go struct field DaemonSet.spec of type v1.DaemonSetSpec",
        ),
        (
            "DaemonSet",
            r#"{"spec":{"minReadySeconds":"5"}}"#,
            "json: cannot unmarshal string into Go struct field DaemonSetSpec.spec.minReadySeconds of type int32",
        ),
        (
            "DaemonSet",
            r#"{"spec":{"minReadySeconds":1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field DaemonSetSpec.spec.minReadySeconds of type int32",
        ),
        (
            "DaemonSet",
            r#"{"spec":{"minReadySeconds":4294967296}}"#,
            "json: cannot unmarshal number 4294967296 into Go struct field DaemonSetSpec.spec.minReadySeconds of type int32",
        ),
        (
            "DaemonSet",
            r#"{"spec":{"template":{"spec":{"containers":{"name":"x"}}}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            "Pod",
            r#"{"spec":{"containers":[{"name":"c","env":[{"name":"A","value":true}]}]}}"#,
            "json: cannot unmarshal bool into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            "Pod",
            r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"abc"}}}]}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "Pod",
            r#"{"metadata":{"creationTimestamp":"yesterday"}}"#,
            "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\"",
        ),
        (
            "DaemonSet",
            r#"{"spec":{"updateStrategy":{"rollingUpdate":{"maxUnavailable":true}}}}"#,
            "json: cannot unmarshal bool into Go value of type int32",
        ),
        ("Secret", r#"{"data":{"k":"%%%"}}"#, "illegal base64 data at input byte 0"),
    ] {
        for validation in [FieldValidation::Ignore, FieldValidation::Strict] {
            let error = json_body(name, text, validation).unwrap_err();
            let message = format!("{name} in version \"v1\" cannot be handled as a {name}: {why}");
            assert_eq!((error.code, error.message), (400, message), "{text}");
        }
    }
}

#[test]
fn what_is_no_json_object_is_refused_with_its_first_bytes() {
    let prefix = "the object provided is unrecognized (must be of type DaemonSet): couldn't get version/kind; json parse error:";
    check_refused("DaemonSet", "", 400, &format!("{prefix} unexpected end of JSON input (<empty>)"));
    check_refused("DaemonSet", "{\"a\":", 400, &format!("{prefix} unexpected end of JSON input ({{\"a\":)"));
    for text in ["[]", "7", "\"x\"", "null", "{} {}", "nonsense", "{\"kind\":7}", "\u{0}"] {
        let error = json_body("DaemonSet", text, FieldValidation::Warn).unwrap_err();
        assert_eq!(error.code, 400, "{text}");
        assert!(error.message.starts_with(prefix), "{text}: {}", error.message);
    }
    let deep = "[".repeat(100_000);
    assert_eq!(json_body("DaemonSet", &deep, FieldValidation::Warn).unwrap_err().code, 400);
    let deep = format!("{}1{}", "{\"a\":".repeat(101), "}".repeat(101));
    let error = json_body("DaemonSet", &deep, FieldValidation::Warn).unwrap_err();
    assert!(error.message.contains("exceeded max depth"), "{}", error.message);
}

#[test]
fn another_kind_is_refused_and_no_kind_is_filled_in() {
    check_refused(
        "DaemonSet",
        r#"{"apiVersion":"apps/v1","kind":"Foo"}"#,
        400,
        "Foo in version \"v1\" cannot be handled as a DaemonSet: no kind \"Foo\" is registered for version \"apps/v1\" \
         in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
    );
    check_refused(
        "DaemonSet",
        r#"{"apiVersion":"apps/v1","kind":"Deployment"}"#,
        400,
        "Deployment in version \"v1\" cannot be handled as a DaemonSet: \
         converting (v1.Deployment) to (apps.DaemonSet): unknown conversion",
    );
    check_refused(
        "Event",
        r#"{"apiVersion":"events.k8s.io/v1","kind":"Event"}"#,
        400,
        "the API version in the data (events.k8s.io/v1) does not match the expected API version (v1)",
    );
    check_refused(
        "ConfigMap",
        r#"{"apiVersion":"a/b/c","kind":"ConfigMap"}"#,
        400,
        "the object provided is unrecognized (must be of type ConfigMap): unexpected GroupVersion string: a/b/c \
         ({\"apiVersion\":\"a/b/c\",\"kind\":\" ...)",
    );
    check_form("ConfigMap", json!({}), json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}));
}

#[test]
fn an_object_comes_back_as_go_would_write_it() {
    let sent = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "d", "labels": {}, "annotations": null, "creationTimestamp": null, "finalizers": []},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "minReadySeconds": 0,
            "revisionHistoryLimit": 0,
            "template": {
                "metadata": {"creationTimestamp": null, "labels": {"a": "b"}},
                "spec": {
                    "hostNetwork": false, "automountServiceAccountToken": false, "nodeName": "",
                    "tolerations": [], "nodeSelector": {},
                    "securityContext": {},
                    "volumes": [{"name": "v", "emptyDir": {}}],
                    "containers": [{
                        "name": "c", "image": "i", "tty": false, "args": [], "workingDir": "",
                        "resources": {"limits": {"cpu": 1.5, "memory": "1024Mi"}, "requests": {}},
                        "env": [{"name": "E", "value": ""}],
                    }],
                    "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                        {"topologyKey": "t", "namespaces": []}
                    ]}},
                },
            },
        },
        "status": null,
    });
    let expected = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "revisionHistoryLimit": 0,
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {
                    "automountServiceAccountToken": false,
                    "securityContext": {},
                    "volumes": [{"name": "v", "emptyDir": {}}],
                    "containers": [{
                        "name": "c", "image": "i",
                        "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}},
                        "env": [{"name": "E"}],
                    }],
                    "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                        {"topologyKey": "t"}
                    ]}},
                },
            },
            "updateStrategy": {},
        },
        "status": {"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0},
    });
    check_form("DaemonSet", sent, expected);
}

#[test]
fn times_are_utc_and_of_the_fields_precision() {
    check_form(
        "Lease",
        json!({
            "metadata": {"name": "l", "creationTimestamp": "2024-01-01T02:00:00.75+02:00"},
            "spec": {"renewTime": "2024-01-01T00:00:00.1234567Z", "holderIdentity": ""},
        }),
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "l", "creationTimestamp": "2024-01-01T00:00:00Z"},
            "spec": {"renewTime": "2024-01-01T00:00:00.123456Z", "holderIdentity": ""},
        }),
    );
}

#[test]
fn raw_json_is_left_alone() {
    check_form(
        "ControllerRevision",
        json!({"metadata": {"name": "r"}, "revision": 3, "data": {"spec": {"template": {"$patch": "replace", "x": null}}}}),
        json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "r"}, "revision": 3,
            "data": {"spec": {"template": {"$patch": "replace", "x": null}}},
        }),
    );
}

#[test]
fn yaml_is_read_and_bad_yaml_is_refused() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  a: \"1\"\n";
    let decoded =
        body("application/yaml; charset=utf-8", text.as_bytes(), kind("ConfigMap"), FieldValidation::Strict);
    assert_eq!(decoded.unwrap().object["data"], json!({"a": "1"}));
    for bad in ["a: b: c", "\t- x", "{", "- 1\n- 2", "", "a: &a [*a]", "\u{1}"] {
        let error =
            body("application/yaml", bad.as_bytes(), kind("ConfigMap"), FieldValidation::Warn).unwrap_err();
        assert_eq!(error.code, 400, "{bad}");
        assert!(error.message.contains("must be of type ConfigMap"), "{}", error.message);
        assert!(!error.message.contains('\n'), "{}", error.message);
    }
}

#[test]
fn yaml_keys_that_stand_twice_are_reported() {
    let text = "metadata:\n  name: a\n  name: b\n";
    let decoded =
        body("application/yaml", text.as_bytes(), kind("ConfigMap"), FieldValidation::Warn).unwrap();
    assert_eq!(decoded.object["metadata"]["name"], "b");
    assert_eq!(decoded.warnings, ["duplicate field \"metadata.name\""]);
}

#[test]
fn an_unknown_media_type_and_a_huge_body_are_refused() {
    let error = body("application/cbor", b"{}", kind("ConfigMap"), FieldValidation::Warn).unwrap_err();
    assert_eq!(error.code, 415);
    assert!(
        error.message.ends_with("application/json, application/yaml, application/vnd.kubernetes.protobuf")
    );
    let huge = vec![b' '; MAX_BODY_BYTES + 1];
    let error = body("", &huge, kind("ConfigMap"), FieldValidation::Warn).unwrap_err();
    assert_eq!(error.code, 413);
}

#[test]
fn a_small_body_cannot_become_a_huge_object() {
    let text = format!(r#"{{"spec":{{"containers":[{}{{}}]}}}}"#, "{},".repeat(900_000));
    let error = json_body("Pod", &text, FieldValidation::Warn).unwrap_err();
    assert!(error.message.ends_with("too many items: limit is 200000"), "{}", error.message);
}

#[test]
fn patches_cannot_add_up_to_a_huge_object() {
    let list = || Value::from(vec![json!({}); 80_000]);
    let before = json!({"spec": {"containers": list()}});
    let mut patched = before.clone();
    patched["spec"]["initContainers"] = list();
    let error = check(kind("Pod"), &mut patched, &before, FieldValidation::Warn).unwrap_err();
    assert!(error.message.ends_with("too many items: limit is 200000"), "{}", error.message);
}

#[test]
fn delete_options_come_from_any_group_or_not_at_all() {
    for (text, ok) in [
        ("", true),
        (r#"{"propagationPolicy":"Orphan"}"#, true),
        (r#"{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0}"#, true),
        (r#"{"kind":"DeleteOptions","apiVersion":"apps/v1","preconditions":{"uid":"u"}}"#, true),
        (r#"{"kind":"DeleteOptions","apiVersion":"meta.k8s.io/v1"}"#, true),
        (r#"{"kind":"Pod","apiVersion":"v1"}"#, false),
        (r#"{"gracePeriodSeconds":"x"}"#, false),
    ] {
        assert_eq!(delete_options("application/json", text.as_bytes()).is_ok(), ok, "{text}");
    }
    let zero = delete_options("application/json", br#"{"gracePeriodSeconds":0}"#).unwrap();
    assert_eq!(zero["gracePeriodSeconds"], 0, "a pointer to zero is not absent");
}

#[test]
fn reviews_and_evictions_are_read_by_their_own_type() {
    let eviction = Gvk::new("policy/v1", "Eviction");
    let text = br#"{"kind":"Eviction","apiVersion":"policy/v1","metadata":{"name":"p"},"deleteOptions":{"gracePeriodSeconds":5}}"#;
    let decoded = body_as("application/json", text, eviction, FieldValidation::Strict).unwrap();
    assert_eq!(decoded.object["deleteOptions"]["gracePeriodSeconds"], 5);
    let review = Gvk::new("authorization.k8s.io/v1", "SelfSubjectAccessReview");
    let text = br#"{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}"#;
    let decoded = body_as("application/json", text, review, FieldValidation::Strict).unwrap();
    assert_eq!(decoded.object["status"], json!({"allowed": false}));
}

#[test]
fn one_long_key_is_not_told_for_each_of_very_many_fields_below_it() {
    // A body of some hundred kB that made gigabytes of warnings.
    let kind = KINDS.iter().find(|kind| kind.kind == "CustomResourceDefinition").unwrap();
    let long = "k".repeat(100_000);
    let told = |inner: String| {
        let schema = format!("{{\"properties\":{{\"{long}\":{{{inner}\"type\":\"object\"}}}}}}");
        let text = format!("{{\"spec\":{{\"versions\":[{{\"schema\":{{\"openAPIV3Schema\":{schema}}}}}]}}}}");
        let decoded = body("application/json", text.as_bytes(), kind, FieldValidation::Warn).unwrap();
        (decoded.warnings.len(), decoded.warnings.iter().map(String::len).sum::<usize>())
    };
    let (texts, bytes) = told("\"type\":\"x\",".repeat(10_000));
    assert!((1..=100).contains(&texts) && bytes < 300_000, "{texts} {bytes}");
    let unknown: String = (0..10_000).map(|n| format!("\"x{n}\":0,")).collect();
    let (texts, bytes) = told(unknown);
    assert!((1..=100).contains(&texts) && bytes < 300_000, "{texts} {bytes}");
}
