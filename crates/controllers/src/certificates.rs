//! Nodes get their certificates: requests are approved by rule, and approved ones are signed.
//!
//! 1. A client certificate of a node is approved when the server's own authorizer says that the requester may ask for it
//!    (`certificatesigningrequests/nodeclient`, for oneself `/selfnodeclient`; wire 7.6.2).
//! 2. A serving certificate is approved for the node that asks, for its own addresses only ([`judge`]).
//! 3. Anything approved, by us or by a person, is signed for three signers, once its form is that signer's; otherwise it
//!    fails, with the reason. Denied requests are never touched.
//! 4. Old requests are removed.
//!
//! Kubernetes: `certificates/approver/sarapprove.go`, `certificates/signer/signer.go`, `certificates/cleaner`. Differs:
//! upstream leaves serving certificates to people, since addresses are the node's own word; here nobody else is there
//! to ask.

mod judge;
mod sign;

pub use sign::{Signer, SignerError};

use crate::caches::Watched;
use crate::reconcile::{Next, Queue, work};
use crate::{Shared, act, tolerate};
use jiff::Timestamp;
use judge::{Answer, Asked};
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Status;
use objects::key::ObjectKey;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Kinds that this loop reads.
pub(crate) const READS: &[Watched] = &[Watched::Requests, Watched::Nodes];

/// Requests at a time: signing is a millisecond of one core each.
const WORKERS: usize = 16;
const COALESCE: Duration = Duration::from_millis(5);
/// How long a request is kept that nobody has decided on.
const KEPT_UNDECIDED: Duration = Duration::from_secs(24 * 3600);
/// How long any other: its asker has fetched the certificate long since.
const KEPT_DECIDED: Duration = Duration::from_secs(3600);
/// A request that waits for its Node is looked at again after this, whatever happens.
const AGAIN: Duration = Duration::from_secs(10);

/// Approves and signs, for ever.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let queue = Arc::new(Queue::new(COALESCE));
    let add = queue.clone();
    shared.caches.requests.listen(move |change| {
        if change.new.is_some() {
            add.add(change.key().name);
        }
    });
    shared.synced(READS).await;
    work(&queue, WORKERS, |name| reconcile(&shared, name)).await
}

/// Why a request could not be dealt with.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("request {name}")]
    Api {
        name: String,
        #[source]
        source: kube::Error,
    },
}

async fn reconcile(shared: &Shared, name: String) -> Result<Next, RequestError> {
    let Some(request) = shared.caches.requests.get(&ObjectKey::new("", &name)) else { return Ok(Next::Rest) };
    let left = lifetime(&request, shared.now());
    let outcome = match Stage::of(&request) {
        _ if left.is_zero() => remove(shared, &request).await.map(|()| Next::Rest),
        Stage::Settled => Ok(Next::Rest),
        Stage::Asked => approve(shared, &request).await,
        Stage::Approved => sign(shared, &request).await.map(|()| Next::Rest),
    };
    let next = outcome.map_err(|source| RequestError::Api { name, source })?;
    Ok(next.sooner(Next::After(left)))
}

/// How long a request is still kept. Kubernetes: `certificates/cleaner/cleaner.go`.
fn lifetime(request: &CertificateSigningRequest, now: Timestamp) -> Duration {
    let Some(born) = request.metadata.creation_timestamp.as_ref() else { return KEPT_UNDECIDED };
    let kept = if Stage::of(request) == Stage::Asked { KEPT_UNDECIDED } else { KEPT_DECIDED };
    kept.saturating_sub(Duration::try_from(now.duration_since(born.0)).unwrap_or_default())
}

async fn remove(shared: &Shared, request: &CertificateSigningRequest) -> kube::Result<()> {
    let name = request.metadata.name.as_deref().unwrap_or_default();
    let of_uid = act::of_uid(request.metadata.uid.as_deref().unwrap_or_default());
    let api = Api::<CertificateSigningRequest>::all(shared.client.clone());
    tolerate(api.delete(name, &of_uid).await, |status: &Status| {
        status.is_not_found() || status.is_conflict()
    })?;
    Ok(())
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asked,
    Approved,
    /// Denied, failed or signed.
    Settled,
}

impl Stage {
    fn of(request: &CertificateSigningRequest) -> Self {
        let status = request.status.as_ref();
        let has = |type_: &str| {
            let mut conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
            conditions.any(|condition| condition.type_ == type_)
        };
        let signed =
            status.and_then(|status| status.certificate.as_ref()).is_some_and(|pem| !pem.0.is_empty());
        match (signed || has("Denied") || has("Failed"), has("Approved")) {
            (true, _) => Self::Settled,
            (false, true) => Self::Approved,
            (false, false) => Self::Asked,
        }
    }
}

async fn approve(shared: &Shared, request: &CertificateSigningRequest) -> kube::Result<Next> {
    let Ok(asked) = Asked::read(&request.spec.request.0) else { return Ok(Next::Rest) };
    let nodes = shared.caches.nodes.all();
    let message = match judge::judge(&request.spec, &asked, &nodes) {
        Answer::Leave => return Ok(Next::Rest),
        Answer::Wait => return Ok(Next::After(AGAIN)),
        Answer::Approve(message) => message,
        Answer::Review(reviews) => match first_allowed(shared, request, reviews).await? {
            Some(message) => message,
            None => return Ok(Next::Rest),
        },
    };
    tracing::info!(request = request.metadata.name, message, "approved");
    set_condition(shared, request, "approval", "Approved", "AutoApproved", message).await?;
    Ok(Next::Rest)
}

