//! "DaemonSet", notes: how the controller finds its nodes, what it adds to a pod, and what ControllerRevisions keep.

use crate::world::{LIMIT, World, like};
use e2e::eventually_equal;

const MANIFEST: &str = "\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: fluentd-elasticsearch
  namespace: kube-system
  labels:
    k8s-app: fluentd-logging
spec:
  selector:
    matchLabels:
      name: fluentd-elasticsearch
  template:
    metadata:
      labels:
        name: fluentd-elasticsearch
    spec:
      tolerations:
      - key: node-role.kubernetes.io/master
        effect: NoSchedule
      containers:
      - name: fluentd-elasticsearch
        image: k8s.gcr.io/fluentd-elasticsearch:1.20
        resources:
          limits:
            memory: 200Mi
          requests:
            cpu: 100m
            memory: 200Mi
        volumeMounts:
        - name: varlog
          mountPath: /var/log
        - name: varlibdockercontainers
          mountPath: /var/lib/docker/containers
          readOnly: true
      terminationGracePeriodSeconds: 30
      volumes:
      - name: varlog
        hostPath:
          path: /var/log
      - name: varlibdockercontainers
        hostPath:
          path: /var/lib/docker/containers
";

const WITH_NODE_AFFINITY: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: with-node-affinity
spec:
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
        - matchExpressions:
          - key: metadata.name
            operator: In
            values:
            - node-geektime
";

/// The article shows only the toleration, and with tabs; the rest is what a network's agent needs.
const NETWORK_AGENT: &str = "\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: network-plugin-agent
  namespace: kube-system
spec:
  selector:
    matchLabels:
      name: network-plugin-agent
  template:
    metadata:
      labels:
        name: network-plugin-agent
    spec:
      tolerations:
      - key: node.kubernetes.io/network-unavailable
        operator: Exists
        effect: NoSchedule
      containers:
      - name: agent
        image: redis:5-alpine
";

const WITH_TOLERATION: &str = "\
apiVersion: v1
kind: Pod
metadata:
\tname: with-toleration
spec:
\ttolerations:
\t- key: node.kubernetes.io/unschedulable
\t  operator: Exists
\t  effect: NoSchedule
";

const LABEL: &str = "name=fluentd-elasticsearch";
const NODES: [&str; 3] = ["n1", "n2", "n3"];

pub fn seed(world: &World) {
    one_on_each(world);
    lone_pods(world);
    before_the_network(world);
    versions(world);
    world.end("kube-system", "fluentd-elasticsearch", LABEL);
}

/// No pod: one is made. Two: one goes. One: perfect.
fn one_on_each(world: &World) {
    world.apply("fluentd-elasticsearch.yaml", MANIFEST, "daemonset.apps/fluentd-elasticsearch created");
    world.rolled_out("kube-system", "fluentd-elasticsearch");
    let pods: String = ["* 1/1 Running 0 *\n"; 3].concat();
    let line = "kubectl get pods -n kube-system -l name=fluentd-elasticsearch";
    world.shows(line, &format!("NAME READY STATUS RESTARTS AGE\n{pods}"));
    let columns = "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE";
    let line = "kubectl get ds -n kube-system fluentd-elasticsearch";
    world.shows(line, &format!("{columns}\nfluentd-elasticsearch 3 3 3 3 3 <none> *"));
    let gone = world.pod_on("kube-system", LABEL, "n2");
    world.says(&format!("kubectl delete pod {gone} -n kube-system"));
    world.runs_on("kube-system", LABEL, &NODES);
    world.rolled_out("kube-system", "fluentd-elasticsearch");
    // An ordinary pod may not be on a cordoned node, a daemon may: the toleration that the article shows.
    let pod = world.pod_on("kube-system", LABEL, "n1");
    let path = r#"{.spec.tolerations[?(@.key=="node.kubernetes.io/unschedulable")].effect}"#;
    assert_eq!(world.value(&format!("pod {pod} -n kube-system"), path), "NoSchedule");
}

/// The article's pods have no containers, and one has tabs: Kubernetes refuses them, too.
fn lone_pods(world: &World) {
    world.file("with-node-affinity.yaml", WITH_NODE_AFFINITY);
    let refused = world.refuses("kubectl apply -f with-node-affinity.yaml");
    assert!(
        refused.contains("The Pod \"with-node-affinity\" is invalid: spec.containers: Required value"),
        "{refused}"
    );
    world.file("with-toleration.yaml", WITH_TOLERATION);
    let refused = world.refuses("kubectl apply -f with-toleration.yaml");
    assert!(refused.contains("found character that cannot start any token"), "{refused}");
}

