//! What may be known from one Kubernetes object, or two, without asking anyone.
//!
//! Pure: every answer follows from the values in hand and is one that Kubernetes itself defines. Nothing here
//! waits, logs, asks the clock or draws lots. What needs a third object, or an opinion, belongs elsewhere.
//! The modules stand in reading order; each names the rules that it follows (EL-9, OW-1, wire 3.7 …).

pub mod bootstrap_token;
pub mod condition;
pub mod human;
pub mod int_or_percent;
pub mod key;
pub mod name;
pub mod node;
pub mod node_affinity;
pub mod owner;
pub mod parts;
pub mod pod;
pub mod pool;
pub mod quantity;
pub mod quota;
pub mod selector;
pub mod taints;

/// The version that every part of Everynode reports: a Kubernetes version, with ours behind the plus sign.
pub const VERSION: &str = "v1.33.0+everynode.0.1.0";
