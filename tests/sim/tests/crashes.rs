//! The loop may die at any call of a rollout: a new process brings it to its end, and no promise is broken (WE-23).

use sim::crashes::{Death, run};

/// A call that is made in the whole rollout at least: fewer would mean that the crash points are gone.
const CALLS: u64 = 20;

#[test]
fn a_death_before_any_call_of_a_rollout_is_survived() {
    every_call(Death::Before);
}

#[test]
fn a_death_after_any_call_of_a_rollout_is_survived() {
    every_call(Death::After);
}

fn every_call(death: Death) {
    let mut calls = 0;
    while let Some(outcome) = run(calls, death).unwrap() {
        assert!(outcome.broken.is_none(), "{death:?} call {calls}: {outcome}");
        calls += 1;
    }
    assert!(calls >= CALLS, "only {calls} calls");
}
