//! A whole API server in this process, and what every answer of it promises.
//!
//! 1. No answer is 500 or more, but where a node's agent is asked (there is none), or a revision that has not come.
//! 2. A refusal is a `Status` with a reason, a text and its own code.
//! 3. A refused write has changed nothing that is stored.
//! 4. An accepted one can be read, listed, shown as a table, and written back without a change.
//!
//! The server's clock is tokio's, paused; its chance begins anew with each server. It lives for some inputs, and each
//! removes what it made.

use crate::bend;
use crate::chance;
use crate::memory::Account;
use crate::novelty::{saw, shape};
use crate::seeds::Seed;
use apiserver::{ApiServer, Config, Sources, User};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use store::memory::MemoryStore;
use tower::ServiceExt as _;

/// A server is opened anew after so many inputs: a finding needs no more history than these.
const INPUTS: u32 = 64;
/// How long any answer is waited for, on the paused clock: watches end within an hour.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);
/// How long the server may take to accept a definition, on the paused clock.
const KEEPING: Duration = Duration::from_secs(10);
/// When every server begins: 2026-01-01T00:00:00Z.
const BEGINNING: i64 = 1_767_225_600;
/// Longest part of a body that is shown.
const SHOWN: usize = 2000;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

struct World {
    runtime: tokio::runtime::Runtime,
    server: ApiServer,
    store: Arc<MemoryStore>,
    uses: u32,
}

/// The server as one input sees it.
pub struct Api<'a> {
    server: &'a ApiServer,
    store: &'a MemoryStore,
    account: &'a mut Account,
    made: Vec<String>,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status; 0 when there can be no such request.
    pub code: u16,
    /// Of the body.
    pub content_type: String,
    /// The body.
    pub bytes: Bytes,
    /// The body as JSON.
    pub json: Value,
}

/// The thread's server ends: it cannot outlive what the thread itself has of tokio.
pub fn close() {
    WORLD.take();
}

