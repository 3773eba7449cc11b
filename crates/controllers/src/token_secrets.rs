//! Secrets of type `kubernetes.io/service-account-token`: each holds a token of the account that it names.
//!
//! 1. A Secret gets what it lacks: token, CA, namespace, and the account's uid. A token that is there stays.
//! 2. A Secret whose account is gone, or is another one of the same name, goes too; the server is asked before.
//! 3. Whoever can sign is not known here: it comes with the [`Config`](crate::Config). Without it the loop does not run.
//!
//! Kubernetes: `serviceaccount/tokens_controller.go`.

use crate::caches::Watched;
use crate::reconcile::{Next, Queue, work};
use crate::{Shared, tolerate};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use objects::key::ObjectKey;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Kinds that this loop reads.
pub(crate) const READS: &[Watched] = &[Watched::TokenSecrets, Watched::ServiceAccounts];

/// The type of these Secrets.
pub(crate) const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";
/// Secrets at a time.
const WORKERS: usize = 4;
/// Long enough for an account and its Secret to come together.
const COALESCE: Duration = Duration::from_millis(50);

/// What a token in a Secret is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Of account and Secret.
    pub namespace: &'a str,
    /// Name of the account.
    pub account: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Name of the Secret.
    pub secret: &'a str,
}

/// Makes tokens.
#[derive(Clone)]
pub struct Mint(Arc<dyn Fn(Wanted<'_>) -> Option<String> + Send + Sync>);

impl Mint {
    /// From a function that answers none when the system gives no chance for a signature.
    pub fn new(make: impl Fn(Wanted<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mint")
    }
}

/// What to do with a Secret.
#[derive(Debug, Clone, PartialEq)]
enum Action {
    /// Give it these keys; with a token, if it has none.
    Fill { account: String, uid: String, needs_token: bool, data: BTreeMap<String, ByteString> },
    /// Remove it, if the server says the same of its account.
    Remove { account: String },
}

/// Keeps these Secrets filled, for ever.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let queue = Arc::new(Queue::new(COALESCE));
    let caches = &shared.caches;
    let add = queue.clone();
    caches.token_secrets.listen(move |change| {
        if change.new.is_some() {
            add.add(change.key());
        }
    });
    let (add, secrets) = (queue.clone(), caches.token_secrets.clone());
    caches.service_accounts.listen(move |change| {
        let account = change.key();
        let named = |secret: &&Arc<Secret>| annotation(secret, NAME) == account.name;
        for secret in secrets.in_namespace(&account.namespace).iter().filter(named) {
            add.add(ObjectKey::of(&secret.metadata));
        }
    });
    shared.synced(READS).await;
    work(&queue, WORKERS, |key| reconcile(&shared, key)).await
}

async fn reconcile(shared: &Shared, key: ObjectKey) -> Result<Next, kube::Error> {
    let Some(secret) = shared.caches.token_secrets.get(&key) else { return Ok(Next::Rest) };
    let account = ObjectKey::new(&key.namespace, annotation(&secret, NAME));
    let account = shared.caches.service_accounts.get(&account);
    if let Some(action) = plan(&secret, account.as_deref(), shared.config.ca_pem.as_deref()) {
        act(shared, &key, &secret, action).await?;
    }
    Ok(Next::Rest)
}

fn plan(
    secret: &Secret,
    account: Option<&PartialObjectMeta<ServiceAccount>>,
    ca: Option<&str>,
) -> Option<Action> {
    if secret.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let (name, noted) = (annotation(secret, NAME).to_string(), annotation(secret, UID));
    let uid = account.and_then(|account| account.metadata.uid.clone()).unwrap_or_default();
    if account.is_none() || !noted.is_empty() && noted != uid {
        return Some(Action::Remove { account: name });
    }
    let has = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
    let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
    let wanted = [("ca.crt", ca), ("namespace", Some(namespace))];
    let data: BTreeMap<String, ByteString> = wanted
        .into_iter()
        .filter_map(|(key, wanted)| Some((key, wanted?.as_bytes())))
        .filter(|(key, wanted)| has(key) != Some(*wanted))
        .map(|(key, wanted)| (key.to_string(), ByteString(wanted.to_vec())))
        .collect();
    let needs_token = has("token").is_none_or(<[u8]>::is_empty);
    let complete = !needs_token && data.is_empty() && noted == uid;
    (!complete).then_some(Action::Fill { account: name, uid, needs_token, data })
}

async fn act(shared: &Shared, key: &ObjectKey, secret: &Secret, action: Action) -> Result<(), kube::Error> {
    let api = Api::<Secret>::namespaced(shared.client.clone(), &key.namespace);
    match action {
        Action::Remove { account } => {
            let accounts = Api::<ServiceAccount>::namespaced(shared.client.clone(), &key.namespace);
            let found = accounts.get_opt(&account).await?;
            let noted = annotation(secret, UID);
            // It is there after all, only not yet in the cache; its event comes.
            if found.is_some_and(|found| noted.is_empty() || found.metadata.uid.as_deref() == Some(noted)) {
                return Ok(());
            }
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: secret.metadata.uid.clone(),
                    resource_version: None,
                }),
                ..DeleteParams::default()
            };
            tolerate(api.delete(&key.name, &params).await, is_settled).map(drop)
        }
        Action::Fill { account, uid: of_account, needs_token, mut data } => {
            if needs_token {
                let wanted = Wanted {
                    namespace: &key.namespace,
                    account: &account,
                    uid: &of_account,
                    secret: &key.name,
                };
                let token = shared.config.mint.as_ref().and_then(|mint| (mint.0)(wanted));
                data.extend(token.map(|token| ("token".to_string(), ByteString(token.into_bytes()))));
            }
            let patch = Patch::Merge(filled(secret, &of_account, &data));
            tolerate(api.patch(&key.name, &PatchParams::default(), &patch).await, is_settled).map(drop)
        }
    }
}

