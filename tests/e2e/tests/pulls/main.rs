//! Images from real registries: Debian's docker-registry, open and with a password, on the bridge of three real nodes.
//!
//! One cluster and two registries serve all checks. Each check has a namespace and images of its own, and runs beside the
//! others, because most of its time it waits for a node's patience. At the end no password may stand anywhere.

mod closed;
mod daemon;
mod open;
mod policies;

use daemon::Daemon;
use e2e::{Cluster, Image, Kubectl, Login, Registry, eventually, newest_and_oldest};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A debug build on two busy cores, and a node that waits 10 s after its first failed pull and 20 s after the next.
const LIMIT: Duration = Duration::from_secs(90);
/// The nodes' addresses: the registries must be named before there are any.
const BRIDGE: (&str, &str) = ("10.95.7.0/24", "10.95.7.1");

type Check = fn(&Place);

const CHECKS: &[(&str, Check)] = &[
    ("open", open::a_public_image_runs_on_every_node),
    ("missing", open::a_missing_tag_waits_and_recovers_when_it_is_pushed),
    ("policies", policies::always_asks_the_registry_and_the_others_do_not),
    ("never", policies::never_waits_until_the_image_is_there),
    ("template", closed::a_secret_in_the_template_opens_a_closed_registry),
    ("account", closed::a_secret_of_the_account_opens_it_too),
    ("wrong", closed::a_wrong_password_is_refused_and_the_next_secret_tried),
];

#[test]
fn real_images_come_from_real_registries() {
    let program = e2e::example_program().unwrap();
    let ports = [Registry::free_port().unwrap(), Registry::free_port().unwrap()];
    let open = format!("{}:{}", BRIDGE.1, ports[0]);
    let arguments = ["--runtime", "cri", "--bridge-network", BRIDGE.0, "--plain-http-registry", &open];
    let mut cluster = Cluster::start(&arguments).unwrap();
    let kubectls = newest_and_oldest().unwrap();
    cluster.wait_for_nodes(&cluster.kubectl(&kubectls[0].1), &["n1", "n2", "n3"]);
    let ip = BRIDGE.1.parse().unwrap();
    let open = Registry::start(ip, ports[0], None).unwrap();
    let closed = Registry::start(ip, ports[1], Some(Login::PULLER)).unwrap();
    plain_http(&cluster.data_dir(), &closed.name());

    std::thread::scope(|scope| {
        for (minor, path) in &kubectls {
            for (name, check) in CHECKS {
                let place = Place {
                    kubectl: cluster.kubectl(path),
                    namespace: format!("{name}-{minor}"),
                    open: &open,
                    closed: &closed,
                    program: &program,
                };
                let thread = std::thread::Builder::new().name(place.namespace.clone());
                thread.spawn_scoped(scope, move || check(&place.made())).unwrap();
            }
        }
    });

    let data_dir = cluster.data_dir();
    no_password_is_told(&cluster, &cluster.kubectl(&kubectls[0].1));
    drop(cluster);
    e2e::assert_clean(&data_dir);
}

/// Where a check takes place.
struct Place<'a> {
    kubectl: Kubectl,
    namespace: String,
    open: &'a Registry,
    closed: &'a Registry,
    program: &'a [u8],
}

