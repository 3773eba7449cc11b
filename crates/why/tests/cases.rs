//! Golden cases: `cases/*.yaml` is a cluster, `cases/*.txt` what a person is told about it.
//!
//! A new test is a new file; its first line says what it shows. `UPDATE=1 cargo test -p why --test cases` writes the
//! answers, to be read before they are committed. Every case is also read with its lists turned round, and its JSON must
//! tell the same states and reasons as its table.

mod support;

use std::path::{Path, PathBuf};
use support::{Case, World, now};
use why::table;

#[test]
fn every_case_is_told_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 10, "the cases are gone: {}", folder.display());
    let wrong: Vec<String> = files.iter().filter_map(|file| check(file).err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

fn check(file: &Path) -> Result<(), String> {
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(file).unwrap();
    if !text.starts_with("# ") {
        return Err(format!("{name}: the first line must be a comment that says what it shows"));
    }
    let case: Case = serde_saphyr::from_str::<serde_json::Value>(&text)
        .map_err(|error| error.to_string())
        .and_then(|value| serde_json::from_value(value).map_err(|error| error.to_string()))
        .map_err(|error| format!("{name}: {error}"))?;
    let world = World::of(&case);
    let report = world.why();
    if report != world.why_reversed() {
        return Err(format!("{name}: another order of the lists gives another report"));
    }
    let mut found = table::table(&report, now());
    found.extend(case.remedies.iter().filter_map(|node| {
        let line = report.nodes.iter().find(|line| line.node == *node)?;
        Some(table::remedy(line))
    }));
    if case.json {
        found.push_str(&format!("\n{}\n", serde_json::to_string_pretty(&report).unwrap()));
    }
    compare(&file.with_extension("txt"), &name, &found)
}

fn compare(golden: &Path, name: &str, found: &str) -> Result<(), String> {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(golden, found).unwrap();
        return Ok(());
    }
    let expected = std::fs::read_to_string(golden).unwrap_or_default();
    if expected == found {
        return Ok(());
    }
    Err(format!("{name}: expected\n{expected}\nbut found\n{found}"))
}
