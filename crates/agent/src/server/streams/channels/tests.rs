//! Both ends of a translation, without a network: a client that speaks WebSocket, and a runtime that speaks SPDY.

use super::*;
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Streams are opened in this order.
const ERROR_STREAM: u32 = 1;
const INPUT: u32 = 3;
const OUTPUT: u32 = 5;

struct World {
    client: WebSocketStream<DuplexStream>,
    runtime: DuplexStream,
    reader: Reader,
    work: JoinHandle<Result<(), ChannelsError>>,
}

/// With input, output and a terminal.
async fn world() -> World {
    let ((client, server), (runtime, ours)) = (duplex(1024), duplex(1024));
    let redirect = Redirect { stdin: true, stdout: true, stderr: false, tty: true };
    let work = tokio::spawn(async move { carry(websocket::open(server).await, ours, redirect).await });
    let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    World { client, runtime, reader: Reader::default(), work }
}

impl World {
    async fn says(&mut self, channel: u8, bytes: &[u8]) {
        self.client.send(on(channel, bytes)).await.unwrap();
    }

    async fn runtime_says(&mut self, frames: &[Vec<u8>]) {
        self.runtime.write_all(&frames.concat()).await.unwrap();
    }

    /// What the runtime hears next.
    async fn heard(&mut self) -> Event {
        loop {
            if let Some(event) = self.reader.event().unwrap() {
                return event;
            }
            let mut piece = [0; 512];
            let read = self.runtime.read(&mut piece).await.unwrap();
            assert_ne!(read, 0, "the stream ended");
            self.reader.push(&piece[..read]);
        }
    }

    /// What the client hears until the close, one text for each channel, and the code of the close.
    async fn rest(mut self) -> (Vec<(u8, String)>, u16) {
        let mut heard: Vec<(u8, String)> = Vec::new();
        while let Some(message) = self.client.next().await {
            match message.unwrap() {
                Message::Binary(bytes) => {
                    let text = String::from_utf8(bytes[1..].to_vec()).unwrap();
                    match heard.iter_mut().find(|(channel, _)| *channel == bytes[0]) {
                        Some((_, known)) => known.push_str(&text),
                        None => heard.push((bytes[0], text)),
                    }
                }
                Message::Close(frame) => return (heard, frame.unwrap().code.into()),
                _ => {}
            }
        }
        panic!("no close; heard {heard:?}")
    }
}

fn event(stream: u32, text: &'static str, last: bool) -> Event {
    Event::Data { stream, bytes: Bytes::from_static(text.as_bytes()), last }
}

#[tokio::test]
async fn input_its_end_and_sizes_reach_the_runtime_and_output_and_status_the_client() {
    let mut world = world().await;
    world.says(STDIN, b"hello").await;
    world.client.send(Message::text("\0text")).await.unwrap();
    world.says(STDIN, b"").await;
    world.says(9, b"nothing there").await;
    world.says(RESIZE, br#"{"Width":80,"Height":24}"#).await;
    world.says(CLOSE, &[STDIN]).await;
    world.says(STDIN, b"too late").await;
    assert_eq!(world.heard().await, event(INPUT, "hello", false));
    assert_eq!(world.heard().await, event(INPUT, "text", false));
    assert_eq!(world.heard().await, event(7, r#"{"Width":80,"Height":24}"#, false));
    assert_eq!(world.heard().await, event(INPUT, "", true));
    let long = "x".repeat(100_000);
    let status = r#"{"status":"Success"}"#;
    let (output, end) =
        (spdy::data(OUTPUT, long.as_bytes(), true), spdy::data(ERROR_STREAM, status.as_bytes(), true));
    let World { client, mut runtime, reader, work } = world;
    let writing = tokio::spawn(async move {
        runtime.write_all(&[spdy::ping(2), output, end].concat()).await.unwrap();
        runtime
    });
    let (elsewhere, _) = duplex(1);
    let world = World { client, runtime: elsewhere, reader, work: tokio::spawn(async { Ok(()) }) };
    let rest = world.rest().await;
    assert_eq!(rest, (vec![(STDOUT, long), (ERROR, status.to_string())], 1000));
    drop(writing.await.unwrap());
    work.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_ping_is_answered() {
    let mut world = world().await;
    world.runtime_says(&[spdy::ping(2)]).await;
    assert_eq!(world.heard().await, Event::Ping { id: 2 });
}

#[tokio::test]
async fn a_runtime_that_goes_without_a_status_is_told_as_one() {
    let mut world = world().await;
    world.runtime_says(&[spdy::data(OUTPUT, b"so far", false)]).await;
    world.runtime.shutdown().await.unwrap();
    let (heard, code) = world.rest().await;
    assert_eq!((heard, code), (vec![(STDOUT, "so far".into()), (ERROR, LOST.into())], 1000));
    serde_json::from_str::<serde_json::Value>(LOST).unwrap();
}

#[tokio::test]
async fn the_status_of_a_command_that_reads_no_input_arrives() {
    let mut world = world().await;
    let status = r#"{"status":"Failure","reason":"NonZeroExitCode"}"#;
    world.runtime_says(&[spdy::data(ERROR_STREAM, status.as_bytes(), false)]).await;
    // It goes; what the client still says nobody hears.
    let (elsewhere, _) = duplex(1);
    drop(std::mem::replace(&mut world.runtime, elsewhere));
    for _ in 0..8 {
        if world.client.send(on(STDIN, &[b'x'; 300])).await.is_err() {
            break;
        }
    }
    assert_eq!(world.rest().await, (vec![(ERROR, status.to_string())], 1000));
}

#[tokio::test]
async fn a_client_that_goes_ends_the_stream() {
    let mut world = world().await;
    world.client.close(None).await.unwrap();
    world.work.await.unwrap().unwrap();
    let mut rest = Vec::new();
    world.runtime.read_to_end(&mut rest).await.unwrap();
}
