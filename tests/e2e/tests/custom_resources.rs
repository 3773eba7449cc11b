//! Kinds that users bring, as kubectl sees them: a definition like those of operators, and its objects.

use anyhow::ensure;
use e2e::{Kubectl, Server, eventually, newest_and_oldest};
use std::time::Duration;

const DEFINITION: &str = include_str!("custom/certificates.yaml");
const OBJECT: &str = "apiVersion: certs.example.org/v1\nkind: Certificate\nmetadata: {name: web}\n\
    spec: {secretName: web-tls, dnsNames: [a.example.org], issuerRef: {name: ca}}\n";
const LIMIT: Duration = Duration::from_secs(20);

/// Runs a check with the newest kubectl and with the oldest that is supported, on a server that knows the kind.
fn check(test: impl Fn(&Kubectl)) {
    for (_, path) in newest_and_oldest().unwrap() {
        let server = Server::start().unwrap();
        let kubectl = server.kubectl(&path);
        server.wait_until_ready(&kubectl);
        kubectl.ok_with(&["apply", "-f", "-"], DEFINITION);
        let crd = "crd/certificates.certs.example.org";
        kubectl.ok(&["wait", "--for", "condition=Established", crd, "--timeout", "20s"]);
        test(&kubectl);
    }
}

#[test]
fn a_kind_is_found_explained_and_used() {
    check(|kubectl| {
        let resources = kubectl.ok(&["api-resources", "--api-group", "certs.example.org"]);
        assert!(resources.contains("cert,certs"), "{resources}");
        let explained = kubectl.ok(&["explain", "certificate.spec.issuerRef"]);
        assert!(explained.contains("Who signs."), "{explained}");
        let unknown = OBJECT.replace("secretName", "sekretName");
        let refused = kubectl.fails_with(&["apply", "-f", "-"], &unknown);
        assert!(refused.contains("unknown field \"spec.sekretName\""), "{refused}");
        let wrong = OBJECT.replace("dnsNames: [a.example.org]", "dnsNames: []");
        let refused = kubectl.fails_with(&["apply", "-f", "-"], &wrong);
        assert!(refused.contains("spec.dnsNames in body should have at least 1 items"), "{refused}");

        let created = kubectl.ok_with(&["apply", "-f", "-"], OBJECT);
        assert_eq!(created, "certificate.certs.example.org/web created\n");
        let again = kubectl.ok_with(&["apply", "-f", "-"], OBJECT);
        assert_eq!(again, "certificate.certs.example.org/web unchanged\n");
        let table = kubectl.ok(&["get", "cert"]);
        let words: Vec<&str> = table.split_whitespace().collect();
        assert_eq!(
            words.get(..6),
            Some(&["NAME", "READY", "SECRET", "AGE", "web", "web-tls"][..]),
            "{table}"
        );
        assert!(kubectl.ok(&["describe", "cert", "web"]).contains("Kind:         Certificate"));
        assert_eq!(kubectl.value(&["get", "cert", "web"], "{.spec.issuerRef.kind}").unwrap(), "Issuer");
        let selected =
            kubectl.ok(&["get", "cert", "--field-selector", "spec.secretName=web-tls", "-o", "name"]);
        assert_eq!(selected, "certificate.certs.example.org/web\n");
    });
}

#[test]
fn objects_are_patched_scaled_watched_and_waited_for() {
    check(|kubectl| {
        kubectl.ok_with(&["apply", "-f", "-"], OBJECT);
        let mut watch = kubectl.start(&["get", "cert", "-w", "--no-headers"]);
        watch.line(LIMIT, |line| line.starts_with("web"));
        let status = r#"{"status": {"conditions": [{"type": "Ready", "status": "True"}]}, "spec": {"secretName": "x"}}"#;
        let patch = ["patch", "cert", "web", "--type", "merge", "-p"];
        kubectl.ok(&[&patch[..], &[status, "--subresource", "status"]].concat());
        watch.line(LIMIT, |line| line.split_whitespace().nth(1) == Some("True"));
        kubectl.ok(&["wait", "--for", "condition=Ready", "cert/web", "--timeout", "20s"]);
        let generation = || kubectl.value(&["get", "cert", "web"], "{.metadata.generation}").unwrap();
        assert_eq!(generation(), "1");
        kubectl.ok(&["scale", "cert/web", "--replicas", "3"]);
        assert_eq!(
            (kubectl.value(&["get", "cert", "web"], "{.spec.copies}").unwrap(), generation()),
            ("3".into(), "2".into())
        );
        kubectl.ok(&["label", "cert", "web", "team=a"]);
        assert_eq!(generation(), "2");
        let strategic = kubectl.fails(&["patch", "cert", "web", "--type", "strategic", "-p", "{}"]);
        assert!(strategic.contains("application/merge-patch+json"), "{strategic}");
        let applied = kubectl.ok_with(&["apply", "--server-side", "--field-manager", "me", "-f", "-"],
            "apiVersion: certs.example.org/v1\nkind: Certificate\nmetadata: {name: web}\nspec: {usages: [{name: server}]}\n");
        assert_eq!(applied, "certificate.certs.example.org/web serverside-applied\n");
        assert_eq!(kubectl.value(&["get", "cert", "web"], "{.spec.usages[*].name}").unwrap(), "server");
    });
}

#[test]
fn a_kind_goes_with_its_objects() {
    check(|kubectl| {
        kubectl.ok_with(&["apply", "-f", "-"], OBJECT);
        kubectl.ok(&["delete", "crd", "certificates.certs.example.org", "--timeout", "20s"]);
        eventually("the kind is gone", LIMIT, || {
            let answer = kubectl.run(&["get", "--raw", "/apis/certs.example.org/v1/certificates"]);
            ensure!(answer.code != 0, "{}", answer.stdout);
            Ok(())
        });
    });
}
