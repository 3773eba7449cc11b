//! `everynode bench`: measures a cluster from outside, and leaves nothing in it.

use e2e::{Answer, Kubectl, Server, assert_says, binary, eventually, newest_and_oldest, run_to_end};
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A debug build on two busy cores.
const LIMIT: Duration = Duration::from_secs(60);

fn start() -> (Server, Kubectl) {
    let (_, path) = newest_and_oldest().unwrap().pop().unwrap();
    let server = Server::start().unwrap();
    let kubectl = server.kubectl(&path);
    server.wait_until_ready(&kubectl);
    (server, kubectl)
}

fn bench(server: &Server, line: &str) -> Command {
    let mut command = Command::new(binary());
    command.arg("bench").arg("--kubeconfig").arg(server.kubeconfig()).args(line.split_whitespace());
    command
}

fn run(server: &Server, line: &str) -> Answer {
    run_to_end(&mut bench(server, line), "").unwrap()
}

#[track_caller]
fn nothing_is_left(kubectl: &Kubectl) {
    assert_eq!(kubectl.ok(&["get", "nodes", "-o", "name"]), "");
    assert_says(&kubectl.fails(&["get", "namespace", "everynode-bench"]), "not found");
}

/// A bench that will not end by itself soon, once it has made pods.
fn at_work(server: &Server, kubectl: &Kubectl) -> Child {
    let mut command = bench(server, "--nodes 60 --daemonsets 3");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("pods of the bench", LIMIT, || {
        let pods = kubectl.run(&["get", "pods", "-n", "everynode-bench", "-o", "name"]).stdout;
        anyhow::ensure!(!pods.is_empty());
        Ok(())
    });
    child
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn every_step_is_measured_and_everything_is_removed() {
    let (server, kubectl) = start();
    let line = format!("--nodes 4 --daemonsets 2 --skip kill --process {} -o json", server.pid());
    let Answer { stdout, stderr, code } = run(&server, &line);
    assert_eq!(code, 0, "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let steps = report["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["nodes", "create", "rollout", "relabel", "join", "delete"]);
    let things = |step: usize| -> Vec<u64> {
        let signs = steps[step]["signs"].as_array().unwrap();
        signs.iter().map(|sign| sign["things"].as_u64().unwrap()).collect()
    };
    assert_eq!([things(0), things(1), things(2)], [vec![4], vec![8, 8, 2], vec![8, 8, 2]]);
    assert_eq!([things(3), things(4), things(5)], [vec![4], vec![100, 200, 200, 2], vec![208]]);
    for step in steps {
        assert!(step["processes"][0]["memory"].as_u64().unwrap() > 1_000_000, "{step}");
        assert!(
            step["signs"].as_array().unwrap().iter().all(|sign| sign["seconds"].as_f64() > Some(0.0)),
            "{step}"
        );
    }
    assert_eq!(steps[3]["disturbedPods"], 0);
    assert!(steps[4]["join"]["p50Ms"].as_f64() <= steps[4]["join"]["p99Ms"].as_f64(), "{}", steps[4]);
    nothing_is_left(&kubectl);
}

#[test]
fn an_interrupted_bench_cleans_up_and_a_killed_ones_rest_can_be_removed() {
    let (server, kubectl) = start();
    let interrupted = at_work(&server, &kubectl);
    signal(&interrupted, "-INT");
    let output = interrupted.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_says(&String::from_utf8_lossy(&output.stderr), "everynode: interrupted in step ");
    nothing_is_left(&kubectl);

    let mut killed = at_work(&server, &kubectl);
    signal(&killed, "-9");
    killed.wait().unwrap();
    let Answer { stderr, code, .. } = run(&server, "--nodes 3");
    assert_eq!(code, 1);
    assert_says(&stderr, "`everynode bench --clean` removes it");
    let Answer { stderr, code, .. } = run(&server, "--clean");
    assert_eq!((code, stderr.as_str()), (0, ""));
    nothing_is_left(&kubectl);
}
