//! What is wrong is refused with the field or file and what to do, in Kubernetes' words, and nothing is changed; with the
//! newest and the oldest kubectl, and with curl where kubectl would not send it.

use e2e::{Answer, Kubectl, Server, assert_says, newest_and_oldest, run_to_end};
use std::process::Command;

const HELLO: &str = include_str!("../../../examples/hello.yaml");

/// A server that already has the example, and a check that it has nothing else and the same at the end.
fn check(test: impl Fn(&Server, &Kubectl)) {
    for (_, path) in newest_and_oldest().unwrap() {
        let server = Server::start_with(&["--without-loop", "daemonsets"]).unwrap();
        let kubectl = server.kubectl(&path);
        server.wait_until_ready(&kubectl);
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        let all = || {
            let objects = kubectl.ok(&["get", "daemonsets,configmaps,pods,nodes", "-A", "-o", "json"]);
            let list: serde_json::Value = serde_json::from_str(&objects).unwrap();
            list["items"].clone()
        };
        let before = all();
        test(&server, &kubectl);
        assert_eq!(all(), before, "something was changed");
        assert!(!server.log().contains("panicked"), "{}", server.log());
    }
}

/// The example with one text replaced.
fn hello_with(from: &str, to: &str) -> String {
    assert!(HELLO.contains(from), "the example has no {from:?} any more");
    HELLO.replace(from, to)
}

/// The example under another name, with one text replaced.
fn other_with(from: &str, to: &str) -> String {
    hello_with(from, to).replacen("name: hello", "name: other", 1)
}

#[test]
fn a_bad_manifest_is_refused_by_its_field() {
    let long = format!("name: {}", "x".repeat(254));
    let cases = [
        (other_with("image:", "imagee:"), "unknown field \"spec.template.spec.containers[0].imagee\""),
        (
            other_with("      app: hello\n  update", "      app: else\n  update"),
            "`selector` does not match template `labels`",
        ),
        (other_with("app: hello", "app: Other!"), "spec.selector.matchLabels"),
        (
            other_with("selector:\n    matchLabels:\n      app: hello", "selector: {}"),
            "spec.selector: Invalid value: {}: empty selector is invalid for daemonset",
        ),
        (other_with("maxUnavailable: 1", "maxUnavailable: 150%"), "must not be greater than 100%"),
        (other_with("maxUnavailable: 1", "maxUnavailable: -1"), "must be greater than or equal to 0"),
        (other_with("maxUnavailable: 1", "maxUnavailable: abc"), "a valid percent string"),
        (other_with("maxUnavailable: 1", "maxUnavailable: 0"), "cannot be 0 when maxSurge is 0"),
        (other_with("cpu: 10m", "cpu: lots"), "quantities must match the regular expression"),
        (hello_with("name: hello", &long), "must be no more than 253"),
        (other_with("namespace: default", "namespace: nowhere"), "namespaces \"nowhere\" not found"),
        (other_with("spec:\n  selector", "spec: [\n  selector"), "error converting YAML to JSON"),
        ("this is not a manifest".to_string(), "cannot unmarshal string|invalid object to validate"),
        (hello_with("app: hello", "app: changed"), "field is immutable"),
    ];
    check(|_, kubectl| {
        for (manifest, expected) in &cases {
            assert_says(&kubectl.fails_with(&["apply", "-f", "-"], manifest), expected);
        }
    });
}

#[test]
fn an_unknown_field_is_a_warning_to_whom_that_is_enough() {
    check(|_, kubectl| {
        let manifest =
            other_with("terminationGracePeriodSeconds", "bogus: 1\n      terminationGracePeriodSeconds");
        let answer = kubectl.run_with_input(&["apply", "--validate=warn", "-f", "-"], &manifest);
        let warning = "Warning: unknown field \"spec.template.spec.bogus\"";
        assert_eq!((answer.code, answer.stdout.as_str()), (0, "daemonset.apps/other created\n"));
        assert!(answer.stderr.contains(warning), "{}", answer.stderr);
        assert_eq!(kubectl.value(&["get", "ds", "other"], "{.spec.template.spec.bogus}").unwrap(), "");
        kubectl.ok(&["delete", "ds", "other"]);
    });
}

