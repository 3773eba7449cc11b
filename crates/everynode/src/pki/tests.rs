//! The authority and its certificates, on disk.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn admin() -> Leaf {
    Leaf { common_name: "admin".into(), organization: Some("system:masters".into()), usage: Usage::Client }
}

fn server(address: &str) -> Leaf {
    let usage = Usage::Server {
        names: BTreeSet::from(["localhost".to_string()]),
        addresses: BTreeSet::from([address.parse().unwrap()]),
    };
    Leaf { common_name: "server".into(), organization: None, usage }
}

#[test]
fn the_authority_is_made_once_and_its_key_is_the_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let first = Authority::open(dir.path(), now()).unwrap().fingerprint();
    assert_eq!(Authority::open(dir.path(), now()).unwrap().fingerprint(), first);
    let mode = std::fs::metadata(dir.path().join("ca.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn half_an_authority_is_refused_with_the_name_of_the_missing_file() {
    let dir = tempfile::tempdir().unwrap();
    Authority::open(dir.path(), now()).unwrap();
    std::fs::remove_file(dir.path().join("ca.key")).unwrap();
    let error = Authority::open(dir.path(), now()).err().unwrap().to_string();
    assert!(error.contains("ca.key is missing"), "{error}");
}

#[test]
fn a_certificate_on_disk_is_used_until_it_says_something_else_or_grows_old() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path(), now()).unwrap();
    let current =
        |leaf: &Leaf, at| authority.current(dir.path(), "server", leaf, at).unwrap().certificate_pem;
    let first = current(&server("10.0.0.1"), now());
    assert_eq!(current(&server("10.0.0.1"), now()), first);
    let moved = current(&server("10.0.0.2"), now());
    assert_ne!(moved, first);
    assert_ne!(current(&server("10.0.0.2"), now() + LEAF_LIFE * 9 / 10), moved);
}

#[test]
fn a_certificate_of_another_authority_does_not_fit() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ours = Authority::open(ours.path(), now()).unwrap();
    let theirs = Authority::open(theirs.path(), now()).unwrap().issue(&admin(), now()).unwrap();
    assert!(!ours.fits(&theirs.certificate_pem, &theirs.key_pem, &admin(), now()));
    let own = ours.issue(&admin(), now()).unwrap();
    assert!(ours.fits(&own.certificate_pem, &own.key_pem, &admin(), now()));
}