/// Runs an input against a server; what it made is removed afterwards.
///
/// # Panics
/// When a promise is broken.
pub fn with(account: &mut Account, work: impl AsyncFnOnce(&mut Api<'_>)) {
    WORLD.with_borrow_mut(|world| {
        let mut now = world.take().filter(|world| world.uses < INPUTS).unwrap_or_else(World::open);
        now.uses += 1;
        let World { runtime, server, store, .. } = &now;
        runtime.block_on(async {
            let mut api = Api { server, store, account, made: Vec::new() };
            work(&mut api).await;
            api.remove_all().await;
        });
        *world = Some(now);
    });
}

impl World {
    fn open() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().expect("a runtime");
        let store = Arc::new(MemoryStore::new());
        chance::restart_server();
        let server = runtime.block_on(async {
            let server = ApiServer::open(store.clone(), config()).await.expect("a new store can be opened");
            // Without it no pod is admitted; a loop makes it elsewhere.
            let account = request("POST", ACCOUNTS, JSON, br#"{"metadata":{"name":"default"}}"#.to_vec());
            let Ok(made) = server.as_user(masters()).oneshot(account.expect("a request")).await;
            assert_eq!(made.status(), 201);
            server
        });
        Self { runtime, server, store, uses: 0 }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.close();
        let ended = async { tokio::time::timeout(PATIENCE, self.server.ended()).await };
        self.runtime.block_on(ended).expect("the background work ends");
    }
}

fn masters() -> User {
    User::authenticated("admin", ["system:masters".to_string()])
}

fn config() -> Config {
    Config {
        advertise: ([192, 0, 2, 1], 6443).into(),
        token_user: Arc::new(|_| None),
        agent_tls: None,
        ca_pem: String::new(),
        issuer: None,
        audit: None,
        tracer: None,
        sources: Sources {
            now: || jiff::Timestamp::from_second(BEGINNING).unwrap_or_default(),
            chance: chance::of_server,
        },
    }
}

impl Api<'_> {
    /// One call; its answer keeps the promises.
    ///
    /// # Panics
    /// When it does not.
    pub async fn call(&mut self, method: &str, uri: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        self.account.send(uri.len() + body.len());
        let Some(request) = request(method, uri, headers, body.clone()) else { return Answer::none() };
        let before = if method == "GET" { Vec::new() } else { self.stored().await };
        let Ok(response) = self.server.as_user(masters()).oneshot(request).await;
        let answer = Answer::read(response).await;
        if is_kept_up(uri) && method != "GET" {
            tokio::time::sleep(KEEPING).await;
        }
        let shown = || {
            let text = String::from_utf8_lossy(&body);
            format!("{method} {uri} {headers:?}\n{}\n→ {}", cut(&text), answer.shown())
        };
        judge(method, uri, &answer, &shown);
        if answer.code >= 400 && method != "GET" {
            assert!(self.stored().await == before, "a refused write has changed something: {}", shown());
        }
        if uri.len() < 400 || answer.code >= 400 {
            let words =
                (method.to_string(), answer.code, shape(answer.json["reason"].as_str().unwrap_or_default()));
            saw((words, shape(answer.json["message"].as_str().unwrap_or_default())));
        }
        answer
    }

    /// All that is stored. Not its revision: the address of a service is claimed, and given back when it is refused.
    async fn stored(&self) -> Vec<(Arc<str>, Bytes)> {
        let listing = self.store.list("").await.expect("the memory store answers");
        listing.entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    /// Checks that the object of an accepted write is one that everybody can live with. `collection` is the path of the
    /// list in which it stands.
    ///
    /// # Panics
    /// When it is not.
    pub async fn live_with(&mut self, collection: &str, written: &Value) {
        self.made(collection, written);
        let url = self.made.last().cloned().unwrap_or_default();
        let mut written = written.clone();
        let read = self.call("GET", &url, &[], Vec::new()).await;
        if is_kept_up(collection) && read.code == 200 {
            // A part of it is the server's own, and comes later.
            written = read.json.clone();
        }
        if read.code == 404 && written["metadata"]["deletionTimestamp"].is_string() {
            // The last finalizer has gone.
            return;
        }
        assert_eq!(read.code, 200, "{url}: {}", read.shown());
        assert_same(&read.json, &written, &format!("{url} is not what was written"));
        saw(keys(&read.json));
        let listed = self.call("GET", collection, &[], Vec::new()).await;
        let items = listed.json["items"].as_array();
        let has = items.is_some_and(|items| {
            items.iter().any(|item| item["metadata"]["uid"] == written["metadata"]["uid"])
        });
        assert!(has, "{url} is not in its list");
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        let shown = self.call("GET", collection, &[("accept", table)], Vec::new()).await;
        assert!(shown.json["rows"].is_array(), "{url}: a table has rows: {}", shown.shown());
        let back = self.call("PUT", &url, JSON, read.bytes.to_vec()).await;
        assert_eq!(
            back.code,
            200,
            "{url} cannot be written back as it was read: {}\n{}",
            read.shown(),
            back.shown()
        );
        assert_same(&back.json, &written, &format!("{url} changes when it is written back as it was read"));
    }

    /// Remembers an object that was made, to remove it.
    pub fn made(&mut self, collection: &str, object: &Value) {
        let name = encoded(object["metadata"]["name"].as_str().unwrap_or_default());
        self.made.push(format!("{collection}/{name}"));
    }

    /// A seed as it is; none for one that the server has already.
    ///
    /// # Panics
    /// When it is refused for another reason.
    pub async fn create(&mut self, seed: &Seed) -> Option<Value> {
        let body = seed.object.to_string().into_bytes();
        let answer = self.call("POST", &seed.path, JSON, body).await;
        match answer.code {
            201 => {
                self.made(&seed.path, &answer.json);
                Some(answer.json)
            }
            409 => None,
            _ => panic!("a seed is refused: {}", answer.shown()),
        }
    }

    /// Removes what has been made, finalizers or not.
    async fn remove_all(&mut self) {
        while let Some(url) = self.made.pop() {
            let options = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"}).to_string();
            let answer = self.call("DELETE", &url, JSON, options.into_bytes()).await;
            assert!(
                matches!(answer.code, 200 | 202 | 403 | 404 | 409),
                "{url} cannot be deleted: {}",
                answer.shown()
            );
            let left = self.call("GET", &url, &[], Vec::new()).await;
            if left.code == 200 {
                let merge = [("content-type", "application/merge-patch+json")];
                let none = json!({"metadata": {"finalizers": null}}).to_string();
                self.call("PATCH", &url, &merge, none.into_bytes()).await;
            }
        }
    }
}

impl Answer {
    fn none() -> Self {
        Self { code: 0, content_type: String::new(), bytes: Bytes::new(), json: Value::Null }
    }

    async fn read(response: http::Response<apiserver::reply::Body>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = tokio::time::timeout(PATIENCE, body.collect()).await.expect("an answer ends");
        let bytes = bytes.expect("an answer can be read").to_bytes();
        let content_type = head.headers.get("content-type").and_then(|value| value.to_str().ok());
        let json = serde_json::from_slice(&bytes).unwrap_or_default();
        Self {
            code: head.status.as_u16(),
            content_type: content_type.unwrap_or_default().to_string(),
            bytes,
            json,
        }
    }

    /// For texts.
    pub fn shown(&self) -> String {
        format!("{} {}", self.code, cut(&String::from_utf8_lossy(&self.bytes)))
    }

    /// Whether something was written.
    pub fn is_written(&self) -> bool {
        matches!(self.code, 200 | 201) && self.json["metadata"]["uid"].is_string()
    }
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::builder().method(method).uri(uri).body(Full::new(Bytes::from(body))).ok()?;
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    Some(request)
}

/// The promises 1 and 2.
fn judge(method: &str, uri: &str, answer: &Answer, shown: &impl Fn() -> String) {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    if answer.code >= 500 {
        let asks_agent =
            ["log", "proxy", "exec", "attach", "portforward"].iter().any(|word| path.contains(word));
        let waits =
            query.contains("esourceVersion") || query.contains("timeout") || query.contains("continue");
        let allowed = match answer.code {
            503 => {
                asks_agent || path.contains("metrics") || path.contains("healthz") || path.contains("readyz")
            }
            504 => waits,
            _ => false,
        };
        assert!(allowed, "a client's mistake is not the server's: {}", shown());
    }
    let of_kinds = path.starts_with("/api/v1/") || path.starts_with("/apis/");
    if answer.code >= 400 && of_kinds && method != "HEAD" && answer.content_type.contains("json") {
        let status = &answer.json;
        assert_eq!(status["kind"], "Status", "{}", shown());
        assert_eq!(status["code"], answer.code, "{}", shown());
        assert!(status["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{}", shown());
        assert!(status["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", shown());
    }
}

/// The same object twice.
///
/// # Panics
/// When it is not, with the places that differ.
pub fn assert_same(found: &Value, expected: &Value, what: &str) {
    if found == expected {
        return;
    }
    let places: BTreeSet<String> = bend::places(found).into_iter().chain(bend::places(expected)).collect();
    let mut differing: Vec<String> = Vec::new();
    for place in places {
        let (ours, theirs) = (found.pointer(&place), expected.pointer(&place));
        let holds = |value: Option<&Value>| value.is_some_and(|value| value.is_object() || value.is_array());
        if ours != theirs && !(holds(ours) && holds(theirs)) {
            differing.push(format!("{place}: {ours:?}, not {theirs:?}"));
        }
    }
    panic!("{what}\n{}", cut(&differing.join("\n")));
}

/// What the server itself writes to: the status of definitions, the rules of roles that aggregate others.
pub fn is_kept_up(path: &str) -> bool {
    path.contains("customresourcedefinitions") || path.contains("clusterroles")
}

/// A name as it stands in a path.
pub fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The names of all fields, without how often they stand there.
fn keys(value: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, at: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| walk(item, at, found)),
            Value::Object(map) if map.len() < 64 && found.len() < 256 => {
                map.iter().for_each(|(key, inner)| walk(inner, &format!("{at}.{}", shape(key)), found));
            }
            _ => _ = found.insert(at.to_string()),
        }
    }
    let mut found = BTreeSet::new();
    for part in ["metadata", "spec"] {
        walk(&value[part], part, &mut found);
    }
    found.into_iter().filter(|key| !key.contains("f:")).collect()
}
