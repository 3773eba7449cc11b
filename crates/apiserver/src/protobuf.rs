//! What object do these protobuf bytes hold?
//!
//! Kubernetes' own clients send built-in kinds as protobuf (wire 9). A body is an envelope: four magic bytes, then a
//! message with apiVersion, kind and the object's bytes. The decoder is driven by the [`schema`](crate::schema): field
//! numbers, names and types come from one table, so every kind of the table can be read. It writes what the bytes say;
//! dropping of zero values is left to the round trip that every body goes through. Answers are JSON, always (9.4).
//! Kubernetes: `apimachinery/pkg/runtime/serializer/protobuf`.

mod message;
mod wire;

use crate::schema::{Gvk, schema};
use serde_json::{Map, Value};
use wire::{Payload, Reader};

/// `k8s` and a zero byte.
const MAGIC: &[u8] = b"k8s\0";

/// Why bytes are no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The envelope's first bytes are missing.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoMagic,
    /// Bytes end inside a value, or a value is not what its field says.
    #[error("proto: {0}")]
    Malformed(&'static str),
    /// JSON inside protobuf (`RawExtension`, `FieldsV1`) is no JSON.
    #[error("proto: embedded JSON: {0}")]
    EmbeddedJson(String),
    /// Compressed contents; no client sends them.
    #[error("proto: content encoding {0:?} is not supported")]
    Encoding(String),
    /// The kind is not in the table.
    #[error(
        "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
    )]
    UnknownKind {
        /// From the envelope.
        api_version: String,
        /// From the envelope.
        kind: String,
    },
}

/// Decodes an enveloped object. Where the envelope names no kind, `expected` is taken.
pub fn decode(bytes: &[u8], expected: Gvk<'_>) -> Result<Value, Error> {
    let envelope = Envelope::read(bytes)?;
    let expected_version = expected.api_version();
    let api_version = if envelope.api_version.is_empty() { &expected_version } else { &envelope.api_version };
    let kind = if envelope.kind.is_empty() { expected.kind } else { &envelope.kind };
    let Some(ty) = schema().kind(Gvk::new(api_version, kind)) else {
        return Err(Error::UnknownKind { api_version: api_version.clone(), kind: kind.to_string() });
    };
    let mut object = Map::new();
    message::read(envelope.raw, ty, &mut object, 0)?;
    object.insert("apiVersion".into(), api_version.as_str().into());
    object.insert("kind".into(), kind.into());
    Ok(object.into())
}

/// `runtime.Unknown`.
#[derive(Default)]
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let body = bytes.strip_prefix(MAGIC).ok_or(Error::NoMagic)?;
        let mut envelope = Envelope::default();
        let mut reader = Reader::new(body);
        while let Some((number, payload)) = reader.next()? {
            match (number, payload) {
                (1, Payload::Bytes(meta)) => envelope.read_type_meta(meta)?,
                (2, Payload::Bytes(raw)) => envelope.raw = raw,
                (3, Payload::Bytes(encoding)) if !encoding.is_empty() => {
                    return Err(Error::Encoding(String::from_utf8_lossy(encoding).into_owned()));
                }
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn read_type_meta(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut reader = Reader::new(bytes);
        while let Some((number, payload)) = reader.next()? {
            match number {
                1 => self.api_version = payload.text()?.to_string(),
                2 => self.kind = payload.text()?.to_string(),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
