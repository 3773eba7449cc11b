//! The rules of `metadata` that all kinds share: what the server owns, what may never change, what a name is.
//!
//! Pure: the uid and the time come in as values. Server-owned fields are overwritten, never refused (2.1.2); what a
//! client may not change is refused with Kubernetes' texts (2.1.10, 2.2.6).
//! Kubernetes: `apimachinery/pkg/api/validation/objectmeta.go`, `registry/rest/{create,update}.go`.

use crate::error::{ApiError, FieldError};
use crate::resources::{Kind, NameRule};
use objects::name;
use serde_json::{Map, Value, json};

/// Most bytes of all annotations together (2.1.10).
const ANNOTATIONS_MAX: usize = 256 * 1024;
/// Standard finalizers without a slash.
const STANDARD_FINALIZERS: &[&str] = &["orphan", "foregroundDeletion", "kubernetes"];

/// `metadata.<field>` as text; absent reads as empty.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether `metadata.deletionTimestamp` is set.
pub fn is_terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// The metadata to write into; made when it is absent.
pub fn fields(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = json!({});
    }
    // It has just been made an object; the other arm cannot be taken.
    match metadata {
        Value::Object(fields) => fields,
        _ => unreachable!("metadata was made an object in the line above"),
    }
}

/// Sets a field, or takes it away when the value is null.
pub fn set(object: &mut Value, field: &str, value: Value) {
    let fields = fields(object);
    match value {
        Value::Null => drop(fields.remove(field)),
        value => drop(fields.insert(field.to_string(), value)),
    }
}

/// Checks what comes with a new object, and puts it into the namespace of the URL (2.1.3, 2.1.4).
pub fn place(object: &mut Value, kind: &Kind, namespace: &str) -> Result<(), ApiError> {
    if !matches!(text(object, "resourceVersion"), "" | "0") {
        // Differs: kube-apiserver answers 500, which is no word for a client's mistake.
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    in_namespace(object, kind, namespace)
}

/// The namespace of the body is the URL's, or absent.
pub fn in_namespace(object: &mut Value, kind: &Kind, namespace: &str) -> Result<(), ApiError> {
    if !kind.namespaced {
        set(object, "namespace", Value::Null);
        return Ok(());
    }
    if !matches!(text(object, "namespace"), "") && text(object, "namespace") != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    set(object, "namespace", namespace.into());
    Ok(())
}

/// Fills in what the server owns on create (2.1.2).
pub fn stamp(object: &mut Value, kind: &Kind, uid: &str, now: &str) {
    for field in
        ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "resourceVersion"]
    {
        set(object, field, Value::Null);
    }
    set(object, "uid", uid.into());
    set(object, "creationTimestamp", now.into());
    set(object, "generation", if kind.traits.has_generation { json!(1) } else { Value::Null });
}

/// Brings server-owned fields of an update back to what is stored (2.2.6).
pub fn carry(new: &mut Value, old: &Value) {
    for field in ["creationTimestamp", "generation", "selfLink"] {
        set(new, field, old["metadata"][field].clone());
    }
    for field in ["uid", "name", "namespace"] {
        if text(new, field).is_empty() {
            set(new, field, old["metadata"][field].clone());
        }
    }
    if is_terminating(old) {
        set(new, "deletionTimestamp", old["metadata"]["deletionTimestamp"].clone());
        if new["metadata"]["deletionGracePeriodSeconds"].is_null() {
            set(new, "deletionGracePeriodSeconds", old["metadata"]["deletionGracePeriodSeconds"].clone());
        }
    }
}

/// Every broken rule of an object's metadata.
pub fn validate(object: &Value, kind: &Kind) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let base = text(object, "generateName");
    if !base.is_empty() {
        let probe = base.strip_suffix('-').unwrap_or(base);
        errors.extend(name_errors(kind.traits.name_rule, "metadata.generateName", base, probe));
    }
    match text(object, "name") {
        "" => errors.push(FieldError::required("metadata.name", "name or generateName is required")),
        name => errors.extend(name_errors(kind.traits.name_rule, "metadata.name", name, name)),
    }
    errors.extend(label_errors(&object["metadata"]["labels"]));
    errors.extend(annotation_errors(&object["metadata"]["annotations"]));
    errors.extend(finalizers(object).iter().enumerate().flat_map(|(i, f)| finalizer_errors(kind, i, f)));
    errors.extend(owner_errors(&object["metadata"]["ownerReferences"]));
    errors
}

