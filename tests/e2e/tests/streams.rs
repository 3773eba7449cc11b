//! Exec, attach, cp and port-forward with real containers, also on a node that joins later over the network.
//!
//! With the newest kubectl (WebSocket) and the oldest (SPDY) on the same cluster; the pods run the machine's own shell. The
//! nodes' certificates live so short that all of this outlives them.

use e2e::{Answer, Cluster, Kubectl, eventually, newest_and_oldest};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Long enough that an agent on a busy machine renews in the last tenth, short enough to be over when the rest is done.
const CERTIFICATE_SECONDS: u64 = 40;
const LIMIT: Duration = Duration::from_secs(60);
/// Larger than all buffers on the way together.
const FILE_BYTES: usize = 20 << 20;

/// `box-NODE` has a shell and a web server, `echo-NODE` answers each line of its input.
const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: box-NODE}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  containers:
  - name: sh
    image: everynode.dev/hello:1
    command: [/usr/bin/sleep, '1000']
    volumeMounts:
    - {name: usr, mountPath: /usr, readOnly: true}
    - {name: lib, mountPath: /lib, readOnly: true}
    - {name: lib64, mountPath: /lib64, readOnly: true}
    - {name: tmp, mountPath: /tmp}
    env: [{name: PATH, value: '/usr/bin'}]
  - {name: web, image: 'everynode.dev/hello:1'}
  volumes:
  - {name: usr, hostPath: {path: /usr}}
  - {name: lib, hostPath: {path: /lib}}
  - {name: lib64, hostPath: {path: /lib64}}
  - {name: tmp, emptyDir: {}}
---
apiVersion: v1
kind: Pod
metadata: {name: echo-NODE}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  containers:
  - name: sh
    image: everynode.dev/hello:1
    stdin: true
    command: [/usr/bin/sh, -c, 'while read line; do echo \"got $line\"; done; sleep 1000']
    volumeMounts:
    - {name: usr, mountPath: /usr, readOnly: true}
    - {name: lib, mountPath: /lib, readOnly: true}
    - {name: lib64, mountPath: /lib64, readOnly: true}
    env: [{name: PATH, value: '/usr/bin'}]
  volumes:
  - {name: usr, hostPath: {path: /usr}}
  - {name: lib, hostPath: {path: /lib}}
  - {name: lib64, hostPath: {path: /lib64}}
";

#[test]
fn kubectl_reaches_into_pods_on_every_node() {
    let life = format!("{CERTIFICATE_SECONDS}s");
    let setup = ["--runtime", "cri", "--nodes", "1", "--cluster-signing-duration", &life];
    let mut cluster = Cluster::start(&setup).unwrap();
    let kubectls = newest_and_oldest().unwrap();
    let kubectl = cluster.kubectl(&kubectls[0].1);
    cluster.wait_for_nodes(&kubectl, &["n1"]);
    cluster.everynode(&["node", "add", "n2"]);
    cluster.wait_for_nodes(&kubectl, &["n1", "n2"]);
    for node in ["n1", "n2"] {
        kubectl.ok_with(&["apply", "-f", "-"], &PODS.replace("NODE", node));
    }
    kubectl.ok(&["wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s"]);
    for ((minor, path), node) in kubectls.iter().zip(["n2", "n1"]) {
        eprintln!("kubectl 1.{minor} on {node}");
        let pods = Pods { kubectl: cluster.kubectl(path), node };
        pods.exec();
        pods.terminal();
        pods.copy();
        pods.attach();
        pods.forward();
    }
    for node in ["n1", "n2"] {
        outlives_its_certificates(&Pods { kubectl: cluster.kubectl(&kubectls[0].1), node });
    }
    let data_dir = cluster.data_dir();
    drop(cluster);
    e2e::assert_clean(&data_dir);
}

/// Nobody has started the agent again, and what it got when it joined has ended; the server takes a new connection to it for
/// each of these, and looks at what the agent shows.
fn outlives_its_certificates(pods: &Pods) {
    let Pods { kubectl, node } = pods;
    let joined = kubectl.value(&["get", "node", node], "{.metadata.creationTimestamp}").unwrap();
    let joined = Command::new("date").args(["-d", &joined, "+%s"]).output().unwrap().stdout;
    let joined: u64 = String::from_utf8(joined).unwrap().trim().parse().unwrap();
    // Both certificates were there before the Node object.
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(joined + CERTIFICATE_SECONDS);
    eventually("the first certificates have ended", LIMIT, || {
        anyhow::ensure!(SystemTime::now() > end, "{:?} are left", end.duration_since(SystemTime::now()));
        Ok(())
    });
    let renewed =
        format!("{{range .items[?(@.spec.username==\"system:node:{node}\")]}}{{.spec.signerName}} {{end}}");
    let asked = kubectl.value(&["get", "csr"], &renewed).unwrap();
    for (signer, least) in [("kube-apiserver-client-kubelet", 1), ("kubelet-serving", 2)] {
        assert!(asked.matches(signer).count() >= least, "{node} has asked for {asked}");
    }
    let lease = ["get", "lease", "-n", "kube-node-lease", node];
    let before = kubectl.value(&lease, "{.spec.renewTime}").unwrap();
    eventually("its heart beats", LIMIT, || {
        let now = kubectl.value(&lease, "{.spec.renewTime}")?;
        anyhow::ensure!(now > before, "{now}");
        Ok(())
    });
    kubectl.ok(&["wait", "node", node, "--for=condition=Ready", "--timeout=60s"]);
    assert_eq!(pods.run(&["--", "sh", "-c", "echo out"], "").stdout, "out\n");
    assert_ne!(kubectl.ok(&["logs", &pods.name(), "-c", "web"]), "");
}

