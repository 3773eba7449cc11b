//! Bootstrap tokens as the objects that they are: Secrets `kube-system/bootstrap-token-<id>`, through the API.
//!
//! A Secret holds the token's secret itself, because Kubernetes' tools read it there; it is encrypted in the store.
//! Kubernetes: `cmd/kubeadm/app/apis/bootstraptoken/v1/utils.go`.

use crate::pki::tokens;
use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use objects::bootstrap_token::{NAMESPACE, TYPE, secret_name};
use serde_json::json;

/// A key of a Secret says what its token is good for: `usage-bootstrap-authentication`.
const USAGE: &str = "usage-bootstrap-";

/// What a new token shall be.
pub struct Wishes {
    /// When it is over; none: never.
    pub end: Option<Timestamp>,
    /// For people.
    pub description: String,
    /// Of whoever shows it, beside `system:bootstrappers`.
    pub groups: Vec<String>,
}

/// A token that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its public half.
    pub id: String,
    /// Its other half.
    pub secret: String,
    /// When it is over; none: never.
    pub end: Option<Timestamp>,
    /// `authentication`, `signing`.
    pub usages: Vec<String>,
    /// For people.
    pub description: String,
    /// Beside `system:bootstrappers`.
    pub groups: Vec<String>,
}

/// Makes a token; answers `<id>.<secret>`.
pub async fn create(client: &kube::Client, wishes: &Wishes) -> Result<String> {
    for group in &wishes.groups {
        ensure!(
            group.starts_with("system:bootstrappers:"),
            "{group:?}: the groups of a token begin with system:bootstrappers:"
        );
    }
    let (id, secret) = tokens::fresh()?;
    let mut data = json!({"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true"});
    if let Some(end) = wishes.end {
        data["expiration"] = end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    }
    if !wishes.description.is_empty() {
        data["description"] = wishes.description.as_str().into();
    }
    if !wishes.groups.is_empty() {
        data["auth-extra-groups"] = wishes.groups.join(",").into();
    }
    let metadata = json!({"name": secret_name(&id), "namespace": NAMESPACE});
    let object = serde_json::from_value(json!({"metadata": metadata, "type": TYPE, "stringData": data}))?;
    let made = secrets(client).create(&PostParams::default(), &object).await;
    made.context("the server did not take the token")?;
    Ok(format!("{id}.{secret}"))
}

/// All tokens.
pub async fn list(client: &kube::Client) -> Result<Vec<Token>> {
    let typed = ListParams::default().fields(&format!("type={TYPE}"));
    let found = secrets(client).list(&typed).await.context("the server does not tell its tokens")?;
    Ok(found.items.iter().map(token).collect())
}

/// Takes a token away.
pub async fn delete(client: &kube::Client, id: &str) -> Result<()> {
    let deleted = secrets(client).delete(&secret_name(id), &DeleteParams::default()).await;
    deleted.map(drop).with_context(|| format!("the token {id:?} cannot be deleted"))
}

fn secrets(client: &kube::Client) -> Api<Secret> {
    Api::namespaced(client.clone(), NAMESPACE)
}

fn token(object: &Secret) -> Token {
    let data = object.data.as_ref();
    let text = |key: &str| {
        let bytes = data.and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice()).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    let keys = data.into_iter().flatten().filter(|(_, value)| value.0 == b"true");
    let groups = text("auth-extra-groups");
    Token {
        id: text("token-id"),
        secret: text("token-secret"),
        end: text("expiration").parse().ok(),
        usages: keys.filter_map(|(key, _)| key.strip_prefix(USAGE)).map(String::from).collect(),
        description: text("description"),
        groups: groups.split(',').filter(|group| !group.is_empty()).map(String::from).collect(),
    }
}
