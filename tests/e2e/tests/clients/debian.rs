//! Debian's own kubectl (package kubernetes-client, 1.20) and 1.28, the last of those that validate, explain or merge by
//! OpenAPI v2.
//!
//! The package is unpacked into a folder and never installed: it would overwrite the machine's kubectl.

use crate::{HELLO, LIMIT, World, install, installed};
use e2e::{Kubectl, assert_says, eventually, kubectls};
use std::path::PathBuf;
use std::process::Command;

fn debians() -> PathBuf {
    let folder = installed("kubernetes-client", |folder| {
        install(
            Command::new("apt-get").args(["download", "--quiet", "kubernetes-client"]).current_dir(folder),
        );
        let unpack = "dpkg -x kubernetes-client_*.deb . && rm kubernetes-client_*.deb";
        install(Command::new("sh").args(["-c", unpack]).current_dir(folder));
    });
    folder.join("usr/bin/kubectl")
}

#[test]
fn clients_that_read_openapi_v2_validate_explain_and_merge() {
    let world = World::start();
    let google = kubectls().unwrap().into_iter().filter(|(minor, _)| *minor == 28);
    for path in google.map(|(_, path)| path).chain([debians()]) {
        let kubectl = world.cluster.kubectl(&path);
        let minor = version(&kubectl);
        applies(&kubectl, minor);
        explains(&kubectl, minor);
        edits(&kubectl);
        works(&kubectl);
    }
    // What the oldest asks, word for word.
    let debian = world.cluster.kubectl(&debians());
    let url = world.recorder.url();
    let through =
        |arguments: &[&str]| debian.run_with_input(&[&["--server", &url], arguments].concat(), HELLO);
    for arguments in [
        &["version"] as &[&str],
        &["apply", "-f", "-"],
        &["diff", "-f", "-"],
        &["explain", "ds.spec"],
        &["get", "ds", "hello"],
        &["label", "ds", "hello", "asked=yes", "--overwrite"],
        &["rollout", "history", "ds/hello"],
    ] {
        let answer = through(arguments);
        assert_eq!(answer.code, 0, "{arguments:?} {}{}", answer.stdout, answer.stderr);
    }
    world.compare("kubectl-1.20");
}

fn version(kubectl: &Kubectl) -> u32 {
    let json: serde_json::Value = serde_json::from_str(&kubectl.ok(&["version", "-o", "json"])).unwrap();
    assert_says(json["serverVersion"]["gitVersion"].as_str().unwrap(), "v1.33.0+everynode");
    json["clientVersion"]["minor"].as_str().unwrap().trim_end_matches('+').parse().unwrap()
}

fn applies(kubectl: &Kubectl, minor: u32) {
    kubectl.run(&["delete", "ds", "hello"]);
    assert_eq!(kubectl.ok_with(&["apply", "-f", "-"], HELLO), "daemonset.apps/hello created\n");
    assert_eq!(kubectl.ok_with(&["apply", "-f", "-"], HELLO), "daemonset.apps/hello unchanged\n");
    assert_eq!(kubectl.ok_with(&["diff", "-f", "-"], HELLO), "");
    let other = HELLO.replace("hello:1", "hello:2");
    let answer = kubectl.run_with_input(&["diff", "-f", "-"], &other);
    assert_eq!(answer.code, 1, "{}", answer.stderr);
    assert_says(&answer.stdout, "+        image: everynode.dev/hello:2");
    // A list merges by its key: the port that is left out goes, the container stays what it was.
    let without = HELLO.replace(
        "        ports:\n        - name: http\n          containerPort: 8080\n          hostPort: 8080\n",
        "",
    );
    let without = without.replace("port: http", "port: 8080");
    kubectl.ok_with(&["apply", "-f", "-"], &without);
    let container = "{.spec.template.spec.containers[*].name}{.spec.template.spec.containers[0].ports}";
    assert_eq!(kubectl.value(&["get", "ds", "hello"], container).unwrap(), "hello");
    kubectl.ok_with(&["apply", "-f", "-"], HELLO);
    let wrong = kubectl.fails_with(&["apply", "-f", "-"], &HELLO.replace("image:", "imagee:"));
    assert_says(&wrong, "unknown field \"imagee\"|unknown field \"spec.template.spec.containers[0].imagee\"");
    if minor >= 21 {
        kubectl.ok_with(&["apply", "--validate=strict", "-f", "-"], HELLO);
    }
    kubectl.ok(&["rollout", "status", "ds/hello", "--timeout=60s"]);
}

