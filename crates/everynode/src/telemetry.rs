//! What the process says about itself: log lines on standard error, chosen by `EVERYNODE_LOG`, and traces for a
//! [`collector`].

pub mod collector;
pub mod process;
pub mod traces;

use clap::ValueEnum;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// Without `EVERYNODE_LOG`: what an operator should know, and nothing else.
/// A client that loses its server says so in words of ours; what its library says of the socket helps nobody.
const DEFAULT: &str = "warn,kube_client=off";

/// The same for a controller, whose log is all that its operator sees of it: who leads is worth a line.
const OF_CONTROLLER: &str = "warn,controllers=info,kube_client=off";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging; `EVERYNODE_LOG` is a filter such as `info` or `agent=debug,warn`. With a format, as a controller.
pub fn start(of_controller: Option<LogFormat>) {
    let default = if of_controller.is_some() { OF_CONTROLLER } else { DEFAULT };
    let filter = EnvFilter::try_from_env("EVERYNODE_LOG").unwrap_or_else(|_| default.into());
    // Colours only for a person: the logs of nodes are files.
    let colours = std::io::stderr().is_terminal();
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    match of_controller {
        Some(LogFormat::Json) => lines.json().flatten_event(true).init(),
        Some(LogFormat::Text) | None => lines.init(),
    }
}

/// An error with what lies below it, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let more = error.to_string();
        // Some errors repeat what lies below them.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        below = error.source();
    }
    text
}
