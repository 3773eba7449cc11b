//! How do the numbers of this node read? `GET /metrics/resource` for Prometheus, `GET /stats/summary` for `kubectl top`.
//!
//! Pure, but for asking the [`Meter`](crate::usage::Meter). Names, labels and fields are kubelet's, as far as they are known
//! here: what is missing is left out. Kubernetes: `pkg/kubelet/metrics/collectors/resource_metrics.go`,
//! `kubelet/pkg/apis/stats/v1alpha1`.

use crate::usage::{Measured, Place, Used};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Name, type, help, value.
type Family = (&'static str, &'static str, &'static str, fn(&Used) -> Option<String>);

const CONTAINER: [Family; 3] = [
    (
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
        |used| Some(seconds(used.processor)),
    ),
    (
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set of the container in bytes",
        |used| Some(used.memory.to_string()),
    ),
    (
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds",
        |used| used.started.map(|second| second.to_string()),
    ),
];
const NODE: [Family; 2] = [
    (
        "node_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
        |used| Some(seconds(used.processor)),
    ),
    ("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes", |used| {
        Some(used.memory.to_string())
    }),
];
const POD: [Family; 2] = [
    (
        "pod_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the pod in core-seconds",
        |used| Some(seconds(used.processor)),
    ),
    ("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes", |used| {
        Some(used.memory.to_string())
    }),
];

/// Prometheus' text.
pub(super) fn text(measured: &Measured) -> String {
    let now = &measured.now;
    let at = now.time.as_millisecond();
    let mut out = String::new();
    let containers: Vec<(String, Used)> = now
        .containers
        .iter()
        .map(|(place, used)| {
            let Place { namespace, pod, container, .. } = place;
            (format!("{{container=\"{container}\",namespace=\"{namespace}\",pod=\"{pod}\"}}"), *used)
        })
        .collect();
    let pods: Vec<(String, Used)> = pods(measured)
        .into_iter()
        .map(|((namespace, pod, _), containers)| {
            (format!("{{namespace=\"{namespace}\",pod=\"{pod}\"}}"), sum(&containers))
        })
        .collect();
    let node: Vec<(String, Used)> = now.node.map(|used| (String::new(), used)).into_iter().collect();
    for (families, series) in [(&CONTAINER as &[Family], &containers), (&NODE, &node), (&POD, &pods)] {
        for (name, kind, help, value) in families {
            let _ = writeln!(out, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
            for (labels, used) in series {
                if let Some(value) = value(used) {
                    let _ = writeln!(out, "{name}{labels} {value} {at}");
                }
            }
        }
    }
    let name = "resource_scrape_error";
    let failed = u8::from(now.node.is_none());
    let _ = writeln!(
        out,
        "# HELP {name} [STABLE] 1 if there was an error while getting container metrics, 0 otherwise\n# TYPE {name} gauge\n{name} {failed}"
    );
    out
}

/// kubelet's summary: what `kubectl top` needs of it.
pub(super) fn summary(node: &str, measured: &Measured) -> Value {
    let pods: Vec<Value> = pods(measured)
        .into_iter()
        .map(|((namespace, name, uid), containers)| {
            let containers: Vec<Value> = containers
                .into_iter()
                .map(|(place, used)| {
                    let mut told = numbers(measured, used, measured.rate(place));
                    told["name"] = place.container.as_str().into();
                    told
                })
                .collect();
            json!({ "podRef": { "name": name, "namespace": namespace, "uid": uid }, "containers": containers })
        })
        .collect();
    let mut of_node = match measured.now.node {
        Some(used) => numbers(measured, &used, measured.node_rate()),
        None => json!({}),
    };
    of_node["nodeName"] = node.into();
    // Not kubelet's: how long was looked.
    json!({ "node": of_node, "pods": pods, "windowSeconds": measured.window().as_secs_f64() })
}

fn numbers(measured: &Measured, used: &Used, rate: Option<u64>) -> Value {
    let time = measured.now.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut processor = json!({ "time": time, "usageCoreNanoSeconds": used.processor });
    if let Some(rate) = rate {
        processor["usageNanoCores"] = rate.into();
    }
    json!({ "cpu": processor, "memory": { "time": time, "workingSetBytes": used.memory } })
}

type Pods<'a> = BTreeMap<(&'a str, &'a str, &'a str), Vec<(&'a Place, &'a Used)>>;

fn pods(measured: &Measured) -> Pods<'_> {
    let mut pods = Pods::new();
    for (place, used) in &measured.now.containers {
        pods.entry((&place.namespace, &place.pod, &place.uid)).or_default().push((place, used));
    }
    pods
}

fn sum(containers: &[(&Place, &Used)]) -> Used {
    containers.iter().fold(Used::default(), |all, (_, used)| Used {
        processor: all.processor.saturating_add(used.processor),
        memory: all.memory.saturating_add(used.memory),
        started: None,
    })
}

/// Exact: nanoseconds as a decimal number of seconds.
fn seconds(nanoseconds: u64) -> String {
    format!("{}.{:09}", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Look;

    fn measured() -> Measured {
        let place = |container: &str| Place {
            namespace: "d".into(),
            pod: "p".into(),
            uid: "u".into(),
            container: container.into(),
            id: container.into(),
        };
        let used = |processor, memory| Used { processor, memory, started: Some(7) };
        let second = 1_000_000_000;
        Measured::of(
            Look::of(Some(used(second, 0)), [(place("a"), used(second, 0))].into()),
            Look::of(
                Some(used(5 * second, 4096)),
                [(place("a"), used(2 * second, 10)), (place("b"), used(second / 2, 20))].into(),
            ),
        )
    }

    #[test]
    fn prometheus_reads_kubelets_names() {
        let text = text(&measured());
        for expected in [
            "# TYPE container_cpu_usage_seconds_total counter\n",
            "container_cpu_usage_seconds_total{container=\"a\",namespace=\"d\",pod=\"p\"} 2.000000000 1000\n",
            "container_memory_working_set_bytes{container=\"b\",namespace=\"d\",pod=\"p\"} 20 1000\n",
            "container_start_time_seconds{container=\"b\",namespace=\"d\",pod=\"p\"} 7 1000\n",
            "node_cpu_usage_seconds_total 5.000000000 1000\n",
            "node_memory_working_set_bytes 4096 1000\n",
            "pod_cpu_usage_seconds_total{namespace=\"d\",pod=\"p\"} 2.500000000 1000\n",
            "pod_memory_working_set_bytes{namespace=\"d\",pod=\"p\"} 30 1000\n",
            "resource_scrape_error 0\n",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_container_that_was_not_there_at_the_first_look_has_no_rate() {
        let time = "1970-01-01T00:00:01Z";
        let expected = json!({
            "node": {"nodeName": "n", "cpu": {"time": time, "usageCoreNanoSeconds": 5_000_000_000_u64,
                "usageNanoCores": 2_000_000_000_u64}, "memory": {"time": time, "workingSetBytes": 4096}},
            "pods": [{"podRef": {"name": "p", "namespace": "d", "uid": "u"}, "containers": [
                {"name": "a", "cpu": {"time": time, "usageCoreNanoSeconds": 2_000_000_000_u64,
                    "usageNanoCores": 500_000_000}, "memory": {"time": time, "workingSetBytes": 10}},
                {"name": "b", "cpu": {"time": time, "usageCoreNanoSeconds": 500_000_000},
                    "memory": {"time": time, "workingSetBytes": 20}}]}],
            "windowSeconds": 2.0,
        });
        assert_eq!(summary("n", &measured()), expected);
    }
}
