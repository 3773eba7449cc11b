//! What may an answer cost? A guard against growing dear, in a measure that holds on any machine and in any build: the time of
//! this thread on a processor, over the time in which the same thread decodes one pod in the same run. Never seconds.
//!
//! The best of some rounds counts: what disturbs only adds. The limits stand a third above what was measured when they were
//! set; docs/performance.md has the figures. One that is broken wants a profile, not a higher limit.

use crate::harness::{Harness, pod};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PODS: &str = "/api/v1/namespaces/default/pods";
const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
/// Pods of a list: enough that the request around them does not count.
const COUNT: u32 = 200;
const ROUNDS: usize = 7;
const WATCHERS: u32 = 50;
/// Changes that the watchers are told of.
const CHANGES: u32 = 4;

/// Limits, in decodings of a pod.
const CREATING: f64 = 17.0;
const BINDING: f64 = 9.5;
const STATUS: f64 = 18.0;
const MARKING: f64 = 10.5;
const REMOVING: f64 = 10.5;

/// Time of this thread on a processor.
fn spent() -> Duration {
    // The kernel counts when a thread gives way.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|text| text.parse().ok());
    nanoseconds.map_or_else(|| Instant::now().duration_since(*START), Duration::from_nanos)
}

/// For kernels that do not count.
static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

/// The best of some rounds, each of so many things: what one of these takes.
async fn best(things: u32, mut round: impl AsyncFnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let before = spent();
        round().await;
        best = best.min(spent() - before);
    }
    best / things
}

/// Reads an answer to its end as a connection does: piece by piece, without keeping it.
async fn drain(api: &Harness, accept: &str) {
    let mut body = api.begin(&format!("GET {PODS}"), &[("accept", accept)], Bytes::new()).await.into_body();
    while let Some(piece) = body.frame().await {
        assert!(piece.is_ok());
    }
}

#[track_caller]
fn check(what: &str, cost: Duration, decoding: Duration, limit: f64) {
    let ratio = cost.as_secs_f64() / decoding.as_secs_f64();
    println!("{what}: {ratio:.2} decodings of a pod, limit {limit}");
    assert!(ratio < limit, "{what} costs {ratio:.2} decodings of a pod, the limit is {limit}");
}

/// What becomes of a daemon pod: it is bound, says that it runs, is marked and goes. Of each, whose its fields are is as long
/// as the rest of the pod, and none of these reads that but the status.
async fn lives(api: &Harness, decoding: Duration) {
    let pods: Vec<String> =
        (1..=ROUNDS * CHANGES as usize).map(|number| format!("{PODS}/p{number}")).collect();
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let conditions = ["Initialized", "Ready", "ContainersReady"].map(condition);
    let status = json!({"status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": conditions,
        "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0}]}});
    let binding = json!({"target": {"kind": "Node", "name": "n1"}});
    for (what, verb, below, body, limit) in [
        ("binding a pod", "POST", "/binding", binding, BINDING),
        ("a status of a pod", "PATCH", "/status", status, STATUS),
        ("marking a pod", "DELETE", "", Value::Null, MARKING),
        ("removing a pod", "DELETE", "", json!({"gracePeriodSeconds": 0}), REMOVING),
    ] {
        let mut next = pods.iter();
        let cost = best(CHANGES, async || {
            for path in next.by_ref().take(CHANGES as usize) {
                let answer = api.call(&format!("{verb} {path}{below}"), body.clone()).await;
                assert!(matches!(answer.code, 200 | 201), "{what}: {}", answer.text);
            }
        });
        check(what, cost.await, decoding, limit);
    }
}

#[tokio::test]
async fn answers_cost_a_known_part_of_decoding_what_they_are_about() {
    let api = Harness::new().await;
    for number in 0..COUNT {
        api.create(PODS, pod(&format!("p{number}"), "")).await;
    }
    let text = api.get(&format!("{PODS}/p0")).await.text;
    let decoding = best(COUNT, async || {
        for _ in 0..COUNT {
            assert!(serde_json::from_str::<Value>(&text).is_ok());
        }
    })
    .await;
    let list = best(COUNT, async || drain(&api, "application/json").await).await;
    check("a pod of a list as JSON", list, decoding, 0.08);
    let row = best(COUNT, async || drain(&api, AS_TABLE).await).await;
    check("a pod of a Table", row, decoding, 1.4);

    let mut number = COUNT;
    let create = best(CHANGES, async || {
        for _ in 0..CHANGES {
            number += 1;
            api.create(PODS, pod(&format!("p{number}"), "")).await;
        }
    })
    .await;
    check("creating a pod", create, decoding, CREATING);
    lives(&api, decoding).await;

    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        let path = format!("{PODS}?watch=1&fieldSelector=metadata.name%3Dp0");
        let mut lines = api.watch(&path, &[]).await;
        assert_eq!(lines.brief().await, "ADDED p0");
        watchers.push(lines);
    }
    let mut change = 0;
    let told = best(CHANGES * WATCHERS, async || {
        for _ in 0..CHANGES {
            change += 1;
            let patch = json!({"metadata": {"labels": {"app": format!("a{change}")}}});
            assert_eq!(api.call(&format!("PATCH {PODS}/p0"), patch).await.code, 200);
            for lines in &mut watchers {
                lines.skip().await;
            }
        }
    })
    .await;
    check("telling one watcher of a change", told, decoding, 0.8);
}
