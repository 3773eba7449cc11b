//! A whole cluster in one thread on a simulated clock, from one seed.
//!
//! The real API server over the memory store, the real loops, and simulated nodes; [`users`] who do what is legal, at
//! random; [`faults`] between every client and the server; [`invariants`] that look at every single write, and
//! [`rest`], which asks at the end whether the cluster is what its users asked for. The same seed gives the same run,
//! line by line: a failure is its number ([`seed`]). [`script`]s are the same cluster played by hand, with their
//! output recorded beside them.
//!
//! Reading order: [`clock`], [`chance`], [`beginning`], [`world`], [`faults`], [`truth`], [`invariants`], [`users`], [`rest`], [`seed`], [`coverage`].

pub(crate) mod beginning;
pub(crate) mod chance;
pub(crate) mod clock;
pub mod coverage;
pub mod crashes;
pub(crate) mod faults;
pub(crate) mod hands;
pub(crate) mod invariants;
pub(crate) mod machines;
pub(crate) mod observer;
pub(crate) mod processes;
pub(crate) mod rest;
pub mod script;
pub mod seed;
pub(crate) mod trace;
pub(crate) mod truth;
pub(crate) mod users;
pub(crate) mod window;
pub(crate) mod words;
pub(crate) mod world;
