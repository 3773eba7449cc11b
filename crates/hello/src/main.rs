//! The example daemon and the sandbox process, in one tiny static program.
//!
//! `hello 1` and `hello 2` serve the name of their node over HTTP and log a line a second; `hello broken` fails at once;
//! `hello pause` holds a pod's namespaces. The binary `everynode` carries this program in itself and makes images of it,
//! so that the first example needs no registry.

mod pause;
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    let what = std::env::args().nth(1).unwrap_or_else(|| "1".into());
    match what.as_str() {
        "pause" => pause::run(),
        "broken" => {
            println!("hello:broken cannot start: it was built to fail");
            ExitCode::FAILURE
        }
        version => serve::run(version),
    }
}
