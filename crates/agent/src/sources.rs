//! ConfigMaps, Secrets and tokens that pods refer to.
//!
//! Each use asks the server; what it answered last is kept, so that a crashed container can start again while the
//! server is down. A 404 is an answer: the object is forgotten.

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::api::{Api, ObjectMeta, PostParams};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A server that does not answer within this is down: the last known content is used.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A token that lives longer is asked for again after this. Kubernetes: token_manager.go `maxTTL`.
const OLDEST_TOKEN: i64 = 24 * 3600;

/// Something a pod refers to, in the pod's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A ConfigMap.
    ConfigMap(String),
    /// A Secret.
    Secret(String),
    /// A token of a service account, bound to a pod.
    Token(Token),
}

/// Which token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token {
    /// `spec.serviceAccountName`.
    pub service_account: String,
    /// The pod it is bound to: name and uid.
    pub pod: (String, String),
    /// Empty: the API server's own.
    pub audience: String,
    /// How long it lives.
    pub seconds: i64,
}

impl Source {
    /// Its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ConfigMap(_) => "ConfigMap",
            Self::Secret(_) => "Secret",
            Self::Token(_) => "ServiceAccount",
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::ConfigMap(name) | Self::Secret(name) => name,
            Self::Token(token) => &token.service_account,
        }
    }
}

/// What an object holds.
pub type Data = Arc<BTreeMap<String, Vec<u8>>>;

/// The objects that exist, of those that were asked for.
pub type Contents = BTreeMap<Source, Data>;

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The server has no TokenRequest.
    #[error("the server issues no tokens for service accounts (asked for {namespace}/{name})")]
    NoTokens {
        /// What was asked for.
        wanted: Source,
        /// Namespace.
        namespace: String,
        /// Name of the service account.
        name: String,
    },
    /// The server refused; its own sentence.
    #[error("{message}")]
    Refused {
        /// What was asked for.
        wanted: Source,
        /// The server's words.
        message: String,
    },
    /// The server does not answer, and was not asked before.
    #[error("failed to read {kind} {namespace}/{name}: the API server does not answer")]
    NoAnswer {
        /// What was asked for.
        wanted: Source,
        /// Its kind.
        kind: &'static str,
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
    },
}

impl SourceError {
    /// What was asked for.
    pub fn wanted(&self) -> &Source {
        let (Self::NoTokens { wanted, .. } | Self::Refused { wanted, .. } | Self::NoAnswer { wanted, .. }) =
            self;
        wanted
    }
}

/// Reads sources, and remembers them.
pub struct Sources {
    client: kube::Client,
    known: Mutex<BTreeMap<(String, Source), Known>>,
}

#[derive(Clone)]
struct Known {
    data: Data,
    /// Tokens are asked for again when four fifths of their life are over.
    fresh_until: Option<Timestamp>,
}

impl Sources {
    pub fn new(client: kube::Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// Reads all of these; those that do not exist are missing in the answer.
    pub async fn read(&self, namespace: &str, wanted: &BTreeSet<Source>) -> Result<Contents, SourceError> {
        let mut contents = Contents::new();
        for source in wanted {
            if let Some(data) = self.read_one(namespace, source).await? {
                contents.insert(source.clone(), data);
            }
        }
        Ok(contents)
    }

    /// Forgets what only a pod that is gone has asked for.
    pub fn forget_pod(&self, uid: &str) {
        let of_pod = |source: &Source| matches!(source, Source::Token(token) if token.pod.1 == uid);
        self.known().retain(|(_, source), _| !of_pod(source));
    }

    async fn read_one(&self, namespace: &str, source: &Source) -> Result<Option<Data>, SourceError> {
        let key = (namespace.to_string(), source.clone());
        let before = self.known().get(&key).cloned();
        if let Some(Known { data, fresh_until: Some(until) }) = &before
            && Timestamp::now() < *until
        {
            return Ok(Some(data.clone()));
        }
        let asked = tokio::time::timeout(ANSWER_LIMIT, self.ask(namespace, source)).await;
        match (asked, before) {
            (Ok(Ok(Some(known))), _) => {
                let data = known.data.clone();
                self.known().insert(key, known);
                Ok(Some(data))
            }
            (Ok(Ok(None)), _) => {
                self.known().remove(&key);
                Ok(None)
            }
            (Ok(Err(kube::Error::Api(status))), _) => Err(refused(namespace, source, &status)),
            (_, Some(known)) => Ok(Some(known.data)),
            (_, None) => Err(SourceError::NoAnswer {
                wanted: source.clone(),
                kind: source.kind(),
                namespace: namespace.into(),
                name: source.name().into(),
            }),
        }
    }

    async fn ask(&self, namespace: &str, source: &Source) -> Result<Option<Known>, kube::Error> {
        let known = |data| Known { data: Arc::new(data), fresh_until: None };
        match source {
            Source::ConfigMap(name) => {
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
                Ok(api.get_opt(name).await?.map(config_map).map(known))
            }
            Source::Secret(name) => {
                let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
                Ok(api.get_opt(name).await?.map(secret).map(known))
            }
            Source::Token(token) => self.ask_token(namespace, token).await.map(Some),
        }
    }

    async fn ask_token(&self, namespace: &str, token: &Token) -> Result<Known, kube::Error> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = TokenRequest {
            metadata: ObjectMeta::default(),
            spec: TokenRequestSpec {
                audiences: (!token.audience.is_empty()).then(|| token.audience.clone()).into_iter().collect(),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: Some(token.pod.0.clone()),
                    uid: Some(token.pod.1.clone()),
                }),
                expiration_seconds: Some(token.seconds),
            },
            status: None,
        };
        let answer =
            api.create_token_request(&token.service_account, &PostParams::default(), &request).await?;
        let missing = || std::io::Error::other("the server's answer has no token");
        let status = answer.status.ok_or_else(|| kube::Error::Service(missing().into()))?;
        let now = Timestamp::now().as_second();
        let until = token_is_fresh_until(now, status.expiration_timestamp.0.as_second());
        let data = BTreeMap::from([("token".to_string(), status.token.into_bytes())]);
        Ok(Known { data: Arc::new(data), fresh_until: Timestamp::from_second(until).ok() })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, Source), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Four fifths of its life, and a day at most.
fn token_is_fresh_until(now: i64, end: i64) -> i64 {
    let life = end.saturating_sub(now).max(0);
    now.saturating_add((life / 5 * 4).min(OLDEST_TOKEN))
}

fn refused(namespace: &str, source: &Source, status: &kube::core::Status) -> SourceError {
    let wanted = source.clone();
    match source {
        // A missing account is named in the sentence, a missing endpoint is not.
        Source::Token(_) if status.code == 404 && !status.message.contains(source.name()) => {
            SourceError::NoTokens { wanted, namespace: namespace.into(), name: source.name().into() }
        }
        _ => SourceError::Refused { wanted, message: status.message.clone() },
    }
}

fn config_map(map: ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.unwrap_or_default().into_iter().map(|(key, text)| (key, text.into_bytes()));
    text.chain(map.binary_data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0))).collect()
}

fn secret(secret: Secret) -> BTreeMap<String, Vec<u8>> {
    secret.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::token_is_fresh_until;

    #[test]
    fn a_token_is_replaced_long_before_its_end() {
        for (end, expected) in [(3600, 2880), (600, 480), (365 * 86_400, 86_400), (0, 0), (-5, 0)] {
            assert_eq!(token_is_fresh_until(1000, 1000 + end), 1000 + expected, "{end}");
        }
    }
}
