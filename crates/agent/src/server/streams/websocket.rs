//! The server's end of a WebSocket, after the handshake that HTTP makes: limits, and how it ends.
//!
//! Frames, masks, pings and pongs are tungstenite's. RFC 6455, sections 4.2.2 and 7.1.

use super::Refusal;
use super::join::LAST_WORDS;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::header::{SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

/// Longest message of a client. kubectl's are 32 KiB; other clients send what their caller wrote in one.
const MESSAGE_MAX: usize = 4 << 20;

/// An open WebSocket.
pub type Socket<S> = WebSocketStream<S>;

/// The 101 that answers this handshake.
pub fn accept(headers: &HeaderMap, protocol: &'static str) -> Result<Response<super::Body>, Refusal> {
    let text = |name| headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    let bad = |text: &str| Refusal::new(StatusCode::BAD_REQUEST, text);
    if text(SEC_WEBSOCKET_VERSION) != b"13" {
        return Err(bad("missing or bad WebSocket Version"));
    }
    let key = text(SEC_WEBSOCKET_KEY);
    if key.is_empty() {
        return Err(bad("mismatch challenge/response"));
    }
    let accept = HeaderValue::from_str(&derive_accept_key(key));
    let mut response = Response::new(super::whole(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept.map_err(|_| bad("mismatch challenge/response"))?);
    answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    Ok(response)
}

/// The connection behind the 101.
pub async fn open<S: AsyncRead + AsyncWrite + Unpin>(connection: S) -> Socket<S> {
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX)).max_frame_size(Some(MESSAGE_MAX));
    WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await
}

/// Says that all is well and over, and waits a little for the client to say so, too.
pub async fn close<S: AsyncRead + AsyncWrite + Unpin>(
    to_client: &mut SplitSink<Socket<S>, Message>,
    from_client: &mut SplitStream<Socket<S>>,
) -> Result<(), tungstenite::Error> {
    let frame = CloseFrame { code: CloseCode::Normal, reason: Default::default() };
    match to_client.send(Message::Close(Some(frame))).await {
        // The client was faster.
        Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => return Ok(()),
        sent => sent?,
    }
    let gone = async { while let Some(Ok(_)) = from_client.next().await {} };
    let _ = tokio::time::timeout(LAST_WORDS, gone).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_answered_as_the_rfc_shows_it_or_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        let refused = accept(&headers, "v5.channel.k8s.io").map(drop).unwrap_err();
        assert_eq!(refused, Refusal::new(StatusCode::BAD_REQUEST, "missing or bad WebSocket Version"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        let accepted = accept(&headers, "v5.channel.k8s.io").unwrap();
        assert_eq!(accepted.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accepted.headers()[SEC_WEBSOCKET_PROTOCOL], "v5.channel.k8s.io");
    }
}
