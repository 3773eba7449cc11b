//! What does a client ask, and what is it answered? A door between a client and the API server that writes that down.
//!
//! The client speaks plain HTTP to it; behind it stands `kubectl proxy`, which has the administrator's certificate and
//! passes everything on. A line has method, path, query and Accept, and status, content type and kind of the answer: what
//! a client needs of a server, and nothing that differs from run to run. Bodies pass unread but for their kind.

use crate::http::{self, Body, Head, Sides, pass};
use crate::{Kubectl, Running};
use anyhow::Result;
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// Query parameters whose values differ from run to run.
const VARYING: [&str; 4] = ["continue", "hash", "resourceVersion", "timeoutSeconds"];

/// The door. Dropping it ends `kubectl proxy`, and with that all connections.
pub struct Recorder {
    port: u16,
    lines: Arc<Mutex<BTreeSet<String>>>,
    _proxy: Running,
}

impl Recorder {
    /// Opens a door to the cluster of this kubectl.
    pub fn open(kubectl: &Kubectl) -> Result<Self> {
        let lines = Arc::new(Mutex::new(BTreeSet::new()));
        let kept = lines.clone();
        let (port, proxy) = http::open(kubectl, move |sides| connection(sides, &kept))?;
        Ok(Self { port, lines, _proxy: proxy })
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What was asked and answered, each kind of request once, sorted.
    pub fn lines(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// One client after another on one connection, as HTTP/1.1 has it.
fn connection(mut sides: Sides, lines: &Mutex<BTreeSet<String>>) -> Result<()> {
    loop {
        let request = sides.request()?;
        let answer = sides.ask(&request)?;
        let Sides { client, from_server, .. } = &mut sides;
        let told = line(&request, &answer);
        client.write_all(answer.text().as_bytes())?;
        let streams = request.first.contains("watch=true") || request.first.contains("watch=1");
        let begin = pass(from_server, client, if streams { Body::None } else { answer.body(true)? })?;
        // What is named by its type or is no object has no kind of its own: the first one within would be chance.
        let named = told.contains(";as=APIGroup") || request.first.contains(" /openapi/");
        let kind = match (streams, named) {
            (true, _) => "stream".to_string(),
            (false, true) => String::new(),
            (false, false) => kind(&begin),
        };
        let told = format!("{told} {kind}");
        lines.lock().unwrap_or_else(PoisonError::into_inner).insert(told.trim_end().to_string());
        if streams {
            pass(from_server, client, answer.body(true)?)?;
        }
    }
}

fn line(request: &Head, answer: &Head) -> String {
    let mut words = request.first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // Which groups there are is not the client's business, nor this recording's.
    let path = match path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["apis", _, _] => "/apis/<group>/<version>",
        _ => path,
    };
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if VARYING.contains(&name) && !["", "0"].contains(&value) => {
                format!("{name}=…")
            }
            _ => pair.to_string(),
        })
        .collect();
    pairs.sort();
    let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
    let accept = request.header("accept").unwrap_or("-");
    let sent = request.header("content-type").map(|media| format!(" sends {media}")).unwrap_or_default();
    let status = answer.first.split(' ').nth(1).unwrap_or_default();
    let media = answer.header("content-type").unwrap_or("-");
    format!("{method} {path}{query}{sent} accepts {accept}\n    {status} {media}")
}

/// The kind of a short answer; of a longer one the first `"kind"`, which stands before everything else in lists.
fn kind(begin: &[u8]) -> String {
    if let Ok(answer) = serde_json::from_slice::<serde_json::Value>(begin) {
        return answer["kind"].as_str().unwrap_or_default().to_string();
    }
    let text = String::from_utf8_lossy(begin);
    let found = text.split_once("\"kind\":").and_then(|(_, rest)| rest.split('"').nth(1));
    found.unwrap_or_default().to_string()
}