impl Place<'_> {
    fn made(self) -> Self {
        self.kubectl.ok(&["create", "namespace", &self.namespace]);
        self
    }

    /// The name of an image that only this check has: `registry/namespace/app:tag`.
    fn name(&self, registry: &Registry, tag: &str) -> String {
        format!("{}/{}/app:{tag}", registry.name(), self.namespace)
    }

    /// Pushes the example program under a tag; answers the image's name and its digest as a pod's status shows it.
    fn push(&self, registry: &Registry, tag: &str, version: &str) -> (String, String) {
        let image = Image::new(self.program, version, &format!("{} {version}", self.namespace)).unwrap();
        let name = self.name(registry, tag);
        let digest = registry.push(&image, name.split_once('/').unwrap().1).unwrap();
        (name.clone(), format!("{}@{digest}", name.rsplit_once(':').unwrap().0))
    }

    /// Runs kubectl in the namespace; it must succeed.
    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        self.kubectl.ok(&self.here(arguments))
    }

    fn here<'b>(&'b self, arguments: &[&'b str]) -> Vec<&'b str> {
        [&["--namespace", &self.namespace], arguments].concat()
    }

    #[track_caller]
    fn apply(&self, daemon: &Daemon) {
        self.kubectl.ok_with(&self.here(&["apply", "-f", "-"]), &daemon.manifest());
    }

    #[track_caller]
    fn rolled_out(&self, daemon: &str) {
        self.ok(&["rollout", "status", &format!("ds/{daemon}"), "--timeout=90s"]);
    }

    /// One field of all pods of a daemon, sorted.
    fn pods(&self, daemon: &str, path: &str) -> Vec<String> {
        let path = format!("jsonpath={{range .items[*]}}{{{path}}}{{\"\\n\"}}{{end}}");
        let text = self.ok(&["get", "pods", "-l", &format!("app={daemon}"), "-o", &path]);
        let mut values: Vec<String> = text.lines().map(str::to_string).collect();
        values.sort();
        values
    }

    /// Waits until the pods of a daemon have waited for these reasons, one after the other.
    #[track_caller]
    fn waits(&self, daemon: &str, reasons: &[&str]) {
        let path = "jsonpath={.status.containerStatuses[0].state.waiting.reason}{\"\\n\"}";
        let label = format!("app={daemon}");
        let mut pods = self.kubectl.start(&self.here(&["get", "pods", "-l", &label, "-w", "-o", path]));
        for reason in reasons {
            pods.line(LIMIT, |line| line == *reason);
        }
    }

    /// Waits until there are events for which each of these holds; an event is `Reason message`.
    #[track_caller]
    fn events(&self, wanted: &[&dyn Fn(&str) -> bool]) {
        let path = "jsonpath={range .items[*]}{.reason} {.message}{\"\\n\"}{end}";
        eventually("the events", LIMIT, || {
            let text = self.ok(&["get", "events", "-o", path]);
            for (number, wanted) in wanted.iter().enumerate() {
                anyhow::ensure!(text.lines().any(wanted), "event {number} is not among\n{text}");
            }
            Ok(())
        });
    }

    #[track_caller]
    fn describe(&self, daemon: &str) -> String {
        self.ok(&["describe", "pods", "-l", &format!("app={daemon}")])
    }
}

/// What `--plain-http-registry` does, by hand while the nodes run: docs/registries.md.
fn plain_http(data_dir: &Path, registry: &str) {
    let folder = data_dir.join("registries").join(registry);
    std::fs::create_dir_all(&folder).unwrap();
    let url = format!("http://{registry}");
    let text = format!("server = {url:?}\n[host.{url:?}]\ncapabilities = [\"pull\", \"resolve\"]\n");
    std::fs::write(folder.join("hosts.toml"), text).unwrap();
}

/// Looks for the passwords in every event, status and log file.
#[track_caller]
fn no_password_is_told(cluster: &Cluster, kubectl: &Kubectl) {
    let objects = kubectl.ok(&["get", "events,pods,daemonsets", "-A", "-o", "json"]);
    let mut told = vec![(PathBuf::from("objects"), objects), (PathBuf::from("up.log"), cluster.output())];
    logs(&cluster.data_dir(), &mut told);
    assert!(
        told.len() > 3,
        "no log files were found: {:?}",
        told.iter().map(|(path, _)| path).collect::<Vec<_>>()
    );
    for (path, text) in &told {
        for secret in closed::never_told() {
            assert!(!text.contains(&secret), "{} tells {secret}", path.display());
        }
    }
}

/// All files called `*.log` below a folder.
fn logs(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type();
        if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) {
            logs(&path, found);
        } else if kind.is_ok_and(|kind| kind.is_file()) && path.extension().is_some_and(|end| end == "log") {
            let bytes = std::fs::read(&path).unwrap_or_default();
            found.push((path, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}
