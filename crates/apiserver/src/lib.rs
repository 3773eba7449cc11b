//! The Kubernetes wire protocol on top of a [`store::Store`].
//!
//! The life of a request ([`handle`]): URL → [`request`] → [`authn`] → [`authz`] → body → [`verbs`] → [`reply`]. Reads are
//! answered by the [`cache`], which one watch of the store feeds; writes go to the store and come back through that
//! watch. Inside one process clients use [`ApiServer::as_user`] as a tower service; [`serve`] puts it on a socket.
//! Objects are stored as encoded JSON and leave without being decoded ([`encode`]).

pub mod accept;
mod addresses;
mod admission;
mod aggregation;
mod audit;
pub mod authn;
pub mod authz;
mod bearer;
mod bootstrap;
mod bootstrap_tokens;
mod cache;
mod chance;
mod claims;
mod custom;
pub mod decode;
mod deletion;
mod discovery;
pub mod encode;
pub mod error;
mod finish;
mod graph;
mod handle;
mod health;
mod impersonation;
mod limits;
mod node_ports;
mod node_proxy;
pub mod openapi;
pub mod options;
pub mod ownership;
mod patch;
mod peers;
mod pod_security;
pub mod protobuf;
mod rbac;
pub mod reply;
pub mod request;
pub mod resources;
mod reviews;
mod rights;
pub mod schema;
mod serve;
pub mod service_accounts;
mod traces;
mod upkeep;
mod usage;
mod verbs;
mod watch;

pub use audit::{Event as AuditEvent, Sink as AuditSink};
pub use authn::{TokenUser, User};
pub use handle::UserService;
pub use serve::{Bounds, ServeError, serve, serve_within};
pub use traces::Tracer;

use bytes::Bytes;
use cache::{Cache, CacheError};
use error::ApiError;
use ownership::Owners;
use resources::Kind;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use store::{Revision, Store};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Most watches at once: 1,000 node agents with half a dozen each, and as many again.
const WATCHES: usize = 20_000;

/// What a server needs to know.
#[derive(Clone)]
pub struct Config {
    /// Where clients reach it: in discovery, and as the endpoint of the `kubernetes` service.
    pub advertise: SocketAddr,
    /// Who a bearer token belongs to.
    pub token_user: TokenUser,
    /// How to speak to node agents: our client certificate, and their CA. Without it logs answer 503.
    pub agent_tls: Option<Arc<rustls::ClientConfig>>,
    /// The cluster's certificate authority, PEM.
    pub ca_pem: String,
    /// Who issues tokens for service accounts; without it there are none.
    pub issuer: Option<Arc<service_accounts::Issuer>>,
    /// Takes what is recorded of requests; without it nothing is.
    pub audit: Option<Arc<dyn audit::Sink>>,
    /// Takes spans of requests that are a part of a trace.
    pub tracer: Tracer,
    /// Its clock and its chance.
    pub sources: Sources,
}

/// Where a server takes from what no request brings. A simulation gives its own.
#[derive(Debug, Clone, Copy)]
pub struct Sources {
    /// What time it is, for what is stored. What is measured runs on tokio's clock.
    pub now: fn() -> jiff::Timestamp,
    /// Uids, name suffixes, the spread of watch lives.
    pub chance: chance::Chance,
}

impl Default for Sources {
    fn default() -> Self {
        Self { now: jiff::Timestamp::now, chance: chance::system }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("advertise", &self.advertise).finish_non_exhaustive()
    }
}

/// An API server. Clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

/// Why a server could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The objects cannot be read.
    #[error("cannot read the stored objects")]
    Cache(#[from] CacheError),
    /// The objects that every cluster has cannot be written.
    #[error("cannot write the objects that every cluster has: {0}")]
    Bootstrap(ApiError),
}

