//! Other processes, by /proc: which descend from one of ours, and how much memory they hold.

use anyhow::{Context, Result};
use std::fs::read_to_string;

/// Resident memory as `12.3 MB`.
pub fn memory(process: u32) -> Result<String> {
    Ok(format!("{:.1} MB", resident(process)? as f64 / 1024.0))
}

/// Resident memory in kilobytes.
pub fn resident(process: u32) -> Result<u64> {
    let status = read_to_string(format!("/proc/{process}/status"))?;
    kilobytes(&status, "VmRSS:").context("a process without memory")
}

/// A number of a file such as /proc/meminfo.
pub fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A process below `ancestor` that was started as `everynode <words> …`.
pub fn descendant(ancestor: u32, words: &[&str]) -> Result<u32> {
    for entry in std::fs::read_dir("/proc")? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if runs(process, words) && descends(process, ancestor) {
            return Ok(process);
        }
    }
    anyhow::bail!("no process everynode {} below {ancestor}", words.join(" "))
}

fn runs(process: u32, words: &[&str]) -> bool {
    let line = read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let mut said = line.split('\0');
    said.next().is_some() && words.iter().all(|word| said.next() == Some(word))
}

fn descends(mut process: u32, ancestor: u32) -> bool {
    while process > 1 && process != ancestor {
        let status = read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        process = kilobytes(&status, "PPid:").and_then(|parent| parent.try_into().ok()).unwrap_or(0);
    }
    process == ancestor
}
