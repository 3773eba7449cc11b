//! Exec and attach for a client that speaks WebSocket v5: its channels become the runtime's SPDY streams (wire 6.23).
//!
//! Runtimes serve SPDY and WebSocket up to v4, which cannot say that input ends; v5 can, so it is translated. A message's
//! first byte is its channel; what is behind it goes on as it is, output of a long frame in pieces. One piece is in hand
//! in each direction, so that a slow reader slows the writer. The end: the runtime's status on channel 3, then a close.
//!
//! Kubernetes: `apimachinery/pkg/util/httpstream/wsstream`, `apiserver/pkg/util/proxy/streamtranslator.go`.

use super::Redirect;
use super::join::PIECE;
use super::spdy::{self, Event, Opener, Reader, SpdyError};
use super::websocket::{self, Socket};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{self, Message};

/// What the runtime is asked to speak; the newest that containerd knows.
pub const RUNTIME_PROTOCOL: &str = "v4.channel.k8s.io";
/// What the client speaks.
pub const PROTOCOL: &str = "v5.channel.k8s.io";

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;
/// Pings that wait for their answer; a server that sends more gets fewer answers.
const PINGS: usize = 4;

/// Why a translation ended.
#[derive(Debug, thiserror::Error)]
pub enum ChannelsError {
    /// The client's connection.
    #[error("the client's websocket")]
    Client(#[from] tungstenite::Error),
    /// The runtime's connection.
    #[error("the runtime's stream server")]
    Runtime(#[from] io::Error),
    /// The runtime's frames.
    #[error("the runtime's stream server")]
    Spdy(#[from] SpdyError),
}

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Input(Bytes),
    InputEnds,
    Resize(Bytes),
    /// Nothing that there is a stream for. Kubernetes ignores it, too.
    Nothing,
}

/// Which stream is which channel.
#[derive(Debug, Default, PartialEq, Eq)]
struct Streams {
    error: u32,
    input: Option<u32>,
    output: Option<u32>,
    stderr: Option<u32>,
    resize: Option<u32>,
}

impl Streams {
    /// Opens what is redirected, in kubectl's order, and the bytes that do it.
    fn open(redirect: Redirect) -> (Self, Vec<u8>) {
        let (mut opener, mut bytes) = (Opener::default(), Vec::new());
        let mut open = |wanted: bool, name: &str| {
            wanted.then(|| {
                let (stream, frame) = opener.open("streamtype", name);
                bytes.extend(frame);
                stream
            })
        };
        let streams = Self {
            error: open(true, "error").unwrap_or_default(),
            input: open(redirect.stdin, "stdin"),
            output: open(redirect.stdout, "stdout"),
            stderr: open(redirect.stderr, "stderr"),
            resize: open(redirect.tty, "resize"),
        };
        (streams, bytes)
    }

    fn channel(&self, stream: u32) -> Option<u8> {
        let all = [(Some(self.error), ERROR), (self.output, STDOUT), (self.stderr, STDERR)];
        all.into_iter().find(|(known, _)| *known == Some(stream)).map(|(_, channel)| channel)
    }
}

/// What a message says; of the channels, only these come from a client.
fn said(message: &Bytes) -> Said {
    match (message.first(), message.get(1)) {
        (Some(&STDIN), _) => Said::Input(message.slice(1..)),
        (Some(&RESIZE), _) => Said::Resize(message.slice(1..)),
        (Some(&CLOSE), Some(&STDIN)) => Said::InputEnds,
        _ => Said::Nothing,
    }
}

/// Until the command ends or either side goes. Nothing is killed by that: an attached process goes on.
pub async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    client: Socket<S>,
    runtime: impl AsyncRead + AsyncWrite + Unpin,
    redirect: Redirect,
) -> Result<(), ChannelsError> {
    let (streams, opening) = Streams::open(redirect);
    let (mut from_runtime, mut to_runtime) = tokio::io::split(runtime);
    let (mut to_client, mut from_client) = client.split();
    // A runtime that does not even hear this is told of below.
    let _ = to_runtime.write_all(&opening).await;
    let (ping, pings) = mpsc::channel(PINGS);
    let takes_input = AtomicBool::new(true);
    let ended = tokio::select! {
        ended = inwards(&mut from_client, &mut to_runtime, &streams, &takes_input, pings) => return ended,
        ended = outwards(&mut from_runtime, &mut to_client, &streams, &takes_input, ping) => ended,
    };
    let told = ended.as_ref().is_ok_and(|told| *told);
    if !told {
        to_client.send(on(ERROR, LOST.as_bytes())).await?;
    }
    websocket::close(&mut to_client, &mut from_client).await?;
    ended.map(drop)
}

/// The status of a command whose end nobody has told.
const LOST: &str = r#"{"metadata":{},"status":"Failure","message":"error executing command in container: the container runtime has closed the stream","reason":"InternalError","code":500}"#;

/// The client's messages, and answers to pings, until the client goes.
async fn inwards<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut SplitStream<Socket<S>>,
    runtime: &mut (impl AsyncWrite + Unpin),
    streams: &Streams,
    takes_input: &AtomicBool,
    mut pings: mpsc::Receiver<u32>,
) -> Result<(), ChannelsError> {
    // A runtime that hears nothing any more may still have the status on its way.
    let mut heard = true;
    loop {
        let message = tokio::select! {
            Some(id) = pings.recv(), if heard => {
                heard = runtime.write_all(&spdy::ping(id)).await.is_ok();
                continue;
            }
            message = client.next() => message,
        };
        let message = match message.transpose()? {
            Some(Message::Binary(message)) => message,
            // Python's client sends input so; the first character is the channel all the same.
            Some(Message::Text(message)) => Bytes::from(message),
            Some(Message::Close(_)) | None => return Ok(()),
            Some(_) => continue,
        };
        let input = streams.input.filter(|_| takes_input.load(Ordering::Relaxed));
        let frames = match said(&message) {
            // An empty message is none: the end has a message of its own.
            Said::Input(bytes) if !bytes.is_empty() => input.map(|id| spdy::data(id, &bytes, false)),
            Said::Resize(size) => streams.resize.map(|id| spdy::data(id, &size, false)),
            Said::InputEnds => {
                takes_input.store(false, Ordering::Relaxed);
                input.map(|id| spdy::data(id, &[], true))
            }
            Said::Input(_) | Said::Nothing => None,
        };
        if let Some(frames) = frames.filter(|_| heard) {
            heard = runtime.write_all(&frames).await.is_ok();
        }
    }
}

