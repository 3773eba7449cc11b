//! Port-forward for a client that hides SPDY in a WebSocket: its messages, put together, are the runtime's bytes (6.25).
//!
//! No frame of SPDY is read: where a message begins says nothing. Kubernetes:
//! `apiserver/pkg/util/proxy/streamtunnel.go`, `client-go/tools/portforward/tunneling_connection.go`.

use super::channels::ChannelsError;
use super::join::PIECE;
use super::websocket::{self, Socket};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

/// What the client speaks.
pub const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
/// What is inside of it.
pub const RUNTIME_PROTOCOL: &str = "portforward.k8s.io";

/// Until either side ends.
pub async fn carry(
    client: Socket<impl AsyncRead + AsyncWrite + Unpin>,
    runtime: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<(), ChannelsError> {
    let (mut from_runtime, mut to_runtime) = tokio::io::split(runtime);
    let (mut to_client, mut from_client) = client.split();
    let inwards = async {
        let mut heard = true;
        while let Some(message) = from_client.next().await.transpose()? {
            match message {
                Message::Binary(bytes) if heard => heard = to_runtime.write_all(&bytes).await.is_ok(),
                Message::Close(_) => break,
                _ => {}
            }
        }
        Ok::<_, ChannelsError>(())
    };
    let outwards = async {
        let mut piece = vec![0; PIECE];
        loop {
            match from_runtime.read(&mut piece).await? {
                0 => return Ok::<_, ChannelsError>(()),
                read => {
                    let bytes = Bytes::copy_from_slice(piece.get(..read).unwrap_or_default());
                    to_client.send(Message::Binary(bytes)).await?;
                }
            }
        }
    };
    tokio::select! {
        ended = inwards => return ended,
        ended = outwards => ended?,
    }
    Ok(websocket::close(&mut to_client, &mut from_client).await?)
}
