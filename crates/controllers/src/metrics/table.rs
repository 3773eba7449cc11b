//! Every metric that there is: name, type, labels and meaning. docs/metrics.md is compared with this list.
//!
//! Kubernetes: `component-base/metrics` for names that do not begin with `everynode_`.

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only up.
    Counter,
    /// Up and down.
    Gauge,
    /// How many were at most so large. Seconds, in these buckets.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// What it is called.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

impl Kind {
    /// As Prometheus calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// Upstream's buckets of its work queues.
const QUEUE: &[f64] = &[1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0];
/// Upstream's buckets of requests.
const REQUEST: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];
/// From a plan of few nodes to one of ten thousand.
const PLAN: &[f64] = &[1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0];

macro_rules! metrics {
    ($($id:ident: $name:literal, $kind:expr, [$($label:literal),*], $help:literal;)*) => {
        $(#[doc = $help] pub static $id: Metric = Metric { name: $name, kind: $kind, labels: &[$($label),*], help: $help };)*
        /// All of them, in the order of the page.
        pub static ALL: &[&Metric] = &[$(&$id),*];
    };
}

use Kind::{Counter, Gauge, Histogram};

metrics! {
    DESIRED: "everynode_daemonset_desired", Gauge, ["namespace", "daemonset"], "Nodes that want a daemon.";
    READY: "everynode_daemonset_ready", Gauge, ["namespace", "daemonset"], "Of these, nodes with a daemon that is ready.";
    UPDATED: "everynode_daemonset_updated", Gauge, ["namespace", "daemonset"], "Of these, nodes with a daemon of the current template.";
    AVAILABLE: "everynode_daemonset_available", Gauge, ["namespace", "daemonset"], "Of these, nodes with a daemon that has been ready for minReadySeconds.";
    UNAVAILABLE: "everynode_daemonset_unavailable", Gauge, ["namespace", "daemonset", "cause"], "Daemons that are not available, by cause: missing, unscheduled, starting, not_ready, not_yet_available, node_silent, terminating, failed.";
    PROGRESS: "everynode_daemonset_seconds_since_progress", Gauge, ["namespace", "daemonset"], "How long nothing has moved while something is to be done; 0 if nothing is.";
    UNLISTED: "everynode_daemonsets_unlisted", Gauge, [], "DaemonSets beyond the first 500, which have no series of their own.";
    PLANS: "everynode_plan_duration_seconds", Histogram(PLAN), ["pass"], "Time to make a plan: update reads what has changed, full everything.";
    ACTS: "everynode_act_duration_seconds", Histogram(REQUEST), [], "Time to carry out a plan that has something to do.";
    FOREIGN: "everynode_foreign_writes_total", Counter, ["manager", "what"], "Writes to pods and status of our DaemonSets by another controller while we lead.";
    LIMITS: "everynode_limit_waits_total", Counter, ["limit"], "How often something waited for a limit: rate (--kube-api-qps), workers (--concurrent-syncs), server (429).";
    SPANS_DROPPED: "everynode_trace_spans_dropped_total", Counter, [], "Spans that no collector has taken; only where traces are sent.";
    ADDS: "workqueue_adds_total", Counter, ["name"], "DaemonSets that were to be looked at.";
    DEPTH: "workqueue_depth", Gauge, ["name"], "DaemonSets that wait for a look now.";
    QUEUED: "workqueue_queue_duration_seconds", Histogram(QUEUE), ["name"], "How long one waited for its look.";
    WORKED: "workqueue_work_duration_seconds", Histogram(QUEUE), ["name"], "How long a look took, acting included.";
    UNFINISHED: "workqueue_unfinished_work_seconds", Gauge, ["name"], "How long the looks that are under way have taken so far, together.";
    LONGEST: "workqueue_longest_running_processor_seconds", Gauge, ["name"], "How long the longest of them has taken so far.";
    RETRIES: "workqueue_retries_total", Counter, ["name"], "Looks that failed and are repeated.";
    REQUESTS: "rest_client_requests_total", Counter, ["code", "method", "host"], "Answers of the API server; the code is <error> where there was none.";
    REQUEST_SECONDS: "rest_client_request_duration_seconds", Histogram(REQUEST), ["verb", "host"], "Time until the answer began.";
    RATE_SECONDS: "rest_client_rate_limiter_duration_seconds", Histogram(REQUEST), ["verb", "host"], "Time that requests waited for --kube-api-qps.";
    LEADS: "leader_election_master_status", Gauge, ["name"], "1 in the process that holds the lease of this name, else 0.";
    CPU: "process_cpu_seconds_total", Counter, [], "Processor time of this process.";
    RESIDENT: "process_resident_memory_bytes", Gauge, [], "Memory of this process.";
    VIRTUAL: "process_virtual_memory_bytes", Gauge, [], "Address space of this process.";
    STARTED: "process_start_time_seconds", Gauge, [], "When this process was started, in seconds since 1970.";
    OPEN_FDS: "process_open_fds", Gauge, [], "Open file descriptors.";
    MAX_FDS: "process_max_fds", Gauge, [], "How many there may be.";
}
