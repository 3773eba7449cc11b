//! PURE. Where a store's keys stand in etcd.
//!
//! Below one prefix, `/everynode` by default: `head` (written with every write, so that its revision is the store's),
//! `compacted` (who forgets old revisions), and `data` followed by the store's own key.

use crate::Revision;
use bytes::Bytes;

/// The keys of one store.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    data: String,
    head: Bytes,
    compacted: Bytes,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        let below = |name: &str| format!("{}/{name}", prefix.trim_end_matches('/'));
        Self { data: below("data"), head: below("head").into(), compacted: below("compacted").into() }
    }

    /// The key whose last write is the store's last write.
    pub(super) fn head(&self) -> Bytes {
        self.head.clone()
    }

    /// The key that says up to where history was forgotten.
    pub(super) fn compacted(&self) -> Bytes {
        self.compacted.clone()
    }

    /// Where one key stands.
    pub(super) fn at(&self, key: &str) -> Bytes {
        format!("{}{key}", self.data).into()
    }

    /// From where to where the keys of a prefix stand; the end is not among them.
    pub(super) fn range(&self, prefix: &str) -> (Bytes, Bytes) {
        let start = self.at(prefix);
        let end = after_prefix(&start);
        (start, end)
    }

    /// The store's own name of a key; none for one that is not ours or is no text.
    pub(super) fn own<'k>(&self, key: &'k [u8]) -> Option<&'k str> {
        std::str::from_utf8(key.strip_prefix(self.data.as_bytes())?).ok()
    }
}

/// The first key that does not begin with `prefix` and stands behind all that do. A prefix of text is never all 0xff.
fn after_prefix(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end.into()
}

/// A revision as etcd counts it. One beyond its counter is a revision that never comes.
pub(super) fn number(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// A revision as we count it.
pub(super) fn revision(number: i64) -> Revision {
    Revision::try_from(number).unwrap_or_default()
}

/// Bytes of their own: a small value must not keep the whole answer that it came in.
pub(super) fn own(part: &[u8]) -> Bytes {
    Bytes::copy_from_slice(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_below_the_prefix_and_come_back() {
        let keys = Keys::new("/everynode/");
        assert_eq!(keys.at("/registry/x"), "/everynode/data/registry/x");
        assert_eq!(keys.own(b"/everynode/data/registry/x"), Some("/registry/x"));
        assert_eq!(keys.own(b"/everynode/head"), None);
        assert_eq!(keys.own(b"/everynode/data\xff"), None);
        let (start, end) = keys.range("a/");
        assert_eq!((&start[..], &end[..]), (&b"/everynode/dataa/"[..], &b"/everynode/dataa0"[..]));
        assert!(!(start..end).contains(&keys.head()));
    }

    #[test]
    fn the_end_of_a_prefix_carries_over() {
        assert_eq!(after_prefix(b"a\xff"), "b");
        assert_eq!(number(u64::MAX), i64::MAX);
        assert_eq!(revision(-1), 0);
    }
}
