//! What goes wrong between a client and the API server? A door that does it, and counts who asked for what.
//!
//! The client speaks plain HTTP to it; behind it stands `kubectl proxy`. Whatever [`Trouble`] is on: a refused call had no
//! effect, a watch loses nothing but its end, and only an answer that may be old by Kubernetes' rules
//! (`resourceVersion=0`) is old. A test turns troubles on and off and asks [`Door::calls`] what they have cost.

use crate::http::{self, Body, Chunks, Head, Sides, pass, write_chunk};
use crate::{Kubectl, Running};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{BufRead, BufReader, Write, sink};
use std::ops::Sub;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// What goes wrong; nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trouble {
    /// How late every answer comes.
    pub late: Duration,
    /// What happens to every other write, counted for each method and resource.
    pub writes: Writes,
    /// What happens to watches.
    pub watches: Watches,
}

/// What happens to a write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Writes {
    /// It is done.
    #[default]
    Done,
    /// It is not done, and the answer has this code: 429 asks to come again after a second.
    Refused(u16),
    /// It is done, and the answer is that nobody knows (504).
    Unanswered,
}

/// What happens to a watch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Watches {
    /// It goes on.
    #[default]
    Kept,
    /// It ends after so many events, those not counted with which it begins.
    EndAfter(usize),
    /// One that may begin with an old state begins with the oldest that was ever shown, and stays there.
    Stale,
}

/// How many calls there were of each sort: `POST pods`, `PUT daemonsets/status`, `LIST pods`, `WATCH nodes`; a list that may
/// be answered with an old state is `STALE pods`, too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls(BTreeMap<String, u64>);

/// The door. Dropping it ends `kubectl proxy`, and with that all connections.
pub struct Door {
    port: u16,
    state: Arc<State>,
    folder: TempDir,
    _proxy: Running,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    turned: Condvar,
}

#[derive(Default)]
struct Inner {
    trouble: Trouble,
    calls: Calls,
    /// Sorts of which the last write was spoilt.
    spoilt: BTreeSet<String>,
    /// `POST pods 00-…-01`: writes that say whose child they are.
    traced: BTreeSet<String>,
    /// How watches of a path and query have begun the first time.
    begins: BTreeMap<String, Vec<String>>,
}

impl Door {
    /// Opens a door to the cluster of this kubectl, with nothing wrong.
    pub fn open(kubectl: &Kubectl) -> Result<Self> {
        let state = Arc::<State>::default();
        let kept = state.clone();
        let (port, proxy) = http::open(kubectl, move |sides| connection(sides, &kept))?;
        let folder = tempfile::Builder::new().prefix("everynode-door-").tempdir()?;
        let named = |what: &str, value: &str| format!("[{{\"name\": \"door\", \"{what}\": {value}}}]");
        let kubeconfig = format!(
            r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "door", "clusters": {}, "contexts": {}, "users": {}}}"#,
            named("cluster", &format!(r#"{{"server": "http://127.0.0.1:{port}"}}"#)),
            named("context", r#"{"cluster": "door", "user": "door"}"#),
            named("user", "{}"),
        );
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig)?;
        Ok(Self { port, state, folder, _proxy: proxy })
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// For a client that is to go through it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// From now on this goes wrong.
    pub fn turn(&self, trouble: Trouble) {
        self.state.lock().trouble = trouble;
        self.state.turned.notify_all();
    }

    /// What was asked so far.
    pub fn calls(&self) -> Calls {
        self.state.lock().calls.clone()
    }

    /// Calls that came as a part of a trace: their sort and `traceparent`.
    pub fn traced(&self) -> BTreeSet<String> {
        self.state.lock().traced.clone()
    }
}

impl Calls {
    /// How many there were of a sort; a `*` at its begin or end is anything.
    pub fn of(&self, sort: &str) -> u64 {
        let is_meant = |key: &str| match (sort.strip_prefix('*'), sort.strip_suffix('*')) {
            (Some(end), _) => key.ends_with(end),
            (_, Some(begin)) => key.starts_with(begin),
            _ => key == sort,
        };
        self.0.iter().filter(|(key, _)| is_meant(key)).map(|(_, count)| count).sum()
    }

    /// How many calls there were, less those for the lease.
    pub fn of_work(&self) -> u64 {
        self.of("*") - self.of("* leases") - self.of_stale()
    }

    /// How many lists may have been old.
    pub fn of_stale(&self) -> u64 {
        self.of("STALE *")
    }

    /// How often the lease was looked at. It is the clock of a client: once in each of its retry periods.
    pub fn ticks(&self) -> u64 {
        self.of("GET leases")
    }
}

impl Sub for &Calls {
    type Output = Calls;

    fn sub(self, before: &Calls) -> Calls {
        let left = |(sort, count): (&String, &u64)| (sort.clone(), count - before.of(sort));
        Calls(self.0.iter().map(left).filter(|(_, count)| *count > 0).collect())
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(sort, count)| write!(f, "{count} {sort}, "))
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of this trouble.
    fn outlast(&self, trouble: Trouble) {
        let inner = self.lock();
        drop(self.turned.wait_while(inner, |inner| inner.trouble == trouble));
    }

