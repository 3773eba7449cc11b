//! One shared watch per kind for all loops.
//!
//! 1. A kind is watched once, however many loops read it, and only if one of them does.
//! 2. Pods and nodes are kept trimmed ([`trim`]), and of pods that are alike one copy ([`Pod`]); DaemonSets also as the JSON that the
//!    server sent.
//! 3. A loop reads sorted snapshots and hears of changes as keys; see [`mirror`].
//!
//! Kubernetes: `client-go/informers` (`SharedInformerFactory`).

mod feed;
pub mod mirror;
mod pod;
mod rhythm;
mod trim;
pub mod whole;

pub use mirror::{Change, Mirror};
pub use pod::Pod;
pub use rhythm::unhurried;
pub use whole::Whole;

use crate::Scope;
use crate::token_secrets;
use feed::{feed, feed_of};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client};
use objects::bootstrap_token;
use objects::key::ObjectKey;
use objects::owner::controller_of;
use pod::Siblings;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

/// The ConfigMap in every namespace with the cluster's certificate authority.
pub const ROOT_CA_MAP: &str = "kube-root-ca.crt";

/// Pods by the node that they are bound to.
pub const BY_NODE: &str = "node";
/// Pods by their controller's uid, or [`orphans_of`] their namespace.
pub const BY_OWNER: &str = "owner";

/// Services by [`selector_key`] of the first pair of their selector.
pub const BY_SELECTOR: &str = "selector";
/// EndpointSlices by [`service_key`] of the service that their label names.
pub const BY_SERVICE: &str = "service";

/// The value in [`BY_SELECTOR`] of a label of a namespace's pods.
pub fn selector_key(namespace: &str, key: &str, value: &str) -> String {
    format!("{namespace} {key}={value}")
}

/// The value in [`BY_SERVICE`] of a service.
pub fn service_key(service: &ObjectKey) -> String {
    service.to_string()
}

/// The value in [`BY_OWNER`] of a namespace's objects that nobody controls.
pub fn orphans_of(namespace: &str) -> String {
    format!("orphan:{namespace}")
}

/// A kind that can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// Nodes.
    Nodes,
    /// Nodes, as far as placement reads them: where nobody reads more, more is not kept.
    NodePlaces,
    /// Pods.
    Pods,
    /// DaemonSets.
    DaemonSets,
    /// ControllerRevisions.
    Revisions,
    /// Leases of all namespaces.
    Leases,
    /// Namespaces.
    Namespaces,
    /// ServiceAccounts, their metadata.
    ServiceAccounts,
    /// The ConfigMaps called [`ROOT_CA_MAP`].
    RootCaMaps,
    /// Secrets with a service account's token.
    TokenSecrets,
    /// Secrets with a bootstrap token.
    BootstrapTokens,
    /// CertificateSigningRequests.
    Requests,
    /// PodDisruptionBudgets.
    Budgets,
    /// ResourceQuotas.
    Quotas,
    /// Services.
    Services,
    /// Endpoints.
    Endpoints,
    /// EndpointSlices.
    Slices,
}

/// What is known of the cluster. Clones show the same.
#[derive(Clone)]
pub struct Caches {
    /// Nodes, trimmed.
    pub nodes: Arc<Mirror<Node>>,
    /// Pods, trimmed, and sharing what they have in common; see [`BY_NODE`], [`BY_OWNER`].
    pub pods: Arc<Mirror<Pod>>,
    /// DaemonSets, also as JSON.
    pub daemonsets: Arc<Mirror<Whole<DaemonSet>>>,
    /// ControllerRevisions.
    pub revisions: Arc<Mirror<ControllerRevision>>,
    /// Leases.
    pub leases: Arc<Mirror<Lease>>,
    /// Namespaces.
    pub namespaces: Arc<Mirror<Namespace>>,
    /// ServiceAccounts, their metadata.
    pub service_accounts: Arc<Mirror<PartialObjectMeta<ServiceAccount>>>,
    /// The ConfigMaps called [`ROOT_CA_MAP`].
    pub root_ca_maps: Arc<Mirror<ConfigMap>>,
    /// Secrets with a service account's token.
    pub token_secrets: Arc<Mirror<Secret>>,
    /// Secrets with a bootstrap token.
    pub bootstrap_tokens: Arc<Mirror<Secret>>,
    /// CertificateSigningRequests.
    pub requests: Arc<Mirror<CertificateSigningRequest>>,
    /// PodDisruptionBudgets.
    pub budgets: Arc<Mirror<PodDisruptionBudget>>,
    /// ResourceQuotas.
    pub quotas: Arc<Mirror<ResourceQuota>>,
    /// Services; see [`BY_SELECTOR`].
    pub services: Arc<Mirror<Service>>,
    /// Endpoints.
    pub endpoints: Arc<Mirror<Endpoints>>,
    /// EndpointSlices; see [`BY_SERVICE`].
    pub endpoint_slices: Arc<Mirror<EndpointSlice>>,
}

