//! How much processor time and memory other processes of this machine have taken, from /proc.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::str::FromStr;

/// The unit of times in /proc. Linux: `USER_HZ`, the same on every architecture that we build for.
const TICKS_PER_SECOND: f64 = 100.0;
/// As long as the kernel keeps a process's name. Linux: `TASK_COMM_LEN` without its end.
const COMM_LENGTH: usize = 15;

/// Which processes are summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// This one.
    Number(u32),
    /// All of this name, but for ourselves.
    Name(String),
}

impl FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number) => Ok(Watched::Number(number)),
            Err(_) if text.is_empty() => Err("say the name or the number of a process".into()),
            Err(_) => Ok(Watched::Name(text.to_string())),
        }
    }
}

impl std::fmt::Display for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Watched::Number(number) => number.fmt(f),
            Watched::Name(name) => f.write_str(name),
        }
    }
}

/// What a process has taken.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Seconds of processors since it began.
    pub cpu_seconds: f64,
    /// Resident memory now, in bytes.
    pub memory: u64,
}

/// What each of them has taken until now.
pub fn usage(watched: &Watched) -> BTreeMap<u32, Usage> {
    let numbers = match watched {
        Watched::Number(number) => vec![*number],
        Watched::Name(name) => named(name),
    };
    numbers.into_iter().filter_map(|number| Some((number, of_process(number)?))).collect()
}

/// What they have taken between two looks, and hold at the second. One that has begun meanwhile counts; what one took that
/// has ended is not known.
pub fn between(before: &BTreeMap<u32, Usage>, after: &BTreeMap<u32, Usage>) -> Usage {
    let mut sum = Usage::default();
    for (number, now) in after {
        let then = before.get(number).map_or(0.0, |usage| usage.cpu_seconds);
        // A number may have gone to another process.
        sum.cpu_seconds += (now.cpu_seconds - then).max(0.0);
        sum.memory += now.memory;
    }
    sum
}

fn named(name: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is = |number: &u32| {
        let comm = read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
        let short: String = name.chars().take(COMM_LENGTH).collect();
        *number != std::process::id() && comm.trim_end() == short
    };
    numbers.filter(is).collect()
}

/// None, if there is no such process.
fn of_process(number: u32) -> Option<Usage> {
    let cpu_seconds = cpu_seconds(&read_to_string(format!("/proc/{number}/stat")).ok()?)?;
    let memory = resident(&read_to_string(format!("/proc/{number}/status")).ok()?)?;
    Some(Usage { cpu_seconds, memory })
}

/// User and system time of a line of `/proc/N/stat`: fields 14 and 15, behind a name that may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let behind_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = behind_name.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

/// Bytes of the line `VmRSS:` of `/proc/N/status`.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("7"), None);
    }

    #[test]
    fn we_can_be_asked_by_number_and_are_not_found_by_name() {
        let own = usage(&Watched::Number(std::process::id()));
        assert!(own[&std::process::id()].memory > 0, "{own:?}");
        let name = read_to_string("/proc/self/comm").unwrap();
        assert!(!named(name.trim_end()).contains(&std::process::id()));
        assert!(usage(&Watched::Name("no such process".into())).is_empty());
    }

    #[test]
    fn processes_that_begin_count_and_those_that_end_take_nothing_away() {
        let of = |all: &[(u32, f64)]| {
            all.iter()
                .map(|(number, cpu_seconds)| (*number, Usage { cpu_seconds: *cpu_seconds, memory: 1 }))
                .collect()
        };
        let sum = between(&of(&[(1, 1.0), (2, 9.0)]), &of(&[(1, 1.5), (3, 0.25)]));
        assert_eq!(sum, Usage { cpu_seconds: 0.75, memory: 2 });
    }

    #[test]
    fn a_process_is_a_number_or_a_name() {
        assert_eq!("12".parse(), Ok(Watched::Number(12)));
        assert_eq!("etcd".parse(), Ok(Watched::Name("etcd".into())));
        assert!("".parse::<Watched>().is_err());
    }
}