/// What the runtime sends, until it ends. Answers whether it told the status.
async fn outwards<S: AsyncRead + AsyncWrite + Unpin>(
    runtime: &mut (impl AsyncRead + Unpin),
    client: &mut SplitSink<Socket<S>, Message>,
    streams: &Streams,
    takes_input: &AtomicBool,
    ping: mpsc::Sender<u32>,
) -> Result<bool, ChannelsError> {
    let (mut reader, mut piece) = (Reader::default(), vec![0; PIECE]);
    let mut told = false;
    loop {
        // A runtime that has told the status may go as it likes.
        let read = match runtime.read(&mut piece).await {
            Ok(read) => read,
            Err(_) if told => 0,
            Err(error) => return Err(error.into()),
        };
        if read == 0 {
            return Ok(told);
        }
        reader.push(piece.get(..read).unwrap_or_default());
        while let Some(event) = reader.event()? {
            match event {
                Event::Data { stream, bytes, last } => {
                    if let Some(channel) = streams.channel(stream)
                        && !bytes.is_empty()
                    {
                        client.send(on(channel, &bytes)).await?;
                    }
                    told |= stream == streams.error && !bytes.is_empty();
                    if told && last && stream == streams.error {
                        return Ok(true);
                    }
                }
                Event::Reset { stream } if stream == streams.error => return Ok(told),
                Event::Reset { stream } if streams.input == Some(stream) => {
                    takes_input.store(false, Ordering::Relaxed);
                }
                Event::Ping { id } => _ = ping.try_send(id),
                Event::Reset { .. } | Event::GoAway => {}
            }
        }
    }
}

fn on(channel: u8, bytes: &[u8]) -> Message {
    Message::Binary([&[channel], bytes].concat().into())
}

#[cfg(test)]
mod tests;
