//! How much processor, memory and files does this process use? Read from /proc when somebody asks.
//!
//! Names and meanings are those of Prometheus' client libraries.

use controllers::metrics::{Samples, table};
use std::fs;

/// Clock ticks a second in /proc: 100 on every Linux (`USER_HZ`).
const TICKS: f64 = 100.0;

/// Everything that can be read; the rest is left out.
pub fn gather(samples: &mut Samples) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let of_boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let pages = rustix::param::page_size() as f64;
    let numbers = [
        (&table::CPU, field(&stat, 14).zip(field(&stat, 15)).map(|(user, system)| (user + system) / TICKS)),
        (&table::VIRTUAL, field(&stat, 23)),
        (&table::RESIDENT, field(&stat, 24).map(|resident| resident * pages)),
        (&table::STARTED, booted(&of_boot).zip(field(&stat, 22)).map(|(boot, ticks)| boot + ticks / TICKS)),
        (&table::OPEN_FDS, fs::read_dir("/proc/self/fd").ok().map(|open| open.count() as f64)),
        (&table::MAX_FDS, max_files(&limits)),
    ];
    for (metric, number) in numbers {
        number.into_iter().for_each(|number| samples.set(metric, &[], number));
    }
}

/// A field of /proc/self/stat, counted from 1 as proc(5) does. The second one, a name in brackets, may have blanks.
fn field(stat: &str, number: usize) -> Option<f64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn booted(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn max_files(limits: &str) -> Option<f64> {
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 0 0 0 0 31 11 0 0 20 0 9 0 500 1000 20 0";
        let fields = [14, 15, 22, 23, 24].map(|number| field(stat, number));
        assert_eq!(fields, [Some(31.0), Some(11.0), Some(500.0), Some(1000.0), Some(20.0)]);
        assert_eq!(booted("cpu 1\nbtime 42\n"), Some(42.0));
        assert_eq!(
            max_files("Max open files            1024                 4096                 files"),
            Some(1024.0)
        );
    }
}
