//! Every script of `scenarios/` plays as it was recorded; `UPDATE=1 cargo test -p sim --test scenarios` records anew.
//!
//! A scenario is demonstration, documentation and test in one: its first line says what it shows and by which rule.

use std::path::{Path, PathBuf};

#[test]
fn every_scenario_plays_as_it_was_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    if let Ok(only) = std::env::var("ONLY") {
        files.retain(|file| file.to_string_lossy().contains(&only));
    }
    let wrong: Vec<String> = files.iter().filter_map(|file| check(file).err()).collect();
    assert!(wrong.is_empty(), "{} of {} scenarios:\n\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

fn check(file: &Path) -> Result<(), String> {
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let recorded = std::fs::read_to_string(file).unwrap();
    if !recorded.starts_with("# ") {
        return Err(format!("{name}: the first line must say what is shown"));
    }
    let played = sim::script::play(&recorded).map_err(|error| format!("{name}: {error:#}"))?;
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, &played).unwrap();
        return Ok(());
    }
    match recorded == played {
        true => Ok(()),
        false => Err(format!("{name}: recorded\n{recorded}\nbut played\n{played}")),
    }
}
