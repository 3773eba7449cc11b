//! How long until a state is there, with a limit.

use anyhow::{Result, bail};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A look is a kubectl command, which is load enough; between two there is only this.
const PERIOD: Duration = Duration::from_millis(10);

/// Runs `start`, then looks until the state is there; answers the time from before `start`.
pub fn timed(
    what: &str,
    limit: Duration,
    start: impl FnOnce(),
    mut look: impl FnMut() -> bool,
) -> Result<Duration> {
    let begin = Instant::now();
    start();
    while !look() {
        if begin.elapsed() > limit {
            bail!("not within {}s: {what}", limit.as_secs());
        }
        sleep(PERIOD);
    }
    Ok(begin.elapsed())
}

/// The middle one.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// `1.23 s`, or `56 ms`.
pub fn shown(time: Duration) -> String {
    match time.as_millis() {
        ms @ ..1000 => format!("{ms} ms"),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}
