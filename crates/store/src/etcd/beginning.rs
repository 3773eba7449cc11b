//! The first look at a cluster: whose keys stand below the prefix, and since when.

use super::keys::{Keys, revision};
use super::members::{Effect, Failure, Members};
use super::messages as m;
use super::options::OpenError;
use super::{FORMAT, RANGE, TXN, compare, put_head, refusal};
use crate::Revision;
use bytes::Bytes;

/// Finds `head`, or writes it where nothing is. Answers since when it is there.
pub(super) async fn begin(
    members: &Members,
    keys: &Keys,
    prefix: &str,
    place: &str,
) -> Result<Revision, OpenError> {
    let failed = |failure| OpenError::NoAnswer(refusal::error(place, "head", 0, failure));
    let range =
        |key: Bytes, range_end: Bytes| m::RangeRequest { key, range_end, limit: 1, ..Default::default() };
    loop {
        let head = range(keys.head(), Bytes::new());
        let found: m::RangeResponse = members.call(RANGE, &head, Effect::Read).await.map_err(failed)?;
        if let Some(head) = found.kvs.first() {
            return match head.value == FORMAT {
                true => Ok(revision(head.create_revision)),
                false => Err(OpenError::Format {
                    prefix: prefix.into(),
                    found: String::from_utf8_lossy(&head.value).chars().take(80).collect(),
                    known: FORMAT,
                }),
            };
        }
        let (start, end) = keys.range("");
        let data = range(start, end);
        let strangers: m::RangeResponse = members.call(RANGE, &data, Effect::Read).await.map_err(failed)?;
        if !strangers.kvs.is_empty() {
            return Err(OpenError::Foreign { prefix: prefix.into() });
        }
        let absent = compare(keys.head(), m::target::CREATE, m::Against::Created(0));
        let request = m::TxnRequest { compare: vec![absent], success: vec![put_head(keys)], failure: vec![] };
        // Another server may have been faster, or the answer is lost: the next round sees.
        match members.call::<_, m::TxnResponse>(TXN, &request, Effect::Write).await {
            Ok(_) | Err(Failure::Unknown(_)) => {}
            Err(failure) => return Err(failed(failure)),
        }
    }
}
