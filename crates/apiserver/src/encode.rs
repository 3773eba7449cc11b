//! How an object lies in the store, and how it leaves without being decoded.
//!
//! A stored value is compact JSON that begins with exactly `{"kind":"…","apiVersion":"…","metadata":{` and has
//! no `resourceVersion`, because the revision is known only after the write. Sending is three pieces:
//! the prefix, `"resourceVersion":"N"`, the rest. The length of the prefix follows from the kind alone.

pub mod parts;

use crate::custom::{Custom, Sending};
use crate::ownership::Owners;
use crate::resources::Kind;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use store::Revision;

/// The revision of what was never stored, as a dry run makes it.
pub const UNSTORED: Revision = 0;

/// Where all objects lie.
pub const ROOT: &str = "/registry/";

/// The key prefix of a kind: `/registry/<group or core>/<plural>/`.
pub fn prefix(kind: &Kind) -> String {
    let group = if kind.group.is_empty() { "core" } else { kind.group };
    format!("{ROOT}{group}/{}/", kind.plural)
}

/// The key of an object; cluster-scoped ones have `-` as their namespace.
pub fn key(kind: &Kind, namespace: &str, name: &str) -> String {
    let namespace = if kind.namespaced { namespace } else { "-" };
    format!("{}{namespace}/{name}", prefix(kind))
}

/// Whether what lies at a key must not be readable on the disk: Secrets.
pub fn is_confidential(key: &str) -> bool {
    key.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with("core/secrets/"))
}

/// `apps/v1`, or `v1` in the core group.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_string() } else { format!("{group}/{version}") }
}

/// The first bytes of every stored object of a kind.
pub fn head(kind: &Kind) -> String {
    head_of(kind, stored_version(kind))
}

fn head_of(kind: &Kind, version: &str) -> String {
    format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{{",
        kind.kind,
        api_version(kind.group, version)
    )
}

/// The version that objects of the kind are stored as.
fn stored_version(kind: &Kind) -> &'static str {
    kind.custom().map_or(kind.version, |custom| custom.family.storage)
}

/// The length of [`head`], without making it: this stands in the path of every object that is sent.
pub fn head_length(kind: &Kind) -> usize {
    let slash = usize::from(!kind.group.is_empty());
    let frame = "{\"kind\":\"\",\"apiVersion\":\"\",\"metadata\":{".len();
    frame + kind.kind.len() + kind.group.len() + slash + stored_version(kind).len()
}

/// The bytes for the store. `resourceVersion` is left out, kind and apiVersion are the kind's own.
pub fn stored(kind: &Kind, object: &Value) -> Bytes {
    stored_with(kind, object, &Owners::default())
}

/// The same of an object whose owners travel beside it.
pub fn stored_with(kind: &Kind, object: &Value, owners: &Owners) -> Bytes {
    let laid_down = kind.custom().and_then(|custom| custom.laid_down(object));
    let bytes = written(head(kind), laid_down.as_ref().unwrap_or(object), owners);
    // Without the room that a growing text has left over: these bytes are held as long as the object, and after.
    Bytes::from(bytes.into_boxed_slice())
}

fn written(head: String, object: &Value, owners: &Owners) -> Vec<u8> {
    let empty = Map::new();
    let fields = object.as_object().unwrap_or(&empty);
    let metadata = fields.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let mut out = head.into_bytes();
    let begin = out.len();
    write_fields(&mut out, metadata.iter().filter(|(name, _)| *name != "resourceVersion"), true);
    if !owners.text().is_empty() {
        out.extend_from_slice(if out.len() > begin { b",\"managedFields\":" } else { b"\"managedFields\":" });
        out.extend_from_slice(owners.text().as_bytes());
    }
    out.push(b'}');
    let rest = fields.iter().filter(|(name, _)| !matches!(name.as_str(), "kind" | "apiVersion" | "metadata"));
    write_fields(&mut out, rest, false);
    out.push(b'}');
    out
}

fn write_fields<'a>(out: &mut Vec<u8>, fields: impl Iterator<Item = (&'a String, &'a Value)>, first: bool) {
    let mut first = first;
    for (name, value) in fields {
        if !first {
            out.push(b',');
        }
        first = false;
        // Writing a JSON value to memory cannot fail.
        let _ = serde_json::to_writer(&mut *out, name);
        out.push(b':');
        let _ = serde_json::to_writer(&mut *out, value);
    }
}

/// Appends a stored object with its revision, as the version that is asked for.
pub fn send(out: &mut BytesMut, kind: &Kind, value: &[u8], revision: Revision) {
    let (start, rest) = value.split_at(head_length(kind).min(value.len()));
    out.reserve(value.len() + 40);
    match kind.custom().map(|custom| (custom, custom.sending())) {
        None | Some((_, Sending::AsStored)) => out.put_slice(start),
        Some((_, Sending::OtherHead)) => out.put_slice(head_of(kind, kind.version).as_bytes()),
        Some((custom, Sending::Converted)) => return send_converted(out, kind, custom, value, revision),
    }
    put_metadata(out, rest, revision);
}

