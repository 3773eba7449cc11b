//! Waiting for a state, with a limit.

use anyhow::Result;
use std::time::{Duration, Instant};

/// How often a state is looked at. Short enough not to slow a test, long enough not to be load itself.
const PERIOD: Duration = Duration::from_millis(100);

/// Looks at a state until it is as wished and returns it; after `limit` the last complaint fails the test.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        match look() {
            Ok(value) => return value,
            Err(complaint) if Instant::now() >= end => {
                panic!("not within {}s: {what}\nlast look: {complaint:#}", limit.as_secs())
            }
            Err(_) => std::thread::sleep(PERIOD),
        }
    }
}

/// Looks at a value until it equals the expected one.
#[track_caller]
pub fn eventually_equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    limit: Duration,
    expected: T,
    mut look: impl FnMut() -> T,
) {
    eventually(what, limit, || {
        let seen = look();
        anyhow::ensure!(seen == expected, "expected {expected:?}\n     saw {seen:?}");
        Ok(())
    })
}
