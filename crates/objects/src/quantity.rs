//! How much is `100m`, `2Gi` or `1e3`? Exact amounts: read, compare, add, print.
//!
//! 1. An amount is a whole number of billionths, the finest step that Kubernetes knows; finer input rounds away from
//!    zero, and nothing goes beyond ±(2⁶³−1).
//! 2. Comparing looks at the amount only: `1000m` equals `1`.
//! 3. Printing is canonical: the largest suffix of the format it was written in that needs no fraction.
//!
//! Kubernetes: `apimachinery/pkg/api/resource` (`ParseQuantity`, `CanonicalizeBytes`).
//! Differs: a text without any digit (`m`) is refused, where upstream reads it as zero.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;

/// Billionths in one.
const ONE: i128 = 1_000_000_000;
/// The largest amount, in billionths (Kubernetes: `maxAllowed`).
const MAX: i128 = i64::MAX as i128 * ONE;
/// Decimal digits of [`MAX`] and a little more: longer numbers are simply too large, and are not multiplied out.
const MAX_DIGITS: i64 = 29;

const DECIMAL: &[(&str, i32)] = &[
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: &[(&str, u32)] = &[("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// How an amount was written, and so how it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `100m`, `5`, `2k`.
    #[default]
    DecimalSi,
    /// `2Gi`.
    BinarySi,
    /// `1e3`.
    DecimalExponent,
}

/// A text that is no quantity. The texts are Kubernetes'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It does not look like a number with a suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number cannot be read.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// There is no such suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An exact amount of something.
#[derive(Debug, Clone, Copy, Default)]
pub struct Amount {
    nano: i128,
    format: Format,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self { nano: 0, format: Format::DecimalSi };

    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (negative, number, suffix) = split(text)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || whole.len() + fraction.len() == 0 {
            return Err(QuantityError::Format);
        }
        let (nano, format) = match scale(suffix)? {
            Scale::Ten(exponent, format) => (decimal(whole, fraction, exponent), format),
            Scale::Two(exponent) => (binary(whole, fraction, exponent), Format::BinarySi),
        };
        let nano = nano.min(MAX);
        Ok(Self { nano: if negative { -nano } else { nano }, format })
    }

    /// So many whole units.
    pub fn whole(units: i64, format: Format) -> Self {
        Self { nano: i128::from(units) * ONE, format }
    }

    /// So many thousandths.
    pub fn thousandths(milli: i64) -> Self {
        Self { nano: i128::from(milli) * (ONE / 1000), format: Format::DecimalSi }
    }

    /// In whole units, rounded away from zero (Kubernetes: `Value`).
    pub fn value(&self) -> i128 {
        rounded_up(self.nano, ONE)
    }

    /// In thousandths, rounded away from zero (Kubernetes: `MilliValue`, which cannot hold the largest).
    pub fn milli(&self) -> i128 {
        rounded_up(self.nano, ONE / 1000)
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }

    /// Whether it is less than nothing.
    pub fn is_negative(&self) -> bool {
        self.nano < 0
    }

    /// How it prints.
    pub fn format(&self) -> Format {
        self.format
    }
}

impl FromStr for Amount {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl TryFrom<&Quantity> for Amount {
    type Error = QuantityError;

    fn try_from(quantity: &Quantity) -> Result<Self, QuantityError> {
        Self::parse(&quantity.0)
    }
}

impl From<Amount> for Quantity {
    fn from(amount: Amount) -> Self {
        Self(amount.to_string())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let units = self.nano / ONE;
        // Small or broken numbers would lose precision in powers of 1024.
        if self.format == Format::BinarySi && self.nano % ONE == 0 && units.abs() >= 1024 {
            return write_binary(f, units);
        }
        write_decimal(f, self.nano, self.format)
    }
}

impl PartialEq for Amount {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Amount {}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Amount {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl Add for Amount {
    type Output = Self;

    /// The sum, in the format of the left side unless that is zero.
    fn add(self, other: Self) -> Self {
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano: (self.nano + other.nano).clamp(-MAX, MAX), format }
    }
}

impl Sub for Amount {
    type Output = Self;

    /// The difference, in the format of the left side unless that is zero.
    fn sub(self, other: Self) -> Self {
        self + Self { nano: -other.nano, format: other.format }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

enum Scale {
    Ten(i64, Format),
    Two(u32),
}

/// Sign, number and suffix.
fn split(text: &str) -> Result<(bool, &str, &str), QuantityError> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let digits = letters.strip_prefix(['+', '-']).unwrap_or(letters);
    match !number.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        true => Ok((negative, number, suffix)),
        false => Err(QuantityError::Format),
    }
}

fn scale(suffix: &str) -> Result<Scale, QuantityError> {
    if let Some((_, exponent)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok(Scale::Two(*exponent));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok(Scale::Ten(i64::from(*exponent), Format::DecimalSi));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
    // i32, so that nothing below can overflow; a number with such an exponent is 0 or the maximum anyway.
    let exponent: i32 = exponent.parse().map_err(|_| QuantityError::Suffix)?;
    Ok(Scale::Ten(i64::from(exponent), Format::DecimalExponent))
}

/// `whole.fraction × 10^exponent` in billionths, digit by digit, so that no length overflows.
fn decimal(whole: &str, fraction: &str, exponent: i64) -> i128 {
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX / 2);
    let kept = length + exponent + 9 - i64::try_from(fraction.len()).unwrap_or(i64::MAX / 2);
    if digits.is_empty() {
        return 0;
    }
    if kept > MAX_DIGITS {
        return MAX;
    }
    let kept = usize::try_from(kept).unwrap_or(0);
    let (head, tail) = digits.split_at(kept.min(digits.len()));
    let zeros = "0".repeat(kept - head.len());
    let number: i128 = format!("0{head}{zeros}").parse().unwrap_or(MAX);
    number + i128::from(tail.bytes().any(|b| b != b'0'))
}

/// `whole.fraction × 2^exponent` in billionths.
fn binary(whole: &str, fraction: &str, exponent: u32) -> i128 {
    /// Digits that fit beside 2⁶⁰ in an i128; what is finer than that is not a billionth of anything.
    const FRACTION_DIGITS: usize = 18;
    let unit = 1_i128 << exponent;
    let whole = whole.trim_start_matches('0');
    if whole.len() > 19 {
        return MAX;
    }
    let units = format!("0{whole}").parse::<i128>().unwrap_or(MAX).saturating_mul(unit);
    if units >= i128::from(i64::MAX) {
        return MAX;
    }
    let fraction = fraction.get(..FRACTION_DIGITS).unwrap_or(fraction);
    let parts = format!("0{fraction}").parse::<i128>().unwrap_or(0) * unit;
    let nano = match u32::try_from(fraction.len()).unwrap_or(0) {
        digits @ 0..=9 => parts * 10_i128.pow(9 - digits),
        digits => rounded_up(parts, 10_i128.pow(digits - 9)),
    };
    units * ONE + nano
}

fn rounded_up(nano: i128, unit: i128) -> i128 {
    nano / unit + (nano % unit).signum()
}

fn write_binary(f: &mut fmt::Formatter<'_>, mut units: i128) -> fmt::Result {
    let mut suffix = "";
    for (name, _) in BINARY {
        if units % 1024 != 0 {
            break;
        }
        units /= 1024;
        suffix = name;
    }
    write!(f, "{units}{suffix}")
}

fn write_decimal(f: &mut fmt::Formatter<'_>, nano: i128, format: Format) -> fmt::Result {
    let (mut number, mut exponent) = (nano, -9);
    while number % 1000 == 0 && exponent < 18 {
        number /= 1000;
        exponent += 3;
    }
    match format {
        Format::DecimalExponent if exponent == 0 => write!(f, "{number}"),
        Format::DecimalExponent => write!(f, "{number}e{exponent}"),
        Format::DecimalSi | Format::BinarySi => {
            let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(name, _)| name);
            write!(f, "{number}{suffix}")
        }
    }
}

#[cfg(test)]
mod tests;
