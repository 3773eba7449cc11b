//! What a collector of traces hears of one change, and what a controller does while there is none.

use crate::world::{LIMIT, NODES, World};
use anyhow::ensure;
use e2e::{Collector, Door, Span, binary, eventually, run_to_end};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

/// The spans of one trace.
struct Trace(Vec<Span>);

impl Trace {
    fn root(&self) -> &Span {
        self.0.iter().find(|span| span.parent.is_empty()).expect("a trace has a root")
    }

    /// The children of a span with this name.
    fn below(&self, parent: &Span, name: &str) -> Vec<&Span> {
        self.0.iter().filter(|span| span.parent == parent.id && span.name == name).collect()
    }

    /// Everything up to the write of the first revision of this generation, woken by its user.
    fn of_change(spans: &[Span], generation: &str) -> Option<Self> {
        let is_meant = |span: &&Span| {
            span.name == "sync default/hello"
                && span.says("everynode.generation") == generation
                && span.says("everynode.wake.by") == "DaemonSet default/hello"
        };
        let roots = spans.iter().filter(is_meant);
        let mut traces =
            roots.map(|root| Self(spans.iter().filter(|span| span.trace == root.trace).cloned().collect()));
        traces.find(|trace| trace.0.iter().any(|span| span.name == "POST controllerrevisions"))
    }
}

#[test]
fn a_change_is_one_trace_from_its_event_to_its_writes_and_a_collector_that_is_away_holds_nothing_up() {
    let address: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{address}");
    let world = World::with(NODES, &["--otlp-endpoint", &url]);
    let door = Door::open(&world.kubectl).unwrap();
    let mut ours = world.controller_through(&door, &["--leader-elect=false", "--otlp-endpoint", &url]);
    world.apply();
    world.converges_to("1");
    eventually("it is said that traces are dropped", LIMIT, || {
        ensure!(ours.log().contains("traces are dropped"), "{}", ours.log());
        Ok(())
    });
    assert_eq!(ours.log().lines().count(), 1, "{}", ours.log());

    let collector = Collector::listen(address).unwrap();
    world.set_image("2");
    world.converges_to("2");
    let trace = eventually("the change's trace", LIMIT, || {
        let spans = collector.spans();
        Trace::of_change(&spans, "2").ok_or_else(|| anyhow::anyhow!("{spans:#?}"))
    });
    assert_eq!(ours.log().matches("traces are taken again").count(), 1, "{}", ours.log());
    let root = trace.root();
    assert_eq!(
        (root.service.as_str(), root.says("everynode.wake.change")),
        ("everynode-controller", "MODIFIED")
    );
    assert!(root.says("everynode.wake.resource_version").parse::<u64>().is_ok(), "{root:?}");
    let [queued, plan, act] =
        ["queued", "plan", "act"].map(|name| match trace.below(root, name).as_slice() {
            [one] => *one,
            several => panic!("{name}: {several:?}"),
        });
    let times = [root.time.0, queued.time.1, plan.time.1, act.time.1];
    assert!(times.is_sorted() && queued.time.0 == root.time.0 && act.time.1 <= root.time.1, "{:#?}", trace.0);
    assert_eq!(plan.says("everynode.plan.desired"), "6");
    assert!(plan.says("everynode.plan.reasons").contains("create revision"), "{plan:?}");
    for (write, code) in [("POST controllerrevisions", "201"), ("PUT daemonsets/status", "200")] {
        let spans = trace.below(act, write);
        let span = spans.first().unwrap_or_else(|| panic!("no {write}: {:#?}", trace.0));
        assert_eq!(span.says("http.response.status_code"), code, "{span:?}");
        let header = format!("{write} 00-{}-{}-01", span.trace, span.id);
        assert!(door.traced().contains(&header), "{header}: {:?}", door.traced());
        goes_on_in_the_server(&collector, span);
    }

    // What is still in hand goes out at the end.
    assert_eq!(ours.stop(), 0);
    let spans: Vec<Span> =
        collector.spans().into_iter().filter(|span| span.service == "everynode-controller").collect();
    let of_change = |span: &&Span| {
        spans.iter().any(|root| root.trace == span.trace && root.says("everynode.generation") == "2")
    };
    let of_pods = |name: &str, action: &str| {
        let meant = |span: &&Span| span.name == name && span.says("everynode.action").starts_with(action);
        spans.iter().filter(of_change).filter(meant).count()
    };
    assert_eq!(
        (of_pods("DELETE pods", "delete pod hello-"), of_pods("POST pods", "create pod on n")),
        (6, 6)
    );
    let parentless = spans.iter().filter(|span| {
        let is_parent = |other: &Span| other.id == span.parent && other.trace == span.trace;
        !span.parent.is_empty() && !spans.iter().any(is_parent)
    });
    assert_eq!(parentless.collect::<Vec<_>>(), Vec::<&Span>::new());
}

/// The server's span, and its write to the store, come with the server's own messages.
#[track_caller]
fn goes_on_in_the_server(collector: &Collector, write: &Span) {
    eventually("the server's spans", LIMIT, || {
        let spans = collector.spans();
        let below = |parent: &Span, name: &str| {
            let meant = |span: &&Span| span.parent == parent.id && span.name.starts_with(name);
            spans.iter().find(meant).cloned().ok_or_else(|| anyhow::anyhow!("no {name}: {spans:#?}"))
        };
        let (method, _) = write.name.split_once(' ').unwrap_or_default();
        let server = below(write, &format!("{method} /apis/apps/v1/namespaces/{{namespace}}/"))?;
        let store = below(&server, "store ")?;
        let services = [&server, &store].map(|span| (span.service.as_str(), span.trace == write.trace));
        assert_eq!(services, [("everynode-server", true); 2]);
        Ok(())
    });
}

#[test]
fn a_collector_that_cannot_be_meant_is_refused_by_the_name_of_its_flag_or_variable() {
    let check = |flag: &[&str], variable: &str, expected: &str| {
        let mut command = Command::new(binary());
        command.arg("controller").args(flag).env("OTEL_EXPORTER_OTLP_ENDPOINT", variable);
        let answer = run_to_end(&mut command, "").unwrap();
        assert!(answer.code != 0 && answer.stderr.contains(expected), "{answer:?}");
        assert!(answer.stderr.contains("http://HOST:4317"), "{answer:?}");
    };
    check(&["--otlp-endpoint=localhost:4317"], "", "--otlp-endpoint");
    check(&[], "http://localhost:4318/v1/traces", "OTEL_EXPORTER_OTLP_ENDPOINT");
}
