//! LimitRanges: defaults and bounds of a namespace's containers. Stored and shown; nothing here applies them yet.
//!
//! Kubernetes: `registry/core/limitrange`; it has no printer (5.0.7).

use super::{Kind, ORDINARY, PLAIN, Traits};

/// The kind.
pub const KIND: Kind = Kind {
    kind: "LimitRange",
    plural: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    traits: Traits { create_on_update: true, ..PLAIN },
    ..ORDINARY
};
