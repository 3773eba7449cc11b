//! HTTP/1.1 as it passes a door: heads are read, bodies go by.
//!
//! For doors between a client and the API server ([`crate::Recorder`], [`crate::Door`]), on plain connections and a thread
//! each: what a test puts in the way must be simpler than what it tests.

use crate::{Kubectl, Running};
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Read, Write, sink};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// kubectl on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// More of a head or of a line is not HTTP.
const LINE_MAX: u64 = 64 * 1024;
/// What is kept of the begin of a body.
const BEGIN_MAX: usize = 4096;

/// Opens a door to the cluster of this kubectl: `serve` gets each connection that comes. Answers the port,
/// and the `kubectl proxy` behind, which has the administrator's certificate and with which all connections end.
pub(crate) fn open(
    kubectl: &Kubectl,
    serve: impl Fn(Sides) -> Result<()> + Clone + Send + 'static,
) -> Result<(u16, Running)> {
    let mut proxy = kubectl.start(&["proxy", "--port=0"]);
    let said = proxy.line(START_LIMIT, |line| line.starts_with("Starting to serve on "));
    let behind = said.trim_start_matches("Starting to serve on ").to_string();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (behind, serve) = (behind.clone(), serve.clone());
            // A client that goes in the middle of an answer is how every watch ends.
            std::thread::spawn(move || drop(Sides::of(client, &behind).and_then(serve)));
        }
    });
    Ok((port, proxy))
}

/// A client, and the server behind the door.
pub(crate) struct Sides {
    pub(crate) client: TcpStream,
    from_client: BufReader<TcpStream>,
    server: TcpStream,
    pub(crate) from_server: BufReader<TcpStream>,
}

impl Sides {
    fn of(client: TcpStream, behind: &str) -> Result<Self> {
        let server = TcpStream::connect(behind)?;
        let (from_client, from_server) =
            (BufReader::new(client.try_clone()?), BufReader::new(server.try_clone()?));
        Ok(Self { client, from_client, server, from_server })
    }

    /// The next request; its body waits.
    pub(crate) fn request(&mut self) -> Result<Head> {
        Head::read(&mut self.from_client)
    }

    /// The request goes no further.
    pub(crate) fn swallow(&mut self, request: &Head) -> Result<()> {
        pass(&mut self.from_client, &mut sink(), request.body(false)?).map(drop)
    }

    /// The request goes on, without leave to compress the answer; the answer's body waits.
    pub(crate) fn ask(&mut self, request: &Head) -> Result<Head> {
        self.server.write_all(request.without("accept-encoding").as_bytes())?;
        pass(&mut self.from_client, &mut self.server, request.body(false)?)?;
        Head::read(&mut self.from_server)
    }
}

/// How long a body is.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    None,
    Length(u64),
    Chunked,
    UntilEnd,
}

/// The head of a request or an answer.
pub(crate) struct Head {
    pub(crate) first: String,
    headers: Vec<String>,
}

impl Head {
    pub(crate) fn read(from: &mut impl BufRead) -> Result<Self> {
        let first = text_line(from)?.context("the other side has ended")?;
        let mut headers = Vec::new();
        loop {
            match text_line(from)?.context("a head without its end")? {
                line if line.is_empty() => return Ok(Self { first, headers }),
                line => headers.push(line),
            }
        }
    }

    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        let named = self.headers.iter().filter_map(|line| line.split_once(':'));
        named.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim()).next()
    }

    pub(crate) fn text(&self) -> String {
        self.without("")
    }

    pub(crate) fn without(&self, unwanted: &str) -> String {
        let name = |line: &str| line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let kept = self.headers.iter().filter(|line| name(line) != unwanted);
        let lines: Vec<&str> = [self.first.as_str()].into_iter().chain(kept.map(String::as_str)).collect();
        format!("{}\r\n\r\n", lines.join("\r\n"))
    }

    pub(crate) fn body(&self, of_answer: bool) -> Result<Body> {
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
pub(crate) fn pass(from: &mut impl BufRead, to: &mut impl Write, body: Body) -> Result<Vec<u8>> {
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
        let wanted = BEGIN_MAX.saturating_sub(begin.len()).min(length);
        begin.extend_from_slice(&bytes[..wanted]);
        to.write_all(&bytes[..length])?;
        from.consume(length);
        left -= length as u64;
    }
    Ok(())
}

/// What is in a chunked body, without its chunks.
pub(crate) struct Chunks<R> {
    from: R,
    left: u64,
    ended: bool,
}

impl<R: BufRead> Chunks<R> {
    pub(crate) fn of(from: R) -> Self {
        Self { from, left: 0, ended: false }
    }

    fn next_chunk(&mut self) -> Result<()> {
        let size = text_line(&mut self.from)?.context("a chunk without its size")?;
        self.left = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
        self.ended = self.left == 0;
        Ok(())
    }
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 && !self.ended {
            self.next_chunk().map_err(std::io::Error::other)?;
        }
        let read = self.from.by_ref().take(self.left).read(into)?;
        self.left -= read as u64;
        if self.left == 0 && !self.ended {
            text_line(&mut self.from).map_err(std::io::Error::other)?;
        }
        Ok(read)
    }
}

/// One chunk of a body; an empty one is its end.
pub(crate) fn write_chunk(to: &mut impl Write, bytes: &[u8]) -> Result<()> {
    write!(to, "{:x}\r\n", bytes.len())?;
    to.write_all(bytes)?;
    to.write_all(b"\r\n")?;
    Ok(to.flush()?)
}
