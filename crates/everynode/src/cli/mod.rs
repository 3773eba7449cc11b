//! One file a subcommand.

pub mod server;
