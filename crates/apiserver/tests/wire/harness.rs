//! A server in this process, and one call to it.

use apiserver::{ApiServer, Config, User};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use store::memory::MemoryStore;
use tower::ServiceExt as _;

/// How long any state is waited for.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A running server with one user who may do everything.
pub struct Harness {
    pub server: ApiServer,
    pub user: User,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: http::HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Answer {
    async fn read(response: http::Response<apiserver::reply::Body>) -> Self {
        let (head, body) = response.into_parts();
        let bytes =
            tokio::time::timeout(PATIENCE, body.collect()).await.expect("the body ends").unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let json = serde_json::from_str(&text).unwrap_or_default();
        Self { code: head.status.as_u16(), headers: head.headers, text, json }
    }

    pub fn message(&self) -> &str {
        self.json["message"].as_str().unwrap_or_default()
    }

    pub fn warnings(&self) -> Vec<String> {
        let all = self.headers.get_all("warning").iter();
        all.map(|value| value.to_str().unwrap().to_string()).collect()
    }
}

pub fn masters() -> User {
    User::authenticated("admin", ["system:masters".to_string()])
}

pub fn config() -> Config {
    Config {
        advertise: "192.0.2.1:6443".parse().unwrap(),
        token_user: Arc::new(|token| {
            (token == "abcdef.0123456789abcdef")
                .then(|| User::authenticated("system:bootstrap:abcdef", ["system:bootstrappers".to_string()]))
        }),
        agent_tls: None,
        ca_pem: "-----BEGIN CERTIFICATE-----\n".to_string(),
        issuer: None,
        audit: None,
        tracer: None,
        sources: Default::default(),
    }
}

impl Harness {
    /// With the four namespaces and the default account in `default`. It is the store's second server, so that there
    /// are revisions from before its time.
    pub async fn new() -> Self {
        Self::with(config()).await
    }

    /// The same with a configuration of its own.
    pub async fn with(config: Config) -> Self {
        let store = Arc::new(MemoryStore::new());
        ApiServer::open(store.clone(), config.clone()).await.unwrap().close();
        let server = ApiServer::open(store, config).await.unwrap();
        let harness = Self { server, user: masters() };
        let account = json!({"metadata": {"name": "default"}});
        harness.create("/api/v1/namespaces/default/serviceaccounts", account).await;
        harness
    }

    /// The same server for somebody else.
    pub fn as_user(&self, user: User) -> Self {
        Self { server: self.server.clone(), user }
    }

    /// The response as it begins.
    pub async fn begin(
        &self,
        call: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> http::Response<apiserver::reply::Body> {
        let request = request(call, headers, body);
        self.server.as_user(self.user.clone()).oneshot(request).await.unwrap()
    }

    /// One call of somebody without a certificate; who it is, the headers say.
    pub async fn stranger(&self, call: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let request = request(call, headers, body.into());
        Answer::read(self.server.as_stranger().oneshot(request).await.unwrap()).await
    }

    /// One call with any body.
    pub async fn raw(&self, call: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        Answer::read(self.begin(call, headers, body.into()).await).await
    }

    /// One call with a JSON body; null sends none.
    pub async fn call(&self, call: &str, body: Value) -> Answer {
        let kind =
            if call.starts_with("PATCH") { "application/merge-patch+json" } else { "application/json" };
        let bytes = if body.is_null() { String::new() } else { body.to_string() };
        self.raw(call, &[("content-type", kind)], bytes).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(&format!("GET {path}"), Value::Null).await
    }

    /// Creates, and insists on it.
    pub async fn create(&self, path: &str, body: Value) -> Value {
        let answer = self.call(&format!("POST {path}"), body).await;
        assert_eq!(answer.code, 201, "{path}: {}", answer.text);
        answer.json
    }

    /// A watch whose lines can be read one by one.
    pub async fn watch(&self, path: &str, headers: &[(&str, &str)]) -> Lines {
        let response = self.begin(&format!("GET {path}"), headers, Bytes::new()).await;
        assert_eq!(response.status(), 200);
        Lines { body: response.into_body(), rest: String::new() }
    }
}

fn request(call: &str, headers: &[(&str, &str)], body: Bytes) -> Request<Full<Bytes>> {
    let (method, uri) = call.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body)).unwrap()
}

/// The lines of a stream.
pub struct Lines {
    body: apiserver::reply::Body,
    rest: String,
}

impl Lines {
    /// The next line, or none at the end of the stream.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.rest.split_once('\n') {
                let value = serde_json::from_str(line).unwrap();
                self.rest = rest.to_string();
                return Some(value);
            }
            let frame =
                tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("a line comes in time")?;
            self.rest.push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
        }
    }

    /// Lets what comes next pass unread.
    pub async fn skip(&mut self) {
        let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("a line comes in time");
        assert!(frame.is_some_and(|frame| frame.is_ok()));
    }

    /// `ADDED name`, for short.
    pub async fn brief(&mut self) -> String {
        let event = self.next().await.expect("the watch goes on");
        let object = &event["object"];
        let name = object["metadata"]["name"].as_str().or(object["message"].as_str()).unwrap_or_default();
        format!("{} {name}", event["type"].as_str().unwrap())
    }

    /// Whether nothing comes for a moment that is long for a process of its own.
    pub async fn is_silent(&mut self) -> bool {
        self.rest.is_empty()
            && tokio::time::timeout(Duration::from_millis(100), self.body.frame()).await.is_err()
    }
}

pub fn config_map(name: &str, labels: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "data": {"a": "b"}})
}

pub fn pod(name: &str, node: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": "x"}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i:1"}]}})
}

pub fn daemon_set(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}})
}
