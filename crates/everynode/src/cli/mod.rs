//! One file a subcommand.

pub mod server;
pub mod token;
