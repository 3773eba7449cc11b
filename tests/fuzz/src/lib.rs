//! Hostile input for everything that reads input.
//!
//! A [target](targets) turns bytes into calls of the real product, most of them into requests to a whole API server in
//! this process ([`server`]), and panics when a promise is broken. The bytes are choices ([`draw`]): an object of
//! [`seeds`], how it is [bent](bend), in which [form](body) it is sent; so that every input says something, and a small
//! change of it is a small change of what is said. The [`engine`] changes inputs and keeps those whose answers are new
//! ([`novelty`]): no instrumented build, no nightly compiler. [`memory`] is counted, and bounded per input. A program of
//! its own runs each target, for only a process survives an overflow of its stack: [`supervise`].
//!
//! Reading order: [`draw`], [`targets::selectors`], [`server`], [`targets::bodies`], [`engine`], [`supervise`].

pub mod bend;
pub mod body;
pub mod chance;
pub mod draw;
pub mod engine;
pub mod memory;
pub mod novelty;
pub mod protobuf;
pub mod seeds;
pub mod server;
pub mod supervise;
pub mod targets;
