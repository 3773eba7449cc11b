//! The server as its clients see it: whole requests in, whole answers out, over the memory store.
//!
//! One [`harness`]; each file asks one question. Rule numbers are those of the wire specification.

mod apply;
mod audited;
mod authority;
mod bad_input;
mod costs;
mod crowded;
mod daemon_sets;
mod debugging;
mod defined;
mod defined_versions;
mod evictions;
mod harness;
mod limited;
mod limits;
mod lists;
mod logs;
mod objects;
mod people;
mod pod_security;
mod real_client;
mod rights;
mod runtime_classes;
mod service_addresses;
mod streams;
mod tokens;
mod watches;
mod who_may;
