//! What a cluster says of itself when a test fails, so that one failure in a hundred runs needs no second one.

use crate::Kubectl;
use std::path::{Path, PathBuf};

/// Of every log, the end is told: this many bytes.
const LOG: usize = 4096;
/// The newest writes of pods and DaemonSets in the audit log.
const WRITES: usize = 80;
/// The questions to the server.
const QUESTIONS: &[&str] = &[
    "get daemonsets,pods -A -o wide",
    "get pods -A -o custom-columns=POD:.metadata.name,NODE:.spec.nodeName,PHASE:.status.phase,ENDS:.metadata.deletionTimestamp,GRACE:.metadata.deletionGracePeriodSeconds,STATE:.status.containerStatuses[*].state",
    "get events -A --sort-by=.metadata.creationTimestamp",
];

/// Prints it, on standard error.
pub(crate) fn tell(kubectl: &Kubectl, output: &str, data_dir: &Path) {
    for question in QUESTIONS {
        let words: Vec<&str> = question.split_whitespace().chain(["--request-timeout=10s"]).collect();
        let answer = kubectl.run(&words);
        eprintln!("--- kubectl {question}\n{}{}", answer.stdout, answer.stderr);
    }
    eprintln!("--- everynode up\n{}", end_of(output, LOG));
    for path in logs(data_dir) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        eprintln!("--- {}\n{}", path.display(), end_of(&text, LOG));
    }
    let audit = std::fs::read_to_string(data_dir.join("audit.log")).unwrap_or_default();
    eprintln!("--- the newest writes of pods and DaemonSets");
    let writes: Vec<String> = audit.lines().filter_map(write).collect();
    writes.iter().skip(writes.len().saturating_sub(WRITES)).for_each(|line| eprintln!("{line}"));
}

fn logs(data_dir: &Path) -> Vec<PathBuf> {
    let in_folder = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let nodes = in_folder(&data_dir.join("nodes")).map(|node| node.path().join("var/log"));
    let folders: Vec<PathBuf> = std::iter::once(data_dir.join("logs")).chain(nodes).collect();
    let files = folders.iter().flat_map(|folder| in_folder(folder)).map(|file| file.path());
    let mut paths: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
    paths.sort();
    paths
}

/// One line for one write: when, who, what, and what came of it.
fn write(line: &str) -> Option<String> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = |path: &str| event.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default();
    let told = matches!(text("/objectRef/resource"), "pods" | "daemonsets")
        && matches!(text("/verb"), "create" | "update" | "patch" | "delete");
    let code = event.pointer("/responseStatus/code").cloned().unwrap_or_default();
    told.then(|| {
        let place = ["/requestReceivedTimestamp", "/user/username", "/verb", "/requestURI"].map(text);
        format!("{} {code}", place.join(" "))
    })
}

fn end_of(text: &str, bytes: usize) -> &str {
    let start = text.len().saturating_sub(bytes);
    let start = (start..=text.len()).find(|place| text.is_char_boundary(*place)).unwrap_or(start);
    &text[start..]
}
