//! An API server in memory, as small as the agent's questions: create, get, list, watch, merge patch, replace, delete.
//! Pods are deleted with grace like real ones. It can be switched off, and then every request fails.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;

#[derive(Clone, Default)]
pub struct Api(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    revision: u64,
    down: bool,
    /// By path, such as `/api/v1/namespaces/n/pods/p`.
    objects: BTreeMap<String, Value>,
    watchers: Vec<Watcher>,
    /// How many writes there were, by method and path.
    pub writes: BTreeMap<String, usize>,
}

struct Watcher {
    collection: String,
    selector: Option<(String, String)>,
    events: mpsc::UnboundedSender<Value>,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl Api {
    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { api.answer(request).await }
        });
        kube::Client::new(service, "default")
    }

    /// Switches the server off or on. Watches are cut.
    pub fn set_down(&self, down: bool) {
        let mut state = self.0.lock().unwrap();
        state.down = down;
        if down {
            state.watchers.clear();
        }
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    pub fn list(&self, prefix: &str) -> Vec<Value> {
        let state = self.0.lock().unwrap();
        state.objects.iter().filter(|(path, _)| path.starts_with(prefix)).map(|(_, o)| o.clone()).collect()
    }

    pub fn writes(&self, what: &str) -> usize {
        let state = self.0.lock().unwrap();
        state.writes.iter().filter(|(key, _)| key.contains(what)).map(|(_, count)| count).sum()
    }

    pub fn count(&self, prefix: &str, counts: impl Fn(&Value) -> bool) -> usize {
        let state = self.0.lock().unwrap();
        state.objects.iter().filter(|(path, object)| path.starts_with(prefix) && counts(object)).count()
    }

    /// Events about an object, as `reason: message`.
    pub fn events(&self, name: &str) -> Vec<String> {
        let about = |event: &Value| event["involvedObject"]["name"] == name;
        let text = |event: Value| {
            format!("{}: {}", event["reason"].as_str().unwrap(), event["message"].as_str().unwrap())
        };
        let events = self.list("/api/v1/namespaces/").into_iter().filter(|o| o["reason"].is_string());
        events.filter(about).map(text).collect()
    }

    pub fn put(&self, path: &str, mut object: Value) {
        let mut state = self.0.lock().unwrap();
        let old = state.objects.get(path).cloned();
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = match &old {
                Some(old) => old["metadata"]["uid"].clone(),
                None => json!(format!("uid-{}", state.revision + 1)),
            };
        }
        let name = path.rsplit('/').next().unwrap();
        object["metadata"]["name"] = json!(name);
        if let Some(namespace) = path.split("/namespaces/").nth(1).and_then(|rest| rest.split_once('/')) {
            object["metadata"]["namespace"] = json!(namespace.0);
        }
        state.store(path, object);
    }

    /// Deletes a pod as a user does: with grace.
    pub fn delete_pod(&self, path: &str, grace: i64) {
        let mut state = self.0.lock().unwrap();
        let Some(mut pod) = state.objects.get(path).cloned() else { return };
        pod["metadata"]["deletionTimestamp"] = json!("2026-11-21T02:00:00Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        state.store(path, pod);
    }

    /// Removes an object at once.
    pub fn remove(&self, path: &str) {
        self.0.lock().unwrap().remove(path);
    }

    async fn answer(&self, request: Request<Body>) -> Result<Answer, std::io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let query: BTreeMap<String, String> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.into(), v.replace("%3D", "=").replace("%2F", "/")))
            .collect();
        let mut state = self.0.lock().unwrap();
        if state.down {
            return Err(std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "the server is off"));
        }
        let path = parts.uri.path().to_string();
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        if parts.method != Method::GET {
            *state.writes.entry(format!("{} {path}", parts.method)).or_default() += 1;
        }
        Ok(match parts.method {
            Method::GET if query.get("watch").is_some_and(|watch| watch == "true") => {
                state.watch(&path, &query)
            }
            Method::GET => state.read(&path, &query),
            Method::POST => state.create(&path, value),
            Method::PATCH => state.patch(path.trim_end_matches("/status"), &value),
            Method::PUT => state.replace(path.trim_end_matches("/status"), value),
            Method::DELETE => state.delete(&path),
            _ => refuse(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        })
    }
}

