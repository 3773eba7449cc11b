//! A short run of the simulation: some seeds hold every promise, and a seed is repeatable.

use sim::seed::{Length, run};

/// Half a minute of a debug build on a busy machine.
const SEEDS: u64 = 5;
const LENGTH: Length = Length::Moves(40);

#[test]
fn some_seeds_hold_every_promise() {
    for seed in 1..=SEEDS {
        let outcome = run(seed, LENGTH).unwrap();
        assert!(outcome.broken.is_none(), "{outcome}");
        assert!(outcome.steps > 50, "{outcome}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let (first, second) = (run(3, LENGTH).unwrap(), run(3, LENGTH).unwrap());
    assert_eq!((first.hash, first.steps, &first.last), (second.hash, second.steps, &second.last));
    assert_ne!(first.hash, run(11, LENGTH).unwrap().hash);
}