impl Default for Caches {
    fn default() -> Self {
        let plain = |pod: &Pod| objects::pod::node_name(pod).map(str::to_string);
        Self {
            nodes: Arc::new(Mirror::new(&[])),
            pods: Arc::new(Mirror::new(&[(BY_NODE, plain), (BY_OWNER, |pod| Some(owner(&pod.metadata)))])),
            daemonsets: Arc::new(Mirror::new(&[])),
            revisions: Arc::new(Mirror::new(&[])),
            leases: Arc::new(Mirror::new(&[])),
            namespaces: Arc::new(Mirror::new(&[])),
            service_accounts: Arc::new(Mirror::new(&[])),
            root_ca_maps: Arc::new(Mirror::new(&[])),
            token_secrets: Arc::new(Mirror::new(&[])),
            bootstrap_tokens: Arc::new(Mirror::new(&[])),
            requests: Arc::new(Mirror::new(&[])),
            budgets: Arc::new(Mirror::new(&[])),
            quotas: Arc::new(Mirror::new(&[])),
            services: Arc::new(Mirror::new(&[(BY_SELECTOR, first_pair)])),
            endpoints: Arc::new(Mirror::new(&[])),
            endpoint_slices: Arc::new(Mirror::new(&[(BY_SERVICE, service_of)])),
        }
    }
}

impl Caches {
    /// The watches of these kinds, of DaemonSets and what belongs to them within this scope, through an [`unhurried`] client. Each future is to be driven for ever; until then its mirror is empty.
    pub fn feeds(
        &self,
        client: &Client,
        kinds: &BTreeSet<Watched>,
        scope: &Scope,
    ) -> Vec<(Watched, BoxFuture<'static, Infallible>)> {
        let is_more_than_places = kinds.contains(&Watched::Nodes);
        let watched = kinds.iter().filter(|kind| **kind != Watched::NodePlaces || !is_more_than_places);
        watched.map(|kind| (*kind, self.feed(client, *kind, scope))).collect()
    }

    /// Waits until the first list of all these kinds is here (WE-20).
    pub async fn synced(&self, kinds: &BTreeSet<Watched>) {
        for kind in kinds {
            match kind {
                Watched::Nodes | Watched::NodePlaces => self.nodes.synced().await,
                Watched::Pods => self.pods.synced().await,
                Watched::DaemonSets => self.daemonsets.synced().await,
                Watched::Revisions => self.revisions.synced().await,
                Watched::Leases => self.leases.synced().await,
                Watched::Namespaces => self.namespaces.synced().await,
                Watched::ServiceAccounts => self.service_accounts.synced().await,
                Watched::RootCaMaps => self.root_ca_maps.synced().await,
                Watched::TokenSecrets => self.token_secrets.synced().await,
                Watched::BootstrapTokens => self.bootstrap_tokens.synced().await,
                Watched::Requests => self.requests.synced().await,
                Watched::Budgets => self.budgets.synced().await,
                Watched::Quotas => self.quotas.synced().await,
                Watched::Services => self.services.synced().await,
                Watched::Endpoints => self.endpoints.synced().await,
                Watched::Slices => self.endpoint_slices.synced().await,
            }
        }
    }