/// Every broken rule of a change of metadata.
pub fn validate_update(new: &Value, old: &Value, kind: &Kind) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["name", "namespace", "uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if new["metadata"][field] != old["metadata"][field] {
            let value = new["metadata"][field].clone();
            errors.push(FieldError::invalid(format!("metadata.{field}"), value, "field is immutable"));
        }
    }
    let (before, after) = (finalizers(old), finalizers(new));
    let added: Vec<String> = after.iter().filter(|f| !before.contains(f)).map(|f| format!("{f:?}")).collect();
    if is_terminating(old) && !added.is_empty() {
        errors.push(FieldError::forbidden(
            "metadata.finalizers",
            format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            ),
        ));
    }
    errors.extend(label_errors(&new["metadata"]["labels"]));
    errors.extend(annotation_errors(&new["metadata"]["annotations"]));
    errors.extend(after.iter().enumerate().flat_map(|(i, f)| finalizer_errors(kind, i, f)));
    errors.extend(owner_errors(&new["metadata"]["ownerReferences"]));
    errors
}

fn name_errors(rule: NameRule, field: &str, shown: &str, probe: &str) -> Vec<FieldError> {
    let result = match rule {
        NameRule::Subdomain => name::dns1123_subdomain(probe),
        NameRule::Label => name::dns1123_label(probe),
        NameRule::Label1035 => name::dns1035_label(probe),
        NameRule::PathSegment => path_segment(probe),
    };
    let texts = result.err().unwrap_or_default();
    texts.into_iter().map(|text| FieldError::invalid(field, shown, text)).collect()
}

fn path_segment(name: &str) -> Result<(), Vec<String>> {
    let mut texts = Vec::new();
    if matches!(name, "." | "..") {
        texts.push(format!("may not be '{name}'"));
    }
    texts.extend(["/", "%"].iter().filter(|c| name.contains(**c)).map(|c| format!("may not contain '{c}'")));
    if texts.is_empty() { Ok(()) } else { Err(texts) }
}

fn label_errors(labels: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        for text in name::qualified_name(key).err().unwrap_or_default() {
            errors.push(FieldError::invalid("metadata.labels", key.as_str(), text));
        }
        for text in name::label_value(value.as_str().unwrap_or_default()).err().unwrap_or_default() {
            errors.push(FieldError::invalid("metadata.labels", value.clone(), text));
        }
    }
    errors
}

fn annotation_errors(annotations: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        // Kubernetes compares keys without regard to case here.
        for text in name::qualified_name(&key.to_ascii_lowercase()).err().unwrap_or_default() {
            errors.push(FieldError::invalid("metadata.annotations", key.as_str(), text));
        }
    }
    if size > ANNOTATIONS_MAX {
        errors.push(FieldError::too_long("metadata.annotations", ANNOTATIONS_MAX));
    }
    errors
}

/// Texts for `Warning` headers about finalizers that others may take for their own. Kubernetes: the custom resources'
/// `validateKubeFinalizerName`.
pub fn finalizer_warnings(object: &Value, kind: &Kind) -> Vec<String> {
    let open = |finalizer: &&str| !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(finalizer);
    let open = finalizers(object).into_iter().filter(open).filter(|_| kind.custom().is_some());
    open.map(|finalizer| {
        let path = if finalizer.contains('.') { " including a path (/)" } else { "" };
        format!(
            "metadata.finalizers: {finalizer:?}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
        )
    })
    .collect()
}