struct Pods {
    kubectl: Kubectl,
    node: &'static str,
}

impl Pods {
    fn name(&self) -> String {
        format!("box-{}", self.node)
    }

    fn run(&self, arguments: &[&str], input: &str) -> Answer {
        let name = self.name();
        let mut all = vec!["exec", &name, "-c", "sh"];
        all.extend(arguments);
        self.kubectl.run_with_input(&all, input)
    }

    fn exec(&self) {
        let check = |arguments: &[&str], input: &str, stdout: &str, stderr: &str, code: i32| {
            let answer = self.run(arguments, input);
            assert_eq!(
                (answer.stdout.as_str(), answer.code),
                (stdout, code),
                "{arguments:?} {}",
                answer.stderr
            );
            assert!(answer.stderr.contains(stderr), "{arguments:?} {}", answer.stderr);
        };
        check(&["--", "sh", "-c", "echo out"], "", "out\n", "", 0);
        let both = "echo out; echo err >&2; exit 7";
        check(&["--", "sh", "-c", both], "", "out\n", "err\ncommand terminated with exit code 7\n", 7);
        // The end of the input arrives, and what comes after it.
        check(&["-i", "--", "sh", "-c", "cat; echo end"], "in\n", "in\nend\n", "", 0);
        let long = "0123456789abcdef\n".repeat(200_000);
        let sum = format!("{}  -\n", hex(&Sha256::digest(&long)));
        check(&["-i", "--", "sha256sum"], &long, &sum, "", 0);
        // A command that reads nothing of it has a code, too. More than a pipe holds is not sent: containerd 1.6 may then
        // wait for ever, with its own client as well (`pkg/cri/io/exec_io.go` waits for the copying of the input).
        check(&["-i", "--", "sh", "-c", "exit 5"], "unread\n", "", "exit code 5", 5);
        check(&["--", "nosuch"], "", "", "executable file not found", 1);
        let name = self.name();
        let none = self.kubectl.fails(&["exec", &name, "-c", "none", "--", "true"]);
        assert_eq!(
            none,
            format!("Error from server (BadRequest): container none is not valid for pod {name}\n")
        );
    }

    /// The size of the terminal goes along, and output comes with a terminal's line ends.
    fn terminal(&self) {
        let script = "i=0; until [ \"$(stty size)\" = '33 99' ] || [ $i = 100 ]; do i=$((i+1)); sleep 0.1; done; stty size; exit 3";
        let name = self.name();
        let answer =
            self.kubectl.in_terminal((33, 99), &["exec", "-it", &name, "-c", "sh", "--", "sh", "-c", script]);
        assert!(answer.stdout.contains("33 99\r\n"), "{answer:?}");
        assert_eq!(answer.code, 3, "{answer:?}");
    }

    fn copy(&self) {
        let folder = tempfile::tempdir().unwrap();
        let (there, back) = (folder.path().join("there"), folder.path().join("back"));
        let mut state = 88_172_645_463_325_252u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take(FILE_BYTES / 8)
        .flatten()
        .collect();
        std::fs::write(&there, &bytes).unwrap();
        let remote = format!("{}:tmp/file", self.name());
        self.kubectl.ok(&["cp", there.to_str().unwrap(), &remote, "-c", "sh"]);
        let sum = self.run(&["--", "sha256sum", "/tmp/file"], "").stdout;
        assert_eq!(sum, format!("{}  /tmp/file\n", hex(&Sha256::digest(&bytes))));
        self.kubectl.ok(&["cp", &remote, back.to_str().unwrap(), "-c", "sh"]);
        assert!(std::fs::read(&back).unwrap() == bytes, "what came back differs");
    }

    fn attach(&self) {
        let name = format!("echo-{}", self.node);
        let mut log = self.kubectl.start(&["logs", "-f", &name]);
        let answer = self.kubectl.run_with_input(&["attach", "-i", &name], "hello\n");
        assert_eq!(answer.code, 0, "{answer:?}");
        log.line(LIMIT, |line| line == "got hello");
        let phase = self.kubectl.value(&["get", "pod", &name], "{.status.phase}").unwrap();
        assert_eq!(phase, "Running", "the process goes on");
    }

    fn forward(&self) {
        let name = self.name();
        let mut forward = self.kubectl.start(&["port-forward", &name, ":8080"]);
        let line = forward.line(LIMIT, |line| line.starts_with("Forwarding from 127.0.0.1:"));
        let port: u16 = line.split([':', ' ']).nth(3).unwrap().parse().unwrap();
        std::thread::scope(|scope| {
            let answers: Vec<_> = (0..8).map(|_| scope.spawn(move || get(port))).collect();
            for answer in answers {
                let answer = answer.join().unwrap().unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            }
        });
        drop(forward);
        // Nobody listens there: this connection ends without an answer.
        let mut forward = self.kubectl.start(&["port-forward", &name, ":9999"]);
        let line = forward.line(LIMIT, |line| line.starts_with("Forwarding from 127.0.0.1:"));
        let port: u16 = line.split([':', ' ']).nth(3).unwrap().parse().unwrap();
        assert!(get(port).map_or(true, |answer| answer.is_empty()));
        // The node serves on.
        eventually("exec after a refused port", LIMIT, || {
            anyhow::ensure!(self.run(&["--", "true"], "").code == 0);
            Ok(())
        });
    }
}

fn get(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
