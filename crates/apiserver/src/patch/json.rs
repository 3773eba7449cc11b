//! RFC 6902, with the limits that keep a small patch from making a huge object.

use super::{does_not_fit, undecodable};
use crate::decode::MAX_DEPTH;
use crate::error::ApiError;
use json_patch::{Patch, PatchOperation};
use serde_json::Value;

/// Operations in one patch, as in kube-apiserver.
const MAX_OPERATIONS: usize = 10_000;

/// Bytes that `copy` may add in all: repeated copies double an object each time. As in kube-apiserver.
const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;

/// Values that all operations together may walk over: ten thousand that move a large object about would be minutes of
/// work. A copy of the largest object that can be stored is some hundred thousand.
const MAX_WALKED: usize = 10_000_000;

/// Reads a list of operations.
pub(super) fn parse(bytes: &[u8]) -> Result<Patch, ApiError> {
    let patch: Patch = serde_json::from_slice(bytes).map_err(|e| undecodable(&e))?;
    if patch.len() > MAX_OPERATIONS {
        return Err(ApiError::too_large(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            patch.len()
        )));
    }
    Ok(patch)
}

/// Applies the operations one by one; the first that does not fit ends it.
pub(super) fn apply(original: &Value, patch: &Patch) -> Result<Value, ApiError> {
    let mut object = original.clone();
    let (mut copied, mut walked) = (0, 0);
    for operation in patch.iter() {
        walked += walks(&object, operation);
        if walked > MAX_WALKED {
            return Err(ApiError::too_large(
                "the operations of the JSON patch are too much work".to_string(),
            ));
        }
        copied += copies(&object, operation);
        if copied > MAX_COPIED_BYTES {
            return Err(ApiError::too_large(format!(
                "limit of bytes copied by a JSON patch is {MAX_COPIED_BYTES}"
            )));
        }
        if nests_too_deep(&object, operation) {
            return Err(does_not_fit());
        }
        json_patch::patch_unsafe(&mut object, std::slice::from_ref(operation)).map_err(|_| does_not_fit())?;
    }
    Ok(object)
}

/// How many values an operation walks over: those that it moves, and those that make room for them.
fn walks(object: &Value, operation: &PatchOperation) -> usize {
    let below = |path: &str| object.pointer(path).map_or(0, nodes);
    let beside = |path: &str| {
        let parent = path.rsplit_once('/').and_then(|(parent, _)| object.pointer(parent));
        parent.and_then(Value::as_array).map_or(0, Vec::len)
    };
    let moved = match operation {
        PatchOperation::Copy(copy) => below(copy.from.as_str()),
        PatchOperation::Move(from) => below(from.from.as_str()) + beside(from.from.as_str()),
        PatchOperation::Remove(_) | PatchOperation::Replace(_) => below(operation.path().as_str()),
        // Their values are as long as the patch.
        PatchOperation::Add(_) | PatchOperation::Test(_) => 0,
    };
    moved + beside(operation.path().as_str())
}

fn nodes(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nodes).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(nodes).sum::<usize>(),
        _ => 1,
    }
}

fn copies(object: &Value, operation: &PatchOperation) -> usize {
    match operation {
        PatchOperation::Copy(copy) => object.pointer(copy.from.as_str()).map_or(0, |v| v.to_string().len()),
        _ => 0,
    }
}

/// Would the operation make an object too deep to be walked or stored?
fn nests_too_deep(object: &Value, operation: &PatchOperation) -> bool {
    let depth = crate::decode::depth;
    let inside = match operation {
        PatchOperation::Add(add) => depth(&add.value),
        PatchOperation::Replace(replace) => depth(&replace.value),
        PatchOperation::Copy(copy) => object.pointer(copy.from.as_str()).map_or(0, depth),
        PatchOperation::Move(from) => object.pointer(from.from.as_str()).map_or(0, depth),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return false,
    };
    operation.path().tokens().count() + inside > MAX_DEPTH
}
