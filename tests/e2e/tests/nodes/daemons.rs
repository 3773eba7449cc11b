//! Where daemons run, how they go and come back.

use crate::{LIMIT, check};
use e2e::{assert_says, eventually, eventually_equal};

/// A pod of n4 that belongs to nobody and needs five seconds to end; it runs the machine's own shell.
const SLOW: &str = "
apiVersion: v1
kind: Pod
metadata: {name: slow}
spec:
  nodeName: n4
  terminationGracePeriodSeconds: 30
  containers:
  - name: slow
    image: everynode.dev/hello:1
    command: [/usr/bin/sh, -c]
    args: [\"trap 'sleep 5; echo well > /out/end; exit 0' TERM; echo > /out/begin; while :; do sleep 0.1; done\"]
    volumeMounts:
    - {name: usr, mountPath: /usr, readOnly: true}
    - {name: lib, mountPath: /lib, readOnly: true}
    - {name: lib64, mountPath: /lib64, readOnly: true}
    - {name: out, mountPath: /out}
  volumes:
  - {name: usr, hostPath: {path: /usr}}
  - {name: lib, hostPath: {path: /lib}}
  - {name: lib64, hostPath: {path: /lib64}}
  - {name: out, hostPath: {path: OUT}}
";

#[test]
fn labels_decide_at_once() {
    check(|world| {
        world.hello();
        world.kubectl.ok(&["label", "node", "n1", "disk=ssd"]);
        let pin = "nodeSelector: {disk: ssd}\n      terminationGracePeriodSeconds";
        world.apply_with("terminationGracePeriodSeconds", pin);
        world.runs_on(&["n1"]);
        let listed = world.kubectl.ok(&["get", "node", "-l", "disk=ssd", "-L", "disk"]);
        assert!(listed.contains("DISK") && listed.contains("n1") && !listed.contains("n2"), "{listed}");
        world.kubectl.ok(&["label", "node", "n3", "disk=ssd"]);
        world.runs_on(&["n1", "n3"]);
        world.kubectl.ok(&["label", "node", "n1", "disk-"]);
        world.runs_on(&["n3"]);
    });
}

#[test]
fn taints_end_or_leave_or_keep_out() {
    check(|world| {
        world.hello();
        let kubectl = &world.kubectl;
        let before = world.containers();
        kubectl.ok(&["taint", "node", "n1", "k=v:NoSchedule"]);
        kubectl.ok(&["taint", "node", "n2", "k=v:NoExecute"]);
        world.runs_on(&["n1", "n3"]);
        assert!(
            world.containers().iter().all(|id| before.contains(id)),
            "NoSchedule has restarted something"
        );
        kubectl.ok(&["taint", "node", "n1", "n2", "k-"]);
        world.runs_on(&["n1", "n2", "n3"]);
        let tolerated = "tolerations: [{key: k, operator: Exists}]\n      terminationGracePeriodSeconds";
        world.apply_with("terminationGracePeriodSeconds", tolerated);
        world.rolled_out();
        let before = world.containers();
        kubectl.ok(&["taint", "node", "n2", "k=v:NoExecute"]);
        kubectl.ok(&["taint", "node", "n3", "node-role.kubernetes.io/control-plane:NoExecute"]);
        world.runs_on(&["n1", "n2"]);
        assert!(
            world.containers().iter().all(|id| before.contains(id)),
            "a tolerated taint has restarted something"
        );
        let both = "tolerations: [{operator: Exists}]\n      terminationGracePeriodSeconds";
        world.apply_with("terminationGracePeriodSeconds", both);
        world.runs_on(&["n1", "n2", "n3"]);
    });
}

#[test]
fn a_deleted_pod_comes_back_and_orphans_are_adopted() {
    check(|world| {
        world.hello();
        let kubectl = &world.kubectl;
        let gone = world.pod_on("n3");
        kubectl.ok(&["delete", "pod", &gone]);
        world.runs_on(&["n1", "n2", "n3"]);
        assert!(!world.pods(".metadata.name").contains(&gone));
        world.rolled_out();
        let before = world.containers();
        kubectl.ok(&["delete", "ds", "hello", "--cascade=orphan"]);
        eventually_equal("no owner", LIMIT, 0, || world.pods(".metadata.ownerReferences[0].kind").len());
        kubectl.ok_with(&["apply", "-f", "-"], crate::HELLO);
        eventually_equal("adopted", LIMIT, 3, || world.pods(".metadata.ownerReferences[0].kind").len());
        world.rolled_out();
        assert_eq!(world.containers(), before);
        kubectl.ok(&["delete", "ds", "hello"]);
        world.runs_on(&[]);
    });
}

#[test]
fn a_fourth_node_joins_and_leaves() {
    check(|world| {
        world.hello();
        world.cluster.everynode(&["node", "add", "n4"]);
        world.runs_on(&["n1", "n2", "n3", "n4"]);
        world.rolled_out();
        let out = tempfile::tempdir().unwrap();
        let slow = SLOW.replace("OUT", &out.path().display().to_string());
        world.kubectl.ok_with(&["apply", "-f", "-"], &slow);
        eventually("the slow container waits for its end", LIMIT, || {
            Ok(std::fs::metadata(out.path().join("begin"))?)
        });
        let others = world.containers_of(&["n1", "n2", "n3"]);
        let said = world.cluster.everynode(&["node", "remove", "n4"]);
        assert_says(&said, "n4 is gone; its Node object and 2 pods are deleted");
        assert_eq!(std::fs::read_to_string(out.path().join("end")).unwrap_or_default(), "well\n");
        // Right at once, not when pod garbage collection comes.
        let left = world.kubectl.ok(&["get", "nodes", "-o", "name"]);
        assert_eq!(left, "node/n1\nnode/n2\nnode/n3\n");
        assert_eq!(world.kubectl.ok(&["get", "pods", "--field-selector=spec.nodeName=n4", "-o", "name"]), "");
        assert_eq!(world.containers(), others);
        assert!(!world.cluster.output().contains("containers go on"), "{}", world.cluster.output());
        let said = world.cluster.fails(&["node", "remove", "n4"]);
        assert_says(&said, "there is no n4; there are n1, n2, n3");
        world.cluster.everynode(&["node", "add", "n4"]);
        world.runs_on(&["n1", "n2", "n3", "n4"]);
        world.rolled_out();
    });
}
