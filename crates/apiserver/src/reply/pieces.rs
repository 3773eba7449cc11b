//! A long list leaves in pieces: each is made when the connection has room for it.
//!
//! So the client reads the first objects while the next are encoded, no list lies in memory as a whole, and other requests
//! of the same thread come in between. What the list shows was decided before: its objects are one snapshot.
//! Kubernetes: the feature StreamingCollectionEncodingToJSON.

use super::{LIST_END, Page, Reply, append_item, json_bytes, list_head};
use crate::accept::Form;
use crate::cache::item::Item;
use crate::resources::KindRef;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use std::sync::Arc;

/// Bytes of a piece: four TLS records.
const PIECE: usize = 64 * 1024;
/// Lists of less are made at once and have a length. As much as an answer needs to be compressed (0.6).
const LONG: usize = 128 * 1024;

/// Marks an answer as long JSON of unknown length.
#[derive(Debug, Clone, Copy)]
pub struct Long;

/// A list of objects from the cache.
pub fn list(kind: KindRef, page: &Page, items: Vec<Arc<Item>>, form: Form) -> Reply {
    if items.iter().map(|item| item.length).sum::<usize>() <= LONG {
        return json_bytes(200, super::list(&kind, page, items.iter().map(Arc::as_ref), form));
    }
    let head = list_head(&kind, page, form).into();
    let pieces = Pieces { head: Some(head), items: items.into_iter(), kind, form };
    let mut reply = json_bytes(200, Bytes::new());
    let frames = pieces.map(|piece| Ok(Frame::data(piece)));
    *reply.body_mut() = StreamBody::new(stream::iter(frames)).boxed_unsync();
    reply.extensions_mut().insert(Long);
    reply
}

struct Pieces {
    /// What stands before the first item; none when that has left.
    head: Option<Bytes>,
    items: std::vec::IntoIter<Arc<Item>>,
    kind: KindRef,
    form: Form,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.items.len() == 0 {
            return None;
        }
        let mut piece = BytesMut::with_capacity(PIECE + PIECE / 8);
        let mut between = match self.head.take() {
            Some(head) => {
                piece.put(head);
                false
            }
            None => true,
        };
        while piece.len() < PIECE {
            let Some(item) = self.items.next() else { break };
            if between {
                piece.put_u8(b',');
            }
            between = true;
            append_item(&mut piece, &self.kind, &item, self.form);
        }
        if self.items.len() == 0 {
            piece.put_slice(LIST_END);
        }
        Some(piece.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accept::Include;
    use crate::resources::find;
    use serde_json::json;

    #[tokio::test]
    async fn a_long_list_says_the_same_in_pieces() {
        let kind = find("", "v1", "pods").unwrap();
        let item = |number: u64| {
            let name = format!("p{number}");
            let metadata = json!({"name": name, "namespace": "a", "annotations": {"a": "x".repeat(500)}});
            let value = crate::encode::stored(kind, &json!({ "metadata": metadata }));
            Arc::new(
                Item::read(kind, crate::encode::key(kind, "a", &name).into(), number, value, None).unwrap(),
            )
        };
        let items: Vec<_> = (0..400).map(item).collect();
        let page = Page { revision: 7, resume: "more".to_string(), remaining: Some(3) };
        for form in [Form::Object, Form::Metadata, Form::Table(Include::Object), Form::Table(Include::None)] {
            let reply = list(kind.into(), &page, items.clone(), form);
            assert!(reply.extensions().get::<Long>().is_some());
            let whole = super::super::list(kind, &page, items.iter().map(Arc::as_ref), form);
            assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), whole, "{form:?}");
            let short = list(kind.into(), &page, items[..9].to_vec(), form);
            assert!(short.extensions().get::<Long>().is_none());
        }
    }
}
