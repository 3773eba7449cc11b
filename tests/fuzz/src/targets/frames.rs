//! Streams of exec, attach and port-forward: what a hostile client, or a broken runtime, sends of WebSocket and SPDY.
//!
//! The product's own translators stand between two pipes; the input is what one end says, in pieces of its choice. They
//! must end when their peers have, and hold no more than a message and a piece.

use super::Target;
use crate::draw::Draw;
use crate::memory::Account;
use crate::novelty::{saw, shape};
use agent::server::streams::asked::Redirect;
use agent::server::streams::{channels, tunnel, websocket};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

/// From clients.
pub const WEBSOCKET: Target = Target {
    name: "websocket",
    question: "frames of a WebSocket client: exec v5, and SPDY in WebSocket",
    tested: 57_000,
    words: &["\u{2}\u{0}", "\u{1}", "{\"Width\":80,\"Height\":24}"],
    run: from_client,
};

/// From runtimes.
pub const SPDY: Target = Target {
    name: "spdy",
    question: "frames of SPDY, from a runtime's stream server",
    tested: 69_000,
    words: &["\u{0}\u{0}\u{0}\u{1}", "{\"status\":\"Success\"}", "x\u{1c}"],
    run: from_runtime,
};

/// What a pipe holds before its writer waits.
const PIPE: usize = 64 << 10;
/// How long the other end listens; the clock is tokio's, paused.
const PATIENCE: Duration = Duration::from_secs(3600);

fn from_client(input: &[u8], account: &mut Account) {
    let mut draw = Draw::new(input);
    let how = draw.byte();
    let mut bytes = Vec::new();
    while !draw.is_over() {
        websocket_frame(&mut draw, &mut bytes);
    }
    account.send(bytes.len());
    let piece = 1 + usize::from(how) * 64;
    let (heard, ended) = translate(how, bytes, Vec::new(), piece);
    assert!(heard.0.len() <= PIPE * 64, "a client heard {} bytes", heard.0.len());
    saw(ended);
    saw(("to the runtime", heard.1.len().checked_ilog2()));
    saw(("to the client", heard.0.len().min(8)));
}

fn from_runtime(input: &[u8], account: &mut Account) {
    let mut draw = Draw::new(input);
    let how = draw.byte();
    let mut bytes = Vec::new();
    while !draw.is_over() {
        spdy_frame(&mut draw, &mut bytes);
    }
    account.send(bytes.len());
    let piece = 1 + usize::from(how) * 64;
    let sent = bytes.len();
    let (heard, ended) = translate(how & !1, Vec::new(), bytes, piece);
    // Each piece of data becomes a message with a head of some bytes.
    assert!(heard.0.len() <= 16 * sent + 4096, "{sent} bytes became {}", heard.0.len());
    saw(ended);
    saw(("to the runtime", heard.1.len().min(256) / 16));
    saw(("to the client", heard.0.len().checked_ilog2()));
}

/// Frames whose heads and lengths may lie.
fn websocket_frame(draw: &mut Draw<'_>, out: &mut Vec<u8>) {
    let kind = draw.byte();
    if kind == 255 {
        return out.extend(draw.bytes(64));
    }
    let code =
        [0x82, 0x81, 0x88, 0x89, 0x8a, 0x02, 0x01, 0x00, 0x80, 0x83, 0xc2, 0xf0][usize::from(kind) % 12];
    let length = usize::from(draw.byte());
    let payload = match length {
        // Large, of few bytes.
        240.. => draw.bytes(4).repeat((length - 239) * 4096),
        length => draw.bytes(length).to_vec(),
    };
    let lie = draw.byte();
    let told = match lie {
        250 => u64::MAX,
        251 => 1 << 63,
        252 => (4 << 20) + 1,
        253 => 4 << 20,
        254 => payload.len() as u64 + 1,
        _ => payload.len() as u64,
    };
    out.push(code);
    let masked = if lie == 249 { 0 } else { 0x80 };
    match told {
        0..=125 => out.push(masked | told as u8),
        126..=0xffff => {
            out.push(masked | 126);
            out.extend((told as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend(told.to_be_bytes());
        }
    }
    if masked > 0 {
        out.extend([0; 4]);
    }
    out.extend(payload);
}

/// Frames whose kinds and lengths may lie.
fn spdy_frame(draw: &mut Draw<'_>, out: &mut Vec<u8>) {
    let kind = draw.byte();
    if kind == 255 {
        return out.extend(draw.bytes(64));
    }
    let length = usize::from(draw.byte());
    let payload = match length {
        240.. => draw.bytes(4).repeat((length - 239) * 4096),
        length => draw.bytes(length % 64).to_vec(),
    };
    let lie = draw.byte();
    let told = match lie {
        250 => (1 << 24) - 1,
        251 => 0,
        _ => payload.len() as u32,
    };
    match kind % 8 {
        0..4 => out.extend(u32::from(draw.byte() % 12).to_be_bytes()),
        kind => {
            let code = [1, 2, 3, 6, 7, 8, 9, 4][usize::from(draw.byte()) % 8];
            let version = if kind == 7 { draw.byte() } else { 3 };
            out.extend([0x80, version, 0, code]);
        }
    }
    out.push(draw.byte() & 3);
    out.extend(&told.to_be_bytes()[1..]);
    out.extend(payload);
}

/// What both ends heard, and how the translator ended.
fn translate(how: u8, client: Vec<u8>, runtime: Vec<u8>, piece: usize) -> ((Vec<u8>, Vec<u8>), String) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let clock = builder.enable_time().start_paused(true).build().expect("a runtime");
    clock.block_on(async {
        let ((client_end, ours), (runtime_end, theirs)) = (duplex(PIPE), duplex(PIPE));
        let redirect = Redirect { stdin: how & 2 > 0, stdout: true, stderr: how & 4 > 0, tty: how & 8 > 0 };
        let carry = async {
            let socket = websocket::open(ours).await;
            let ended = match how & 1 {
                0 => channels::carry(socket, theirs, redirect).await,
                _ => tunnel::carry(socket, theirs).await,
            };
            ended.map_or_else(|error| shape(&error.to_string()), |()| "well".to_string())
        };
        let all =
            async { tokio::join!(carry, say(client_end, client, piece), say(runtime_end, runtime, piece)) };
        let (ended, to_client, to_runtime) =
            tokio::time::timeout(PATIENCE, all).await.expect("a stream ends when both ends have");
        ((to_client, to_runtime), ended)
    })
}

/// Says all of it, then nothing more; hears the rest.
async fn say(end: DuplexStream, bytes: Vec<u8>, piece: usize) -> Vec<u8> {
    let (mut from, mut to) = tokio::io::split(end);
    let says = async {
        for piece in bytes.chunks(piece) {
            if to.write_all(piece).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    let mut heard = Vec::new();
    let hears = async {
        let _ = from.read_to_end(&mut heard).await;
    };
    tokio::join!(says, hears);
    heard
}
