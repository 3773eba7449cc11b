//! What the door lets through, before a server that answers everything.

use super::*;
use kube::Api;
use kube::api::PostParams;
use std::sync::Mutex;
use std::time::Duration;

/// A server that answers everything with this code, and notes what it was asked.
fn server(code: u16) -> (Client, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let noted = asked.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        noted.lock().unwrap().push(format!("{} {}", request.method(), request.uri().path()));
        async move {
            let body = Body::from(br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}"#.to_vec());
            Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (Client::new(service, "default"), asked)
}

fn pods(client: &Client) -> Api<k8s_openapi::api::core::v1::Pod> {
    Api::namespaced(client.clone(), "default")
}

#[tokio::test]
async fn a_rehearsal_reads_and_writes_nothing() {
    let (client, asked) = server(200);
    let door = Door { rehearses: true, ..Door::default() };
    let client = behind(door, client);
    pods(&client).get("a").await.unwrap();
    let writes = [
        pods(&client).create(&PostParams::default(), &Default::default()).await.is_err(),
        pods(&client).delete("a", &Default::default()).await.is_err(),
        pods(&client).patch("a", &Default::default(), &kube::api::Patch::Merge(())).await.is_err(),
        pods(&client).replace_status("a", &PostParams::default(), &Default::default()).await.is_err(),
    ];
    assert_eq!(writes, [true; 4]);
    assert_eq!(*asked.lock().unwrap(), ["GET /api/v1/namespaces/default/pods/a"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_but_the_lease_is_written_after_the_term() {
    let (client, _) = server(200);
    let term = Term::default();
    let client = behind(Door { term: Some(term.clone()), ..Door::default() }, client);
    let write = || async { pods(&client).delete("a", &Default::default()).await.is_ok() };
    assert!(!write().await, "it has not begun");
    term.until(Instant::now() + Duration::from_secs(10));
    assert!(write().await);
    tokio::time::advance(Duration::from_secs(11)).await;
    assert!(!write().await);
    let lease =
        Request::delete("/apis/coordination.k8s.io/v1/namespaces/a/leases/a").body(Vec::new()).unwrap();
    assert!(client.request_text(lease).await.is_ok());
    assert!(pods(&client).get("a").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_is_paced_counted_and_said() {
    let (client, _) = server(500);
    let metrics = Metrics::default();
    let pace = Some(Pace { qps: 1.0, burst: 1 });
    let limits = Limits::new(metrics.clone());
    let door = Door { pace, host: "h".into(), metrics: metrics.clone(), limits, ..Door::default() };
    let client = behind(door, client);
    let start = Instant::now();
    for _ in 0..3 {
        let _ = pods(&client).delete("a", &Default::default()).await;
    }
    assert_eq!(start.elapsed().as_secs(), 2);
    let text = metrics.text();
    for line in [
        r#"rest_client_requests_total{code="500",method="DELETE",host="h"} 3"#,
        r#"everynode_limit_waits_total{limit="rate"} 2"#,
        r#"rest_client_rate_limiter_duration_seconds_sum{verb="DELETE",host="h"} 2"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_without_time_is_asked_again_while_the_term_lasts_and_not_for_ever() {
    // TK-9.
    let (client, asked) = server(429);
    let (metrics, term) = (Metrics::default(), Term::default());
    let limits = Limits::new(metrics.clone());
    let client = behind(Door { term: Some(term.clone()), limits, ..Door::default() }, client);
    let asked = || std::mem::take(&mut *asked.lock().unwrap()).len();
    let delete = || async { pods(&client).delete("a", &Default::default()).await.unwrap_err().to_string() };
    term.until(Instant::now() + Duration::from_millis(3500));
    let refused = delete().await;
    assert!(refused.contains("no longer the leader"), "{refused}");
    assert_eq!(asked(), 4, "each second once");
    term.until(Instant::now() + Duration::from_secs(3600));
    assert!(!delete().await.contains("leader"));
    assert_eq!(asked(), 11);
    let text = metrics.text();
    assert!(text.contains(r#"everynode_limit_waits_total{limit="server"} 14"#), "{text}");
    let lease = Request::put("/apis/coordination.k8s.io/v1/namespaces/a/leases/a").body(Vec::new()).unwrap();
    assert!(client.request_text(lease).await.is_err());
    assert_eq!(asked(), 1, "the holder has a rhythm of its own");
}

#[test]
fn leases_and_events_have_lanes_of_their_own() {
    let check = |path: &str, expected| assert_eq!(lane(path), expected, "{path}");
    check("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x", Lane::Lease);
    check("/api/v1/namespaces/a/events", Lane::Events);
    check("/api/v1/namespaces/a/pods", Lane::Work);
    check("/api/v1/namespaces/leases/pods", Lane::Work);
    check("/api/v1/namespaces/events/pods", Lane::Work);
    check("/api/v1/events", Lane::Events);
    check("/version", Lane::Work);
}
