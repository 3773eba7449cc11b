//! "DaemonSet in k8s": httpd on every node and then on one, fluentd that reads its node's logs, orphans and adoption.

use crate::world::{LIMIT, World, like};
use e2e::eventually;

const HTTPD: &str = "\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: my-daemonset
spec:
  selector:
    matchLabels:
      app: my-daemon
  template:
    metadata:
      labels:
        app: my-daemon
    spec:
      containers:
      - name: daemonset-container
        image: httpd
        ports:
        - containerPort : 80
";

/// The article's node is called `minikube`.
const ON_ONE_NODE: &str = "      nodeSelector:\n        kubernetes.io/hostname: n1\n";

const FLUENTD: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: fluentd
  namespace: kube-system
  labels:
    k8s-app: fluentd-logging
    version: v1
spec:
  selector:
    matchLabels:
      k8s-app: fluentd-logging
      version: v1
  template:
    metadata:
      labels:
        k8s-app: fluentd-logging
        version: v1
    spec:
      tolerations:
      - key: node-role.kubernetes.io/master
        effect: NoSchedule
      containers:
      - name: fluentd
        image: fluent/fluentd-kubernetes-daemonset:v1-debian-elasticsearch
        env:
          - name:  FLUENT_ELASTICSEARCH_HOST
            value: "elasticsearch-logging"
          - name:  FLUENT_ELASTICSEARCH_PORT
            value: "9200"
          - name: FLUENT_ELASTICSEARCH_SCHEME
            value: "http"
          # Option to configure elasticsearch plugin with self signed certs
          # ================================================================
          - name: FLUENT_ELASTICSEARCH_SSL_VERIFY
            value: "true"
          # Option to configure elasticsearch plugin with tls
          # ================================================================
          - name: FLUENT_ELASTICSEARCH_SSL_VERSION
            value: "TLSv1_2"
          # X-Pack Authentication
          # =====================
          - name: FLUENT_ELASTICSEARCH_USER
            value: "elastic"
          - name: FLUENT_ELASTICSEARCH_PASSWORD
            value: "changeme"
          # Logz.io Authentication
          # ======================
          - name: LOGZIO_TOKEN
            value: "ThisIsASuperLongToken"
          - name: LOGZIO_LOGTYPE
            value: "kubernetes"
        resources:
          limits:
            memory: 200Mi
          requests:
            cpu: 100m
            memory: 200Mi
        volumeMounts:
        - name: varlog
          mountPath: /var/log
        # When actual pod logs in /var/lib/docker/containers, the following lines should be used.
        # - name: dockercontainerlogdirectory
        #   mountPath: /var/lib/docker/containers
        #   readOnly: true
        # When actual pod logs in /var/log/pods, the following lines should be used.
        - name: dockercontainerlogdirectory
          mountPath: /var/log/pods
          readOnly: true
      terminationGracePeriodSeconds: 30
      volumes:
      - name: varlog
        hostPath:
          path: /var/log
      # When actual pod logs in /var/lib/docker/containers, the following lines should be used.
      # - name: dockercontainerlogdirectory
      #   hostPath:
      #     path: /var/lib/docker/containers
      # When actual pod logs in /var/log/pods, the following lines should be used.
      - name: dockercontainerlogdirectory
        hostPath:
          path: /var/log/pods
"#;

const COLUMNS: &str = "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE";
const NODES: [&str; 3] = ["n1", "n2", "n3"];

pub fn seed(world: &World) {
    everywhere(world);
    logs_of_its_own_node(world);
    on_one_node(world);
    orphans_are_adopted(world);
}