#[test]
fn a_stale_version_and_an_unknown_selector_are_refused() {
    check(|_, kubectl| {
        let stale = hello_with("  namespace: default", "  namespace: default\n  resourceVersion: \"1\"");
        let conflict = "Operation cannot be fulfilled on daemonsets.apps \"hello\": the object has been modified; \
                        please apply your changes to the latest version and try again";
        let said = kubectl.fails_with(&["replace", "-f", "-"], &stale);
        assert_says(&said, "(Conflict)");
        assert_says(&said, conflict);
        for (arguments, expected) in [
            (["get", "pods", "--field-selector", "spec.bogus=1"], "field label not supported: spec.bogus"),
            (
                ["get", "nodes", "--field-selector", "status.phase=x"],
                "field label not supported: status.phase",
            ),
            (["get", "pods", "--field-selector", "spec.nodeName"], "invalid selector"),
            (["get", "pods", "-l", "a in b"], "unable to parse requirement"),
        ] {
            assert_says(&kubectl.fails(&arguments), expected);
        }
        let said = kubectl.fails(&["get", "pods", "--field-selector", "spec.bogus=1"]);
        assert_says(&said, "(BadRequest)");
    });
}

#[test]
fn a_body_above_the_limit_is_refused() {
    check(|server, kubectl| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "x".repeat((3 << 20) + 1)).unwrap();
        let from = format!("--from-file=blob={}", file.path().display());
        let expected = "Request entity too large: limit is 3145728";
        assert_says(&kubectl.fails(&["create", "configmap", "big", &from]), expected);
        let (json, body) = ("Content-Type: application/json", format!("@{}", file.path().display()));
        let status = curl(server, &administrator(server, &["-H", json, "--data-binary", &body]));
        assert_eq!((status["code"].as_u64(), &status["message"]), (Some(413), &expected.into()), "{status}");
    });
}

#[test]
fn a_body_that_is_no_object_is_refused() {
    check(|server, _| {
        for (media, body, code, expected) in [
            ("application/yaml", "a: [", 400, "the object provided is unrecognized"),
            ("application/json", "{\"kind\":", 400, "the object provided is unrecognized"),
            ("application/json", "{\"data\":{\"a\":1}}", 400, "cannot unmarshal number into Go struct field"),
            ("text/plain", "x", 415, "the body of the request was in an unknown format"),
        ] {
            let header = format!("Content-Type: {media}");
            let status = curl(server, &administrator(server, &["-H", &header, "--data-binary", body]));
            let message = status["message"].as_str().unwrap_or_default();
            assert_eq!((status["code"].as_u64(), message.contains(expected)), (Some(code), true), "{status}");
        }
    });
}

#[test]
fn a_token_that_nobody_made_is_refused() {
    check(|server, kubectl| {
        let text = std::fs::read_to_string(server.kubeconfig()).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config["users"][0]["user"] = serde_json::json!({"token": "abc"});
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, config.to_string()).unwrap();
        let said = kubectl.with_kubeconfig(file.path().to_path_buf()).fails(&["get", "nodes"]);
        assert_says(&said, "You must be logged in to the server");
        let status = curl(server, &["-H".into(), "Authorization: Bearer abc".into()]);
        assert_eq!(
            (status["code"].as_u64(), &status["message"]),
            (Some(401), &"Unauthorized".into()),
            "{status}"
        );
    });
}

/// The Status that answers a request for ConfigMaps.
fn curl(server: &Server, arguments: &[String]) -> serde_json::Value {
    let url = format!("https://{}/api/v1/namespaces/default/configmaps", server.listen());
    let mut command = Command::new("curl");
    command.args(["-sk", "-m", "60"]).args(arguments).arg(url);
    let Answer { stdout, stderr, code } = run_to_end(&mut command, "").unwrap();
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {code} {stdout}{stderr}"))
}

/// The same arguments with the administrator's certificate.
fn administrator(server: &Server, arguments: &[&str]) -> Vec<String> {
    let file = |name: &str| server.data_dir().join("pki").join(name).display().to_string();
    let mut all = vec!["--cert".into(), file("admin.crt"), "--key".into(), file("admin.key")];
    all.extend(arguments.iter().map(ToString::to_string));
    all
}
