//! PURE. What deletions ask for, and what is read of the server's answers.
//!
//! Of an answer only what is used is decoded; the watch tells the rest. Kubernetes: `controller_utils.go`
//! (`RealPodControl`), `metav1.Preconditions`.

use kube::api::{DeleteParams, Preconditions};
use serde::Deserialize;

/// What is read of the answer to a creation: the rest is what was sent.
#[derive(Deserialize)]
pub(super) struct Made {
    pub(super) metadata: MadeMeta,
}

#[derive(Deserialize)]
pub(super) struct MadeMeta {
    #[serde(default)]
    pub(super) namespace: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) uid: String,
}

/// Deletes only the object with this uid.
pub(crate) fn of_uid(uid: &str) -> DeleteParams {
    as_seen(uid, "")
}

/// The same, and only this version of it unless that is empty.
pub(super) fn as_seen(uid: &str, version: &str) -> DeleteParams {
    let resource_version = (!version.is_empty()).then(|| version.to_string());
    let preconditions = Some(Preconditions { uid: Some(uid.to_string()), resource_version });
    DeleteParams { preconditions, ..DeleteParams::default() }
}

/// The server's words where it has some: events show them to people.
pub(super) fn text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

/// One word for why the server has not done something: the same for the same cause, unlike its text.
pub(super) fn word(error: &kube::Error) -> &str {
    match error {
        kube::Error::Api(status) if !status.reason.is_empty() => &status.reason,
        kube::Error::Api(_) => "Refused",
        _ => "NoAnswer",
    }
}