/// Kinds of the core are strict about names; definitions and what they define are not.
fn finalizer_errors(kind: &Kind, index: usize, finalizer: &str) -> Vec<FieldError> {
    let field = format!("metadata.finalizers[{index}]");
    if let Err(texts) = name::qualified_name(finalizer) {
        return texts
            .into_iter()
            .map(|text| FieldError::invalid("metadata.finalizers", finalizer, text))
            .collect();
    }
    let defined = kind.custom().is_some() || kind.group == "apiextensions.k8s.io";
    let known = defined || finalizer.contains('/') || STANDARD_FINALIZERS.contains(&finalizer);
    let text = "name is neither a standard finalizer name nor is it fully qualified";
    if known { Vec::new() } else { vec![FieldError::invalid(field, finalizer, text)] }
}

fn owner_errors(owners: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut controllers = 0;
    for (index, owner) in owners.as_array().into_iter().flatten().enumerate() {
        let missing = |field: &str| owner[field].as_str().unwrap_or_default().is_empty();
        for (field, detail) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if missing(field) {
                let path = format!("metadata.ownerReferences[{index}].{field}");
                errors.push(FieldError::invalid(path, "", detail));
            }
        }
        controllers += i32::from(owner["controller"] == true);
    }
    if controllers > 1 {
        let detail = "Only one reference can have Controller set to true";
        errors.push(FieldError::invalid("metadata.ownerReferences", owners.clone(), detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::find;

    #[test]
    fn server_owned_fields_are_overwritten_and_never_refused() {
        // AP-37.
        let kind = find("apps", "v1", "daemonsets").unwrap();
        let mut object = json!({"metadata": {"name": "x", "uid": "mine", "generation": 9, "selfLink": "/x",
            "deletionTimestamp": "2020-01-01T00:00:00Z", "creationTimestamp": null, "managedFields": [{}]}});
        stamp(&mut object, kind, "u", "2026-01-01T00:00:00Z");
        let expected = json!({"metadata": {"name": "x", "uid": "u", "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(object, expected);
    }

    #[test]
    fn a_body_of_another_namespace_is_refused() {
        let kind = find("", "v1", "configmaps").unwrap();
        let mut object = json!({"metadata": {"name": "x", "namespace": "other"}});
        assert_eq!(place(&mut object, kind, "default").unwrap_err().code, 400);
        let kind = find("", "v1", "nodes").unwrap();
        assert_eq!(place(&mut object, kind, ""), Ok(()));
        assert_eq!(object, json!({"metadata": {"name": "x"}}));
    }

    #[test]
    fn metadata_rules_name_their_field() {
        let kind = find("", "v1", "configmaps").unwrap();
        let check = |metadata: Value, expected: &[&str]| {
            let errors = validate(&json!({ "metadata": metadata }), kind);
            let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
            assert_eq!(fields, expected, "{metadata}");
        };
        check(json!({"name": "x"}), &[]);
        check(json!({}), &["metadata.name"]);
        check(json!({"name": "Bad_Name"}), &["metadata.name"]);
        check(json!({"name": "x", "labels": {"a b": "c"}}), &["metadata.labels"]);
        check(json!({"name": "x", "finalizers": ["nope"]}), &["metadata.finalizers[0]"]);
        check(json!({"name": "x", "finalizers": ["example.com/a", "orphan"]}), &[]);
        let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true});
        check(json!({"name": "x", "ownerReferences": [owner, owner]}), &["metadata.ownerReferences"]);
        check(
            json!({"name": "x", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}),
            &["metadata.ownerReferences[0].uid"],
        );
    }

    #[test]
    fn a_terminating_object_takes_no_new_finalizer() {
        let old = json!({"metadata": {"name": "x", "deletionTimestamp": "t", "finalizers": ["a/b"]}});
        let new = json!({"metadata": {"name": "x", "deletionTimestamp": "t", "finalizers": ["a/b", "c/d"]}});
        let errors = validate_update(&new, &old, find("", "v1", "configmaps").unwrap());
        assert_eq!(errors.len(), 1);
        assert_eq!(
            errors[0].text(),
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"c/d\"}"
        );
    }
}