impl State {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let known = self.objects.insert(path.into(), object.clone()).is_some();
        self.tell(path, if known { "MODIFIED" } else { "ADDED" }, &object);
        object
    }

    fn remove(&mut self, path: &str) -> Option<Value> {
        let mut object = self.objects.remove(path)?;
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.tell(path, "DELETED", &object);
        Some(object)
    }

    fn tell(&mut self, path: &str, kind: &str, object: &Value) {
        let event = json!({"type": kind, "object": object});
        self.watchers.retain(|watcher| {
            !is_in(path, &watcher.collection)
                || !selected(object, watcher.selector.as_ref())
                || watcher.events.send(event.clone()).is_ok()
        });
    }

    fn watch(&mut self, path: &str, query: &BTreeMap<String, String>) -> Answer {
        let (events, receiver) = mpsc::unbounded_channel();
        let selector = selector(query);
        let since: u64 = query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
        for (at, object) in &self.objects {
            let revision: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
            if is_in(at, path) && selected(object, selector.as_ref()) && revision > since {
                events.send(json!({"type": "ADDED", "object": object})).unwrap();
            }
        }
        self.watchers.push(Watcher { collection: path.into(), selector, events });
        let lines = UnboundedReceiverStream::new(receiver)
            .map(|event| Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{event}\n")))));
        Response::new(StreamBody::new(lines).boxed_unsync())
    }

    fn read(&self, path: &str, query: &BTreeMap<String, String>) -> Answer {
        if let Some(object) = self.objects.get(path) {
            return ok(object);
        }
        let collections = ["pods", "nodes", "events", "leases", "configmaps", "secrets"];
        if !collections.contains(&path.rsplit('/').next().unwrap_or_default()) {
            return refuse(StatusCode::NOT_FOUND, "NotFound");
        }
        let selector = selector(query);
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(at, object)| is_in(at, path) && selected(object, selector.as_ref()))
            .map(|(_, object)| object)
            .collect();
        ok(&json!({"kind": "List", "apiVersion": "v1", "items": items,
            "metadata": {"resourceVersion": self.revision.to_string()}}))
    }

    fn create(&mut self, path: &str, mut object: Value) -> Answer {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_string();
        let path = format!("{path}/{name}");
        if self.objects.contains_key(&path) {
            return refuse(StatusCode::CONFLICT, "AlreadyExists");
        }
        object["metadata"]["uid"] = json!(format!("uid-{}", self.revision + 1));
        ok(&self.store(&path, object))
    }

    fn patch(&mut self, path: &str, patch: &Value) -> Answer {
        let Some(mut object) = self.objects.get(path).cloned() else {
            return refuse(StatusCode::NOT_FOUND, "NotFound");
        };
        let uid = &patch["metadata"]["uid"];
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            return refuse(StatusCode::CONFLICT, "Conflict");
        }
        merge(&mut object, patch);
        ok(&self.store(path, object))
    }

    fn replace(&mut self, path: &str, object: Value) -> Answer {
        if !self.objects.contains_key(path) {
            return refuse(StatusCode::NOT_FOUND, "NotFound");
        }
        ok(&self.store(path, object))
    }

    fn delete(&mut self, path: &str) -> Answer {
        match self.remove(path) {
            Some(object) => ok(&object),
            None => refuse(StatusCode::NOT_FOUND, "NotFound"),
        }
    }
}

/// `/api/v1/pods` holds every namespace's pods.
fn is_in(path: &str, collection: &str) -> bool {
    let (parent, _) = path.rsplit_once('/').unwrap();
    if parent == collection {
        return true;
    }
    let Some((root, kind)) = collection.rsplit_once('/') else { return false };
    parent.starts_with(&format!("{root}/namespaces/")) && parent.ends_with(&format!("/{kind}"))
}

fn selector(query: &BTreeMap<String, String>) -> Option<(String, String)> {
    let (path, value) = query.get("fieldSelector")?.split_once('=')?;
    Some((format!("/{}", path.replace('.', "/")), value.to_string()))
}

fn selected(object: &Value, selector: Option<&(String, String)>) -> bool {
    selector.is_none_or(|(path, value)| object.pointer(path).and_then(Value::as_str) == Some(value))
}

fn merge(object: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in patch {
        match value {
            Value::Null => drop(object.as_object_mut().unwrap().remove(key)),
            Value::Object(_) => merge(&mut object[key], value),
            _ => object[key] = value.clone(),
        }
    }
}

fn ok(object: &Value) -> Answer {
    Response::new(Full::new(Bytes::from(object.to_string())).boxed_unsync())
}

fn refuse(code: StatusCode, reason: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code.as_u16()});
    let mut answer = ok(&status);
    *answer.status_mut() = code;
    answer
}
