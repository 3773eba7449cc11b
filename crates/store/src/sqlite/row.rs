//! One row of the table `log`: how it is read, and whether it is still what was written.

use crate::Revision;
use crate::history::{Change, Version};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What stands at every key after some rows.
pub(super) type Live = BTreeMap<Arc<str>, Version>;

/// A row of the table `log`.
pub(super) struct Row {
    pub(super) revision: Revision,
    key: Arc<str>,
    created: Revision,
    value: Option<Vec<u8>>,
    pub(super) sum: i64,
}

impl Row {
    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let (revision, created): (i64, i64) = (row.get(0)?, row.get(2)?);
        Ok(Self {
            revision: revision as u64,
            key: row.get(1)?,
            created: created as u64,
            value: row.get(3)?,
            sum: row.get(4)?,
        })
    }

    /// Whether it is what was written.
    pub(super) fn is_intact(&self) -> bool {
        self.sum == checksum(self.revision, &self.key, self.created, self.value.as_deref())
    }

    /// Does it again to the state that it was done to.
    pub(super) fn replay(self, live: &mut Live) -> Change {
        let (revision, created) = (self.revision, self.created);
        let version = self.value.map(|value| Version { value: Bytes::from(value).into(), revision, created });
        let previous = match &version {
            Some(version) => live.insert(self.key.clone(), version.clone()),
            None => live.remove(&self.key),
        };
        Change { revision, key: self.key, version, previous }
    }
}

/// FNV-1a over all that a row means. Any one changed byte changes it; it is against decay, not against malice.
pub(super) fn checksum(revision: Revision, key: &str, created: Revision, value: Option<&[u8]>) -> i64 {
    let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
    let mut mix = |bytes: &[u8]| {
        for byte in bytes {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    mix(&revision.to_le_bytes());
    mix(&created.to_le_bytes());
    mix(&(key.len() as u64).to_le_bytes());
    mix(key.as_bytes());
    mix(&[u8::from(value.is_some())]);
    mix(value.unwrap_or_default());
    sum as i64
}