/// What all requests share.
pub(crate) struct Inner {
    store: Arc<dyn Store>,
    cache: Cache,
    config: Config,
    /// Ends watches and background work.
    closing: CancellationToken,
    watches: Arc<Semaphore>,
    /// Exec, attach and port-forward.
    streams: node_proxy::stream::Streams,
    limits: Arc<limits::Limits>,
    /// One service at a time looks for a free address.
    addresses: tokio::sync::Mutex<()>,
    /// Held while quotas are charged.
    charging: tokio::sync::Mutex<()>,
    background: Mutex<Option<JoinHandle<String>>>,
    /// Set when what every cluster has is there.
    furnished: CancellationToken,
    /// Roles and bindings as they were last read.
    rights: Mutex<rights::Read>,
    /// What nodes have said lately of what they use.
    usage: usage::Known,
}

/// An object as it lies in the store.
pub(crate) struct Known {
    /// With its revision, without its owners.
    object: Value,
    /// Whose its fields are.
    owners: Owners,
    /// Both, as they are sent.
    bytes: Bytes,
    revision: Revision,
}

impl ApiServer {
    /// Reads all objects, starts the cache, and writes what every cluster has (7.8).
    pub async fn open(store: Arc<dyn Store>, config: Config) -> Result<Self, OpenError> {
        let closing = CancellationToken::new();
        let inner = Arc::new(Inner {
            cache: Cache::open(store.clone(), config.sources.now).await?,
            store: traces::store(store, &config.tracer),
            config,
            streams: node_proxy::stream::Streams::new(closing.clone()),
            closing,
            watches: Arc::new(Semaphore::new(WATCHES)),
            limits: Arc::default(),
            addresses: tokio::sync::Mutex::new(()),
            charging: tokio::sync::Mutex::new(()),
            background: Mutex::new(None),
            furnished: CancellationToken::new(),
            rights: Mutex::default(),
            usage: usage::Known::default(),
        });
        let task = tokio::spawn(upkeep::run(inner.clone()));
        *inner.background.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        let server = Self { inner };
        bootstrap::run(&server.inner).await.map_err(OpenError::Bootstrap)?;
        server.inner.furnished.cancel();
        Ok(server)
    }

    /// The server as one user sees it: a tower service for `kube::Client::new`, with no socket between.
    pub fn as_user(&self, user: User) -> UserService {
        UserService::new(self.clone(), user)
    }

    /// The server as a connection without a certificate sees it: who it is, its token says.
    pub fn as_stranger(&self) -> UserService {
        UserService::stranger(self.clone())
    }

    /// Stands beside other servers on the same store: keeps the endpoints of the `kubernetes` service. Never ends. `host`
    /// is the machine's name.
    pub async fn among_others(&self, host: &str) {
        peers::keep(&self.inner, host).await;
    }

    /// Tells clients that this server is about to end.
    pub async fn take_leave(&self) {
        peers::leave(&self.inner).await;
    }

    /// Ends all watches, streams and the background work.
    pub fn close(&self) {
        self.inner.closing.cancel();
    }

    /// Waits until the last stream has ended; after [`ApiServer::close`] that is soon.
    pub async fn streams_ended(&self) {
        self.inner.streams.ended().await;
    }

    /// Waits until the background work ends, which it does only after [`ApiServer::close`] or a failure. Says why.
    /// A second caller waits for ever.
    pub async fn ended(&self) -> String {
        let task = self.inner.background.lock().unwrap_or_else(PoisonError::into_inner).take();
        match task {
            Some(task) => task.await.unwrap_or_else(|error| format!("the object cache's task: {error}")),
            None => std::future::pending().await,
        }
    }
}

impl Inner {
    /// What time it is.
    fn now(&self) -> jiff::Timestamp {
        (self.config.sources.now)()
    }

