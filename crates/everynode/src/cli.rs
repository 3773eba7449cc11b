//! One file a subcommand: its flags, their turn into a [`crate::config`] value, and what it prints.

pub mod agent;
pub mod backup;
pub mod bench;
pub mod check;
pub mod controller;
pub mod images;
pub mod internal;
pub mod node;
pub mod rollout;
pub mod rotate;
pub mod server;
mod store;
pub mod takeover;
mod target;
pub mod token;
pub mod up;
pub mod why;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

/// Ready at the first SIGINT or SIGTERM.
pub fn asked_to_end() -> Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// The same, and also ready when standard input ends, if that is our tie to `everynode up`.
pub fn asked_or_left(tied: bool) -> Result<impl Future<Output = ()>> {
    let asked = asked_to_end()?;
    Ok(async move {
        tokio::select! {
            () = asked => {}
            () = input_ended(), if tied => {}
        }
    })
}

/// Runs work that ends when its token is cancelled, and cancels it when `left` is ready.
pub async fn until(
    left: impl Future<Output = ()>,
    shutdown: ::agent::Shutdown,
    work: impl Future<Output = Result<()>>,
) -> Result<()> {
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => return result,
        () = left => shutdown.cancel(),
    }
    work.await
}

/// Ready when the other end of standard input is gone. A thread of its own: it reads without end, and ends with us.
async fn input_ended() {
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = send.send(());
    });
    let _ = receive.await;
}

/// The flags of one subcommand, parsed from a line.
#[cfg(test)]
fn parse<F: clap::Args>(line: &str) -> Result<F, String> {
    #[derive(clap::Parser)]
    struct Line<F: clap::Args> {
        #[command(flatten)]
        flags: F,
    }
    let words = ["everynode"].into_iter().chain(line.split_whitespace());
    let line: Line<F> =
        clap::Parser::try_parse_from(words).map_err(|error: clap::Error| error.to_string())?;
    Ok(line.flags)
}
