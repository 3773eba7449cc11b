//! The store in a real etcd: its suite, its clusters, and clusters that somebody breaks.
//!
//! Needs etcd (Debian: etcd-server) on PATH; `cargo xtask test` installs it.

mod cluster;
mod conforms;
mod faults;
mod secured;
