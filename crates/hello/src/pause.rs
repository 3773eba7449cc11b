//! The sandbox process: it is there, so that a pod's namespaces live as long as the pod, and it ends on request.
//!
//! In a pod with a shared process namespace it is process 1 and inherits orphans, which it reaps.
//! Kubernetes: build/pause/linux/pause.c.

use rustix::process::{WaitOptions, wait};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::process::ExitCode;

/// Waits for SIGTERM or SIGINT.
pub fn run() -> ExitCode {
    let mut signals = match Signals::new([SIGCHLD, SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => {
            println!("pause: no signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    for signal in signals.forever() {
        match signal {
            SIGCHLD => while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {},
            _ => break,
        }
    }
    ExitCode::SUCCESS
}