fn explains(kubectl: &Kubectl, minor: u32) {
    for (path, expected) in [
        ("ds.spec.updateStrategy", "rollingUpdate"),
        ("pods.spec.containers.resources.limits", "map[string]"),
        ("nodes.spec.taints.effect", "NoExecute"),
        ("pdb.spec.maxUnavailable", "maxUnavailable"),
    ] {
        assert_says(&kubectl.ok(&["explain", path]), expected);
    }
    let all = kubectl.ok(&["explain", "ds", "--recursive"]);
    for expected in ["tolerationSeconds", "maxSurge", "numberUnavailable", "ownerReferences"] {
        assert_says(&all, expected);
    }
    if minor >= 27 {
        assert_says(
            &kubectl.ok(&["explain", "ds.spec", "--output", "plaintext-openapiv2"]),
            "updateStrategy",
        );
    }
}

fn edits(kubectl: &Kubectl) {
    let script =
        "#!/bin/sh\nsed -i 's/terminationGracePeriodSeconds: 2/terminationGracePeriodSeconds: 3/' \"$1\"\n";
    let folder = tempfile::tempdir().unwrap();
    let editor = folder.path().join("editor");
    std::fs::write(&editor, script).unwrap();
    install(Command::new("chmod").arg("+x").arg(&editor));
    let said = kubectl.with_environment("KUBE_EDITOR", editor.display()).ok(&["edit", "ds", "hello"]);
    assert_says(&said, "daemonset.apps/hello edited");
    let seconds =
        kubectl.value(&["get", "ds", "hello"], "{.spec.template.spec.terminationGracePeriodSeconds}");
    assert_eq!(seconds.unwrap(), "3");
}

fn works(kubectl: &Kubectl) {
    for (arguments, expected) in [
        (&["api-resources"] as &[&str], "poddisruptionbudgets"),
        (&["label", "ds", "hello", "a=b"], "labeled"),
        (&["annotate", "ds", "hello", "c=d", "--overwrite"], "annotate"),
        (&["label", "ds", "hello", "a-"], "labeled"),
        (&["taint", "node", "n1", "k=v:NoSchedule"], "tainted"),
        (&["taint", "node", "n1", "k-"], "untainted"),
        (&["cordon", "n1"], "cordoned"),
        (&["uncordon", "n1"], "uncordoned"),
        (&["set", "image", "ds/hello", "*=everynode.dev/hello:2"], "image updated"),
        (&["rollout", "status", "ds/hello", "--timeout=60s"], "successfully rolled out"),
        (&["rollout", "history", "ds/hello"], "CHANGE-CAUSE"),
        (&["rollout", "undo", "ds/hello"], "rolled back"),
        (&["rollout", "restart", "ds/hello"], "restarted"),
        (&["describe", "ds", "hello"], "Desired Number of Nodes Scheduled: 2"),
        (&["get", "ds", "-o", "wide"], "SELECTOR"),
        (&["auth", "can-i", "create", "ds"], "yes"),
        (&["get", "--raw", "/healthz"], "ok"),
        (&["wait", "--for=condition=Ready", "node", "--all", "--timeout=20s"], "condition met"),
        (&["create", "deploy", "d", "--image=x", "--dry-run=client", "-o", "yaml"], "kind: Deployment"),
        (&["create", "ns", "other"], "created"),
        (&["delete", "ns", "other"], "deleted"),
    ] {
        assert_says(&kubectl.ok(arguments), expected);
    }
    let mut watching = kubectl.start(&["get", "ds", "hello", "-w"]);
    watching.line(LIMIT, |line| line.starts_with("hello"));
    eventually("everything is available again", LIMIT, || {
        let available = kubectl.value(&["get", "ds", "hello"], "{.status.numberAvailable}")?;
        anyhow::ensure!(available == "2", "{available}");
        Ok(())
    });
}
