//! Bytes as client-go writes them. A tiny encoder, driven by the same table, makes them for whole objects; the shapes
//! of single messages are written out by hand, so that a mistake in the table cannot hide behind itself.

use super::*;
use crate::decode::{self, FieldValidation};
use crate::resources::KINDS;
use crate::schema::{Base, Container, Member, Shape, Type};
use base64::Engine;
use proptest::prelude::*;
use serde_json::json;

fn tag(number: u16, wire: u8, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | u64::from(wire), out);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(number: u16, content: &[u8], out: &mut Vec<u8>) {
    tag(number, 2, out);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let (mut meta, mut out) = (Vec::new(), MAGIC.to_vec());
    bytes(1, api_version.as_bytes(), &mut meta);
    bytes(2, kind.as_bytes(), &mut meta);
    bytes(1, &meta, &mut out);
    bytes(2, raw, &mut out);
    bytes(3, b"", &mut out);
    bytes(4, b"", &mut out);
    out
}

fn encode_struct(object: &Value, ty: &Type, out: &mut Vec<u8>) {
    for (number, member) in &ty.members {
        match member {
            Member::Embedded(id) => {
                let mut inner = Vec::new();
                encode_struct(object, schema().get(*id), &mut inner);
                bytes(*number, &inner, out);
            }
            Member::Field(at) => {
                let field = &ty.fields[usize::from(*at)];
                let Some(value) = object.get(field.name) else { continue };
                match field.shape.container {
                    Container::One => encode(*number, value, &field.shape, out),
                    Container::List => {
                        value.as_array().unwrap().iter().for_each(|v| encode(*number, v, &field.shape, out))
                    }
                    Container::Map => {
                        for (key, value) in value.as_object().unwrap() {
                            let mut entry = Vec::new();
                            bytes(1, key.as_bytes(), &mut entry);
                            encode(2, value, &field.shape, &mut entry);
                            bytes(*number, &entry, out);
                        }
                    }
                }
            }
        }
    }
}

fn encode(number: u16, value: &Value, shape: &Shape, out: &mut Vec<u8>) {
    let mut inner = Vec::new();
    match (shape.base, value) {
        (Base::String, Value::String(s)) => return bytes(number, s.as_bytes(), out),
        (Base::Int32 | Base::Int64, Value::Number(n)) => {
            tag(number, 0, out);
            return varint(n.as_i64().unwrap() as u64, out);
        }
        (Base::Bool, Value::Bool(b)) => {
            tag(number, 0, out);
            return varint(u64::from(*b), out);
        }
        (Base::Bytes, Value::String(s)) => {
            let raw = base64::engine::general_purpose::STANDARD.decode(s).unwrap();
            return bytes(number, &raw, out);
        }
        (Base::Quantity, Value::String(s)) => bytes(1, s.as_bytes(), &mut inner),
        (Base::IntOrString, Value::String(s)) => {
            inner.extend([8, 1, 16, 0]);
            bytes(3, s.as_bytes(), &mut inner);
        }
        (Base::IntOrString, Value::Number(n)) => {
            inner.extend([8, 0, 16]);
            varint(n.as_i64().unwrap() as u64, &mut inner);
            bytes(3, b"", &mut inner);
        }
        (Base::Time | Base::MicroTime, Value::String(s)) => {
            let time: jiff::Timestamp = s.parse().unwrap();
            inner.push(8);
            varint(time.as_second() as u64, &mut inner);
            inner.push(16);
            varint(time.subsec_nanosecond() as u64, &mut inner);
        }
        (Base::Raw | Base::Fields, any) => bytes(1, any.to_string().as_bytes(), &mut inner),
        (Base::Extra, Value::Array(items)) => {
            items.iter().for_each(|i| bytes(1, i.as_str().unwrap().as_bytes(), &mut inner));
        }
        (Base::Struct(id), object) => encode_struct(object, schema().get(id), &mut inner),
        (base, value) => panic!("{base:?} cannot be {value}"),
    }
    bytes(number, &inner, out);
}

