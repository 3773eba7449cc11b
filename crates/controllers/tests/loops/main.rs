//! The loops against a real API server on a memory store, with simulated nodes: what a user sees, and by which rule.
//!
//! One file per subject; [`world`] is the cluster that they share the making of.

mod acting;
mod certificates;
mod conditions;
mod daemons;
mod disruption;
mod endpoints;
mod faults;
mod garbage;
mod nodes;
mod quotas;
mod rights;
mod scheduling;
mod upstream;
mod world;
