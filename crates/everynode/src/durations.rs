//! How long is `1h30m`? What a person writes for a flag, in one form for all of them.
//!
//! Go's form, as for the flags of Kubernetes' programs: numbers, perhaps with a fraction, each with its unit `h`, `m`, `s`,
//! `ms`, `us` (`µs`), `ns`; and `d` for days, which Go lacks. `0` needs no unit. Nothing is negative here.

use std::time::Duration;

/// Longer than any cluster: ten years, as long as the authority.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Any duration, also none.
pub fn any(text: &str) -> Result<Duration, String> {
    let read = if text == "0" { Some(0) } else { nanoseconds(text) };
    let read = read.ok_or_else(|| format!("{text:?} is no duration such as 90s, 1h30m or 7d"))?;
    let fits = u64::try_from(read).ok().map(Duration::from_nanos).filter(|read| *read <= LONGEST);
    fits.ok_or_else(|| format!("{text:?} is longer than ten years"))
}

/// One that can be waited for.
pub fn positive(text: &str) -> Result<Duration, String> {
    match any(text)? {
        none if none.is_zero() => Err(format!("{text:?} is no time that can be waited for")),
        some => Ok(some),
    }
}

/// The sum of all parts; none: it is no duration, or far too long.
fn nanoseconds(text: &str) -> Option<u128> {
    let (mut sum, mut rest) = (0u128, text);
    loop {
        let (number, after) = split(rest, |letter| letter.is_ascii_digit() || letter == '.');
        let (unit, after) = split(after, char::is_alphabetic);
        sum = sum.checked_add(part(number, unit)?)?;
        rest = after;
        if rest.is_empty() {
            return Some(sum);
        }
    }
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|letter| !belongs(letter)).unwrap_or(text.len()))
}

/// One number and its unit.
fn part(number: &str, unit: &str) -> Option<u128> {
    let unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        "d" => 24 * 3600 * 1_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let small = digits(fraction)?.checked_mul(unit)? / scale;
    digits(whole)?.checked_mul(unit)?.checked_add(small)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does_and_in_days() {
        let check = |text: &str, expected: Option<Duration>| assert_eq!(any(text).ok(), expected, "{text:?}");
        let seconds = |seconds: u64| Some(Duration::from_secs(seconds));
        check("0", seconds(0));
        check("0s", seconds(0));
        check("90s", seconds(90));
        check("1m30s", seconds(90));
        check("24h", seconds(86_400));
        check("24h0m0s", seconds(86_400));
        check("1.5h", seconds(5400));
        check("7d", seconds(7 * 86_400));
        check("1d12h", seconds(36 * 3600));
        check(".5s", Some(Duration::from_millis(500)));
        check("500ms", Some(Duration::from_millis(500)));
        check("1s250us", Some(Duration::from_micros(1_000_250)));
        check("3µs", Some(Duration::from_micros(3)));
        check("7ns", Some(Duration::from_nanos(7)));
        check("0.1s", Some(Duration::from_millis(100)));
        check("3650d", seconds(LONGEST.as_secs()));
        let wrong = ["", "5", "h", ".", ".s", "1.2.3s", "-1h", "+1h", "1y", "1 h", "1h ", "3651d", "1é"];
        wrong.iter().for_each(|text| check(text, None));
        check(&format!("{}h", "9".repeat(40)), None);
        check(&format!("0.{}s", "1".repeat(60)), None);
    }

    #[test]
    fn what_is_waited_for_is_not_nothing() {
        assert_eq!(positive("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(positive("0s"), Err("\"0s\" is no time that can be waited for".to_string()));
        assert_eq!(positive("x"), Err("\"x\" is no duration such as 90s, 1h30m or 7d".to_string()));
    }
}