/// JSON and protobuf of one object are one object.
#[track_caller]
fn check_same(object: Value) {
    let gvk = Gvk::new(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let ty = schema().kind(gvk).unwrap();
    let json = object.to_string();
    let from_json =
        decode::body_as("application/json", json.as_bytes(), gvk, FieldValidation::Strict).unwrap();
    let mut raw = Vec::new();
    encode_struct(&from_json.object, ty, &mut raw);
    let sent = envelope(&gvk.api_version(), gvk.kind, &raw);
    let from_protobuf = decode::body_as(decode::PROTOBUF, &sent, gvk, FieldValidation::Strict).unwrap();
    assert_eq!(from_protobuf.object, from_json.object);
}

#[test]
fn the_namespace_that_kubectl_creates_is_read() {
    // Observed from kubectl 1.32 `create namespace x` (wire 9.6): metadata{1 name, 2, 3, 4, 5, 6 empty, 7: 0, 8 empty},
    // spec and status empty.
    let meta = [&b"\x0a\x01x"[..], b"\x12\x00\x1a\x00\x22\x00\x2a\x00\x32\x00\x38\x00\x42\x00"].concat();
    let mut raw = Vec::new();
    bytes(1, &meta, &mut raw);
    raw.extend(b"\x12\x00\x1a\x02\x0a\x00");
    let mut sent = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09Namespace".to_vec();
    bytes(2, &raw, &mut sent);
    sent.extend(b"\x1a\x00\x22\x00");
    let kind = KINDS.iter().find(|k| k.kind == "Namespace").unwrap();
    let decoded = decode::body(decode::PROTOBUF, &sent, kind, FieldValidation::Strict).unwrap();
    assert_eq!(
        decoded.object,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}, "spec": {}, "status": {}})
    );
}

/// Bodies that a real kubectl sent, and what they mean.
const FROM_KUBECTL: &str = include_str!("../../tables/kubectl-1.33-bodies.txt");

#[test]
fn what_a_real_kubectl_sends_is_read() {
    let lines: Vec<&str> = FROM_KUBECTL.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), 32);
    for pair in lines.chunks(2) {
        let sent: Vec<u8> = (0..pair[0].len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&pair[0][i..i + 2], 16).unwrap())
            .collect();
        let expected: Value = serde_json::from_str(pair[1]).unwrap();
        let gvk = Gvk::new(expected["apiVersion"].as_str().unwrap(), expected["kind"].as_str().unwrap());
        let decoded = decode::body_as(decode::PROTOBUF, &sent, gvk, FieldValidation::Strict).unwrap();
        assert_eq!(decoded.object, expected);
        check_same(expected);
    }
}

