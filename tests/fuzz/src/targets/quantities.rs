//! Quantities, numbers with units, and the other small texts of objects: names, percentages, taints.

use super::Target;
use crate::draw::Draw;
use crate::memory::Account;
use crate::novelty::{saw, shape};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use objects::int_or_percent::scaled;
use objects::name;
use objects::quantity::Amount;
use structural::column::JsonPath;

/// The target.
pub const TARGET: Target = Target {
    name: "quantities",
    question: "quantities and other small texts: print what they read, add and compare without surprise",
    tested: 90_000,
    words: &[
        "1",
        "0",
        ".",
        "-",
        "+",
        "e",
        "E",
        "1e3",
        "Ki",
        "Ei",
        "m",
        "n",
        "E9",
        "e-9",
        "9223372036854775807",
        "%",
        "é",
    ],
    run,
};

/// Pieces of numbers, right and wrong.
const PIECES: &[&str] = &[
    "0",
    "1",
    "9",
    ".",
    "-",
    "+",
    "e",
    "E",
    "n",
    "u",
    "m",
    "k",
    "M",
    "G",
    "T",
    "P",
    "Ki",
    "Mi",
    "Gi",
    "Ti",
    "Pi",
    "Ei",
    "i",
    "000000000",
    "999999999",
    "9223372036854775807",
    "170141183460469231731687303715884105727",
    "2147483648",
    "%",
    " ",
    "é",
];

fn run(input: &[u8], account: &mut Account) {
    let mut draw = Draw::new(input);
    let mut next = || match draw.byte() % 3 {
        0 => String::from_utf8_lossy(draw.bytes(24)).into_owned(),
        1 => (0..draw.below(8)).map(|_| draw.word(PIECES)).collect(),
        _ => draw.word(PIECES).repeat(1 + draw.below(300)),
    };
    let (one, other) = (next(), next());
    account.send(one.len() + other.len());
    if let (Some(one), Some(other)) = (amount(&one), amount(&other)) {
        sums(one, other);
    }
    for text in [&one, &other] {
        small_texts(text);
    }
}

fn amount(text: &str) -> Option<Amount> {
    let amount = match Amount::parse(text) {
        Ok(amount) => amount,
        Err(error) => {
            saw(shape(&error.to_string()));
            return None;
        }
    };
    let printed = amount.to_string();
    let again =
        Amount::parse(&printed).unwrap_or_else(|error| panic!("{text:?} prints as {printed:?}: {error}"));
    assert_eq!(again, amount, "{text:?} prints as {printed:?}");
    assert_eq!(again.to_string(), printed, "printing is canonical");
    assert!(printed.len() < 64, "{printed}");
    saw((format!("{:?}", amount.format()), amount.is_zero(), amount.is_negative()));
    saw(printed.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-').to_string());
    let _ = (amount.value(), amount.milli());
    Some(amount)
}

fn sums(one: Amount, other: Amount) {
    let sum = one + other;
    let _ = (sum.to_string(), (one - other).to_string(), (other - one).to_string());
    let as_numbers = one.cmp(&other);
    assert_eq!(as_numbers, other.cmp(&one).reverse());
    if !one.is_negative() && !other.is_negative() {
        assert!(sum >= one && sum >= other, "{one} + {other} is {sum}");
    }
    saw(as_numbers as i8);
}

fn small_texts(text: &str) {
    for total in [0, 1, 7, i32::MAX] {
        match scaled(&IntOrString::String(text.to_string()), total, true) {
            Ok(number) => saw(("scaled", number.signum())),
            Err(error) => saw(shape(&error.to_string())),
        }
    }
    let checks = [
        name::dns1123_label,
        name::dns1123_subdomain,
        name::dns1035_label,
        name::qualified_name,
        name::label_value,
        name::finalizer,
        name::port_name,
        name::env_var_name,
        name::config_map_key,
        name::path_segment,
    ];
    let verdicts: Vec<bool> = checks.iter().map(|check| check(text).is_ok()).collect();
    verdicts.iter().enumerate().for_each(saw);
    if let Some(path) = JsonPath::parse(text) {
        let object = serde_json::json!({"a": {"b": [{"c": 1}, {"c": "x"}]}, "1": 0});
        saw(("path", path.first(&object).is_some()));
    }
}
