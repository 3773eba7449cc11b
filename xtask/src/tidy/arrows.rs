//! Which crate may know which: ARCHITECTURE.md's arrows, compared with `cargo metadata`.
//!
//! Two tables. [`ARROWS`] names, for each of our crates, the crates of ours that it may use. [`ROOMS`] names
//! libraries that belong to few rooms, so that wire code, clocks and databases stay where they are expected.

use crate::program;
use anyhow::{Context, Result};
use serde_json::Value;

/// Our crate, and which of ours it may use. Downwards only.
const ARROWS: &[(&str, &[&str])] = &[
    ("objects", &[]),
    ("store", &[]),
    ("hello", &[]),
    ("daemonset", &["objects"]),
    ("scheduler", &["objects"]),
    ("structural", &[]),
    ("apiserver", &["store", "structural", "objects"]),
    ("controllers", &["daemonset", "scheduler", "objects"]),
    ("agent", &["objects"]),
    ("why", &["daemonset", "objects"]),
    ("bench", &["agent"]),
    (
        "everynode",
        &["apiserver", "controllers", "agent", "store", "why", "bench", "daemonset", "scheduler", "objects"],
    ),
    // The whole cluster, played in one thread.
    ("sim", &["apiserver", "controllers", "agent", "store", "daemonset", "objects"]),
    // Hostile input for what reads input.
    ("fuzz", &["apiserver", "agent", "store", "structural", "objects"]),
    // Outside: they see the binary and kubectl, never a crate.
    ("e2e", &[]),
    ("load", &[]),
    ("xtask", &[]),
];

/// A library, and the only crates of ours that may use it.
const ROOMS: &[(&str, &[&str])] = &[
    ("clap", &["everynode", "xtask", "e2e", "sim", "fuzz"]),
    ("anyhow", &["everynode", "xtask", "e2e", "load", "sim", "fuzz"]),
    ("rusqlite", &["store"]),
    ("tonic", &["agent", "store", "e2e"]),
    ("prost", &["agent", "store"]),
    ("kube", &["controllers", "agent", "bench", "everynode", "load", "sim"]),
    (
        "tokio",
        &["store", "apiserver", "controllers", "agent", "bench", "everynode", "e2e", "load", "sim", "fuzz"],
    ),
    ("tracing", &["store", "apiserver", "controllers", "agent", "bench", "everynode"]),
    ("rustls", &["apiserver", "agent", "everynode", "load"]),
    ("json-patch", &["apiserver"]),
    ("tracing-subscriber", &["everynode"]),
    ("opentelemetry", &["apiserver", "controllers", "everynode"]),
    ("opentelemetry_sdk", &["everynode"]),
    ("opentelemetry-otlp", &["everynode"]),
];

/// Libraries that may never come in, with the reason.
const BANNED: &[(&str, &str)] = &[
    ("aws-lc-rs", "two TLS providers in one process; ring everywhere"),
    ("chrono", "jiff is the one clock"),
    ("openssl", "rustls everywhere"),
    ("serde_yaml", "unmaintained; serde-saphyr"),
];

/// One declared dependency.
pub struct Arrow {
    from: String,
    to: String,
    ours: bool,
    only_for_tests: bool,
}

/// Reads every crate's declared dependencies.
pub fn declared() -> Result<Vec<Arrow>> {
    let text = program::output(program::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let mut arrows = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            arrows.push(Arrow {
                from: text_of(&package["name"]),
                to: text_of(&dependency["name"]),
                ours: dependency["path"].is_string(),
                only_for_tests: dependency["kind"] == "dev",
            });
        }
    }
    Ok(arrows)
}

/// Complaints about arrows that the tables do not have.
pub fn check(arrows: &[Arrow]) -> Vec<String> {
    arrows.iter().filter_map(complaint).collect()
}

fn complaint(arrow: &Arrow) -> Option<String> {
    let Arrow { from, to, .. } = arrow;
    if let Some((_, reason)) = BANNED.iter().find(|(name, _)| name == to) {
        return Some(format!("crate {from} uses {to}: {reason}"));
    }
    if arrow.only_for_tests {
        return None;
    }
    if arrow.ours {
        return match ARROWS.iter().find(|(name, _)| name == from) {
            None => Some(format!("crate {from} is not in the table of arrows (xtask/src/tidy/arrows.rs)")),
            Some((_, allowed)) if allowed.contains(&to.as_str()) => None,
            Some(_) => Some(format!("crate {from} must not know {to}: see the arrows in ARCHITECTURE.md")),
        };
    }
    let (_, allowed) = ROOMS.iter().find(|(library, _)| library == to)?;
    let stays = allowed.contains(&from.as_str());
    (!stays).then(|| format!("crate {from} uses {to}, which belongs to: {}", allowed.join(", ")))
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrow(from: &str, to: &str, ours: bool) -> Arrow {
        Arrow { from: from.into(), to: to.into(), ours, only_for_tests: false }
    }

    #[test]
    fn an_arrow_upwards_is_refused() {
        assert_eq!(check(&[arrow("agent", "apiserver", true)]).len(), 1);
        assert_eq!(check(&[arrow("apiserver", "daemonset", true)]).len(), 1);
        assert_eq!(check(&[arrow("daemonset", "objects", true)]), Vec::<String>::new());
    }

    #[test]
    fn a_pure_crate_gets_no_runtime() {
        assert_eq!(check(&[arrow("daemonset", "tokio", false)]).len(), 1);
        assert_eq!(check(&[arrow("scheduler", "tracing", false)]).len(), 1);
    }
}
