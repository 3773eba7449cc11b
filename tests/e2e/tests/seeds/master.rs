//! "Day 7": redis on every node but the master, and both ways to have it there, too.

use crate::world::{World, like};

const MANIFEST: &str = "\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: redis-ds
  labels:
    app: redis-ds

spec:
  selector:
    matchLabels:
      name: redis-ds

  template:
    metadata:
      labels:
        name: redis-ds
    spec:
      containers:
      - image: redis:5-alpine
        name: redis
        ports:
        - containerPort: 6379
";

const TOLERATING: &str = r"      tolerations:
      - key: node-role.kubernetes.io/master
        effect: NoSchedule
        operator: Exists
";

pub fn seed(world: &World) {
    world
        .says("kubectl label node n1 node-role.kubernetes.io/control-plane= node-role.kubernetes.io/master=");
    world.says("kubectl taint node n1 node-role.kubernetes.io/master:NoSchedule");
    from_a_deployment(world);
    master_is_left_out(world);
    without_the_taint(world);
    with_a_toleration(world);
    world
        .says("kubectl label node n1 node-role.kubernetes.io/control-plane- node-role.kubernetes.io/master-");
}

/// `kubectl create deploy redis-ds --image=redis:5-alpine $out | sed …`: kubectl makes no DaemonSets itself.
fn from_a_deployment(world: &World) {
    let made = world.says("kubectl create deploy redis-ds --image=redis:5-alpine --dry-run=client -o yaml");
    let changed = made.replace("Deployment", "DaemonSet");
    let without = |text: &str, field: &str| -> String {
        text.lines().filter(|line| !line.contains(field)).flat_map(|line| [line, "\n"]).collect()
    };
    let changed = without(&changed, "replicas");
    // What the notes do not say: a Deployment's strategy is called otherwise here, and a server that is strict says so.
    world.file("redis-ds.yaml", &changed);
    let refused = world.refuses("kubectl apply -f redis-ds.yaml");
    assert!(refused.contains("unknown field \"spec.strategy\""), "{refused}");
    let changed = without(&changed, "strategy");
    world.apply("redis-ds.yaml", &changed, "daemonset.apps/redis-ds created");
    world.runs_on("default", "app=redis-ds", &["n2", "n3"]);
    world.rolled_out("default", "redis-ds");
    world.end("default", "redis-ds", "app=redis-ds");
}

fn master_is_left_out(world: &World) {
    let described = world.says("kubectl describe node n1");
    let master = "Name: n1\nRoles: control-plane,master\nTaints: node-role.kubernetes.io/master:NoSchedule";
    like(&described, master).unwrap();
    like(&world.says("kubectl describe node n2"), "Name: n2\nRoles: <none>\nTaints: <none>").unwrap();
    world.apply("redis-ds.yaml", MANIFEST, "daemonset.apps/redis-ds created");
    world.runs_on("default", "name=redis-ds", &["n2", "n3"]);
    world.rolled_out("default", "redis-ds");
    world.shows("kubectl get ds", "redis-ds 2 2 2 2 2 <none> *");
}

fn without_the_taint(world: &World) {
    let said = world.says("kubectl taint node n1 node-role.kubernetes.io/master:NoSchedule-");
    assert_eq!(said, "node/n1 untainted\n");
    world.runs_on("default", "name=redis-ds", &["n1", "n2", "n3"]);
    world.rolled_out("default", "redis-ds");
    world.end("default", "redis-ds", "name=redis-ds");
    let said = world.says("kubectl taint node n1 node-role.kubernetes.io/master:NoSchedule");
    assert_eq!(said, "node/n1 tainted\n");
}

fn with_a_toleration(world: &World) {
    world.apply("redis-ds.yaml", MANIFEST, "daemonset.apps/redis-ds created");
    world.runs_on("default", "name=redis-ds", &["n2", "n3"]);
    let tolerating = format!("{MANIFEST}{TOLERATING}");
    world.apply("redis-ds.yaml", &tolerating, "daemonset.apps/redis-ds configured");
    world.runs_on("default", "name=redis-ds", &["n1", "n2", "n3"]);
    world.rolled_out("default", "redis-ds");
    world.end("default", "redis-ds", "name=redis-ds");
    world.says("kubectl taint node n1 node-role.kubernetes.io/master:NoSchedule-");
}
