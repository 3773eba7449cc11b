//! etcd's messages: only those we send or read, and of those only the fields we use.
//!
//! Written by hand, so that no protoc and no build script are needed. Tags are facts from
//! api/etcdserverpb/rpc.proto and api/mvccpb/kv.proto; a field that is not here is skipped when read and absent when
//! sent. Enumerations are plain `i32` with named constants, as proto3 has them on the wire.

use prost::{Message, Oneof};

macro_rules! messages {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {
        $($(#[$meta])* #[derive(Clone, PartialEq, Message)] pub struct $name { $($(#[$field_meta])* pub $field: $type,)* })*
    };
}

/// `Compare.CompareTarget`; the comparison itself is always `EQUAL`, which is 0.
pub mod target {
    pub const CREATE: i32 = 1;
    pub const MOD: i32 = 2;
}

/// `Event.EventType`.
pub mod event_type {
    pub const DELETE: i32 = 1;
}

messages! {
    Header { #[prost(int64, tag = "3")] revision: i64, }
    KeyValue {
        #[prost(bytes = "bytes", tag = "1")] key: bytes::Bytes,
        #[prost(int64, tag = "2")] create_revision: i64,
        #[prost(int64, tag = "3")] mod_revision: i64,
        #[prost(bytes = "bytes", tag = "5")] value: bytes::Bytes,
    }
    Event {
        #[prost(int32, tag = "1")] kind: i32,
        #[prost(message, optional, tag = "2")] kv: Option<KeyValue>,
        #[prost(message, optional, tag = "3")] prev_kv: Option<KeyValue>,
    }
    RangeRequest {
        #[prost(bytes = "bytes", tag = "1")] key: bytes::Bytes,
        #[prost(bytes = "bytes", tag = "2")] range_end: bytes::Bytes,
        #[prost(int64, tag = "3")] limit: i64,
        #[prost(int64, tag = "4")] revision: i64,
        #[prost(bool, tag = "8")] keys_only: bool,
    }
    RangeResponse {
        #[prost(message, optional, tag = "1")] header: Option<Header>,
        #[prost(message, repeated, tag = "2")] kvs: Vec<KeyValue>,
        #[prost(bool, tag = "3")] more: bool,
    }
    PutRequest {
        #[prost(bytes = "bytes", tag = "1")] key: bytes::Bytes,
        #[prost(bytes = "bytes", tag = "2")] value: bytes::Bytes,
    }
    DeleteRangeRequest { #[prost(bytes = "bytes", tag = "1")] key: bytes::Bytes, }
    Operation {
        #[prost(oneof = "Ask", tags = "1, 2, 3")] ask: Option<Ask>,
    }
    Outcome {
        #[prost(message, optional, tag = "1")] range: Option<RangeResponse>,
    }
    Compare {
        #[prost(int32, tag = "2")] target: i32,
        #[prost(bytes = "bytes", tag = "3")] key: bytes::Bytes,
        #[prost(oneof = "Against", tags = "5, 6")] against: Option<Against>,
    }
    TxnRequest {
        #[prost(message, repeated, tag = "1")] compare: Vec<Compare>,
        #[prost(message, repeated, tag = "2")] success: Vec<Operation>,
        #[prost(message, repeated, tag = "3")] failure: Vec<Operation>,
    }
    TxnResponse {
        #[prost(message, optional, tag = "1")] header: Option<Header>,
        #[prost(bool, tag = "2")] succeeded: bool,
        #[prost(message, repeated, tag = "3")] responses: Vec<Outcome>,
    }
    CompactionRequest { #[prost(int64, tag = "1")] revision: i64, }
    CompactionResponse {}
    WatchRequest {
        #[prost(message, optional, tag = "1")] create: Option<WatchCreate>,
    }
    WatchCreate {
        #[prost(bytes = "bytes", tag = "1")] key: bytes::Bytes,
        #[prost(bytes = "bytes", tag = "2")] range_end: bytes::Bytes,
        #[prost(int64, tag = "3")] start_revision: i64,
        #[prost(bool, tag = "6")] prev_kv: bool,
        #[prost(bool, tag = "8")] fragment: bool,
    }
    WatchResponse {
        #[prost(message, optional, tag = "1")] header: Option<Header>,
        #[prost(bool, tag = "3")] created: bool,
        #[prost(bool, tag = "4")] canceled: bool,
        #[prost(int64, tag = "5")] compact_revision: i64,
        #[prost(string, tag = "6")] cancel_reason: String,
        #[prost(message, repeated, tag = "11")] events: Vec<Event>,
    }
    AuthenticateRequest {
        #[prost(string, tag = "1")] name: String,
        #[prost(string, tag = "2")] password: String,
    }
    AuthenticateResponse { #[prost(string, tag = "2")] token: String, }
}

/// `RequestOp.request`.
#[derive(Clone, PartialEq, Oneof)]
pub enum Ask {
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    #[prost(message, tag = "2")]
    Put(PutRequest),
    #[prost(message, tag = "3")]
    Delete(DeleteRangeRequest),
}

/// `Compare.target_union`.
#[derive(Clone, PartialEq, Oneof)]
pub enum Against {
    #[prost(int64, tag = "5")]
    Created(i64),
    #[prost(int64, tag = "6")]
    Written(i64),
}

impl Ask {
    /// As one operation of a transaction.
    pub fn operation(self) -> Operation {
        Operation { ask: Some(self) }
    }
}
