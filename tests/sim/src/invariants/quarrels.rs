//! Nobody writes the same object over and over: two parties that each correct the other's word would do so for ever.
//!
//! Found that way: a node that returned said Ready of its pods and not yet of itself, and the node controller said the
//! opposite, a hundred times a second.

use super::Verdict;
use std::collections::BTreeMap;
use std::time::Duration;

const PROMISE: &str = "nobody quarrels over an object";
/// A burst of a rollout may write a status some dozen times a second; nothing has cause to go on like that.
const SPAN: Duration = Duration::from_secs(10);
const WRITES: u32 = 200;

/// When the present span of an object began, and how often it was written since; by key.
#[derive(Default)]
pub(super) struct Quarrels(BTreeMap<String, (Duration, u32)>);

impl Quarrels {
    pub(super) fn check(&mut self, key: &str, now: Duration) -> Verdict {
        let (began, writes) = match self.0.get(key) {
            Some((began, writes)) if now.saturating_sub(*began) < SPAN => (*began, writes + 1),
            _ => (now, 1),
        };
        self.0.insert(key.to_string(), (began, writes));
        match writes < WRITES {
            true => Ok(()),
            false => Err((PROMISE, format!("{writes} writes of {key} since {began:?}"))),
        }
    }
}