    fn feed(&self, client: &Client, kind: Watched, scope: &Scope) -> BoxFuture<'static, Infallible> {
        let (client, all) = (client.clone(), watcher::Config::default());
        match kind {
            Watched::Nodes => feed(Api::all(client), all, trim::node, self.nodes.clone()).boxed(),
            Watched::NodePlaces => feed(Api::all(client), all, trim::node_place, self.nodes.clone()).boxed(),
            Watched::Pods => {
                let siblings = Arc::new(Mutex::new(Siblings::default()));
                let join = move |shown| {
                    let mut siblings = siblings.lock().unwrap_or_else(PoisonError::into_inner);
                    siblings.join(trim::pod(shown))
                };
                within(scope, client, all, join, self.pods.clone())
            }
            Watched::DaemonSets => {
                let labelled = watcher::Config { label_selector: scope.labels.clone(), ..all };
                within(scope, client, labelled, trim::whole, self.daemonsets.clone())
            }
            Watched::Revisions => within(scope, client, all, trim::field_owners, self.revisions.clone()),
            Watched::Leases => feed(Api::all(client), all, trim::lease, self.leases.clone()).boxed(),
            Watched::Namespaces => {
                feed(Api::all(client), all, trim::namespace, self.namespaces.clone()).boxed()
            }
            Watched::ServiceAccounts => {
                feed(Api::all(client), all, trim::only_metadata, self.service_accounts.clone()).boxed()
            }
            Watched::RootCaMaps => {
                let named = all.fields(&format!("metadata.name={ROOT_CA_MAP}"));
                feed(Api::all(client), named, trim::config_map, self.root_ca_maps.clone()).boxed()
            }
            Watched::TokenSecrets => {
                let typed = all.fields(&format!("type={}", token_secrets::TYPE));
                feed(Api::all(client), typed, trim::field_owners, self.token_secrets.clone()).boxed()
            }
            Watched::BootstrapTokens => {
                let typed = all.fields(&format!("type={}", bootstrap_token::TYPE));
                let api = Api::namespaced(client, bootstrap_token::NAMESPACE);
                feed(api, typed, trim::field_owners, self.bootstrap_tokens.clone()).boxed()
            }
            Watched::Requests => {
                feed(Api::all(client), all, trim::only_metadata, self.requests.clone()).boxed()
            }
            Watched::Budgets => {
                feed(Api::all(client), all, trim::only_metadata, self.budgets.clone()).boxed()
            }
            Watched::Quotas => feed(Api::all(client), all, trim::only_metadata, self.quotas.clone()).boxed(),
            Watched::Services => {
                feed(Api::all(client), all, trim::only_metadata, self.services.clone()).boxed()
            }
            Watched::Endpoints => {
                feed(Api::all(client), all, trim::field_owners, self.endpoints.clone()).boxed()
            }
            Watched::Slices => {
                feed(Api::all(client), all, trim::field_owners, self.endpoint_slices.clone()).boxed()
            }
        }
    }
}

/// One watch, or one for each namespace of the scope.
fn within<W, K>(
    scope: &Scope,
    client: Client,
    config: watcher::Config,
    trim: impl Fn(W) -> K + Clone + Send + 'static,
    mirror: Arc<Mirror<K>>,
) -> BoxFuture<'static, Infallible>
where
    W: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
    K: mirror::Kept,
{
    if scope.namespaces.is_empty() {
        return feed(Api::all(client), config, trim, mirror).boxed();
    }
    mirror.expect_lists(scope.namespaces.len());
    let feeds = scope.namespaces.iter().map(|namespace| {
        let (api, of) = (Api::namespaced(client.clone(), namespace), Some(namespace.clone()));
        feed_of(of, api, config.clone(), trim.clone(), mirror.clone()).boxed()
    });
    futures::future::select_all(feeds).map(|(never, _, _)| never).boxed()
}

/// A watch of the metadata of any kind, for its own mirror.
pub fn metadata_feed(
    api: Api<PartialObjectMeta>,
    mirror: Arc<Mirror<PartialObjectMeta>>,
) -> BoxFuture<'static, Infallible>
where
    PartialObjectMeta: kube::Resource,
{
    feed(api, watcher::Config::default(), trim::only_metadata, mirror).boxed()
}

fn owner(meta: &ObjectMeta) -> String {
    match controller_of(meta) {
        Some(owner) => owner.uid.clone(),
        None => orphans_of(meta.namespace.as_deref().unwrap_or_default()),
    }
}

fn first_pair(service: &Service) -> Option<String> {
    let (key, value) = service.spec.as_ref()?.selector.as_ref()?.first_key_value()?;
    Some(selector_key(service.metadata.namespace.as_deref().unwrap_or_default(), key, value))
}

fn service_of(slice: &EndpointSlice) -> Option<String> {
    let name = slice.metadata.labels.as_ref()?.get("kubernetes.io/service-name")?;
    Some(service_key(&ObjectKey::new(slice.metadata.namespace.as_deref()?, name)))
}
