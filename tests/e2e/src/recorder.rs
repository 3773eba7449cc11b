//! What does a client ask, and what is it answered? A door between a client and the API server that writes that down.
//!
//! The client speaks plain HTTP to it; behind it stands `kubectl proxy`, which has the administrator's certificate and
//! passes everything on. A line has method, path, query and Accept, and status, content type and kind of the answer: what
//! a client needs of a server, and nothing that differs from run to run. Bodies pass unread but for their kind.

use crate::{Kubectl, Running};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// kubectl on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);
/// More of a head or of a line is not HTTP.
const LINE_MAX: u64 = 64 * 1024;
/// How far into an answer its kind is looked for.
const KIND_WITHIN: usize = 4096;
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
        let mut proxy = kubectl.start(&["proxy", "--port=0"]);
        let said = proxy.line(START_LIMIT, |line| line.starts_with("Starting to serve on "));
        let behind = said.trim_start_matches("Starting to serve on ").to_string();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let lines = Arc::new(Mutex::new(BTreeSet::new()));
        let kept = lines.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (behind, kept) = (behind.clone(), kept.clone());
                // A client that goes in the middle of an answer is how every watch ends.
                std::thread::spawn(move || drop(connection(client, &behind, &kept)));
            }
        });
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
fn connection(client: TcpStream, behind: &str, lines: &Mutex<BTreeSet<String>>) -> Result<()> {
    let mut server = TcpStream::connect(behind)?;
    let mut from_client = BufReader::new(client.try_clone()?);
    let mut from_server = BufReader::new(server.try_clone()?);
    let mut client = client;
    loop {
        let request = Head::read(&mut from_client)?;
        server.write_all(request.without("accept-encoding").as_bytes())?;
        pass(&mut from_client, &mut server, request.body(false)?)?;
        let answer = Head::read(&mut from_server)?;
        let told = line(&request, &answer);
        client.write_all(answer.text().as_bytes())?;
        let streams = request.first.contains("watch=true") || request.first.contains("watch=1");
        let begin =
            pass(&mut from_server, &mut client, if streams { Body::None } else { answer.body(true)? })?;
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
            pass(&mut from_server, &mut client, answer.body(true)?)?;
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

/// How long a body is.
#[derive(Clone, Copy)]
enum Body {
    None,
    Length(u64),
    Chunked,
    UntilEnd,
}

/// The head of a request or an answer.
struct Head {
    first: String,
    headers: Vec<String>,
}

impl Head {
    fn read(from: &mut impl BufRead) -> Result<Self> {
        let first = text_line(from)?.context("the other side has ended")?;
        let mut headers = Vec::new();
        loop {
            match text_line(from)?.context("a head without its end")? {
                line if line.is_empty() => return Ok(Self { first, headers }),
                line => headers.push(line),
            }
        }
    }

    fn header(&self, wanted: &str) -> Option<&str> {
        let named = self.headers.iter().filter_map(|line| line.split_once(':'));
        named.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim()).next()
    }

    fn text(&self) -> String {
        self.without("")
    }

    fn without(&self, unwanted: &str) -> String {
        let name = |line: &str| line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let kept = self.headers.iter().filter(|line| name(line) != unwanted);
        let lines: Vec<&str> = [self.first.as_str()].into_iter().chain(kept.map(String::as_str)).collect();
        format!("{}\r\n\r\n", lines.join("\r\n"))
    }

    fn body(&self, of_answer: bool) -> Result<Body> {
        if of_answer && [" 304", " 204"].iter().any(|code| self.first.contains(code)) {
            return Ok(Body::None);
        }
        if self.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            return Ok(Body::Chunked);
        }
        Ok(match self.header("content-length") {
            Some(length) => Body::Length(length.parse()?),
            None if of_answer => Body::UntilEnd,
            None => Body::None,
        })
    }
}

fn text_line(from: &mut impl BufRead) -> Result<Option<String>> {
    let mut line = String::new();
    let read = from.by_ref().take(LINE_MAX).read_line(&mut line)?;
    ensure!(read == 0 || line.ends_with('\n'), "a line without its end");
    Ok((read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_string()))
}

/// Passes a body on as it comes; answers how it begins.
fn pass(from: &mut impl BufRead, to: &mut impl Write, body: Body) -> Result<Vec<u8>> {
    let mut begin = Vec::new();
    match body {
        Body::None => {}
        Body::Length(length) => copy(from, to, length, &mut begin)?,
        Body::UntilEnd => copy(from, to, u64::MAX, &mut begin)?,
        Body::Chunked => loop {
            let size = text_line(from)?.context("a chunk without its size")?;
            let length = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
            to.write_all(format!("{size}\r\n").as_bytes())?;
            copy(from, to, length, &mut begin)?;
            let end = text_line(from)?.context("a chunk without its end")?;
            to.write_all(format!("{end}\r\n").as_bytes())?;
            if length == 0 {
                break;
            }
        },
    }
    to.flush()?;
    Ok(begin)
}

fn copy(from: &mut impl BufRead, to: &mut impl Write, mut left: u64, begin: &mut Vec<u8>) -> Result<()> {
    while left > 0 {
        let bytes = from.fill_buf()?;
        let length = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if length == 0 {
            return Ok(());
        }
        let wanted = KIND_WITHIN.saturating_sub(begin.len()).min(length);
        begin.extend_from_slice(&bytes[..wanted]);
        to.write_all(&bytes[..length])?;
        from.consume(length);
        left -= length as u64;
    }
    Ok(())
}
