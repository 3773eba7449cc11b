//! A report as text: columns as kubectl aligns them, and below them what there is to say about all nodes.
//!
//! Kubernetes: `cli-runtime/pkg/printers` (tabwriter: three blanks between columns, no trailing ones).

use crate::report::{Line, Obstacle, Report};
use crate::yaml;
use jiff::Timestamp;
use objects::human;

/// Blanks between two columns of `kubectl get`.
pub const GAP: usize = 3;
/// What stands where there is nothing.
const NONE: &str = "<none>";
const HEADER: [&str; 6] = ["NODE", "STATE", "POD", "REVISION", "AGE", "WHY"];

/// Where tolerations stand in a DaemonSet.
const TOLERATIONS: &str = "spec:\n  template:\n    spec:\n      tolerations:\n";
const TOLERATION_INDENT: usize = 6;

/// Rows of cells, aligned, with so many blanks between columns; the last one is as long as it is.
pub fn aligned<const N: usize>(rows: &[[String; N]], gap: usize) -> String {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default() + gap;
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}

/// The whole report.
pub fn table(report: &Report, now: Timestamp) -> String {
    let header = HEADER.map(str::to_string);
    let rows: Vec<[String; 6]> =
        [header].into_iter().chain(report.nodes.iter().map(|line| row(line, now))).collect();
    let notes = notes(report);
    match (report.nodes.is_empty(), notes.is_empty()) {
        (true, true) => "No nodes found.\n".to_string(),
        (true, false) => notes,
        (false, true) => aligned(&rows, GAP),
        (false, false) => format!("{}\n{notes}", aligned(&rows, GAP)),
    }
}

/// What would let a pod in on one node: to be run, and to be pasted. Empty if that is not in question.
pub fn remedy(line: &Line) -> String {
    let labels = line.obstacles.iter().filter_map(|obstacle| match obstacle {
        Obstacle::NodeSelector { key, wanted, .. } => Some(format!(" {key}={wanted}")),
        _ => None,
    });
    let tolerations = line.obstacles.iter().filter_map(|obstacle| match obstacle {
        Obstacle::Taint { toleration, .. } => Some(yaml::block(toleration, TOLERATION_INDENT)),
        _ => None,
    });
    let (labels, tolerations): (String, String) = (labels.collect(), tolerations.collect());
    let mut text = String::new();
    if !labels.is_empty() {
        let node = &line.node;
        text.push_str(&format!(
            "\nTo let it in, label the node:\n\nkubectl label node {node}{labels} --overwrite\n"
        ));
    }
    if !tolerations.is_empty() {
        let start = if labels.is_empty() { "To let it in, add" } else { "And add" };
        text.push_str(&format!("\n{start} to the DaemonSet:\n\n{TOLERATIONS}{tolerations}"));
    }
    text
}

fn row(line: &Line, now: Timestamp) -> [String; 6] {
    let none = || NONE.to_string();
    let age = line.pod.as_ref().and_then(|pod| pod.created);
    [
        line.node.clone(),
        line.state.as_str().to_string(),
        line.pod.as_ref().map_or_else(none, |pod| pod.name.clone()),
        line.pod
            .as_ref()
            .and_then(|pod| pod.revision)
            .map_or_else(none, |version| version.as_str().to_string()),
        age.map_or_else(none, |created| human::duration(now.duration_since(created).as_secs())),
        line.message.clone(),
    ]
}

fn notes(report: &Report) -> String {
    let subject = &report.daemon_set;
    let mut notes = Vec::new();
    notes.extend(report.standstill.iter().map(|why| format!("Nothing is done: {why}.")));
    notes.extend(report.problems.iter().map(|problem| format!("The controller cannot go on: {problem}.")));
    if subject.paused && report.summary.old > 0 {
        let (namespace, name) = (&subject.namespace, &subject.name);
        notes.push(format!(
            "The rollout is paused; go on with: everynode rollout resume ds/{name} -n {namespace}"
        ));
    }
    let (seen, now) = (subject.observed_generation, subject.generation);
    if report.standstill.is_none() && seen < now {
        notes.push(format!("The controller has not acted on generation {now} yet, only on {seen}."));
    }
    notes.into_iter().map(|note| format!("{note}\n")).collect()
}