/// Only for the Secret as it was seen: a second token would make the first one worthless.
fn filled(secret: &Secret, account: &str, data: &BTreeMap<String, ByteString>) -> Value {
    let revision = &secret.metadata.resource_version;
    json!({"metadata": {"resourceVersion": revision, "annotations": {UID: account}}, "data": data})
}

/// It has gone, or another has its name: the next event decides.
fn is_settled(status: &kube::core::Status) -> bool {
    status.is_not_found() || status.code == 409
}

fn annotation<'a>(secret: &'a Secret, name: &str) -> &'a str {
    let annotations = secret.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(name)).map(String::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(noted: &str, data: &[(&str, &str)]) -> Secret {
        let data: BTreeMap<String, ByteString> = data
            .iter()
            .map(|(key, text)| ((*key).to_string(), ByteString(text.as_bytes().to_vec())))
            .collect();
        let mut annotations = BTreeMap::from([(NAME.to_string(), "sa".to_string())]);
        if !noted.is_empty() {
            annotations.insert(UID.to_string(), noted.to_string());
        }
        let metadata = json!({"name": "s", "namespace": "a", "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata, "data": data})).unwrap()
    }

    fn account(uid: &str) -> PartialObjectMeta<ServiceAccount> {
        serde_json::from_value(json!({"metadata": {"name": "sa", "uid": uid}})).unwrap()
    }

    #[test]
    fn a_secret_gets_what_it_lacks_and_goes_with_its_account() {
        let check = |case: &str, secret: Secret, account: Option<&str>, expected: Option<Action>| {
            let account = account.map(self::account);
            assert_eq!(plan(&secret, account.as_ref(), Some("CA")), expected, "{case}");
        };
        let fill = |needs_token, keys: &[(&str, &str)]| {
            let data = keys.iter().map(|(key, text)| ((*key).into(), ByteString((*text).into()))).collect();
            Some(Action::Fill { account: "sa".into(), uid: "u".into(), needs_token, data })
        };
        let remove = || Some(Action::Remove { account: "sa".into() });
        let whole = [("token", "t"), ("ca.crt", "CA"), ("namespace", "a")];
        check("new", secret("", &[]), Some("u"), fill(true, &[("ca.crt", "CA"), ("namespace", "a")]));
        check("complete", secret("u", &whole), Some("u"), None);
        check("without uid", secret("", &whole), Some("u"), fill(false, &[]));
        let old = [("token", "t"), ("ca.crt", "OLD"), ("namespace", "a")];
        check("old CA", secret("u", &old), Some("u"), fill(false, &[("ca.crt", "CA")]));
        check("no account", secret("", &[]), None, remove());
        check("another account", secret("v", &whole), Some("u"), remove());
        let mut ending = secret("v", &whole);
        ending.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        check("ending", ending, None, None);
    }
}
