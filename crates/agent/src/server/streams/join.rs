//! Two connections become one: what comes in on one goes out on the other, until either ends.
//!
//! Nothing more is read before the last piece is on its way, so that a slow reader slows the writer and a large file needs
//! no memory. A side that hears nothing any more may have said something before: it is read to its end.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Largest piece in hand in each direction.
pub const PIECE: usize = 32 * 1024;
/// How long a side whose peer has ended may go on before its connection is closed. Closing while it sends would be a reset,
/// which may overtake what it has not read yet.
pub const LAST_WORDS: Duration = Duration::from_secs(2);

/// Until one side ends; what it had said has been passed on then.
pub async fn join(
    one: impl AsyncRead + AsyncWrite + Unpin,
    other: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    let (mut one_in, mut one_out) = tokio::io::split(one);
    let (mut other_in, mut other_out) = tokio::io::split(other);
    let ended = tokio::select! {
        ended = pass(&mut one_in, &mut other_out) => ended,
        ended = pass(&mut other_in, &mut one_out) => ended,
    };
    let _ = tokio::join!(one_out.shutdown(), other_out.shutdown());
    let rest = async { tokio::join!(drain(&mut one_in), drain(&mut other_in)) };
    let _ = tokio::time::timeout(LAST_WORDS, rest).await;
    ended
}

async fn pass(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut heard = true;
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        if heard {
            let piece = piece.get(..read).unwrap_or_default();
            heard = to.write_all(piece).await.is_ok() && to.flush().await.is_ok();
        }
    }
}

async fn drain(from: &mut (impl AsyncRead + Unpin)) {
    let _ = tokio::io::copy(from, &mut tokio::io::sink()).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    /// Both outer ends of two joined connections, and the joining.
    fn joined() -> (tokio::io::DuplexStream, tokio::io::DuplexStream, tokio::task::JoinHandle<io::Result<()>>)
    {
        let ((one, inner_one), (other, inner_other)) = (duplex(64), duplex(64));
        (one, other, tokio::spawn(join(inner_one, inner_other)))
    }

    #[tokio::test]
    async fn everything_passes_and_the_end_of_one_is_the_end_of_both() {
        let (mut one, mut other, joined) = joined();
        let long: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let sent = long.clone();
        let writer = tokio::spawn(async move {
            one.write_all(&sent).await.unwrap();
            one.shutdown().await.unwrap();
            let mut answer = Vec::new();
            one.read_to_end(&mut answer).await.unwrap();
        });
        let mut got = Vec::new();
        other.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, long);
        drop(other);
        writer.await.unwrap();
        joined.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_last_words_of_a_side_that_listens_no_more_arrive() {
        let (mut one, mut other, joined) = joined();
        other.write_all(b"the end").await.unwrap();
        drop(other);
        let _ = one.write_all(b"nobody hears this").await;
        let mut got = Vec::new();
        one.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"the end");
        drop(one);
        joined.await.unwrap().unwrap();
    }
}
