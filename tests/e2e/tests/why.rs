//! `kubectl everynode why` and `kubectl everynode rollout`, as plugins of real kubectls.

use e2e::{Answer, Cluster, Kubectl, binary, eventually, eventually_equal, newest_and_oldest};
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;

/// A debug build on two busy cores.
const LIMIT: Duration = Duration::from_secs(60);

const HELLO: &str = include_str!("../../../examples/hello.yaml");

/// A kubectl with our plugin in a folder on its PATH, installed as the docs say: a link.
struct Plugin<'a> {
    kubectl: &'a Kubectl,
    folder: TempDir,
}

impl<'a> Plugin<'a> {
    fn install(kubectl: &'a Kubectl) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let everynode = binary().canonicalize().unwrap();
        std::os::unix::fs::symlink(everynode, folder.path().join("kubectl-everynode")).unwrap();
        Self { kubectl, folder }
    }

    /// `kubectl everynode …`
    fn run(&self, line: &str) -> Answer {
        let arguments: Vec<&str> = ["everynode"].into_iter().chain(line.split_whitespace()).collect();
        self.kubectl.plugin(self.folder.path(), &arguments)
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let Answer { stdout, stderr, code } = self.run(line);
        assert_eq!((code, stderr.as_str()), (0, ""), "kubectl everynode {line}\n{stdout}");
        stdout
    }

    #[track_caller]
    fn fails(&self, line: &str, expected: &str) {
        let Answer { stdout, stderr, code } = self.run(line);
        assert_eq!((code, stdout.as_str()), (1, ""), "kubectl everynode {line}");
        assert_eq!(stderr.trim_end(), format!("everynode: {expected}"), "kubectl everynode {line}");
    }

    fn report(&self, namespace: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("why ds/hello -n {namespace} -o json"))).unwrap()
    }

    /// Waits until every node, in order, has this reason.
    #[track_caller]
    fn reasons(&self, namespace: &str, expected: &[&str]) -> Value {
        let mut report = Value::Null;
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        eventually_equal("the reasons", LIMIT, expected, || {
            report = self.report(namespace);
            let nodes = report["nodes"].as_array().into_iter().flatten();
            nodes.map(|node| node["reason"].as_str().unwrap_or_default().to_string()).collect()
        });
        report
    }
}

/// Runs a check with the newest kubectl and with the oldest that is supported.
fn check(nodes: u32, test: impl Fn(&Plugin<'_>)) {
    for (_, path) in newest_and_oldest().unwrap() {
        let mut cluster = Cluster::start(&["--runtime", "simulated", "--nodes", &nodes.to_string()]).unwrap();
        let kubectl = cluster.kubectl(&path);
        let names: Vec<String> = (1..=nodes).map(|number| format!("n{number}")).collect();
        cluster.wait_for_nodes(&kubectl, &names.iter().map(String::as_str).collect::<Vec<_>>());
        test(&Plugin::install(&kubectl));
    }
}

fn line<'a>(text: &'a str, start: &str) -> &'a str {
    text.lines().find(|line| line.starts_with(start)).unwrap_or_default()
}

