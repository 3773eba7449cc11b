//! Who forgets old revisions of etcd, and when.
//!
//! etcd forgets for everybody who uses it, so one server does it: who finds the key `compacted` as it left it. The
//! others learn that somebody else is at it, and try again at their next turn; so when that one is gone, another
//! follows. Kubernetes: storage/etcd3/compact.go.

use super::keys::{number, revision};
use super::members::{Effect, Failure};
use super::messages as m;
use super::messages::Ask;
use super::refusal::{self, is_compacted};
use super::{Inner, TXN, compare};
use crate::{Result, Revision};

const COMPACT: &str = "/etcdserverpb.KV/Compact";

impl Inner {
    /// See [`crate::Store::compact`].
    pub(super) async fn compact(&self, before: Revision) -> Result<()> {
        let before = before.min(self.current().await?);
        let Some(keep) = before.checked_sub(1).filter(|keep| *keep > 0) else { return Ok(()) };
        let mut seen = self.compactor.lock().await;
        let key = self.keys.compacted();
        let unchanged = compare(key.clone(), m::target::MOD, m::Against::Written(number(*seen)));
        let looking = m::RangeRequest { key: key.clone(), ..Default::default() };
        let request = m::TxnRequest {
            compare: vec![unchanged],
            success: vec![Ask::Put(m::PutRequest { key, value: keep.to_string().into() }).operation()],
            failure: vec![Ask::Range(looking).operation()],
        };
        let answer: m::TxnResponse = self.call(TXN, &request, Effect::Write, "", 0).await?;
        if !answer.succeeded {
            let found = answer.responses.into_iter().find_map(|outcome| outcome.range).unwrap_or_default();
            *seen = found.kvs.first().map_or(0, |kv| revision(kv.mod_revision));
            return Ok(());
        }
        *seen = revision(answer.header.unwrap_or_default().revision);
        let request = m::CompactionRequest { revision: number(keep) };
        match self.members.call::<_, m::CompactionResponse>(COMPACT, &request, Effect::Write).await {
            Err(Failure::Refused(status)) if is_compacted(&status) => Ok(()),
            Err(failure) => Err(refusal::error(&self.place, "", 0, failure)),
            Ok(_) => Ok(()),
        }
    }
}