#[test]
fn json_and_protobuf_of_an_object_are_the_same_object() {
    check_same(json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {
            "name": "d", "namespace": "n", "generation": 3, "creationTimestamp": "2024-05-06T07:08:09Z",
            "labels": {"a": "b", "c": ""}, "finalizers": ["x/y"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "u", "controller": false}],
            "managedFields": [{"manager": "m", "operation": "Apply", "fieldsV1": {"f:spec": {".": {}}}}],
        },
        "spec": {
            "selector": {"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "30%", "maxSurge": 0}},
            "template": {"metadata": {}, "spec": {
                "terminationGracePeriodSeconds": -1,
                "volumes": [
                    {"name": "e", "emptyDir": {"sizeLimit": "1Gi"}},
                    {"name": "h", "hostPath": {"path": "/x", "type": ""}},
                    {"name": "s", "secret": {"secretName": "t", "defaultMode": 256, "optional": true}},
                ],
                "containers": [{
                    "name": "c", "image": "i", "resources": {"limits": {"cpu": "100m", "memory": "2Gi"}},
                    "ports": [{"containerPort": 80, "hostPort": 8080, "protocol": "TCP"}],
                    "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                            {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}],
                    "livenessProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 5},
                    "securityContext": {"capabilities": null, "runAsUser": 0},
                }],
                "securityContext": {"supplementalGroups": [1, 2], "fsGroup": 5},
            }},
        },
        "status": {"numberReady": 2},
    }));
    check_same(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "Opaque",
        "data": {"bin": "AP//", "empty": ""}, "immutable": false,
    }));
    check_same(json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"holderIdentity": "h", "leaseDurationSeconds": 40, "renewTime": "2024-05-06T07:08:09.123456Z"},
    }));
    check_same(json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "r"}, "revision": 7,
        "data": {"spec": {"template": {"$patch": "replace"}}},
    }));
    check_same(json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "u", "groups": ["g"], "extra": {"k": ["a", "b"]}, "nonResourceAttributes": {"path": "/x", "verb": "get"}},
    }));
    check_same(json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "p"},
        "spec": {"minAvailable": 1}, "status": {"disruptedPods": {"x": "2024-05-06T07:08:09Z"}},
    }));
}

#[test]
fn single_messages_read_as_go_writes_them() {
    let pod = Gvk::new("v1", "Pod");
    for (raw, pointer, expected) in [
        // metadata.creationTimestamp: Go's zero time has no bytes.
        (&b"\x0a\x02\x42\x00"[..], "/metadata/creationTimestamp", Value::Null),
        (b"\x0a\x04\x42\x02\x08\x01", "/metadata/creationTimestamp", json!("1970-01-01T00:00:01Z")),
        // spec.terminationGracePeriodSeconds: -1, as ten bytes.
        (
            b"\x12\x0b\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "/spec/terminationGracePeriodSeconds",
            json!(-1),
        ),
        // spec.securityContext.supplementalGroups, unpacked and packed.
        (b"\x12\x06\x72\x04\x20\x01\x20\x02", "/spec/securityContext/supplementalGroups", json!([1, 2])),
        (b"\x12\x06\x72\x04\x22\x02\x01\x02", "/spec/securityContext/supplementalGroups", json!([1, 2])),
        // spec.nodeSelector: a map entry without a value.
        (b"\x12\x05\x3a\x03\x0a\x01k", "/spec/nodeSelector", json!({"k": ""})),
        // An unknown field of every wire type is skipped.
        (
            b"\xf8\x7f\x05\xfa\x7f\x01x\xf9\x7f12345678\xfd\x7f1234\x0a\x03\x0a\x01n",
            "/metadata/name",
            json!("n"),
        ),
    ] {
        let object = decode(&envelope("v1", "Pod", raw), pod).unwrap();
        assert_eq!(object.pointer(pointer).cloned().unwrap_or(Value::Null), expected, "{raw:?}");
    }
}

#[test]
fn bytes_that_are_no_object_are_refused() {
    let pod = Gvk::new("v1", "Pod");
    for bad in [
        &b""[..],
        b"{}",
        b"k8s\0\xff",
        b"k8s\0\x12\x05\x0a",
        b"k8s\0\x12\x02\x0a\x05",
        b"k8s\0\x12\x02\x08\x01",
        b"k8s\0\x12\x04\x0a\x02\x0a\xff",
        b"k8s\0\x1a\x04gzip",
        b"k8s\0\x0a\x05\x12\x03Foo",
        b"k8s\0\x0b",
        b"k8s\0\x00",
        b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ] {
        assert!(decode(bad, pod).is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        for gvk in [Gvk::new("v1", "Pod"), Gvk::new("apps/v1", "DaemonSet"), Gvk::new("v1", "Event")] {
            let _ = decode::body_as(decode::PROTOBUF, &envelope(&gvk.api_version(), gvk.kind, &raw), gvk, FieldValidation::Warn);
            let _ = decode(&raw, gvk);
        }
    }
}
