//! Quantities as tables: what is read, how it prints, what is refused.

use super::*;

#[test]
fn quantities_print_in_their_canonical_form() {
    let cases = [
        ("0", "0"),
        ("0Gi", "0"),
        ("100m", "100m"),
        ("0.1", "100m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("1.5", "1500m"),
        ("+2", "2"),
        ("-1", "-1"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("1024Ki", "1Mi"),
        ("2Gi", "2Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1023Ki", "1023Ki"),
        ("0.5Mi", "512Ki"),
        ("0.0001Ki", "102400u"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("1E", "1E"),
        ("12e-3", "12e-3"),
        ("1e0", "1"),
        ("100e1", "1e3"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("1.1n", "2n"),
        ("-0.1n", "-1n"),
        ("00012", "12"),
        ("1.", "1"),
        (".5", "500m"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854775807"),
        ("1e99", "9223372036854775807"),
        ("100Ei", "9223372036854775807"),
        ("1e-99", "1e-9"),
    ];
    for (text, canonical) in cases {
        assert_eq!(Amount::parse(text).map(|a| a.to_string()), Ok(canonical.to_string()), "{text}");
    }
}

#[test]
fn what_is_no_quantity_is_refused_with_kubernetes_words() {
    use QuantityError::{Format, Suffix};
    let cases = [
        ("", Format),
        ("abc", Format),
        ("m", Format),
        (".", Format),
        ("1.1.1", Format),
        ("1 ", Format),
        (" 1", Format),
        ("1x", Format),
        ("1+1", Suffix),
        ("1i", Suffix),
        ("1mi", Suffix),
        ("1K", Suffix),
        ("-3.01e-", Suffix),
        ("1e99999999999", Suffix),
        ("--1", Format),
    ];
    for (text, error) in cases {
        assert_eq!(Amount::parse(text), Err(error), "{text}");
    }
}

#[test]
fn amounts_compare_add_and_round_up() {
    let amount = |text: &str| Amount::parse(text).unwrap();
    assert_eq!(amount("1000m"), amount("1"));
    assert!(amount("1Gi") > amount("1G"));
    assert_eq!((amount("1Gi") + amount("1")).to_string(), "1073741825");
    assert_eq!((amount("2Gi") - amount("1Gi")).to_string(), "1Gi");
    assert_eq!((Amount::ZERO + amount("1Gi")).to_string(), "1Gi");
    assert_eq!((amount("1") - amount("1500m")).to_string(), "-500m");
    assert_eq!((amount("1.1").value(), amount("1.1").milli()), (2, 1100));
    assert_eq!((amount("-1.1").value(), amount("1u").milli()), (-2, 1));
    assert_eq!(amount("100m").milli(), 100);
    assert_eq!((amount("1e18").milli(), amount("-1e18").milli()), (10_i128.pow(21), -(10_i128.pow(21))));
    assert_eq!(Amount::thousandths(250).to_string(), "250m");
    assert_eq!(Amount::whole(2048, Format::BinarySi).to_string(), "2Ki");
}
