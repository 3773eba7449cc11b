//! A full node makes room for a critical daemon: what a user of kubectl sees (NP-19, EL-32).

use e2e::{Cluster, Kubectl, eventually_equal, newest_and_oldest};
use std::time::Duration;

/// A debug build on two busy cores.
const LIMIT: Duration = Duration::from_secs(60);

/// Four pods fill a simulated node of 32 CPUs. `spare` is the least important; `guarded` comes next, but a budget
/// covers it.
const FULL: &str = r#"
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: batch}
value: -10
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guarded}
spec: {minAvailable: 1, selector: {matchLabels: {app: guarded}}}
"#;

const FILLER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec:
  CLASS
  nodeSelector: {kubernetes.io/hostname: n1}
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: everynode.dev/hello:1, resources: {requests: {cpu: "8"}}}]
"#;

const CRITICAL: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: critical}
spec:
  selector: {matchLabels: {app: critical}}
  template:
    metadata: {labels: {app: critical}}
    spec:
      priorityClassName: system-node-critical
      containers: [{name: c, image: everynode.dev/hello:1, resources: {requests: {cpu: CPU}}}]
"#;

fn filler(name: &str, class: &str) -> String {
    FILLER.replace("NAME", name).replace("CLASS", class)
}

fn daemon(cpu: &str) -> String {
    CRITICAL.replace("CPU", cpu)
}

/// Names of the pods of n1 that run, without the daemons.
fn others(kubectl: &Kubectl) -> Vec<String> {
    let path = "{range .items[*]}{.metadata.name}{\" \"}{end}";
    let fields = "--field-selector=spec.nodeName=n1,status.phase=Running";
    let text = kubectl.value(&["get", "pods", "-l", "app!=critical", fields], path).unwrap_or_default();
    text.split_whitespace().map(str::to_string).collect()
}

fn check(test: impl Fn(&Kubectl)) {
    for (_, path) in newest_and_oldest().unwrap() {
        let mut cluster = Cluster::start(&["--runtime", "simulated", "--nodes", "2"]).unwrap();
        let kubectl = cluster.kubectl(&path);
        cluster.wait_for_nodes(&kubectl, &["n1", "n2"]);
        kubectl.ok(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=60s"]);
        test(&kubectl);
    }
}

#[test]
fn a_critical_daemon_evicts_exactly_what_it_needs() {
    check(|kubectl| {
        kubectl.ok_with(&["apply", "-f", "-"], FULL);
        let batch = "priorityClassName: batch";
        for (name, class) in [("spare", batch), ("guarded", batch), ("plain-1", ""), ("plain-2", "")] {
            kubectl.ok_with(&["apply", "-f", "-"], &filler(name, class));
        }
        let all = ["guarded", "plain-1", "plain-2", "spare"].map(str::to_string).to_vec();
        eventually_equal("a full node", LIMIT, all, || others(kubectl));

        kubectl.ok_with(&["apply", "-f", "-"], &daemon("'4'"));
        kubectl.ok(&["rollout", "status", "ds/critical", "--timeout=60s"]);
        let left = ["guarded", "plain-1", "plain-2"].map(str::to_string).to_vec();
        assert_eq!(others(kubectl), left, "one was enough");
        let priority = kubectl.value(&["get", "pods", "-l", "app=critical"], "{.items[*].spec.priority}");
        assert_eq!(priority.unwrap(), "2000001000 2000001000");
        let told = kubectl.ok(&["get", "events", "--field-selector=reason=Preempted", "-o", "wide"]);
        assert!(told.contains("pod/spare") && told.contains("on node n1"), "{told}");
        assert_eq!(told.lines().count(), 2, "{told}");
        let why = kubectl.ok(&["get", "events", "--field-selector=reason=FailedScheduling"]);
        let expected =
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity].";
        assert!(why.contains(expected), "{why}");

        // More than the plain ones leave: the budget does not save the guarded one now.
        kubectl.ok_with(&["apply", "-f", "-"], &daemon("'30'"));
        kubectl.ok(&["rollout", "status", "ds/critical", "--timeout=60s"]);
        eventually_equal("nobody else", LIMIT, Vec::<String>::new(), || others(kubectl));

        // Nobody makes room for what no room can be made for, and the message says why.
        kubectl.ok_with(&["apply", "-f", "-"], &daemon("'99'"));
        let expected = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) \
                        [NodeAffinity]. preemption: 0/2 nodes are available: 1 No preemption victims found for \
                        incoming pod, 1 Preemption is not helpful for scheduling.";
        eventually_equal("the reason", LIMIT, expected.to_string(), || {
            let path =
                "{.items[?(@.status.phase=='Pending')].status.conditions[?(@.type=='PodScheduled')].message}";
            kubectl.value(&["get", "pods", "-l", "app=critical"], path).unwrap_or_default()
        });
    });
}

#[test]
fn priorities_come_from_classes_and_unknown_ones_are_refused() {
    check(|kubectl| {
        let classes = kubectl.ok(&["get", "priorityclasses", "-o", "name"]);
        assert_eq!(
            classes,
            "priorityclass.scheduling.k8s.io/system-cluster-critical\n\
             priorityclass.scheduling.k8s.io/system-node-critical\n"
        );
        let refused = kubectl.fails_with(&["apply", "-f", "-"], &filler("p", "priorityClassName: nowhere"));
        assert!(
            refused.contains("pods \"p\" is forbidden: no PriorityClass with name nowhere was found"),
            "{refused}"
        );
        kubectl.ok(&[
            "create",
            "priorityclass",
            "calm",
            "--value=7",
            "--global-default",
            "--preemption-policy=Never",
        ]);
        kubectl.ok_with(&["apply", "-f", "-"], &filler("p", ""));
        let path = "{.spec.priorityClassName} {.spec.priority} {.spec.preemptionPolicy}";
        assert_eq!(kubectl.value(&["get", "pod", "p"], path).unwrap(), "calm 7 Never");
    });
}