#[test]
fn what_keeps_a_pod_away_is_said_and_what_lets_it_in_does() {
    check(4, |plugin| {
        let kubectl = plugin.kubectl;
        kubectl.ok(&["create", "namespace", "a"]);
        kubectl.ok(&["label", "node", "n1", "n2", "n3", "disk=ssd"]);
        kubectl.ok(&["label", "node", "n4", "disk=hdd"]);
        kubectl.ok(&["taint", "node", "n3", "dedicated=db:NoSchedule"]);
        let selected = HELLO.replace("namespace: default", "namespace: a").replace(
            "terminationGracePeriodSeconds",
            "nodeSelector: {disk: ssd}\n      terminationGracePeriodSeconds",
        );
        kubectl.ok_with(&["apply", "-f", "-"], &selected);
        let report = plugin.reasons("a", &["Available", "Available", "Taint", "NodeSelector"]);
        assert_eq!(report["summary"], json!({"runs": 2, "shouldRun": 0, "leftOut": 2, "old": 0}));

        let table = plugin.ok("why ds/hello -n a");
        let mut pods =
            kubectl.ok(&["get", "pods", "-n", "a", "-o", "name", "--field-selector=spec.nodeName=n1"]);
        pods = pods.trim().trim_start_matches("pod/").to_string();
        assert!(line(&table, "n1 ").contains(&format!("   Runs      {pods}   new   ")), "{table}");
        assert_eq!(
            line(&table, "n4 "),
            "n4     LeftOut   <none>        <none>     <none>   nodeSelector needs disk=ssd, the node has disk=hdd"
        );
        let one = plugin.ok("why daemonset hello --namespace a --node n3");
        assert_eq!(one.matches("LeftOut").count(), 1, "{one}");
        assert!(one.ends_with("      - key: dedicated\n        operator: Equal\n        value: db\n        effect: NoSchedule\n"), "{one}");

        // What it says is done, and it is so.
        let toleration = &report["nodes"][2]["obstacles"][0]["toleration"];
        let patch = json!({"spec": {"template": {"spec": {"tolerations": [toleration]}}}}).to_string();
        kubectl.ok(&["patch", "ds", "hello", "-n", "a", "-p", &patch]);
        let remedy = plugin.ok("why ds/hello -n a --node n4");
        let command = line(&remedy, "kubectl label node n4 ");
        kubectl.ok(&command.split_whitespace().skip(1).collect::<Vec<_>>());
        plugin.reasons("a", &["Available"; 4]);

        plugin.fails("why ds/hello", "daemonsets.apps \"hello\" not found");
        plugin.fails("why ds/hello -n a --node n9", "nodes \"n9\" not found");
        plugin.fails("why deploy/hello", "\"deploy\": only a DaemonSet can be asked about; say ds/NAME");
    });
}

#[test]
fn no_room_and_a_refused_pod_are_told_in_the_words_of_those_who_refuse() {
    check(2, |plugin| {
        let kubectl = plugin.kubectl;
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        kubectl.ok(&["create", "namespace", "b"]);
        plugin.reasons("default", &["Available"; 2]);
        // The host port is taken.
        kubectl.ok_with(&["apply", "-f", "-"], &HELLO.replace("namespace: default", "namespace: b"));
        let report = plugin.reasons("b", &["Unschedulable"; 2]);
        let message = report["nodes"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains("FailedScheduling: 0/2 nodes are available: "), "{message}");
        assert!(message.contains("didn't have free ports for the requested pod ports"), "{message}");

        let patch = r#"{"spec":{"template":{"spec":{"priorityClassName":"nope"}}}}"#;
        kubectl.ok(&["patch", "ds", "hello", "-n", "b", "-p", patch]);
        let report = plugin.reasons("b", &["CreateFailed"; 2]);
        let message = report["nodes"][0]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("no pod: Error creating: pods \"hello-\" is forbidden: "), "{message}");
        assert!(message.contains("no PriorityClass with name nope was found"), "{message}");
    });
}

