//! What a request on a resource does: one call, one verb.
//!
//! Here a call finds its kind and is refused when the kind, the subresource or the verb does not exist (1.2.6,
//! 1.2.7). Reads come from the cache; every write decodes, defaults, prepares, validates, is admitted, and is one
//! compare-and-swap in the store. Decisions about objects are pure functions in `metadata`, `same`, `ending` and the
//! kind's rules.

pub mod apply;
pub mod create;
pub mod delete;
pub mod ending;
pub mod eviction;
pub mod metadata;
pub mod own;
pub mod pods;
pub mod read;
pub mod same;
pub mod update;

use crate::Inner;
use crate::accept::{self, Form, Shape};
use crate::admission;
use crate::authn::User;
use crate::authz::{self, Action, ResourceAction};
use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::request::{Request, Target, Verb};
use crate::resources::Kind;
use crate::service_accounts::request;
use bytes::Bytes;
use http::HeaderMap;
use hyper::upgrade::OnUpgrade;
use serde_json::Value;
use store::Revision;
use update::Part;

/// How often a write is tried again when somebody else wrote in between (4.1.3).
pub const WRITE_TRIES: usize = 5;

/// One call on a resource.
pub struct Call<'a> {
    /// The server.
    pub server: &'a Inner,
    /// The kind.
    pub kind: &'a Kind,
    /// What the URL names.
    pub target: &'a Target,
    /// The parsed request.
    pub request: &'a Request,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Who asks.
    pub user: &'a User,
    /// The connection itself, where the client wants to go on in another protocol.
    pub upgrade: Option<OnUpgrade>,
}

/// Answers a call that [`Call::exists`] and whose user may make it.
pub async fn answer(call: &Call<'_>, body: Bytes) -> Result<Reply, ApiError> {
    let verb = call.request.verb();
    match (call.target.subresource.as_str(), verb) {
        ("", Verb::Get) => read::get(call).await,
        ("", Verb::List) => read::list(call).await,
        ("", Verb::Watch) => read::watch(call).await,
        ("", Verb::Create) => create::create(call, &body).await,
        ("", Verb::Update) => update::put(call, Part::Main, &body).await,
        ("", Verb::Patch) => update::patch(call, Part::Main, &body).await,
        ("", Verb::Delete) => delete::one(call, &body).await,
        ("", Verb::DeleteCollection) => delete::collection(call, &body).await,
        ("status" | "approval" | "ephemeralcontainers", Verb::Get) => read::get(call).await,
        ("binding", Verb::Create) => pods::bind(call, &body).await,
        ("eviction", Verb::Create) => pods::evict(call, &body).await,
        ("token", Verb::Create) => request::answer(call, &body).await,
        ("log", Verb::Get) => crate::node_proxy::logs(call).await,
        ("proxy", Verb::Get) if call.kind.plural == "nodes" => crate::node_proxy::node(call).await,
        ("scale", verb) if let Some(custom) = call.kind.custom() => {
            crate::custom::scale::answer(call, custom, verb, &body).await
        }
        ("exec" | "attach" | "portforward", _) => crate::node_proxy::stream::open(call).await,
        (subresource, verb) => match (Part::of(subresource), verb) {
            (Some(part), Verb::Update) => update::put(call, part, &body).await,
            (Some(part), Verb::Patch) => update::patch(call, part, &body).await,
            _ => Err(ApiError::no_such_path()),
        },
    }
}

impl Call<'_> {
    /// Refuses what the kind does not have.
    pub fn exists(&self, verb: Verb) -> Result<(), ApiError> {
        let Target { namespace, name, subresource, .. } = self.target;
        if !self.kind.namespaced && !namespace.is_empty() {
            return Err(ApiError::no_such_path());
        }
        let verbs = match subresource.as_str() {
            "" => self.kind.verbs,
            name => {
                let found = self.kind.subresources.iter().find(|s| s.name == name);
                found.ok_or_else(ApiError::no_such_path)?.verbs
            }
        };
        let on_object = !matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection)
            && (verb != Verb::Create || !subresource.is_empty());
        let level = match self.kind.namespaced {
            // One object, a new one, and a deleted collection live in one namespace; lists may be of all.
            true => !namespace.is_empty() || matches!(verb, Verb::List | Verb::Watch),
            false => true,
        };
        let named = if on_object { !name.is_empty() } else { name.is_empty() || verb == Verb::Watch };
        match verbs.contains(&verb.as_str()) && level && named {
            true => Ok(()),
            false => Err(ApiError::method_not_allowed()),
        }
    }

    /// Refuses a PUT or an apply that would create, to who may not create (7.3.2).
    pub async fn may_create(&self) -> Result<(), ApiError> {
        let Target { group, plural, namespace, name, .. } = self.target;
        self.server.consistent().await?;
        let action = Action::Resource(ResourceAction {
            verb: "create",
            group,
            resource: plural,
            namespace,
            name,
            ..Default::default()
        });
        authz::require(self.user, action, self.server)
    }

    /// The form of one object in the answer.
    pub fn form(&self) -> Result<Form, ApiError> {
        accept::form(self.header("accept"), &self.request.query, Shape::Single)
    }

    /// A header as text; absent reads as empty.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// 404 for the object of the URL.
    pub fn not_found(&self) -> ApiError {
        ApiError::not_found(admission::resource(self.kind), &self.target.name)
    }

    /// 422 when rules are broken.
    pub fn check(&self, object: &Value, errors: &[crate::error::FieldError]) -> Result<(), ApiError> {
        let name = match metadata::text(object, "name") {
            "" => metadata::text(object, "generateName"),
            name => name,
        };
        match errors.is_empty() {
            true => Ok(()),
            false => Err(ApiError::invalid(self.kind.group, self.kind.kind, name, errors)),
        }
    }
}

/// What a write has made.
pub struct Written {
    /// The object with its revision, without its owners.
    pub object: Value,
    /// All of it, as it lies in the store.
    pub bytes: Bytes,
    /// The write that has made it; [`crate::encode::UNSTORED`], if none has.
    pub revision: Revision,
    /// 200 or 201.
    pub code: u16,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

impl Written {
    /// The answer to the writer: encoded once, for the store and for them.
    pub fn reply(self, call: &Call<'_>) -> Result<Reply, ApiError> {
        let reply = reply::stored(self.code, call.kind, (&self.bytes, self.revision), call.form()?);
        Ok(reply::with_warnings(reply, &self.warnings))
    }
}
