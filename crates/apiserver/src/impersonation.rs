//! Speaking for somebody else: the `Impersonate-*` headers (wire 7.2).
//!
//! Whoever may `impersonate` each of user, groups, uid and extra is that user from then on, and has that user's rights
//! only. Kubernetes: `apiserver/pkg/endpoints/filters/impersonation.go`.

use crate::Inner;
use crate::authn::{self, User};
use crate::authz::{self, Action, ResourceAction};
use crate::error::ApiError;
use crate::request::percent_decoded;
use crate::service_accounts::{groups, of_user};
use http::HeaderMap;

const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// The user to go on with.
///
/// # Errors
/// 403 for what the user may not impersonate, 400 for groups, a uid or extra without a user.
///
/// Differs: kube-apiserver answers 500, which is no word for a client's mistake.
pub async fn user(server: &Inner, user: User, headers: &HeaderMap) -> Result<User, ApiError> {
    let Some(wanted) = wanted(headers)? else { return Ok(user) };
    server.consistent().await?;
    let check = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let verb = "impersonate";
        let asked = ResourceAction { verb, group, resource, subresource, namespace, name, of_node: "" };
        authz::require(&user, Action::Resource(asked), server)
    };
    match of_user(&wanted.name) {
        Some((namespace, name)) => check("", "serviceaccounts", "", namespace, name)?,
        None => check("", "users", "", "", &wanted.name)?,
    }
    wanted.groups.iter().try_for_each(|group| check("", "groups", "", "", group))?;
    if !wanted.uid.is_empty() {
        check(AUTHENTICATION, "uids", "", "", &wanted.uid)?;
    }
    for (key, values) in &wanted.extra {
        values.iter().try_for_each(|value| check(AUTHENTICATION, "userextras", key, "", value))?;
    }
    Ok(complete(wanted))
}

/// The user of the headers; none when there is none of them.
fn wanted(headers: &HeaderMap) -> Result<Option<User>, ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let groups = headers.get_all("impersonate-group").iter().filter_map(|value| value.to_str().ok());
    let mut user = User {
        name: text("impersonate-user").to_string(),
        uid: text("impersonate-uid").to_string(),
        groups: groups.map(str::to_string).collect(),
        ..User::default()
    };
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) {
            user.extra.entry(percent_decoded(key)).or_default().push(value.to_string());
        }
    }
    match user.name.is_empty() {
        false => Ok(Some(user)),
        true if user == User::default() => Ok(None),
        true => {
            let why = "requested impersonation without impersonating a user";
            Err(ApiError::bad_request(why))
        }
    }
}

/// Adds the groups that follow from a name.
fn complete(mut user: User) -> User {
    if user.name == authn::ANONYMOUS {
        user.groups.push(authn::UNAUTHENTICATED.to_string());
        return user;
    }
    if let (true, Some((namespace, _))) = (user.groups.is_empty(), of_user(&user.name)) {
        user.groups = groups(namespace).into();
    }
    let User { name, uid, groups, extra } = user;
    User { uid, extra, ..User::authenticated(name, groups) }
}
