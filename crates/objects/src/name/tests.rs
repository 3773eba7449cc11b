//! Name rules as tables: what is accepted, and the exact texts of what is not.

use super::*;

const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
    must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
    or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const KEY_TEXT: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
    with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
    '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
    used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

type Rule = fn(&str) -> Result<(), Broken>;

fn check(rule: Rule, good: &[&str], bad: &[(&str, &[&str])]) {
    for value in good {
        assert_eq!(rule(value), Ok(()), "{value:?}");
    }
    for (value, texts) in bad {
        let expected = texts.iter().map(|text| (*text).to_string()).collect();
        assert_eq!(rule(value), Err(expected), "{value:?}");
    }
}

#[test]
fn labels_and_subdomains_follow_dns() {
    let long = "a".repeat(64);
    check(
        dns1123_label,
        &["a", "0", "my-name", "1-2", &"a".repeat(63)],
        &[
            ("", &[LABEL_TEXT]),
            ("A", &[LABEL_TEXT]),
            ("-a", &[LABEL_TEXT]),
            ("a.b", &["must not contain dots"]),
            (&long, &["must be no more than 63 characters"]),
        ],
    );
    check(
        dns1123_subdomain,
        &["a", "a.b", "0.0-0.x"],
        &[
            ("", &[SUBDOMAIN_TEXT]),
            ("a..b", &[SUBDOMAIN_TEXT]),
            ("a_b", &[SUBDOMAIN_TEXT]),
            (&"a".repeat(254), &["must be no more than 253 characters"]),
        ],
    );
    assert!(dns1035_label("a-1").is_ok());
    assert!(dns1035_label("1-a").is_err());
}

#[test]
fn keys_and_values_of_labels_follow_their_grammar() {
    check(
        qualified_name,
        &["a", "A.b_c-d", "example.com/Name", "0"],
        &[
            ("", &["name part must be non-empty", KEY_TEXT]),
            ("a b", &[KEY_TEXT]),
            ("/a", &["prefix part must be non-empty"]),
            ("X/a", &[&format!("prefix part {SUBDOMAIN_TEXT}")]),
            (&"a".repeat(64), &["name part must be no more than 63 characters"]),
        ],
    );
    assert!(qualified_name("a/b/c").unwrap_err()[0].ends_with("and '/' (e.g. 'example.com/MyName')"));
    check(
        label_value,
        &["", "a", "A_b.c-1"],
        &[("-a", &[VALUE_TEXT]), (&"a".repeat(64), &["must be no more than 63 characters"])],
    );
}

#[test]
fn a_finalizer_is_qualified_or_one_of_kubernetes() {
    check(
        finalizer,
        &["orphan", "foregroundDeletion", "kubernetes", "example.com/x"],
        &[("x", &["name is neither a standard finalizer name nor is it fully qualified"])],
    );
}

#[test]
fn ports_variables_keys_and_path_segments_have_rules_of_their_own() {
    check(
        port_name,
        &["http", "a-1"],
        &[
            ("123", &["must contain at least one letter (a-z)"]),
            ("a--b", &["must not contain consecutive hyphens"]),
            ("-a", &["must not begin or end with a hyphen"]),
            ("abcdefghijklmnop", &["must be no more than 15 characters"]),
        ],
    );
    assert!(env_var_name("A B").is_ok());
    assert!(env_var_name("A=B").is_err());
    check(config_map_key, &["a.b", "A_1"], &[("..x", &["must not start with '..'"])]);
    check(path_segment, &["system:node"], &[("a/b", &["may not contain '/'"]), ("..", &["may not be '..'"])]);
}

#[test]
fn generated_names_fit_a_label_and_keep_their_base() {
    // OW-15.
    let mut draws = 0..;
    let mut chance = || draws.next().unwrap_or(0);
    assert_eq!(generate("hello-", &mut chance), "hello-bcdfg");
    assert_eq!(generate(&"x".repeat(90), &mut chance).len(), LABEL_MAX);
    assert_eq!(generate(&"ä".repeat(40), &mut || 0).chars().count(), 29 + 5);
}

#[test]
fn a_safe_hash_replaces_digits_as_rv_5_says() {
    // RV-5.
    assert_eq!(safe_encode(123_456_789), "56789bcdf");
    assert_eq!(safe_encode(0), "4");
}
