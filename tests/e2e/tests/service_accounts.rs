//! A daemon that speaks to the API server from its pod, as an unmodified client does: kubectl itself, without a kubeconfig, with
//! what lies in every container (wire 7.4).
//!
//! kubectl and a shell come from this machine through hostPath volumes, so no image has to be made.

use anyhow::{Context as _, Result, ensure};
use e2e::{Cluster, Kubectl, eventually, newest_and_oldest};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A debug build on two busy cores.
const LIMIT: Duration = Duration::from_secs(90);

const RIGHTS: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: watcher}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: watcher}
rules:
- {apiGroups: [""], resources: [pods], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: watcher}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: watcher}
subjects:
- {kind: ServiceAccount, name: watcher, namespace: default}
"#;

/// Says what it may see, until it is ended.
const SCRIPT: &str = r#"trap 'exit 0' TERM
echo "token $(cat /var/run/secrets/kubernetes.io/serviceaccount/token)"
while true; do
  echo "own $(KUBECTL get pods -o name 2>&1)"
  echo "other $(KUBECTL get pods -n kube-system 2>&1)"
  sleep 1 & wait
done"#;

#[test]
fn a_daemon_does_with_its_token_what_its_role_says_and_nothing_else() {
    let (_, path) = newest_and_oldest().unwrap().remove(0);
    let mut cluster = Cluster::start(&["--runtime", "cri", "--nodes", "1"]).unwrap();
    let kubectl = cluster.kubectl(&path);
    cluster.wait_for_nodes(&kubectl, &["n1"]);
    kubectl.ok_with(&["apply", "-f", "-"], RIGHTS);
    kubectl.ok_with(&["apply", "-f", "-"], &daemon(&path));
    let seen = |start: &'static str, wanted: &'static str| {
        eventually(&format!("{start} {wanted}"), LIMIT, || {
            let log = kubectl.run(&["logs", "ds/watcher"]).stdout;
            let found = log.lines().rev().find_map(|line| line.strip_prefix(start)).map(str::trim);
            let found = found.with_context(|| format!("no {start:?} in {log:?}"))?.to_string();
            ensure!(found.starts_with(wanted), "{found}");
            Ok(found)
        })
    };
    seen("own ", "pod/watcher-");
    let forbidden = "Error from server (Forbidden): pods is forbidden: User \"system:serviceaccount:default:watcher\" cannot list resource \"pods\" in API group \"\" in the namespace \"kube-system\"";
    seen("other ", forbidden);

    let me = shown(&cluster, &kubectl, "pod", &seen("token ", "ey"));
    me.ok(&["get", "pods"]);
    let pod = kubectl.value(&["get", "pods"], "{.items[0].metadata.name}").unwrap();
    let who = me.ok(&["auth", "whoami"]);
    for wanted in ["system:serviceaccount:default:watcher", &pod, "n1", "JTI="] {
        assert!(who.contains(wanted), "{who}");
    }
    kubectl.ok(&["delete", "ds", "watcher"]);
    ends(&me);
    token_in_a_secret(&cluster, &kubectl);
    let data_dir = cluster.data_dir();
    drop(cluster);
    e2e::assert_clean(&data_dir);
}

/// It is filled in, opens the same, and goes with its account.
fn token_in_a_secret(cluster: &Cluster, kubectl: &Kubectl) {
    let secret = "{apiVersion: v1, kind: Secret, type: kubernetes.io/service-account-token, metadata: {name: s, \
                  annotations: {kubernetes.io/service-account.name: watcher}}}";
    kubectl.ok_with(&["apply", "-f", "-"], secret);
    let token = eventually("a token in the Secret", LIMIT, || {
        let described = kubectl.ok(&["describe", "secret", "s"]);
        let token = described.lines().find_map(|line| line.strip_prefix("token:")).map(str::trim);
        token.map(str::to_string).with_context(|| described.clone())
    });
    let described = kubectl.ok(&["describe", "secret", "s"]);
    assert!(described.contains("ca.crt:") && described.contains("namespace:"), "{described}");
    let me = shown(cluster, kubectl, "secret", &token);
    me.ok(&["get", "pods"]);
    let short = shown(cluster, kubectl, "short", kubectl.ok(&["create", "token", "watcher"]).trim());
    short.ok(&["get", "pods"]);
    kubectl.ok(&["delete", "sa", "watcher"]);
    ends(&me);
    ends(&short);
    eventually("the Secret's end", LIMIT, || {
        let answer = kubectl.run(&["get", "secret", "s"]);
        ensure!(answer.stderr.contains("NotFound"), "{}", answer.stdout);
        Ok(())
    });
}

#[track_caller]
fn ends(me: &Kubectl) {
    eventually("the token's end", LIMIT, || {
        let answer = me.run(&["get", "pods"]);
        ensure!(answer.stderr.contains("(Unauthorized)"), "{}{}", answer.stdout, answer.stderr);
        Ok(())
    });
}

/// A kubectl that shows this token, and no certificate.
fn shown(cluster: &Cluster, kubectl: &Kubectl, name: &str, token: &str) -> Kubectl {
    let file = cluster.data_dir().join(format!("../{name}.kubeconfig"));
    std::fs::copy(cluster.kubeconfig(), &file).unwrap();
    let me = kubectl.with_kubeconfig(file);
    me.ok(&["config", "set-credentials", name, "--token", token]);
    me.ok(&["config", "set-context", "--current", "--user", name]);
    me
}

/// The DaemonSet, with this machine's programs at their own places.
fn daemon(kubectl: &Path) -> String {
    let (mut mounts, mut volumes) = (String::new(), String::new());
    for (number, folder) in folders(kubectl).unwrap().iter().enumerate() {
        let folder = folder.display();
        mounts += &format!("        - {{name: v{number}, mountPath: {folder}, readOnly: true}}\n");
        volumes += &format!("      - {{name: v{number}, hostPath: {{path: {folder}}}}}\n");
    }
    let script: String = SCRIPT
        .replace("KUBECTL", &kubectl.display().to_string())
        .lines()
        .map(|line| format!("          {line}\n"))
        .collect();
    format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: watcher}}\nspec:\n  \
         selector: {{matchLabels: {{app: watcher}}}}\n  template:\n    metadata: {{labels: {{app: watcher}}}}\n    \
         spec:\n      serviceAccountName: watcher\n      terminationGracePeriodSeconds: 2\n      containers:\n      \
         - name: watcher\n        image: everynode.dev/hello:1\n        command:\n        - /usr/bin/bash\n        - -c\n        \
         - |\n{script}        env:\n        - {{name: HOME, value: /}}\n        - {{name: PATH, value: /usr/bin}}\n        \
         volumeMounts:\n{mounts}      volumes:\n{volumes}"
    )
}

/// What a shell and this kubectl need: `/usr`, the loader, and kubectl's own folder if it lies elsewhere.
fn folders(kubectl: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![PathBuf::from("/usr")];
    folders.extend(["/lib", "/lib64"].map(PathBuf::from).into_iter().filter(|folder| folder.exists()));
    let own = kubectl.parent().context("kubectl has no folder")?;
    if !own.starts_with("/usr") {
        folders.push(own.to_path_buf());
    }
    Ok(folders)
}
