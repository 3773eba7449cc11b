//! What the audit log says of requests (audit.k8s.io/v1 at level Metadata), and what it never says.

use crate::harness::{Harness, config};
use apiserver::{AuditEvent, AuditSink, Config, User};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Kept(Mutex<Vec<Value>>);

impl AuditSink for Kept {
    fn record(&self, event: AuditEvent) {
        self.0.lock().unwrap().push(json!(event));
    }

    fn lost(&self) -> u64 {
        7
    }
}

impl Kept {
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

async fn audited() -> (Harness, Arc<Kept>) {
    let kept = Arc::new(Kept::default());
    let api = Harness::with(Config { audit: Some(kept.clone()), ..config() }).await;
    kept.take();
    (api, kept)
}

const SECRET: &str = "correct horse battery staple";

#[tokio::test]
async fn a_write_is_recorded_with_who_what_when_and_the_answer_but_never_a_value() {
    let (api, kept) = audited().await;
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"word": SECRET}});
    let path = "/api/v1/namespaces/default/secrets";
    let agent = [("user-agent", "kubectl/v1.33"), ("content-type", "application/json")];
    let made = api.raw(&format!("POST {path}?dryRun=All"), &agent, secret.to_string()).await;
    let mut events = kept.take();
    assert_eq!(events.len(), 1, "{events:?}");
    let event = events.remove(0);
    assert_eq!(made.headers["audit-id"].to_str().unwrap(), event["auditID"]);
    for field in ["requestReceivedTimestamp", "stageTimestamp"] {
        assert!(event[field].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{event}");
    }
    assert!(event["annotations"]["apiserver.latency.k8s.io/total"].as_str().unwrap().ends_with("ms"));
    let expected = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "ResponseComplete",
        "auditID": event["auditID"], "requestURI": format!("{path}?dryRun=All"), "verb": "create",
        "user": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
        "sourceIPs": [], "userAgent": "kubectl/v1.33",
        "objectRef": {"resource": "secrets", "namespace": "default", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 201},
        "requestReceivedTimestamp": event["requestReceivedTimestamp"], "stageTimestamp": event["stageTimestamp"],
        "annotations": event["annotations"],
    });
    assert_eq!(event, expected);
    // Refused for what stands in it: the text of such a refusal repeats the value.
    let wrong = json!({"metadata": {"name": "s"}, "data": {"word": SECRET}});
    let refused = api.call(&format!("POST {path}"), wrong).await;
    assert!(refused.code >= 400);
    let text = format!("{:?}", kept.take());
    assert!(!text.contains(SECRET) && text.contains("Failure"), "{text}");
}

#[tokio::test]
async fn refusals_are_recorded_whoever_it_was_and_reads_of_the_system_are_not() {
    let (api, kept) = audited().await;
    let node = api.as_user(User::authenticated("system:node:n1", ["system:nodes".to_string()]));
    api.get("/api/v1/pods").await;
    node.get("/api/v1/pods?fieldSelector=spec.nodeName=n1").await;
    api.get("/readyz").await;
    api.get("/apis").await;
    assert_eq!(kept.take(), [Value::Null; 0], "what asks in this process is the loops");
    let refused = node.get("/api/v1/namespaces/default/secrets/s").await;
    let events = kept.take();
    let brief = |event: &Value| (event["responseStatus"]["code"].clone(), event["objectRef"]["name"].clone());
    assert_eq!(events.iter().map(brief).collect::<Vec<_>>(), [(json!(403), json!("s"))]);
    assert_eq!(events[0]["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(events[0]["responseStatus"]["message"], refused.message());
    let headers = [("impersonate-user", "alice")];
    api.raw("GET /api/v1/pods", &headers, Bytes::new()).await;
    let events = kept.take();
    assert_eq!(events[0]["user"]["username"], "admin");
    assert_eq!(events[0]["impersonatedUser"]["username"], "alice");
    assert_eq!(events[0]["responseStatus"]["code"], 403);
}

#[tokio::test]
async fn a_stream_is_recorded_at_its_end_and_losses_are_a_figure() {
    let (api, kept) = audited().await;
    let headers = [("impersonate-user", "root"), ("impersonate-group", "system:masters")];
    let watch = api.begin("GET /api/v1/pods?watch=1", &headers, Bytes::new()).await;
    assert_eq!(kept.take(), [Value::Null; 0]);
    drop(watch);
    let events = kept.take();
    assert_eq!((&events[0]["verb"], &events[0]["responseStatus"]["code"]), (&json!("watch"), &json!(200)));
    assert!(api.get("/metrics").await.text.contains("\napiserver_audit_error_total 7\n"));
}