    /// The newest state of an object, from the store itself, without whose its fields are.
    async fn read(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<(Value, Revision)>, ApiError> {
        let known = self.read_whole(kind, namespace, name).await?;
        Ok(known.map(|known| (known.object, known.revision)))
    }

    /// The same, to be written again.
    async fn read_whole(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Option<Known>, ApiError> {
        let key = encode::key(kind, namespace, name);
        let Some(entry) = self.store.get(&key).await.map_err(|e| self.store_error(e))? else {
            return Ok(None);
        };
        let (mut bytes, revision) = (entry.value, entry.revision);
        match encode::apart(&bytes, revision) {
            Ok((mut object, owners)) => {
                // As the cache has it: what was of another version is stored anew.
                if kind.custom().is_some_and(|custom| custom.open(&mut object)) {
                    bytes = encode::stored_with(kind, &object, &owners);
                }
                Ok(Some(Known { object, owners, bytes, revision }))
            }
            Err(error) => Err(self.broken(format!("stored object {key}"), &error)),
        }
    }

    /// Waits for the cache to show everything that has been written.
    async fn consistent(&self) -> Result<(), ApiError> {
        self.cache.consistent().await.map_err(|error| self.cache_error(error))
    }

    /// All objects of a kind as the cache has them.
    fn cached(&self, kind: &Kind) -> Vec<Value> {
        self.items(kind).iter().filter_map(|item| item.object().ok()).collect()
    }

    /// Those of one namespace.
    fn cached_in(&self, kind: &Kind, namespace: &str) -> Vec<Value> {
        let filter = cache::item::Filter { namespace: Some(namespace.to_string()), ..Default::default() };
        let found = self.cache.of(kind).map(|all| all.select(&filter).items).unwrap_or_default();
        found.iter().filter_map(|item| item.object().ok()).collect()
    }

    /// All of a kind, not yet decoded.
    fn items(&self, kind: &Kind) -> Vec<Arc<cache::item::Item>> {
        let collection = self.cache.of(kind);
        collection.map(|all| all.select(&cache::item::Filter::default()).items).unwrap_or_default()
    }

    /// Waits for the next write of anything, but not beyond `end`. False when the time is up.
    async fn next_change(&self, end: tokio::time::Instant) -> bool {
        let next = self.cache.revision().saturating_add(1);
        tokio::time::timeout_at(end, self.cache.reach(next)).await.is_ok_and(|reached| reached.is_ok())
    }

    /// What the client hears of a store's failure; the operator reads the rest in the log.
    fn store_error(&self, error: store::Error) -> ApiError {
        match error {
            store::Error::TooLarge { size, limit, .. } => {
                ApiError::too_large(format!("the object has {size} bytes, the limit is {limit}"))
            }
            store::Error::Full { .. } | store::Error::Exhausted { .. } => {
                tracing::error!(%error, "a write was refused");
                // No Retry-After: with it kubectl would say nothing for ten tries.
                ApiError::plain(507, "InsufficientStorage", error.to_string())
            }
            store::Error::Unavailable { .. } => {
                tracing::warn!(%error, "a request was refused");
                // Nothing was written, so whoever asked may ask again, also with a write.
                ApiError {
                    retry_after: Some(1),
                    ..ApiError::plain(503, "ServiceUnavailable", error.to_string())
                }
            }
            store::Error::Unknown { .. } => {
                tracing::warn!(%error, "the outcome of a write is unknown");
                // No Retry-After: a client that repeats the write by itself might do it twice.
                ApiError::plain(504, "Timeout", error.to_string())
            }
            error => self.broken("store".to_string(), &error),
        }
    }

    fn cache_error(&self, error: CacheError) -> ApiError {
        match error {
            CacheError::Store(error) => self.store_error(error),
            error @ CacheError::Behind { .. } => {
                tracing::warn!(%error, "a read was refused");
                ApiError { retry_after: Some(1), ..ApiError::plain(504, "Timeout", error.to_string()) }
            }
            error => self.broken("object cache".to_string(), &error),
        }
    }

    fn broken(&self, what: String, error: &(dyn std::error::Error + 'static)) -> ApiError {
        tracing::error!(%what, error, "a request cannot be answered");
        ApiError::internal(format!("{what}: {error}"))
    }
}
