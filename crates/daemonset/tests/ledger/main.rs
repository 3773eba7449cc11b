//! A ledger that is kept up to date says the same as a full pass, after every step of any history.
//!
//! The full pass is the oracle. A history is a cluster and steps: nodes and pods that come, change and go, our own plans
//! carried out in part, a cache that shows it late, changes of the DaemonSet, and time.

mod fleet;
mod steps;
#[path = "../support/mod.rs"]
mod support;

use daemonset::plan::Plan;
use daemonset::{Ledger, ledger::Update};
use fleet::Fleet;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use std::cell::Cell;

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_update_plans_what_a_full_pass_plans(case in steps::any_start(), steps in steps::any_steps()) {
        follow(&mut Fleet::of(&case), &steps);
    }
}

#[test]
fn most_plans_are_updates() {
    // Otherwise the property above proves little.
    let counts = UPDATES.with(Cell::take);
    assert_eq!(counts, (0, 0));
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let histories = (steps::any_start(), steps::any_steps());
    for _ in 0..50 {
        let (case, steps) = histories.new_tree(&mut runner).unwrap().current();
        follow(&mut Fleet::of(&case), &steps);
    }
    let (updates, passes) = UPDATES.with(Cell::take);
    assert!(updates > 2 * passes, "{updates} updates, {passes} full passes");
}

thread_local! {
    /// Plans that were updates, and those that were full passes.
    static UPDATES: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn follow(fleet: &mut Fleet, steps: &[steps::Step]) {
    let mut ledger = None;
    for (index, step) in steps.iter().enumerate() {
        fleet.take(step);
        let oracle = daemonset::plan(&fleet.snapshot(), fleet.now);
        let (plan, next) = next_plan(fleet, ledger);
        compare(&plan, &oracle, &format!("step {index}: {step:?}"));
        fleet.plan = oracle;
        ledger = next;
    }
}

/// As the loop does it: an update if it can be, else everything anew.
fn next_plan(fleet: &mut Fleet, ledger: Option<Ledger>) -> (Plan, Option<Ledger>) {
    let touched = std::mem::take(&mut fleet.touched);
    let must_open = std::mem::take(&mut fleet.must_open);
    let update = Update {
        daemon_set: &fleet.world.daemon_set,
        raw: &fleet.world.raw,
        touched: &touched,
        node: &|name| fleet.node(name),
        pod: &|name| fleet.pod(name),
        backoff: &fleet.world.backoff,
        unseen: &fleet.world.unseen,
    };
    let updated = ledger.filter(|_| !must_open).and_then(|ledger| ledger.update(&update, fleet.now));
    let (updates, passes) = UPDATES.with(Cell::get);
    match updated {
        Some((plan, ledger)) => {
            UPDATES.with(|counts| counts.set((updates + 1, passes)));
            (plan, Some(ledger))
        }
        None => {
            UPDATES.with(|counts| counts.set((updates, passes + 1)));
            Ledger::open(&fleet.snapshot(), fleet.now)
        }
    }
}

/// Everything but the verdicts is the same, and of those the ones that are there.
fn compare(plan: &Plan, oracle: &Plan, what: &str) {
    let without = |plan: &Plan| Plan { nodes: Default::default(), ..plan.clone() };
    assert_eq!(without(plan), without(oracle), "{what}\nupdate:\n{plan}\nfull pass:\n{oracle}");
    for (node, verdict) in &plan.nodes {
        assert_eq!(Some(verdict), oracle.nodes.get(node), "{what}: {node}");
    }
}
