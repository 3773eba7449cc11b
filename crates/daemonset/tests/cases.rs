//! Golden cases: `cases/*.yaml` is a cluster, `cases/*.plan` what is planned for it.
//!
//! A new test is a new file. Its first line cites the rules that it shows; `UPDATE=1 cargo test -p daemonset --test
//! cases` writes the answers, to be read before they are committed. Every case is also planned with its lists turned
//! round, and must give the same plan.

mod support;

use daemonset::{Action, Plan};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use support::{Case, World};

#[test]
fn every_case_is_planned_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 40, "the cases are gone: {}", folder.display());
    let wrong: Vec<String> = files.iter().filter_map(|file| check(file).err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

fn check(file: &Path) -> Result<(), String> {
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(file).unwrap();
    if !cites_a_rule(text.lines().next().unwrap_or_default()) {
        return Err(format!(
            "{name}: the first line must be a comment that cites a rule, like `# MG-6 A: …`"
        ));
    }
    let case: Case = serde_saphyr::from_str::<serde_json::Value>(&text)
        .map_err(|error| error.to_string())
        .and_then(|value| serde_json::from_value(value).map_err(|error| error.to_string()))
        .map_err(|error| format!("{name}: {error}"))?;
    let world = World::of(&case);
    let plan = world.plan();
    if plan != world.plan_reversed() {
        return Err(format!("{name}: another order of the lists gives another plan"));
    }
    compare(&file.with_extension("plan"), &name, &print(&plan, &case))
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

fn cites_a_rule(line: &str) -> bool {
    let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    line.starts_with("# ")
        && words.any(|word| {
            let (area, number) = word.split_once('-').unwrap_or_default();
            ["EL", "MG", "RU", "RV", "TK", "ST", "OW", "NP", "BUG", "OPP"].contains(&area)
                && number.parse::<u32>().is_ok()
        })
}

fn print(plan: &Plan, case: &Case) -> String {
    let mut text_of = plan.to_string();
    for (node, entry) in &plan.backoff {
        writeln!(text_of, "remember: {node} has failed and waits {}s", entry.delay.as_secs()).unwrap();
    }
    let shows = |what: &str| case.show.iter().any(|show| show == what);
    for condition in plan.status.conditions.iter().flatten().filter(|_| shows("conditions")) {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let since =
            condition.last_transition_time.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
        let (reason, message) = (text(&condition.reason), text(&condition.message));
        writeln!(
            text_of,
            "condition {} {} since {since}: {reason}: {message}",
            condition.type_, condition.status
        )
        .unwrap();
    }
    for action in &plan.actions {
        let shown = match action {
            Action::CreatePod { pod, .. } if shows("pod") => serde_json::to_string_pretty(pod).unwrap(),
            Action::CreateRevision(new) if shows("revision") => new.body(),
            Action::ClaimPod { patch, .. } | Action::ClaimRevision { patch, .. } if shows("patch") => {
                serde_json::to_string(patch).unwrap()
            }
            _ => continue,
        };
        writeln!(text_of, "\n{action}:\n{shown}").unwrap();
    }
    text_of
}
