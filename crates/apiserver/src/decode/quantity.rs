//! How does Kubernetes write this quantity?
//!
//! Go reads a quantity into a number and its suffix family and writes it back canonically: no fraction, the largest
//! suffix of the family that keeps it whole, `1000m` as `1`, `1024Mi` as `1Gi`, `0.5` as `500m`. Finer than a
//! billionth is rounded away from zero. Kubernetes: `apimachinery/pkg/api/resource/quantity.go`.

/// Kubernetes' text for what is no quantity.
pub(super) const SYNTAX: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Longest number that is rewritten; beyond it `i128` could overflow, and such a number is kept as it was written.
const MAX_DIGITS: usize = 18;

enum Family {
    Decimal(i32),
    Exponent(i32),
    Binary(u32),
}

/// The canonical text, or `None` when `text` is no quantity.
pub fn canonical(text: &str) -> Option<String> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let family = family(suffix)?;
    if whole.len() + fraction.len() > MAX_DIGITS {
        return Some(text.to_string());
    }
    let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let scale = fraction.len() as i32;
    let written = match family {
        Family::Decimal(exponent) => decimal(digits, exponent - scale, |e| decimal_suffix(e).map(str::to_string)),
        Family::Exponent(exponent) => decimal(digits, exponent - scale, |e| Some(exponent_suffix(e))),
        Family::Binary(power) => binary(digits, scale, power),
    };
    let written = written.unwrap_or_else(|| rest.to_string());
    Some(if negative && written != "0" { format!("-{written}") } else { written })
}

fn family(suffix: &str) -> Option<Family> {
    Some(match suffix {
        "n" => Family::Decimal(-9),
        "u" => Family::Decimal(-6),
        "m" => Family::Decimal(-3),
        "" => Family::Decimal(0),
        "k" => Family::Decimal(3),
        "M" => Family::Decimal(6),
        "G" => Family::Decimal(9),
        "T" => Family::Decimal(12),
        "P" => Family::Decimal(15),
        "E" => Family::Decimal(18),
        "Ki" => Family::Binary(1),
        "Mi" => Family::Binary(2),
        "Gi" => Family::Binary(3),
        "Ti" => Family::Binary(4),
        "Pi" => Family::Binary(5),
        "Ei" => Family::Binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            Family::Exponent(exponent)
        }
    })
}

/// `None` when the number is too large to say.
fn decimal(digits: i128, exponent: i32, suffix: impl Fn(i32) -> Option<String>) -> Option<String> {
    if digits == 0 {
        return Some("0".to_string());
    }
    let (mut digits, mut exponent) = (digits, exponent);
    while exponent < -9 {
        digits = digits / 10 + i128::from(digits % 10 != 0);
        exponent += 1;
    }
    while digits % 10 == 0 {
        digits /= 10;
        exponent += 1;
    }
    while exponent.rem_euclid(3) != 0 {
        digits = digits.checked_mul(10)?;
        exponent -= 1;
    }
    Some(format!("{digits}{}", suffix(exponent)?))
}

fn decimal_suffix(exponent: i32) -> Option<&'static str> {
    Some(match exponent {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        0 => "",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        18 => "E",
        _ => return None,
    })
}

fn exponent_suffix(exponent: i32) -> String {
    match exponent {
        0 => String::new(),
        exponent => format!("e{exponent}"),
    }
}

/// Below 1024 a binary quantity is written as a decimal one.
fn binary(digits: i128, scale: i32, power: u32) -> Option<String> {
    let scaled = digits.checked_mul(1_i128.checked_shl(10 * power)?)?;
    let divisor = 10_i128.checked_pow(u32::try_from(scale).ok()?)?;
    if scaled < divisor.checked_mul(1024)? {
        return decimal(scaled, -scale, |e| decimal_suffix(e).map(str::to_string));
    }
    let mut whole = scaled / divisor + i128::from(scaled % divisor != 0);
    let mut steps = 0;
    while whole % 1024 == 0 && steps < 6 {
        whole /= 1024;
        steps += 1;
    }
    let suffix = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].get(steps)?;
    Some(format!("{whole}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("100m", Some("100m")),
            ("1000m", Some("1")),
            ("0.5", Some("500m")),
            ("1.5", Some("1500m")),
            ("0.100", Some("100m")),
            ("1024Mi", Some("1Gi")),
            ("1536Mi", Some("1536Mi")),
            ("1.5Gi", Some("1536Mi")),
            ("0.5Ki", Some("512")),
            ("1Ki", Some("1Ki")),
            ("1000", Some("1k")),
            ("128974848", Some("128974848")),
            ("129e6", Some("129e6")),
            ("1e3", Some("1e3")),
            ("12e2", Some("1200")),
            ("0", Some("0")),
            ("0Mi", Some("0")),
            ("-0", Some("0")),
            ("-1500m", Some("-1500m")),
            ("+5", Some("5")),
            (".5", Some("500m")),
            ("5.", Some("5")),
            ("1n", Some("1n")),
            ("0.1n", Some("1n")),
            ("100000000000000000000", Some("100000000000000000000")),
            ("1E", Some("1E")),
            ("16Ei", Some("16Ei")),
            ("", None),
            ("-", None),
            (".", None),
            ("1.2.3", None),
            ("5 Mi", None),
            ("1mi", None),
            ("abc", None),
            ("1e", None),
        ] {
            assert_eq!(canonical(text).as_deref(), expected, "{text}");
        }
    }
}