/// "This is why the cluster can be there before its network." The taint follows the node's condition, which a cloud sets.
fn before_the_network(world: &World) {
    network_unavailable(world, "True");
    let taint = "node.kubernetes.io/network-unavailable:NoSchedule";
    world.shows("kubectl describe node n2", &format!("Taints: {taint}"));
    let plain = NETWORK_AGENT.replace("      tolerations:\n", "").replace(
        "      - key: node.kubernetes.io/network-unavailable\n        operator: Exists\n        effect: NoSchedule\n",
        "",
    );
    let created = "daemonset.apps/network-plugin-agent created";
    world.apply("network-plugin-agent.yaml", &plain, created);
    world.runs_on("kube-system", "name=network-plugin-agent", &["n1", "n3"]);
    world.apply("network-plugin-agent.yaml", NETWORK_AGENT, "daemonset.apps/network-plugin-agent configured");
    world.runs_on("kube-system", "name=network-plugin-agent", &NODES);
    world.rolled_out("kube-system", "network-plugin-agent");
    world.end("kube-system", "network-plugin-agent", "name=network-plugin-agent");
    network_unavailable(world, "False");
    world.shows("kubectl describe node n2", "Taints: <none>");
}

fn network_unavailable(world: &World, status: &str) {
    let condition = format!(
        r#"{{"status":{{"conditions":[{{"type":"NetworkUnavailable","status":"{status}","reason":"Test"}}]}}}}"#
    );
    world.says(&format!("kubectl patch node n2 --subresource=status -p {condition}"));
}

fn versions(world: &World) {
    let line = "kubectl set image ds/fluentd-elasticsearch fluentd-elasticsearch=k8s.gcr.io/fluentd-elasticsearch:v2.2.0 --record -n kube-system";
    let (said, warned) = world.says_and_warns(line);
    assert_eq!(said, "daemonset.apps/fluentd-elasticsearch image updated\n");
    assert!(warned.contains("Flag --record has been deprecated"), "{warned}");
    let status = world.says("kubectl rollout status ds/fluentd-elasticsearch -n kube-system");
    assert!(status.ends_with("daemon set \"fluentd-elasticsearch\" successfully rolled out\n"), "{status}");
    let history = world.says("kubectl rollout history daemonset fluentd-elasticsearch -n kube-system");
    like(&history, "daemonset.apps/fluentd-elasticsearch\nREVISION CHANGE-CAUSE\n1 <none>").unwrap();
    let second = history.lines().find(|line| line.starts_with("2 ")).unwrap_or_default();
    for word in ["set image ds/fluentd-elasticsearch", "fluentd-elasticsearch:v2.2.0", "--record=true"] {
        assert!(second.contains(word), "{word:?} is not in {history}");
    }
    let images = || world.field("kube-system", LABEL, ".spec.containers[0].image");
    assert_eq!(images(), ["k8s.gcr.io/fluentd-elasticsearch:v2.2.0"; 3]);

    let revisions = world.says("kubectl get controllerrevision -n kube-system -l name=fluentd-elasticsearch");
    let owner = "daemonset.apps/fluentd-elasticsearch";
    like(&revisions, "NAME CONTROLLER REVISION AGE").unwrap();
    let mut numbers: Vec<_> = revisions
        .lines()
        .skip(1)
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert!(words[0].starts_with("fluentd-elasticsearch-") && words[1] == owner, "{line}");
            words[2].to_string()
        })
        .collect();
    numbers.sort();
    assert_eq!(numbers, ["1", "2"]);
    let of_first = "kubectl rollout history daemonset fluentd-elasticsearch --revision=1 -n kube-system";
    assert!(world.says(of_first).contains("k8s.gcr.io/fluentd-elasticsearch:1.20"));
    world.says("kubectl rollout undo daemonset fluentd-elasticsearch --to-revision=1 -n kube-system");
    let first = vec!["k8s.gcr.io/fluentd-elasticsearch:1.20".to_string(); 3];
    eventually_equal("back again", LIMIT, first, images);
    world.rolled_out("kube-system", "fluentd-elasticsearch");
    let after = world.says("kubectl rollout history daemonset fluentd-elasticsearch -n kube-system");
    let numbers: Vec<&str> =
        after.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(numbers, ["2", "3"], "the old revision became the newest\n{after}");
}
