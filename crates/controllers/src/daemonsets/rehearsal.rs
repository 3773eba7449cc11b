//! What would be done, told instead of done (`--dry-run`).
//!
//! A line an action, with its reason, as the plan has it. The same plan is told once: the cluster does not move by our
//! doing, so each look finds it again. That nothing is written is not decided here but at the door ([`crate::calls`]).

use daemonset::{Action, Plan};
use objects::key::ObjectKey;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Tells plans.
#[derive(Debug)]
pub(super) struct Rehearsal {
    say: fn(&str),
    told: Mutex<BTreeMap<ObjectKey, Vec<String>>>,
}

impl Rehearsal {
    /// Tells them to this one, line by line.
    pub(super) fn new(say: fn(&str)) -> Self {
        Self { say, told: Mutex::default() }
    }

    /// Tells a plan, unless it is the one that was told last.
    pub(super) fn tell(&self, key: &ObjectKey, plan: &Plan) {
        let lines = lines(key, plan);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(key) != Some(&lines) {
            lines.iter().for_each(|line| (self.say)(line));
            told.insert(key.clone(), lines);
        }
    }

    /// The DaemonSet is gone.
    pub(super) fn forget(&self, key: &ObjectKey) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

fn lines(key: &ObjectKey, plan: &Plan) -> Vec<String> {
    if let Some(standstill) = &plan.standstill {
        return vec![format!("{key}: nothing: {standstill}")];
    }
    let done = plan.actions.iter().filter(|action| **action != Action::ConfirmAlive);
    let mut lines: Vec<String> = done.map(|action| format!("{key}: {action}")).collect();
    lines.extend(plan.events.iter().chain(&plan.news).map(|event| format!("{key}: event: {event}")));
    lines.extend(plan.problems.iter().map(|problem| format!("{key}: problem: {problem}")));
    match lines.is_empty() {
        true => vec![format!("{key}: nothing to do")],
        false => lines,
    }
}
