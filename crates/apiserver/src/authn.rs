//! Who asks? Client certificate, then bearer token, then anonymous (wire 7.1).
//!
//! The certificate has been verified by rustls against the client CA; here only its subject is read. A token
//! that nobody knows is 401, no credential is `system:anonymous`.

use crate::error::ApiError;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The group of all who have shown who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of those who have not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user without a credential.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group that may do everything.
pub const MASTERS: &str = "system:masters";

/// Finds the user of a bearer token.
pub type TokenUser = Arc<dyn Fn(&str) -> Option<User> + Send + Sync>;

/// An identity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// `system:node:n1`, `everynode-admin`.
    pub name: String,
    /// Empty where the authenticator knows none.
    pub uid: String,
    /// Groups, [`AUTHENTICATED`] among them.
    pub groups: Vec<String>,
    /// Anything else an authenticator says.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user who has shown who they are.
    pub fn authenticated(name: impl Into<String>, groups: impl IntoIterator<Item = String>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_string());
        }
        Self { name: name.into(), groups, ..Self::default() }
    }

    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The node that this user is the agent of (7.5).
    pub fn node(&self) -> Option<&str> {
        self.name.strip_prefix("system:node:").filter(|name| !name.is_empty() && self.is_in("system:nodes"))
    }
}

/// The user of a request on a connection with this certificate user.
pub fn user(certificate: Option<&User>, headers: &HeaderMap, tokens: &TokenUser) -> Result<User, ApiError> {
    if let Some(user) = certificate {
        return Ok(user.clone());
    }
    match bearer(headers) {
        Some(token) => tokens(token).map(known).ok_or_else(ApiError::unauthorized),
        None => Ok(User::anonymous()),
    }
}

fn known(user: User) -> User {
    let User { name, uid, groups, extra } = user;
    User { uid, extra, ..User::authenticated(name, groups) }
}

/// The token; any other kind of credential is ignored (7.1.2).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// The subject of a verified certificate: CN is the user, every O a group (7.1.1). None without a CN.
pub fn certificate_user(certificate: &[u8]) -> Option<User> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_string();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_string);
    Some(User::authenticated(name, groups)).filter(|user| !user.name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_its_certificate_then_its_token_then_anonymous() {
        let tokens: TokenUser = Arc::new(|token| {
            (token == "good").then(|| User {
                name: "alice".into(),
                groups: vec!["devs".into()],
                ..User::default()
            })
        });
        let check = |certificate: Option<User>, header: &str, expected: Result<&str, u16>| {
            let mut headers = HeaderMap::new();
            if !header.is_empty() {
                headers.insert(AUTHORIZATION, header.parse().unwrap());
            }
            let found = user(certificate.as_ref(), &headers, &tokens);
            assert_eq!(found.as_ref().map(|u| u.name.as_str()).map_err(|e| e.code), expected, "{header}");
        };
        check(Some(User::authenticated("bob", [])), "Bearer bad", Ok("bob"));
        check(None, "Bearer good", Ok("alice"));
        check(None, "bearer good", Ok("alice"));
        check(None, "Bearer bad", Err(401));
        check(None, "Basic Zm9v", Ok(ANONYMOUS));
        check(None, "", Ok(ANONYMOUS));
    }

    #[test]
    fn a_node_is_a_node_only_in_the_nodes_group() {
        let node = |groups: &[&str]| {
            User::authenticated("system:node:n1", groups.iter().map(|g| g.to_string()))
                .node()
                .map(str::to_string)
        };
        assert_eq!((node(&["system:nodes"]), node(&[])), (Some("n1".to_string()), None));
    }
}