fn everywhere(world: &World) {
    world.apply("my-daemonset.yaml", HTTPD, "daemonset.apps/my-daemonset created");
    world.rolled_out("default", "my-daemonset");
    world.shows("kubectl get daemonset", &format!("{COLUMNS}\nmy-daemonset 3 3 3 3 3 <none> *"));
    let pods: String = ["* 1/1 Running 0 *\n"; 3].concat();
    like(&world.says("kubectl get pod"), &format!("NAME READY STATUS RESTARTS AGE\n{pods}")).unwrap();
    // What the scheduler is told, as the article quotes it.
    for node in NODES {
        let pod = world.pod_on("default", "app=my-daemon", node);
        let affinity = world.value(&format!("pod {pod}"), "{.spec.affinity.nodeAffinity}");
        let expected = format!(
            r#"{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{{"matchFields":[{{"key":"metadata.name","operator":"In","values":["{node}"]}}]}}]}}}}"#
        );
        assert_eq!(affinity, expected);
    }
}

fn logs_of_its_own_node(world: &World) {
    world.says("kubectl taint node n3 node-role.kubernetes.io/master:NoSchedule");
    world.apply("fluentd-daemonset-elasticsearch.yaml", FLUENTD, "daemonset.apps/fluentd created");
    world.rolled_out("kube-system", "fluentd");
    world.runs_on("kube-system", "k8s-app=fluentd-logging", &NODES);
    let pods = NODES.map(|node| world.pod_on("default", "app=my-daemon", node));
    for (node, pod) in NODES.iter().zip(&pods) {
        let collector = world.pod_on("kube-system", "k8s-app=fluentd-logging", node);
        let line = format!("kubectl logs -n kube-system {collector}");
        let logs = eventually(&format!("the log of {pod} on {node}"), LIMIT, || {
            let logs = world.says(&line);
            let wanted = format!("httpd of {pod}");
            anyhow::ensure!(logs.lines().any(|l| l.contains(pod) && l.ends_with(&wanted)), "{logs}");
            Ok(logs)
        });
        let others = pods.iter().filter(|other| *other != pod);
        assert!(
            others.into_iter().all(|other| !logs.contains(other.as_str())),
            "another node's logs:\n{logs}"
        );
    }
    world.end("kube-system", "fluentd", "k8s-app=fluentd-logging");
    let untainted = world.says("kubectl taint node n3 node-role.kubernetes.io/master:NoSchedule-");
    assert_eq!(untainted, "node/n3 untainted\n");
}

fn on_one_node(world: &World) {
    let selecting = format!("{HTTPD}{ON_ONE_NODE}");
    world.apply("my-daemonset.yaml", &selecting, "daemonset.apps/my-daemonset configured");
    world.runs_on("default", "app=my-daemon", &["n1"]);
    world.rolled_out("default", "my-daemonset");
    let line = format!("{COLUMNS}\nmy-daemonset 1 1 1 1 1 kubernetes.io/hostname=n1 *");
    world.shows("kubectl get daemonset", &line);
    // "If a node's label is modified …": out of the set, and back into it.
    world.says("kubectl label node n1 --overwrite kubernetes.io/hostname=elsewhere");
    world.runs_on("default", "app=my-daemon", &[]);
    world.says("kubectl label node n1 --overwrite kubernetes.io/hostname=n1");
    world.runs_on("default", "app=my-daemon", &["n1"]);
    world.rolled_out("default", "my-daemonset");
}

fn orphans_are_adopted(world: &World) {
    let uids = || world.field("default", "app=my-daemon", ".metadata.uid");
    let owners = || world.field("default", "app=my-daemon", ".metadata.ownerReferences[*].name");
    let before = uids();
    let deleted = world.says("kubectl delete daemonset my-daemonset --cascade=orphan");
    assert!(deleted.starts_with("daemonset.apps \"my-daemonset\" deleted"), "{deleted}");
    e2e::eventually_equal("no owner", LIMIT, vec![String::new()], owners);
    assert_eq!(uids(), before);
    // The same selector; the template differs, so that the adopted pod is replaced, as its updateStrategy says.
    world.apply("my-daemonset.yaml", HTTPD, "daemonset.apps/my-daemonset created");
    world.runs_on("default", "app=my-daemon", &NODES);
    world.rolled_out("default", "my-daemonset");
    assert_eq!(owners(), ["my-daemonset"; 3]);
    world.end("default", "my-daemonset", "app=my-daemon");
}
