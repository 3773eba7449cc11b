//! What does an object look like after this patch?
//!
//! One entry, [`Patch`], for the three formats that change an object in place; server-side apply has an entry of its
//! own, because it needs to know who applies. Pure. A result is settled by [`decode::check`](crate::decode::check),
//! which prunes and types it as the body of a PUT.
//! Kubernetes: `apiserver/pkg/endpoints/handlers/patch.go`.

mod json;
mod merge;
mod strategic;

use crate::decode::{self, FieldValidation, media_type};
use crate::error::ApiError;
use crate::resources::Kind;
use crate::schema::{Gvk, schema};
use serde_json::{Value, json};

/// RFC 6902.
pub const JSON_PATCH: &str = "application/json-patch+json";
/// RFC 7386.
pub const MERGE_PATCH: &str = "application/merge-patch+json";
/// Kubernetes' own, driven by the schema.
pub const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
/// Server-side apply.
pub const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// The formats [`Patch`] reads.
pub const ACCEPTED: &[&str] = &[JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH];

/// The formats that custom objects take: nobody has types of them, so nobody can merge them strategically.
pub const ACCEPTED_BY_CUSTOM: &[&str] = &[JSON_PATCH, MERGE_PATCH, APPLY_PATCH];

/// A patch that has been read; applied as often as concurrent writers make it necessary.
#[derive(Debug, Clone)]
pub enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
    /// Strategic merge.
    Strategic(Value),
}

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    /// 400 for one that cannot be read, 413 for too many operations, 415 for another `content_type`.
    pub fn parse(content_type: &str, bytes: &[u8]) -> Result<Self, ApiError> {
        match media_type(content_type).as_str() {
            JSON_PATCH => json::parse(bytes).map(Patch::Json),
            MERGE_PATCH => decode_map(bytes).map(Patch::Merge),
            STRATEGIC_PATCH => decode_map(bytes).map(Patch::Strategic),
            _ => Err(ApiError::unsupported_media_type(ACCEPTED)),
        }
    }

    /// The patched object, settled as the body of a PUT would be, and texts for `Warning` headers.
    ///
    /// # Errors
    /// 422 when the patch does not fit the object (wire 4.1.5); 400 for a result that is no object of `kind`, or has
    /// unknown fields under [`FieldValidation::Strict`].
    pub fn apply(
        &self,
        original: &Value,
        kind: &Kind,
        validation: FieldValidation,
    ) -> Result<(Value, Vec<String>), ApiError> {
        let mut patched = self.raw(original, kind.into())?;
        let warnings = decode::check(kind, &mut patched, original, validation)?;
        Ok((patched, warnings))
    }

    /// The patched object before it is settled.
    pub(crate) fn raw(&self, original: &Value, gvk: Gvk<'_>) -> Result<Value, ApiError> {
        match self {
            Patch::Json(patch) => json::apply(original, patch),
            Patch::Merge(patch) => Ok(merge::apply(original.clone(), patch)),
            Patch::Strategic(patch) => strategic::apply(schema().kind(gvk), original, patch.clone()),
        }
    }
}

/// Both merge formats are JSON objects.
fn decode_map(patch: &[u8]) -> Result<Value, ApiError> {
    let value: Value = serde_json::from_slice(patch).map_err(|e| undecodable(&e))?;
    if value.is_object() { Ok(value) } else { Err(undecodable(&"json: cannot unmarshal into a map")) }
}

fn undecodable(why: &dyn std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!("error decoding patch: {why}"))
}

/// 422 without particulars, as Kubernetes answers for a patch that does not fit.
fn does_not_fit() -> ApiError {
    ApiError {
        details: json!({}),
        ..ApiError::plain(422, "Invalid", "the server rejected our request due to an error in our request")
    }
}

#[cfg(test)]
mod tests;
