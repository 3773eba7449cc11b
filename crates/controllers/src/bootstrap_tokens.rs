//! Bootstrap tokens that are over: their Secrets go.
//!
//! A token is refused from its `expiration` on, whoever looks; here only what is left of it is cleaned away. One without
//! an expiration stays, and one whose expiration cannot be read stays, too, for somebody to see.
//!
//! Kubernetes: `controller/bootstrap/tokencleaner.go`.

use crate::caches::Watched;
use crate::reconcile::{Next, Queue, work};
use crate::{Shared, tolerate};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use kube::core::Status;
use objects::key::ObjectKey;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Kinds that this loop reads.
pub(crate) const READS: &[Watched] = &[Watched::BootstrapTokens];

/// One is enough for what happens once a day.
const WORKERS: usize = 1;
/// Nobody waits for it.
const COALESCE: Duration = Duration::from_millis(50);

/// Removes what is over, for ever.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let queue = Arc::new(Queue::new(COALESCE));
    let add = queue.clone();
    shared.caches.bootstrap_tokens.listen(move |change| {
        if change.new.is_some() {
            add.add(change.key());
        }
    });
    shared.synced(READS).await;
    work(&queue, WORKERS, |key| reconcile(&shared, key)).await
}

async fn reconcile(shared: &Shared, key: ObjectKey) -> Result<Next, kube::Error> {
    let Some(secret) = shared.caches.bootstrap_tokens.get(&key) else { return Ok(Next::Rest) };
    match plan(&secret, (shared.config.now)()) {
        Step::Keep => Ok(Next::Rest),
        Step::Wait(rest) => Ok(Next::After(rest)),
        Step::Remove => {
            let api = Api::<Secret>::namespaced(shared.client.clone(), &key.namespace);
            let seen = Preconditions {
                uid: secret.metadata.uid.clone(),
                resource_version: secret.metadata.resource_version.clone(),
            };
            let params = DeleteParams { preconditions: Some(seen), ..DeleteParams::default() };
            // Gone, or prolonged meanwhile: its event comes.
            let settled = |status: &Status| status.is_not_found() || status.code == 409;
            tolerate(api.delete(&key.name, &params).await, settled)?;
            Ok(Next::Rest)
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Keep,
    Wait(Duration),
    Remove,
}

fn plan(secret: &Secret, now: Timestamp) -> Step {
    let end = secret.data.as_ref().and_then(|data| data.get("expiration"));
    let end = end.and_then(|bytes| std::str::from_utf8(&bytes.0).ok()?.parse::<Timestamp>().ok());
    match end.map(|end| end.duration_since(now)) {
        Some(rest) if !rest.is_positive() => Step::Remove,
        Some(rest) => Step::Wait(rest.unsigned_abs()),
        None => Step::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    #[test]
    fn a_token_goes_when_its_time_is_over() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let check = |expiration: Option<&str>, expected: Step| {
            let data = expiration.map(|text| [("expiration".to_string(), ByteString(text.into()))].into());
            assert_eq!(plan(&Secret { data, ..Secret::default() }, now), expected, "{expiration:?}");
        };
        check(None, Step::Keep);
        check(Some("tomorrow"), Step::Keep);
        check(Some("2026-11-21T12:00:00Z"), Step::Remove);
        check(Some("2026-11-21T13:00:00+02:00"), Step::Remove);
        check(Some("2026-11-21T12:01:00Z"), Step::Wait(Duration::from_secs(60)));
    }
}
