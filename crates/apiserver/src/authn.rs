//! Who asks? Client certificate, then bearer token, then anonymous (wire 7.1).
//!
//! The certificate has been verified by rustls against the client CA; here only its subject is read. A token
//! that nobody knows is 401, no credential is `system:anonymous`.

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

/// What a client shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Credential<'a> {
    /// It is known already: by its certificate, or because it shows nothing.
    User(User),
    /// A bearer token.
    Token(&'a str),
}

/// The credential of a request on a connection with this certificate user.
pub fn credential<'a>(certificate: Option<&User>, headers: &'a HeaderMap) -> Credential<'a> {
    match (certificate, bearer(headers)) {
        (Some(user), _) => Credential::User(user.clone()),
        (None, Some(token)) => Credential::Token(token),
        (None, None) => Credential::User(User::anonymous()),
    }
}

/// A token's user is authenticated, whatever else the configuration says of it.
pub(crate) fn known(user: User) -> User {
    let User { name, uid, groups, extra } = user;
    User { uid, extra, ..User::authenticated(name, groups) }
}

/// The token; any other kind of credential is ignored (7.1.2).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// When a certificate ends.
pub fn certificate_end(certificate: &[u8]) -> Option<jiff::Timestamp> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    jiff::Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
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
        let check = |certificate: Option<User>, header: &str, expected: Credential<'_>| {
            let mut headers = HeaderMap::new();
            if !header.is_empty() {
                headers.insert(AUTHORIZATION, header.parse().unwrap());
            }
            assert_eq!(credential(certificate.as_ref(), &headers), expected, "{header}");
        };
        let bob = || User::authenticated("bob", []);
        check(Some(bob()), "Bearer bad", Credential::User(bob()));
        check(None, "Bearer good", Credential::Token("good"));
        check(None, "bearer good", Credential::Token("good"));
        check(None, "Basic Zm9v", Credential::User(User::anonymous()));
        check(None, "", Credential::User(User::anonymous()));
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
