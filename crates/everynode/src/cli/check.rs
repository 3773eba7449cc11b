//! `everynode check`: whether the store of a data folder is whole, without a server and without a change.

use crate::config::default_data_dir;
use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use store::history::{History, Version};
use store::sealed::sealed_with;

/// Problems that are printed; the rest is counted.
const PRINTED: usize = 20;

/// Flags of `everynode check`.
#[derive(Debug, Args)]
pub struct Flags {
    /// The data folder; no server may run on it.
    #[arg(long, env = "EVERYNODE_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    /// Objects by `plural.group`.
    kinds: BTreeMap<String, usize>,
    encrypted: usize,
    problems: Vec<String>,
}

/// Reads everything and tells what is there; an error when something is wrong with it.
pub fn run(flags: &Flags) -> Result<()> {
    let file = flags.data_dir.clone().unwrap_or_else(default_data_dir).join("server").join("store.db");
    let history = store::sqlite::read(&file)?;
    let findings = findings(&history);
    println!("{}: revision {}, changes since {}", file.display(), history.current(), history.floor());
    for (kind, count) in &findings.kinds {
        println!("  {count:>7} {kind}");
    }
    for problem in findings.problems.iter().take(PRINTED) {
        eprintln!("  {problem}");
    }
    if !findings.problems.is_empty() {
        bail!("{}: {} objects are not as the server writes them", file.display(), findings.problems.len());
    }
    let total: usize = findings.kinds.values().sum();
    println!("{total} objects, {} of them encrypted; everything is whole", findings.encrypted);
    Ok(())
}

fn findings(history: &History) -> Findings {
    let mut findings = Findings::default();
    for (key, version) in history.entries() {
        // What is not an object is the server's own.
        let Some(path) = key.strip_prefix(apiserver::encode::ROOT) else { continue };
        let parts: Vec<&str> = path.split('/').collect();
        let [group, plural, namespace, name] = parts[..] else {
            findings.problems.push(format!("{key}: is not the key of an object"));
            continue;
        };
        let kind = if group == "core" { plural.to_string() } else { format!("{plural}.{group}") };
        *findings.kinds.entry(kind).or_default() += 1;
        let encrypted = sealed_with(&version.value.bytes()).is_some();
        findings.encrypted += usize::from(encrypted);
        let wrong_revision = version.created > version.revision || version.revision > history.current();
        let problem = match wrong_revision {
            true => Some("its revisions cannot be".to_string()),
            false if encrypted => None,
            false => problem(version, namespace, name),
        };
        findings.problems.extend(problem.map(|problem| format!("{key}: {problem}")));
    }
    findings
}

/// Whether an object says what its key says.
fn problem(version: &Version, namespace: &str, name: &str) -> Option<String> {
    let object: Value = match serde_json::from_slice(&version.value.bytes()) {
        Ok(object) => object,
        Err(error) => return Some(format!("cannot be read: {error}")),
    };
    let metadata = &object["metadata"];
    let said = |field: &str| metadata[field].as_str().unwrap_or_default().to_string();
    if said("name") != name {
        return Some(format!("calls itself {:?}", said("name")));
    }
    if namespace != "-" && said("namespace") != namespace {
        return Some(format!("says that it is in namespace {:?}", said("namespace")));
    }
    ["kind", "apiVersion"]
        .iter()
        .find(|field| !object[**field].is_string())
        .map(|field| format!("has no {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Store as _;
    use store::sqlite::SqliteStore;

    #[tokio::test]
    async fn objects_are_counted_and_each_problem_has_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("store.db");
        let store = SqliteStore::open(&file).unwrap();
        let pod = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"d"}}"#;
        let node = r#"{"kind":"Node","apiVersion":"v1","metadata":{"name":"n"}}"#;
        for (key, value) in [
            ("/registry/core/pods/d/a", pod),
            ("/registry/core/pods/d/b", pod),
            ("/registry/core/pods/e/a", pod),
            ("/registry/core/nodes/-/n", node),
            ("/registry/apps/daemonsets/d/x", "{"),
            ("/registry/core/secrets/d/s", "\0sealed\u{1}abcd and the rest"),
            ("/registry/odd", "{}"),
            ("/everynode/authority", "f00"),
        ] {
            store.create(key, value.to_string().into()).await.unwrap();
        }
        drop(store);
        let found = findings(&store::sqlite::read(&file).unwrap());
        let kinds: Vec<_> = found.kinds.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        assert_eq!(kinds, [("daemonsets.apps", 1), ("nodes", 1), ("pods", 3), ("secrets", 1)]);
        assert_eq!(found.encrypted, 1);
        let expected = [
            "/registry/apps/daemonsets/d/x: cannot be read: EOF while parsing an object at line 1 column 1",
            "/registry/core/pods/d/b: calls itself \"a\"",
            "/registry/core/pods/e/a: says that it is in namespace \"d\"",
            "/registry/odd: is not the key of an object",
        ];
        assert_eq!(found.problems, expected);
    }
}