/// The message of the first kind of request that the server's authorizer lets the requester make.
async fn first_allowed(
    shared: &Shared,
    request: &CertificateSigningRequest,
    reviews: &'static [judge::Review],
) -> kube::Result<Option<&'static str>> {
    let reviewer = Api::<SubjectAccessReview>::all(shared.client.clone());
    for review in reviews {
        let asked = access_review(request, review.subresource);
        let answer = reviewer.create(&PostParams::default(), &asked).await?;
        if answer.status.is_some_and(|status| status.allowed) {
            return Ok(Some(review.message));
        }
    }
    Ok(None)
}

fn access_review(request: &CertificateSigningRequest, subresource: &str) -> SubjectAccessReview {
    let spec = &request.spec;
    let attributes = ResourceAttributes {
        group: Some("certificates.k8s.io".into()),
        resource: Some("certificatesigningrequests".into()),
        subresource: Some(subresource.into()),
        verb: Some("create".into()),
        version: Some("*".into()),
        ..ResourceAttributes::default()
    };
    let extra: Option<BTreeMap<String, Vec<String>>> = spec.extra.clone();
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: spec.username.clone(),
            uid: spec.uid.clone(),
            groups: spec.groups.clone(),
            extra,
            resource_attributes: Some(attributes),
            non_resource_attributes: None,
        },
        ..SubjectAccessReview::default()
    }
}

async fn sign(shared: &Shared, request: &CertificateSigningRequest) -> kube::Result<()> {
    let Some(signer) = &shared.config.signer else { return Ok(()) };
    if !judge::is_signed_here(&request.spec.signer_name) {
        return Ok(());
    }
    let text = &request.spec.request.0;
    let checked = Asked::read(text).and_then(|asked| judge::check_form(&request.spec, &asked));
    let signed = match checked {
        Ok(()) => signer.sign(&request.spec, shared.now()).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match signed {
        Ok(pem) => {
            let patch = json!({"status": {"certificate": ByteString(pem.into_bytes())}});
            write(shared, request, "status", patch).await
        }
        Err(reason) => {
            tracing::warn!(request = request.metadata.name, reason, "not signed");
            set_condition(shared, request, "status", "Failed", "SignerValidationFailure", &reason).await
        }
    }
}

async fn set_condition(
    shared: &Shared,
    request: &CertificateSigningRequest,
    subresource: &str,
    type_: &str,
    reason: &str,
    message: &str,
) -> kube::Result<()> {
    let status = request.status.as_ref();
    let mut conditions = status.and_then(|status| status.conditions.clone()).unwrap_or_default();
    let now = Some(Time(shared.now()));
    conditions.push(CertificateSigningRequestCondition {
        type_: type_.into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_update_time: now.clone(),
        last_transition_time: now,
    });
    write(shared, request, subresource, json!({"status": {"conditions": conditions}})).await
}

/// A merge patch that is refused when somebody else has written meanwhile.
async fn write(
    shared: &Shared,
    request: &CertificateSigningRequest,
    subresource: &str,
    mut patch: Value,
) -> kube::Result<()> {
    let name = request.metadata.name.as_deref().unwrap_or_default();
    patch["metadata"] = json!({"resourceVersion": request.metadata.resource_version});
    let api = Api::<CertificateSigningRequest>::all(shared.client.clone());
    let outcome =
        api.patch_subresource(subresource, name, &PatchParams::default(), &Patch::Merge(patch)).await;
    // After a conflict the watch brings the newer state, and with it another run.
    tolerate(outcome, |status: &Status| status.is_not_found() || status.is_conflict()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_kept_an_hour_and_undecided_ones_a_day() {
        let check = |condition: &str, age: i64, left: u64| {
            let conditions = json!([{"type": condition, "status": "True"}]);
            let request = json!({"metadata": {"creationTimestamp": "1970-01-01T00:00:00Z"},
                "spec": {"request": "", "signerName": "a.b/c"}, "status": {"conditions": conditions}});
            let now = Timestamp::from_second(age).unwrap();
            assert_eq!(lifetime(&serde_json::from_value(request).unwrap(), now), Duration::from_secs(left));
        };
        check("Denied", 3599, 1);
        check("Approved", 3600, 0);
        check("Other", 3600, 23 * 3600);
        check("Other", 90_000, 0);
    }

    #[test]
    fn a_request_is_asked_then_approved_then_settled() {
        let check = |status: Value, expected: Stage| {
            let request = json!({"spec": {"request": "", "signerName": "a.b/c"}, "status": status});
            assert_eq!(Stage::of(&serde_json::from_value(request).unwrap()), expected, "{status}");
        };
        let with = |type_: &str| json!({"conditions": [{"type": type_, "status": "True"}]});
        check(json!({}), Stage::Asked);
        check(with("Approved"), Stage::Approved);
        check(with("Denied"), Stage::Settled);
        check(with("Failed"), Stage::Settled);
        check(
            json!({"certificate": "QQ==", "conditions": [{"type": "Approved", "status": "True"}]}),
            Stage::Settled,
        );
    }
}
