//! `cargo xtask tidy`: the house rules that a machine can keep.
//!
//! One file a rule. Each rule is a function from what stands in the repository to a list of complaints, and
//! each complaint says what to do. Nothing is repaired here, except that `--ratchet` lowers recorded sizes.

mod arrows;
mod docs;
mod names;
mod orphans;
mod purity;
mod rules;
mod sizes;

use crate::program;
use crate::rules::Evidence;
use anyhow::{Context, Result, bail};
pub use sizes::function_name;
use std::path::{Path, PathBuf};

/// A file of ours.
pub struct Source {
    /// Path from the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Runs every rule and prints every complaint.
pub fn tidy(ratchet: bool) -> Result<()> {
    let sources = sources(&["crates", "tests", "xtask"], &["rs"])?;
    let mut complaints = arrows::check(&arrows::declared()?);
    complaints.extend(docs::check(&sources));
    complaints.extend(names::check(&sources));
    complaints.extend(orphans::check(&sources));
    complaints.extend(purity::check(&sources));
    complaints.extend(rules::check(&Evidence::gather()?, ratchet)?);
    complaints.extend(sizes::check(&sources, ratchet)?);
    for complaint in &complaints {
        eprintln!("tidy: {complaint}");
    }
    if !complaints.is_empty() {
        bail!("{} house rules are broken", complaints.len());
    }
    Ok(())
}

/// All files of these endings below these folders, by path.
pub fn sources(folders: &[&str], endings: &[&str]) -> Result<Vec<Source>> {
    let mut files = Vec::new();
    for folder in folders {
        collect(&program::root().join(folder), endings, &mut files)?;
    }
    files.sort();
    files.iter().map(|file| read(file)).collect()
}

fn collect(folder: &Path, endings: &[&str], files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "target" && n != "node_modules") {
            collect(&path, endings, files)?;
        } else if path.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending)) {
            files.push(path);
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Source> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let path = file.strip_prefix(program::root()).unwrap_or(file).to_string_lossy().into_owned();
    Ok(Source { path, text })
}

/// The part of a file before its tests: the rules about product code end there.
pub fn product(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}
