//! What is odd about a body, told in texts that cannot be more than a body.
//!
//! A finding has the path of its field, and one long key may be in the paths of a hundred thousand fields: without a limit
//! a body of the allowed size could fill the memory. Kubernetes: `sigs.k8s.io/json` keeps a hundred, too.

/// Most findings that are kept: nobody reads more.
const MOST: usize = 100;
/// Bytes of their texts after which no more are made.
const BYTES: usize = 64 * 1024;

/// Texts like `unknown field "spec.bogus"`.
#[derive(Debug, Default)]
pub(super) struct Findings {
    texts: Vec<String>,
    bytes: usize,
}

impl Findings {
    /// Adds one, if there is room; only then it is made.
    pub(super) fn add(&mut self, text: impl FnOnce() -> String) {
        if self.texts.len() < MOST && self.bytes < BYTES {
            let text = text();
            self.bytes += text.len();
            self.texts.push(text);
        }
    }

    /// All of them.
    pub(super) fn texts(self) -> Vec<String> {
        self.texts
    }
}
