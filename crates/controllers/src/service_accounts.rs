//! What every namespace must have: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`.
//!
//! Both are made again when somebody deletes them, and the ConfigMap is set right when somebody changes it; nothing is
//! done in a namespace that ends (wire 7.4.1). Without a CA in the [`Config`](crate::Config) only the account is kept.
//! Kubernetes: `serviceaccount/serviceaccounts_controller.go`, `certificates/rootcacertpublisher/publisher.go`.

use crate::caches::{ROOT_CA_MAP, Watched};
use crate::reconcile::{Next, Queue, work};
use crate::{Shared, tolerate};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use objects::key::ObjectKey;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Kinds that this loop reads.
pub(crate) const READS: &[Watched] = &[Watched::Namespaces, Watched::ServiceAccounts, Watched::RootCaMaps];

const ACCOUNT: &str = "default";
const CA_KEY: &str = "ca.crt";
/// Namespaces at a time.
const WORKERS: usize = 8;
/// Long enough for the events of a namespace's birth to come together.
const COALESCE: Duration = Duration::from_millis(20);

/// What a namespace lacks.
#[derive(Debug, Clone, PartialEq)]
enum Action {
    CreateAccount,
    CreateMap { ca: String },
    CorrectMap { ca: String },
}

/// Keeps all namespaces furnished, for ever.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let queue = Arc::new(Queue::new(COALESCE));
    let caches = &shared.caches;
    let add = queue.clone();
    caches.namespaces.listen(move |change| add.add(change.key().name));
    let add = queue.clone();
    caches.service_accounts.listen(move |change| {
        if change.key().name == ACCOUNT && change.new.is_none() {
            add.add(change.key().namespace);
        }
    });
    let add = queue.clone();
    caches.root_ca_maps.listen(move |change| add.add(change.key().namespace));
    shared.synced(READS).await;
    work(&queue, WORKERS, |namespace| reconcile(&shared, namespace)).await
}

async fn reconcile(shared: &Shared, namespace: String) -> Result<Next, kube::Error> {
    let caches = &shared.caches;
    let seen = caches.namespaces.get(&ObjectKey::new("", &namespace));
    let account = caches.service_accounts.get(&ObjectKey::new(&namespace, ACCOUNT));
    let map = caches.root_ca_maps.get(&ObjectKey::new(&namespace, ROOT_CA_MAP));
    let actions = plan(seen.as_deref(), account.is_some(), map.as_deref(), shared.config.ca_pem.as_deref());
    for action in actions {
        act(shared, &namespace, action).await?;
    }
    Ok(Next::Rest)
}

fn plan(
    namespace: Option<&Namespace>,
    has_account: bool,
    map: Option<&ConfigMap>,
    ca: Option<&str>,
) -> Vec<Action> {
    if namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
        return Vec::new();
    }
    let account = (!has_account).then_some(Action::CreateAccount);
    let map = ca.and_then(|ca| {
        let published = map.map(|map| map.data.as_ref().and_then(|data| data.get(CA_KEY)));
        match published {
            None => Some(Action::CreateMap { ca: ca.to_string() }),
            Some(Some(published)) if published == ca => None,
            Some(_) => Some(Action::CorrectMap { ca: ca.to_string() }),
        }
    });
    account.into_iter().chain(map).collect()
}

async fn act(shared: &Shared, namespace: &str, action: Action) -> Result<(), kube::Error> {
    let maps = || Api::<ConfigMap>::namespaced(shared.client.clone(), namespace);
    let params = PostParams::default();
    match action {
        Action::CreateAccount => {
            let account = ServiceAccount { metadata: named(ACCOUNT), ..ServiceAccount::default() };
            let api = Api::<ServiceAccount>::namespaced(shared.client.clone(), namespace);
            tolerate(api.create(&params, &account).await, is_settled).map(|_| ())
        }
        Action::CreateMap { ca } => {
            let data = BTreeMap::from([(CA_KEY.to_string(), ca)]);
            let map = ConfigMap { metadata: named(ROOT_CA_MAP), data: Some(data), ..ConfigMap::default() };
            tolerate(maps().create(&params, &map).await, is_settled).map(|_| ())
        }
        Action::CorrectMap { ca } => {
            let patch = Patch::Merge(serde_json::json!({"data": {CA_KEY: ca}}));
            tolerate(maps().patch(ROOT_CA_MAP, &PatchParams::default(), &patch).await, is_settled).map(|_| ())
        }
    }
}

/// Somebody was faster, or the namespace has gone or begins to go: the next event decides.
fn is_settled(status: &kube::core::Status) -> bool {
    status.is_already_exists() || status.is_not_found() || crate::act::is_namespace_terminating(status)
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_string()), ..ObjectMeta::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn namespace(ending: bool) -> Namespace {
        let ending = ending.then_some("2026-01-01T00:00:00Z");
        serde_json::from_value(json!({"metadata": {"name": "a", "deletionTimestamp": ending}})).unwrap()
    }

    fn map(ca: &str) -> ConfigMap {
        serde_json::from_value(json!({"data": {"ca.crt": ca}})).unwrap()
    }

    #[test]
    fn a_namespace_gets_what_it_lacks() {
        let ca = || "CA".to_string();
        let cases = [
            (
                "new",
                Some(namespace(false)),
                false,
                None,
                Some("CA"),
                vec![Action::CreateAccount, Action::CreateMap { ca: ca() }],
            ),
            ("complete", Some(namespace(false)), true, Some(map("CA")), Some("CA"), vec![]),
            (
                "old CA",
                Some(namespace(false)),
                true,
                Some(map("OLD")),
                Some("CA"),
                vec![Action::CorrectMap { ca: ca() }],
            ),
            (
                "emptied map",
                Some(namespace(false)),
                true,
                Some(ConfigMap::default()),
                Some("CA"),
                vec![Action::CorrectMap { ca: ca() }],
            ),
            ("no CA known", Some(namespace(false)), true, None, None, vec![]),
            ("ending", Some(namespace(true)), false, None, Some("CA"), vec![]),
            ("gone", None, false, None, Some("CA"), vec![]),
        ];
        for (case, seen, has_account, map, ca, expected) in cases {
            assert_eq!(plan(seen.as_ref(), has_account, map.as_ref(), ca), expected, "{case}");
        }
    }
}
