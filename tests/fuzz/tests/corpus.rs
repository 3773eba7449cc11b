//! Every kept input still passes: those that once broke a promise, and those that say something of their own.
//!
//! `cargo xtask test` runs each target for a while beside the end-to-end tests; `cargo xtask fuzz` for hours.

use fuzz::{engine, targets};

fn check(name: &str) {
    let target = targets::ALL.iter().find(|target| target.name == name).expect("a target of this name");
    let inputs = engine::kept(&target.corpus()).unwrap();
    assert!(!inputs.is_empty(), "tests/fuzz/corpus/{name} is empty");
    engine::each(target, inputs, |_, _| Ok(())).unwrap();
}

macro_rules! every_kept_input_passes {
    ($($test:ident $name:literal)*) => {
        $(#[test]
        fn $test() {
            check($name);
        })*

        #[test]
        fn every_target_has_its_test() {
            let tested = [$($name),*];
            let targets: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
            assert_eq!(targets, tested);
        }
    };
}

every_kept_input_passes! {
    urls "urls"
    json "json"
    yaml "yaml"
    protobuf "protobuf"
    json_patch "json-patch"
    merge_patch "merge-patch"
    strategic "strategic"
    apply "apply"
    schemas "schemas"
    selectors "selectors"
    quantities "quantities"
    websocket "websocket"
    spdy "spdy"
}
