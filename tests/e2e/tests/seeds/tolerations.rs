//! "Kubernetes - DaemonSets": what a DaemonSet must look like, the table of tolerations, `--cascade=false`.

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
      # this toleration is to have the daemonset runnable on master nodes
      # remove it if your masters can't run pods
      - key: node-role.kubernetes.io/master
        effect: NoSchedule
      containers:
      - name: fluentd-elasticsearch
        image: quay.io/fluentd_elasticsearch/fluentd:v2.5.2
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

const LABEL: &str = "name=fluentd-elasticsearch";
const NODES: [&str; 3] = ["n1", "n2", "n3"];

pub fn seed(world: &World) {
    what_it_must_look_like(world);
    world.says("kubectl taint node n1 node-role.kubernetes.io/master:NoSchedule");
    world.apply("fluentd.yaml", MANIFEST, "daemonset.apps/fluentd-elasticsearch created");
    world.runs_on("kube-system", LABEL, &NODES);
    world.rolled_out("kube-system", "fluentd-elasticsearch");
    table(world);
    world.says("kubectl taint node n1 node-role.kubernetes.io/master:NoSchedule-");
    orphaned_the_old_way(world);
    world.end("kube-system", "fluentd-elasticsearch", LABEL);
}

fn what_it_must_look_like(world: &World) {
    let check = |from: &str, to: &str, expected: &str| {
        world.file("fluentd.yaml", &MANIFEST.replacen(from, to, 1));
        let refused = world.refuses("kubectl apply -f fluentd.yaml");
        assert!(refused.contains(expected), "{expected:?} is not in {refused}");
    };
    check(
        "name: fluentd-elasticsearch",
        "name: Fluentd_Elasticsearch",
        "metadata.name: Invalid value: \"Fluentd_Elasticsearch\": a lowercase RFC 1123 subdomain must consist of",
    );
    check(
        "      tolerations:\n",
        "      restartPolicy: OnFailure\n      tolerations:\n",
        "spec.template.spec.restartPolicy: Unsupported value: \"OnFailure\": supported values: \"Always\"",
    );
    check(
        "      name: fluentd-elasticsearch\n",
        "      name: another\n",
        "spec.template.metadata.labels: Invalid value: {\"name\":\"fluentd-elasticsearch\"}: `selector` does not match template `labels`",
    );
}

/// The article's table, and what Kubernetes has added to it since (`pid-pressure`).
fn table(world: &World) {
    let pod = world.pod_on("kube-system", LABEL, "n2");
    let path = "{range .spec.tolerations[*]}{.key} {.operator} {.effect}{\"\\n\"}{end}";
    let of = |pod: &str, namespace: &str| {
        let text = world.value(&format!("pod {pod} -n {namespace}"), path);
        let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_string()).collect();
        lines.sort();
        lines
    };
    let always = [
        "node.kubernetes.io/disk-pressure Exists NoSchedule",
        "node.kubernetes.io/memory-pressure Exists NoSchedule",
        "node.kubernetes.io/not-ready Exists NoExecute",
        "node.kubernetes.io/pid-pressure Exists NoSchedule",
        "node.kubernetes.io/unreachable Exists NoExecute",
        "node.kubernetes.io/unschedulable Exists NoSchedule",
    ];
    let own = "node-role.kubernetes.io/master  NoSchedule";
    let expected: Vec<&str> = [own].into_iter().chain(always).collect();
    assert_eq!(of(&pod, "kube-system"), expected);
    let described = world.says(&format!("kubectl describe pod {pod} -n kube-system"));
    like(
        &described,
        "node.kubernetes.io/disk-pressure:NoSchedule op=Exists\n\
         node.kubernetes.io/memory-pressure:NoSchedule op=Exists\n\
         node.kubernetes.io/not-ready:NoExecute op=Exists",
    )
    .unwrap();

    // Only a daemon on the node's own network is there before the pods' network.
    let host_network = MANIFEST
        .replace("fluentd-elasticsearch\n", "on-host-network\n")
        .replace("      tolerations:\n", "      hostNetwork: true\n      tolerations:\n");
    world.apply("host.yaml", &host_network, "daemonset.apps/on-host-network created");
    world.rolled_out("kube-system", "on-host-network");
    let pod = world.pod_on("kube-system", "name=on-host-network", "n3");
    let mut expected = expected;
    expected.push("node.kubernetes.io/network-unavailable Exists NoSchedule");
    expected.sort_unstable();
    assert_eq!(of(&pod, "kube-system"), expected);
    world.end("kube-system", "on-host-network", "name=on-host-network");
}

fn orphaned_the_old_way(world: &World) {
    let uids = || world.field("kube-system", LABEL, ".metadata.uid");
    let owners = || world.field("kube-system", LABEL, ".metadata.ownerReferences[*].name");
    let before = uids();
    let line = "kubectl delete ds fluentd-elasticsearch -n kube-system --cascade=false";
    let (_, warned) = world.says_and_warns(line);
    assert!(warned.contains("--cascade=false is deprecated"), "{warned}");
    eventually_equal("no owners", LIMIT, vec![String::new(); 3], owners);
    assert_eq!(uids(), before, "they go on");
    world.apply("fluentd.yaml", MANIFEST, "daemonset.apps/fluentd-elasticsearch created");
    eventually_equal("adopted", LIMIT, vec!["fluentd-elasticsearch".to_string(); 3], owners);
    world.rolled_out("kube-system", "fluentd-elasticsearch");
    assert_eq!(uids(), before, "the same template: nothing is replaced");
}