    /// Counts a call; answers what goes wrong with it.
    fn fate(&self, asked: &Asked) -> Trouble {
        let mut inner = self.lock();
        *inner.calls.0.entry(asked.sort.clone()).or_default() += 1;
        inner.traced.extend(asked.parent.iter().map(|parent| format!("{} {parent}", asked.sort)));
        if asked.may_be_old {
            *inner.calls.0.entry(format!("STALE {}", asked.resource)).or_default() += 1;
        }
        let mut trouble = inner.trouble;
        // The first of two is spoilt, the second is not.
        let spoils = asked.is_write && trouble.writes != Writes::Done && !inner.spoilt.remove(&asked.sort);
        match spoils {
            true => drop(inner.spoilt.insert(asked.sort.clone())),
            false => trouble.writes = Writes::Done,
        }
        trouble
    }
}

/// A request, as far as it concerns troubles.
struct Asked {
    sort: String,
    resource: String,
    /// Path and query, less what differs from one try to the next.
    what: String,
    is_write: bool,
    watches: bool,
    may_be_old: bool,
    /// Whose child it is.
    parent: Option<String>,
}

impl Asked {
    fn of(request: &Head) -> Self {
        let mut words = request.first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let rest = match parts.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            other => other,
        };
        let rest = match rest {
            ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
            rest => rest,
        };
        let resource = match rest {
            [resource, _, part, ..] => format!("{resource}/{part}"),
            [resource, ..] => (*resource).to_string(),
            [] => path.to_string(),
        };
        let has = |pair: &str| query.split('&').any(|other| other == pair);
        let watches = has("watch=true");
        let verb = match (method, watches, rest.len()) {
            ("GET", true, _) => "WATCH",
            ("GET", _, 1) => "LIST",
            (method, ..) => method,
        };
        Self {
            sort: format!("{verb} {resource}"),
            what: format!(
                "{path}?{}",
                query.split('&').filter(|pair| !pair.starts_with("timeout")).collect::<String>()
            ),
            is_write: method != "GET",
            watches,
            parent: request.header("traceparent").map(str::to_string),
            may_be_old: has("resourceVersion=0") && (verb == "LIST" || has("sendInitialEvents=true")),
            resource,
        }
    }
}

/// One client on one connection, as HTTP/1.1 has it.
fn connection(mut sides: Sides, state: &State) -> Result<()> {
    loop {
        let request = sides.request()?;
        let asked = Asked::of(&request);
        let trouble = state.fate(&asked);
        if let Writes::Refused(code) = trouble.writes {
            sides.swallow(&request)?;
            std::thread::sleep(trouble.late);
            sides.client.write_all(refusal(code).as_bytes())?;
            continue;
        }
        let answer = sides.ask(&request)?;
        let Sides { client, from_server, .. } = &mut sides;
        std::thread::sleep(trouble.late);
        if trouble.writes == Writes::Unanswered {
            pass(from_server, &mut sink(), answer.body(true)?)?;
            client.write_all(refusal(504).as_bytes())?;
            continue;
        }
        client.write_all(answer.text().as_bytes())?;
        match answer.body(true)? {
            Body::Chunked if asked.watches => return watch(from_server, client, state, &asked),
            body => drop(pass(from_server, client, body)?),
        }
    }
}

/// Passes the events of a watch on until it ends, or is ended.
fn watch(server: &mut impl BufRead, client: &mut impl Write, state: &State, asked: &Asked) -> Result<()> {
    if asked.may_be_old && is_stale(client, state, asked)? {
        return write_chunk(client, b"");
    }
    let (mut begin, mut begins) = (Vec::new(), asked.what.contains("sendInitialEvents=true"));
    let mut events = 0;
    let mut lines = BufReader::new(Chunks::of(server));
    loop {
        // Looked at before each line: also a watch that was there before.
        let ends = match state.lock().trouble.watches {
            Watches::EndAfter(most) => !begins && events >= most,
            Watches::Kept | Watches::Stale => false,
        };
        let mut line = String::new();
        if ends || lines.read_line(&mut line)? == 0 {
            return write_chunk(client, b"");
        }
        write_chunk(client, line.as_bytes())?;
        events += usize::from(!begins);
        if begins {
            begins = !line.contains("k8s.io/initial-events-end");
            begin.push(line);
            if !begins {
                state.lock().begins.entry(asked.what.clone()).or_insert_with(|| std::mem::take(&mut begin));
            }
        }
    }
}

/// Tells how it was once, and nothing after that while the trouble lasts; false if it does not strike.
fn is_stale(client: &mut impl Write, state: &State, asked: &Asked) -> Result<bool> {
    let (trouble, begin) = {
        let inner = state.lock();
        (inner.trouble, inner.begins.get(&asked.what).cloned())
    };
    let (Watches::Stale, Some(begin)) = (trouble.watches, begin) else { return Ok(false) };
    begin.iter().try_for_each(|line| write_chunk(client, line.as_bytes()))?;
    state.outlast(trouble);
    Ok(true)
}

/// An answer as Kubernetes words it.
fn refusal(code: u16) -> String {
    let (title, reason, message) = match code {
        409 => (
            "Conflict",
            "Conflict",
            "the object has been modified; please apply your changes to the latest version",
        ),
        429 => ("Too Many Requests", "TooManyRequests", "too many requests, please try again later"),
        504 => {
            ("Gateway Timeout", "Timeout", "the server was unable to return a response in the time allotted")
        }
        _ => (
            "Internal Server Error",
            "InternalError",
            "an error on the server has prevented the request from succeeding",
        ),
    };
    let body = format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"{message}","reason":"{reason}","code":{code}}}"#
    );
    let again = if code == 429 { "Retry-After: 1\r\n" } else { "" };
    let length = body.len();
    format!(
        "HTTP/1.1 {code} {title}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{again}\r\n{body}"
    )
}
