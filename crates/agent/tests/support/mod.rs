//! What the agent's tests need around them: an API server in memory, a containerd of their own, and a way to wait.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod api;
pub mod containerd;

use std::future::Future;
use std::time::Duration;

/// No state takes longer than this to come, on a busy machine with two cores.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Waits until `look` finds something; names what was waited for if it does not come.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
