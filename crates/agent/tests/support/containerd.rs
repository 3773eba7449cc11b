//! A containerd for one test: in its own network, mount and process namespaces, with images made on the spot.
//!
//! Everything ends with the first process of its process namespace, also when the test panics: containers, shims,
//! mounts. Only the network namespace, the cgroup and the folder are removed by hand.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub const IMAGE: &str = "docker.io/library/test:1";

pub struct Containerd {
    process: Child,
    netns: String,
    pub cgroup: String,
    pub dir: tempfile::TempDir,
}

/// Why there can be no containerd here: the test says so and passes only where it was not asked for.
pub fn missing() -> Option<String> {
    let root = rustix::process::geteuid().is_root();
    let tools = ["containerd", "ctr", "runc", "ip", "nsenter", "unshare", "busybox", "iptables"];
    let absent = tools.iter().find(|tool| !run("sh", &["-c", &format!("command -v {tool}")]));
    match (root, absent) {
        (false, _) => Some("needs root".into()),
        (_, Some(tool)) => Some(format!("needs {tool}")),
        _ => None,
    }
}

impl Containerd {
    pub fn start() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("agent-test-{}-{number}", std::process::id());
        let dir = tempfile::Builder::new().prefix(&name).tempdir().unwrap();
        configure(dir.path());
        share(dir.path());
        assert!(run("ip", &["netns", "add", &name]), "no network namespace");
        assert!(run("ip", &["-n", &name, "link", "set", "lo", "up"]));
        let process = spawn(dir.path(), &name);
        let containerd = Self { process, netns: name.clone(), cgroup: format!("/{name}"), dir };
        containerd.wait_until_ready();
        containerd.import();
        containerd
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("containerd.sock")
    }

    /// What `ctr` answers.
    pub fn ctr(&self, arguments: &[&str]) -> String {
        let output = Command::new("ctr")
            .arg("-a")
            .arg(self.socket())
            .args(["-n", "k8s.io"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "ctr {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What a command on this node's network answers.
    pub fn on_node(&self, command: &[&str]) -> Option<String> {
        let output = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.netns))
            .args(command)
            .output()
            .unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let socket = self.socket();
        while !run("ctr", &["-a", &socket.to_string_lossy(), "version"]) {
            let log = std::fs::read_to_string(self.dir.path().join("containerd.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "containerd does not start: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// One layer with busybox; one image sleeps for ever (pause), one is for the tests.
    fn import(&self) {
        let root = self.dir.path().join("image");
        std::fs::create_dir_all(root.join("layer/bin")).unwrap();
        for folder in ["tmp", "etc", "proc", "sys", "dev"] {
            std::fs::create_dir_all(root.join("layer").join(folder)).unwrap();
        }
        std::fs::copy("/bin/busybox", root.join("layer/bin/busybox")).unwrap();
        for applet in
            ["sh", "sleep", "cat", "echo", "id", "env", "httpd", "nc", "ls", "true", "kill", "mount"]
        {
            std::os::unix::fs::symlink("busybox", root.join("layer/bin").join(applet)).unwrap();
        }
        let layer = root.join("layer.tar");
        assert!(run("tar", &["-C", &text(&root.join("layer")), "-cf", &text(&layer), "."]));
        let sum = Command::new("sha256sum").arg(&layer).output().unwrap().stdout;
        let digest = String::from_utf8_lossy(&sum).split(' ').next().unwrap().to_string();
        let images = [
            ("pause", r#"["/bin/sleep","1000000000"]"#, "docker.io/library/pause:test"),
            ("test", r#"["/bin/sh"]"#, IMAGE),
        ];
        let mut manifest = Vec::new();
        for (file, command, tag) in images {
            let config = format!(
                r#"{{"architecture":"amd64","os":"linux","config":{{"Entrypoint":{command},"Env":["PATH=/bin"]}},
                    "rootfs":{{"type":"layers","diff_ids":["sha256:{digest}"]}}}}"#
            );
            std::fs::write(root.join(format!("{file}.json")), config).unwrap();
            manifest
                .push(format!(r#"{{"Config":"{file}.json","RepoTags":["{tag}"],"Layers":["layer.tar"]}}"#));
        }
        std::fs::write(root.join("manifest.json"), format!("[{}]", manifest.join(","))).unwrap();
        let archive = self.dir.path().join("images.tar");
        let names = ["manifest.json", "pause.json", "test.json", "layer.tar"];
        let mut arguments = vec!["-C".to_string(), text(&root), "-cf".into(), text(&archive)];
        arguments.extend(names.map(String::from));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert!(run("tar", &arguments));
        self.ctr(&["images", "import", &text(&archive)]);
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // `unshare --kill-child` takes the whole process namespace with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
        run("ip", &["netns", "del", &self.netns]);
        run("umount", &["-l", &text(self.dir.path())]);
        remove_cgroup(&self.cgroup);
    }
}

/// What the agent mounts in the folder, containerd sees, although its mounts are its own: as on a machine with systemd.
fn share(dir: &Path) {
    let dir = text(dir);
    assert!(run("mount", &["--bind", &dir, &dir]) && run("mount", &["--make-shared", &dir]));
}

/// A cgroup can be removed only when its last process is gone, which takes the kernel a moment.
fn remove_cgroup(cgroup: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    for tree in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let folder = tree.path().join(cgroup.trim_start_matches('/'));
        let remove = format!("find {} -depth -type d -exec rmdir {{}} +", text(&folder));
        while folder.is_dir() && !run("sh", &["-c", &remove]) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn spawn(dir: &Path, netns: &str) -> Child {
    let log = std::fs::File::create(dir.join("containerd.log")).unwrap();
    // Folders that containerd and CNI would otherwise share with the machine.
    let script = "mkdir -p /run/netns /var/lib/cni && mount -t tmpfs none /run/netns && mount -t tmpfs none \
                  /var/lib/cni && exec containerd -c \"$0\"";
    Command::new("nsenter")
        .arg(format!("--net=/run/netns/{netns}"))
        .args([
            "unshare",
            "--mount",
            "--propagation",
            "slave",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["sh", "-c", script])
        .arg(dir.join("config.toml"))
        .stdout(Stdio::from(log.try_clone().unwrap()))
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap()
}

fn configure(dir: &Path) {
    let at = |name: &str| text(&dir.join(name));
    std::fs::create_dir_all(dir.join("cni")).unwrap();
    let config = format!(
        r#"version = 2
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "docker.io/library/pause:test"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
"#,
        root = at("root"),
        state = at("state"),
        socket = at("containerd.sock"),
        cni = at("cni"),
    );
    std::fs::write(dir.join("config.toml"), config).unwrap();
    let network = r#"{"cniVersion":"0.4.0","name":"test","plugins":[
        {"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,
         "ipam":{"type":"host-local","ranges":[[{"subnet":"10.77.0.0/24"}]],"dataDir":"/var/lib/cni/networks"}},
        {"type":"portmap","capabilities":{"portMappings":true}}]}"#;
    std::fs::write(dir.join("cni/10-test.conflist"), network).unwrap();
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub fn run(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
