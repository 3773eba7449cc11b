//! A file that no `mod` line reaches is never compiled: it looks tested and is not.

use super::Source;
use std::collections::BTreeSet;

/// Complaints about unreachable files below a `src` folder.
pub fn check(sources: &[Source]) -> Vec<String> {
    let mut reached = BTreeSet::new();
    for source in sources.iter().filter(|s| is_root(&s.path)) {
        reach(source, sources, &mut reached);
    }
    sources
        .iter()
        .filter(|s| s.path.contains("/src/") && !reached.contains(s.path.as_str()))
        .map(|s| format!("{}: no `mod` line reaches this file; add one or delete the file", s.path))
        .collect()
}

fn is_root(path: &str) -> bool {
    path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs") || path.contains("/src/bin/")
}

fn reach<'a>(source: &'a Source, sources: &'a [Source], reached: &mut BTreeSet<&'a str>) {
    if !reached.insert(&source.path) {
        return;
    }
    for name in modules(&source.text) {
        for path in candidates(&source.path, &name) {
            if let Some(child) = sources.iter().find(|s| s.path == path) {
                reach(child, sources, reached);
            }
        }
    }
}

/// Names after `mod`, and paths after `#[path = "…"]`.
fn modules(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"").and_then(|l| l.split('"').next()) {
            names.push(path.to_string());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [.., "mod", name] = words.as_slice()
            && let Some(name) = name.strip_suffix(';')
        {
            names.push(name.to_string());
        }
    }
    names
}

/// Where a module of this name may live, seen from the file that declares it.
fn candidates(parent: &str, name: &str) -> Vec<String> {
    let (folder, file) = parent.rsplit_once('/').unwrap_or(("", parent));
    if name.ends_with(".rs") {
        return vec![format!("{folder}/{name}")];
    }
    let own = match file {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_string(),
        other => format!("{folder}/{}", other.trim_end_matches(".rs")),
    };
    vec![format!("{own}/{name}.rs"), format!("{own}/{name}/mod.rs"), format!("{folder}/{name}.rs")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    #[test]
    fn a_file_without_a_mod_line_is_found() {
        let sources = [
            source("crates/x/src/lib.rs", "pub mod a;\n"),
            source("crates/x/src/a.rs", "mod inner;\n"),
            source("crates/x/src/a/inner.rs", ""),
            source("crates/x/src/lost.rs", ""),
        ];
        let complaints = check(&sources);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with("crates/x/src/lost.rs"));
    }
}