#[test]
fn a_rollout_that_hangs_says_where_and_goes_back() {
    check(3, |plugin| {
        let kubectl = plugin.kubectl;
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        plugin.ok("rollout status ds/hello --timeout 60s");
        kubectl.ok(&["set", "image", "ds/hello", "hello=everynode.dev/hello:missing"]);
        let report = plugin.reasons("default", &["ImagePullBackOff", "WaitingForTurn", "WaitingForTurn"]);
        let message = report["nodes"][1]["message"].as_str().unwrap_or_default();
        assert!(message.ends_with("old, waits for its turn: maxUnavailable 1 is used up by n1"), "{message}");

        // kubectl's line, and below it the node.
        let theirs = kubectl.ok(&["rollout", "status", "ds/hello", "--watch=false"]);
        let ours = plugin.ok("rollout status ds/hello --watch=false");
        let hanging = ours.strip_prefix(theirs.as_str()).unwrap_or_default();
        assert!(hanging.starts_with("  n1: ImagePullBackOff: ") && hanging.lines().count() == 1, "{ours}");
        let late = plugin.run("rollout status ds/hello --timeout 2s");
        assert_eq!(
            (late.code, late.stderr.as_str()),
            (1, "everynode: timed out waiting for the condition\n")
        );

        let history = ["rollout", "history", "ds/hello"];
        assert_eq!(plugin.ok("rollout history ds/hello"), kubectl.ok(&history));
        let first = plugin.ok("rollout history ds/hello --revision 1");
        assert!(first.contains("image: everynode.dev/hello:1\n"), "{first}");
        plugin.fails("rollout history ds/hello --revision 7", "unable to find the specified revision");
        assert_eq!(plugin.ok("rollout undo ds/hello"), "daemonset.apps/hello rolled back\n");
        assert!(plugin.ok("rollout status ds/hello --timeout 60s").ends_with("successfully rolled out\n"));
        assert_eq!(plugin.ok("rollout history ds/hello"), kubectl.ok(&history));
        for undo in ["rollout undo ds/hello --to-revision 3", "rollout undo ds/hello --to-revision=3"] {
            let skipped =
                "daemonset.apps/hello skipped rollback (current template already matches revision 3)\n";
            assert_eq!(plugin.ok(undo), skipped);
        }
        plugin
            .fails("rollout undo ds/hello --to-revision 9", "unable to find specified revision 9 in history");

        kubectl.ok(&["set", "image", "ds/hello", "hello=everynode.dev/hello:broken"]);
        eventually("the crash is told", LIMIT, || {
            let table = plugin.ok("why ds/hello --node n1");
            anyhow::ensure!(table.contains("exited with code 1 (Error)"), "{table}");
            Ok(())
        });
        plugin.ok("rollout undo ds/hello --to-revision 3");
        plugin.reasons("default", &["Available"; 3]);
    });
}

#[test]
fn a_paused_rollout_replaces_nothing_and_a_resumed_one_everything() {
    check(3, |plugin| {
        let kubectl = plugin.kubectl;
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        plugin.reasons("default", &["Available"; 3]);
        let image = "jsonpath={range .items[*]}{.spec.containers[0].image} {end}";
        let images = || {
            let text = kubectl.ok(&["get", "pods", "-l", "app=hello", "-o", image]);
            let mut images: Vec<String> = text.split_whitespace().map(str::to_string).collect();
            images.sort();
            images
        };
        let (old, new) = ("everynode.dev/hello:1", "everynode.dev/hello:2");

        assert_eq!(plugin.ok("rollout pause ds/hello"), "daemonset.apps/hello paused\n");
        plugin.fails("rollout pause ds/hello", "daemonsets.apps \"hello\" is already paused");
        kubectl.ok(&["set", "image", "ds/hello", "hello=everynode.dev/hello:2"]);
        plugin.reasons("default", &["Paused"; 3]);
        // The controller has seen the new template, and has said what it does about it.
        kubectl.ok(&["wait", "ds/hello", "--for=jsonpath={.status.observedGeneration}=2", "--timeout=60s"]);
        assert_eq!(images(), [old; 3]);
        let status = plugin.ok("rollout status ds/hello --watch=false");
        let expected = "Waiting for daemon set \"hello\" rollout to finish: 0 out of 3 new pods have been updated...\n\
                        Paused; go on with: everynode rollout resume ds/hello -n default\n";
        assert_eq!(status, expected);

        // Only replacing stops: a pod that is deleted is made again, of the new template.
        let first = kubectl.ok(&[
            "get",
            "pods",
            "-l",
            "app=hello",
            "--field-selector=spec.nodeName=n1",
            "-o",
            "name",
        ]);
        kubectl.ok(&["delete", first.trim()]);
        plugin.reasons("default", &["Available", "Paused", "Paused"]);
        assert_eq!(images(), [old, old, new]);

        assert_eq!(plugin.ok("rollout resume ds/hello"), "daemonset.apps/hello resumed\n");
        plugin.fails("rollout resume ds/hello", "daemonsets.apps \"hello\" is not paused");
        assert!(plugin.ok("rollout status ds/hello --timeout 60s").ends_with("successfully rolled out\n"));
        plugin.reasons("default", &["Available"; 3]);
        assert_eq!(images(), [new; 3]);
    });
}
