//! Is this text of that format? The formats that Kubernetes checks; others mean nothing (`kubectl explain` shows them).
//!
//! Kubernetes: `apiserver/validation/formats.go`, `kube-openapi/pkg/validation/strfmt`.

use crate::schema::Type;
use base64::Engine as _;
use regex::Regex;
use serde_json::Number;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// A known format, with the name that stands in the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    said: String,
    /// Without dashes: `date-time` and `datetime` are one.
    known: &'static str,
}

/// Formats of texts, and the patterns of those that are patterns.
const TEXTS: &[(&str, &str)] = &[
    ("bsonobjectid", r"^[0-9a-fA-F]{24}$"),
    ("byte", ""),
    ("cidr", ""),
    (
        "creditcard",
        r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})$",
    ),
    ("date", ""),
    ("datetime", ""),
    ("duration", r"^\s*\d+(\.\d+)?\s*([A-Za-zµ]+\s*\d*(\.\d+)?\s*)*$"),
    ("email", r"^[^@\s<>]+@[^@\s<>]+$"),
    ("hexcolor", r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"),
    (
        "hostname",
        r"^([a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?)(\.([a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?))*$",
    ),
    ("ipv4", ""),
    ("ipv6", ""),
    ("isbn", ""),
    ("isbn10", ""),
    ("isbn13", ""),
    (
        "mac",
        r"^([0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}([:-][0-9a-fA-F]{2}[:-][0-9a-fA-F]{2})?|[0-9a-fA-F]{4}(\.[0-9a-fA-F]{4}){2,3})$",
    ),
    ("password", ""),
    (
        "rgbcolor",
        r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$",
    ),
    ("ssn", r"^\d{3}[- ]?\d{2}[- ]?\d{4}$"),
    ("uri", r"^([A-Za-z][A-Za-z0-9+.-]*:[^\s]+|/[^\s]*)$"),
    ("uuid", r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"),
    ("uuid3", r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$"),
    ("uuid4", r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"),
    ("uuid5", r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"),
];
/// Formats of numbers, by type.
const NUMBERS: &[(Type, &str)] =
    &[(Type::Integer, "int32"), (Type::Integer, "int64"), (Type::Number, "float"), (Type::Number, "double")];

static PATTERNS: LazyLock<Vec<(&'static str, Regex)>> = LazyLock::new(|| {
    let patterns = TEXTS.iter().filter(|(_, pattern)| !pattern.is_empty());
    patterns.filter_map(|(name, pattern)| Some((*name, Regex::new(pattern).ok()?))).collect()
});

impl Format {
    /// The format of this name for values of a type; none for one that is not checked.
    pub(crate) fn parse(text: &str, ty: Option<Type>) -> Option<Self> {
        let known = match ty {
            None | Some(Type::String) => {
                let plain = text.replace('-', "");
                TEXTS.iter().find(|(name, _)| *name == plain).map(|(name, _)| *name)
            }
            Some(ty) => NUMBERS.iter().find(|(of, name)| *of == ty && *name == text).map(|(_, name)| *name),
        };
        known.map(|known| Self { said: text.to_string(), known })
    }

    /// As the schema has it.
    pub(crate) fn name(&self) -> &str {
        &self.said
    }

    /// Whether a text is of this format.
    pub(crate) fn accepts(&self, text: &str) -> bool {
        if let Some((_, pattern)) = PATTERNS.iter().find(|(name, _)| *name == self.known) {
            return pattern.is_match(text);
        }
        match self.known {
            "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
            "cidr" => is_cidr(text),
            "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
            "datetime" => is_date_time(text),
            "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
            "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
            "isbn" => is_isbn10(text) || is_isbn13(text),
            "isbn10" => is_isbn10(text),
            "isbn13" => is_isbn13(text),
            _ => true,
        }
    }

    /// `integer with format int32` when the number is outside of the format.
    pub(crate) fn out_of_range(&self, number: &Number) -> Option<&'static str> {
        let whole = number.as_i128();
        match self.known {
            "int32" if whole.is_some_and(|n| i32::try_from(n).is_err()) => Some("integer with format int32"),
            "int64" if whole.is_some_and(|n| i64::try_from(n).is_err()) => Some("integer with format int64"),
            "float" if number.as_f64().is_some_and(|n| n.abs() > f64::from(f32::MAX)) => {
                Some("number with format float")
            }
            _ => None,
        }
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    match address.parse() {
        Ok(IpAddr::V4(_)) => bits <= 32,
        Ok(IpAddr::V6(_)) => bits <= 128,
        Err(_) => false,
    }
}

/// RFC 3339 with a time and a zone.
fn is_date_time(text: &str) -> bool {
    let has_time = text.as_bytes().get(10).is_some_and(|byte| matches!(byte, b'T' | b't' | b' '));
    has_time && text.parse::<jiff::Timestamp>().is_ok()
}

fn digits(text: &str) -> Vec<char> {
    text.chars().filter(|c| !matches!(c, '-' | ' ')).collect()
}

fn is_isbn10(text: &str) -> bool {
    let all = digits(text);
    let sum: Option<u32> = all.iter().enumerate().try_fold(0, |sum, (at, c)| {
        let value = if at == 9 && matches!(c, 'X' | 'x') { 10 } else { c.to_digit(10)? };
        Some(sum + value * (10 - at.min(9) as u32))
    });
    all.len() == 10 && sum.is_some_and(|sum| sum % 11 == 0)
}

fn is_isbn13(text: &str) -> bool {
    let all = digits(text);
    let sum: Option<u32> = all
        .iter()
        .enumerate()
        .try_fold(0, |sum, (at, c)| Some(sum + c.to_digit(10)? * if at % 2 == 0 { 1 } else { 3 }));
    all.len() == 13 && sum.is_some_and(|sum| sum % 10 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_of_a_format_can_be_read() {
        let patterns = TEXTS.iter().filter(|(_, pattern)| !pattern.is_empty()).count();
        assert_eq!(PATTERNS.len(), patterns);
    }

    #[test]
    fn a_text_is_of_a_format_or_not() {
        let check = |format: &str, text: &str, expected: bool| {
            let format = Format::parse(format, Some(Type::String)).unwrap();
            assert_eq!(format.accepts(text), expected, "{format:?} {text}");
        };
        check("date", "2026-01-02", true);
        check("date", "2026-13-02", false);
        check("date-time", "2026-01-02T03:04:05Z", true);
        check("date-time", "2026-01-02", false);
        check("ipv4", "10.0.0.1", true);
        check("ipv4", "::1", false);
        check("cidr", "10.0.0.0/8", true);
        check("cidr", "10.0.0.0/33", false);
        check("uuid", "123e4567-e89b-12d3-a456-426614174000", true);
        check("uuid4", "123e4567-e89b-12d3-a456-426614174000", false);
        check("email", "a@b", true);
        check("email", "a", false);
        check("uri", "https://a.example/b", true);
        check("uri", "a b", false);
        check("byte", "aGk=", true);
        check("byte", "%", false);
        check("hostname", "a.b-c.d", true);
        check("hostname", "a..b", false);
        check("isbn", "0321751043", true);
        check("isbn13", "978-0321751041", true);
        check("isbn10", "0321751044", false);
        check("mac", "01:23:45:67:89:ab", true);
        check("duration", "22 ns", true);
        check("duration", "1h30m", true);
        check("duration", "soon", false);
        check("password", "anything", true);
    }

    #[test]
    fn what_kubernetes_does_not_check_is_no_format() {
        for (text, ty) in [("k8s-short-name", Type::String), ("int32", Type::String), ("date", Type::Object)]
        {
            assert_eq!(Format::parse(text, Some(ty)), None, "{text}");
        }
        assert!(Format::parse("int32", Some(Type::Integer)).is_some());
    }
}