/// A version that has other fields: the one case in which an object is decoded to be sent.
fn send_converted(out: &mut BytesMut, kind: &Kind, custom: &Custom, value: &[u8], revision: Revision) {
    let mut object: Value = serde_json::from_slice(value).unwrap_or_default();
    custom.open(&mut object);
    let head = head_of(kind, kind.version);
    let bytes = written(head.clone(), &object, &Owners::default());
    let rest = bytes.get(head.len()..).unwrap_or_default();
    out.put_slice(head.as_bytes());
    put_metadata(out, rest, revision);
}

/// Appends what follows the brace of the metadata, behind the revision; one that is not stored has none ([`UNSTORED`]).
fn put_metadata(out: &mut BytesMut, rest: &[u8], revision: Revision) {
    if revision != UNSTORED {
        out.put_slice(b"\"resourceVersion\":\"");
        out.put_slice(revision.to_string().as_bytes());
        out.put_slice(if rest.first() == Some(&b'}') { b"\"" } else { b"\"," });
    }
    out.put_slice(rest);
}

/// Appends the object's `PartialObjectMetadata`. Metadata is cut out as text, not built anew; what follows it is not read.
pub fn send_metadata(out: &mut BytesMut, kind: &Kind, value: &[u8], revision: Revision) {
    out.put_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{");
    // The head ends with the brace that begins the metadata.
    let from_metadata = value.get(head_length(kind) - 1..).unwrap_or_default();
    let mut metadata = serde_json::Deserializer::from_slice(from_metadata).into_iter::<&RawValue>();
    let metadata = metadata.next().and_then(Result::ok).map_or("{}", RawValue::get);
    put_metadata(out, metadata.strip_prefix('{').unwrap_or("}").as_bytes(), revision);
    out.put_u8(b'}');
}

/// A stored object as a value, with its revision, and apart from it its owners.
pub fn apart(stored: &[u8], revision: Revision) -> serde_json::Result<(Value, Owners)> {
    let (mut object, owners) = parts::apart(stored)?;
    set_revision(&mut object, revision);
    Ok((object, owners.map(|text| Owners::of_text(text.get())).unwrap_or_default()))
}

/// A stored object as a value, with its revision.
pub fn value(stored: &[u8], revision: Revision) -> serde_json::Result<Value> {
    let mut value: Value = serde_json::from_slice(stored)?;
    set_revision(&mut value, revision);
    Ok(value)
}

/// A stored object as a value, without revision and `managedFields`: a reader who only wants to know what the object is need
/// not wait for these.
pub fn plain(stored: &[u8]) -> serde_json::Result<Value> {
    parts::read(stored, &parts::PLAIN)
}

/// Writes the revision into an object that is about to be sent.
pub fn set_revision(object: &mut Value, revision: Revision) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_string(), Value::from(revision.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::find;
    use serde_json::json;

    fn sent(object: &Value) -> Value {
        let kind = find("", "v1", "configmaps").unwrap();
        let bytes = stored(kind, object);
        assert!(bytes.starts_with(head(kind).as_bytes()));
        let mut out = BytesMut::new();
        send(&mut out, kind, &bytes, 7);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn an_object_leaves_with_its_revision_and_nothing_else_changed() {
        let object = json!({"data": {"a": "\"\n"}, "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": "x", "resourceVersion": "3", "labels": {}}});
        let mut expected = object.clone();
        expected["metadata"]["resourceVersion"] = "7".into();
        assert_eq!(sent(&object), expected);
        assert_eq!(
            sent(&json!({})),
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}})
        );
    }

    #[test]
    fn the_length_of_a_head_is_known_without_making_it() {
        for kind in crate::resources::KINDS {
            assert_eq!(head_length(kind), head(kind).len(), "{}", kind.kind);
        }
    }

    #[test]
    fn owners_travel_beside_the_object() {
        let kind = find("", "v1", "configmaps").unwrap();
        let owners = Owners::of_text(r#"[{"manager":"m"}]"#);
        for object in [json!({"metadata": {"name": "x"}, "data": {"a": "b"}}), json!({"metadata": {}})] {
            let bytes = stored_with(kind, &object, &owners);
            let (read, apart) = apart(&bytes, 7).unwrap();
            let mut expected = object.clone();
            (expected["kind"], expected["apiVersion"]) = ("ConfigMap".into(), "v1".into());
            expected["metadata"]["resourceVersion"] = "7".into();
            assert_eq!((read, &apart), (expected, &owners));
            assert_eq!(value(&bytes, 7).unwrap()["metadata"]["managedFields"], json!([{"manager": "m"}]));
        }
    }

    #[test]
    fn what_was_never_stored_leaves_without_a_revision() {
        let kind = find("", "v1", "configmaps").unwrap();
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}});
        let mut out = BytesMut::new();
        send(&mut out, kind, &stored(kind, &object), UNSTORED);
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), object);
    }

    #[test]
    fn metadata_is_cut_out_with_its_revision() {
        let kind = find("", "v1", "configmaps").unwrap();
        let bytes = stored(kind, &json!({"metadata": {"name": "x"}, "data": {"a": "b"}}));
        let mut out = BytesMut::new();
        send_metadata(&mut out, kind, &bytes, 7);
        let expected = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"name": "x", "resourceVersion": "7"}});
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
    }
}
