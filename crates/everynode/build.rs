//! Builds the program `hello` statically, so that the binary can carry it in itself.
//!
//! A nested cargo with a target folder of its own below `OUT_DIR`: it takes the same lock file, needs no network beyond
//! what the outer build needed, and is skipped unless `hello` changed. `--target` is named although it is the host's own:
//! without it the flags would also reach build scripts.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let hello = Path::new("../hello");
    for path in ["src", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", hello.join(path).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(variable("OUT_DIR"));
    let target = variable("TARGET");
    let target_dir = out.join("hello");
    let status = cargo(&target, &target_dir).status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "the static program `hello` cannot be built ({status:?}); it needs a C toolchain with static libraries \
         (Debian: apt-get install build-essential)"
    );
    let built = target_dir.join(&target).join("release/hello");
    println!("cargo::rustc-env=HELLO_PROGRAM={}", built.display());
}

fn cargo(target: &str, target_dir: &Path) -> Command {
    let mut cargo = Command::new(variable("CARGO"));
    cargo.args(["build", "--release", "--package", "hello", "--bin", "hello", "--quiet"]);
    cargo.args(["--target", target, "--target-dir"]).arg(target_dir);
    // What was meant for the outer build: flags, profiles, and clippy in the place of rustc.
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let outer = ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_FEATURE_", "CARGO_CFG_", "CLIPPY_"];
        let exact = ["CARGO_TARGET_DIR", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"];
        if outer.iter().any(|prefix| name.starts_with(prefix))
            || exact.contains(&name)
            || name.ends_with("RUSTFLAGS")
        {
            cargo.env_remove(name);
        }
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z");
    cargo.env("CARGO_PROFILE_RELEASE_PANIC", "abort");
    cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
    cargo
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|error| panic!("cargo sets {name} for build scripts: {error}"))
}
