//! What does a URL ask for? Method, path and query become one typed [`Request`].
//!
//! Pure. The path is split before it is percent-decoded, so an encoded slash stays part of a name. Verbs follow
//! wire 7.3.2; whether a verb exists for a kind is decided later, after authorization, as in Kubernetes
//! (`apiserver/pkg/endpoints/request/requestinfo.go`).

use crate::options::Query;
use http::Method;

/// A request without its body.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// HTTP method.
    pub method: Method,
    /// Path as it was sent, for texts.
    pub path: String,
    /// Query parameters.
    pub query: Query,
    /// Where it leads.
    pub route: Route,
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/`: the list of paths.
    Root,
    /// `/version`.
    Version,
    /// `/healthz`, `/livez`, `/readyz`, and `…/<check>`.
    Health {
        /// `healthz`, `livez` or `readyz`.
        endpoint: &'static str,
        /// One check of it.
        check: Option<String>,
    },
    /// `/metrics`.
    Metrics,
    /// `/everynode/ca`: the certificate authority, for a joining node.
    Authority,
    /// `/.well-known/openid-configuration`: who issues tokens here.
    IssuerConfiguration,
    /// `/openid/v1/jwks`: with which keys.
    IssuerKeys,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/<group>`.
    Group(String),
    /// `/api/v1`, `/apis/<group>/<version>`.
    Resources {
        /// Empty for core.
        group: String,
        /// API version.
        version: String,
    },
    /// `/openapi/v2`, `/openapi/v3…`; the path without its first word and slash.
    OpenApi(String),
    /// Everything below a group and version.
    Resource(Target),
    /// Nothing that we know.
    Unknown,
}

/// An object, a collection or a subresource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// Empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural as in the URL.
    pub plural: String,
    /// Empty for cluster scope and for all namespaces.
    pub namespace: String,
    /// Empty for a collection.
    pub name: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// What follows the subresource (`proxy/<path>`), without a slash at its start.
    pub rest: String,
    /// The old form `/api/v1/watch/…`.
    pub legacy_watch: bool,
}

/// What is done, in the words of authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// POST.
    Create,
    /// GET of one object.
    Get,
    /// GET of a collection.
    List,
    /// GET of a collection with `watch`.
    Watch,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
    /// DELETE of one object.
    Delete,
    /// DELETE of a collection.
    DeleteCollection,
    /// Any other method.
    Other,
}

impl Verb {
    /// As authorization and discovery write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Other => "",
        }
    }
}

impl Request {
    /// Reads method, path and query. Never fails: what is unknown is [`Route::Unknown`].
    pub fn parse(method: &Method, path: &str, query: &str) -> Self {
        let route = route(path);
        Self { method: method.clone(), path: path.to_string(), query: Query::parse(query), route }
    }

    /// The verb of a resource request (7.3.2).
    pub fn verb(&self) -> Verb {
        let Route::Resource(target) = &self.route else { return Verb::Other };
        let collection = target.name.is_empty();
        match self.method {
            Method::POST => Verb::Create,
            Method::GET | Method::HEAD if target.legacy_watch => Verb::Watch,
            Method::GET | Method::HEAD if !collection => Verb::Get,
            Method::GET | Method::HEAD if self.query.flag("watch") => Verb::Watch,
            Method::GET | Method::HEAD => Verb::List,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE if collection => Verb::DeleteCollection,
            Method::DELETE => Verb::Delete,
            _ => Verb::Other,
        }
    }
}

fn route(path: &str) -> Route {
    let mut parts = path.split('/').filter(|p| !p.is_empty()).map(percent_decoded);
    let first = parts.next().unwrap_or_default();
    let rest: Vec<String> = parts.collect();
    let words: Vec<&str> = rest.iter().map(String::as_str).collect();
    match (first.as_str(), words.as_slice()) {
        ("", _) => Route::Root,
        ("version", []) => Route::Version,
        ("healthz", checks) => health("healthz", checks),
        ("livez", checks) => health("livez", checks),
        ("readyz", checks) => health("readyz", checks),
        ("metrics", []) => Route::Metrics,
        ("everynode", ["ca"]) => Route::Authority,
        (".well-known", ["openid-configuration"]) => Route::IssuerConfiguration,
        ("openid", ["v1", "jwks"]) => Route::IssuerKeys,
        ("openapi", rest @ [_, ..]) => Route::OpenApi(rest.join("/")),
        ("api", []) => Route::CoreVersions,
        ("api", [version]) => Route::Resources { group: String::new(), version: version.to_string() },
        ("api", [version, rest @ ..]) => resource("", version, rest),
        ("apis", []) => Route::Groups,
        ("apis", [group]) => Route::Group(group.to_string()),
        ("apis", [group, version]) => {
            Route::Resources { group: group.to_string(), version: version.to_string() }
        }
        ("apis", [group, version, rest @ ..]) => resource(group, version, rest),
        _ => Route::Unknown,
    }
}

fn health(endpoint: &'static str, checks: &[&str]) -> Route {
    match checks {
        [] => Route::Health { endpoint, check: None },
        many => Route::Health { endpoint, check: Some(many.join("/")) },
    }
}

fn resource(group: &str, version: &str, words: &[&str]) -> Route {
    let (legacy_watch, words) = match words {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        words => (false, words),
    };
    let mut target =
        Target { group: group.to_string(), version: version.to_string(), legacy_watch, ..Target::default() };
    let words = match words {
        // `namespaces/x`, `namespaces/x/status`: the namespace itself.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => words,
        ["namespaces", namespace, rest @ ..] => {
            target.namespace = namespace.to_string();
            rest
        }
        words => words,
    };
    let [plural, words @ ..] = words else { return Route::Unknown };
    target.plural = plural.to_string();
    if let [name, words @ ..] = words {
        target.name = name.to_string();
        if let [subresource, words @ ..] = words {
            target.subresource = subresource.to_string();
            target.rest = words.join("/");
        }
    }
    Route::Resource(target)
}

/// `%41` becomes `A`; a broken escape stays as it is. Bytes that are no UTF-8 are replaced.
pub(crate) fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).filter(|_| byte == b'%');
        let decoded =
            hex.and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        out.push(decoded.unwrap_or(byte));
        at += if decoded.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(plural: &str, namespace: &str, name: &str, subresource: &str) -> Target {
        let (version, plural, namespace) = ("v1".to_string(), plural.to_string(), namespace.to_string());
        let (name, subresource) = (name.to_string(), subresource.to_string());
        Target { version, plural, namespace, name, subresource, ..Target::default() }
    }

    #[test]
    fn a_path_leads_to_its_target() {
        let check = |path: &str, expected: Route| {
            assert_eq!(Request::parse(&Method::GET, path, "").route, expected, "{path}");
        };
        check("/api/v1/pods", Route::Resource(target("pods", "", "", "")));
        check("/api/v1/namespaces/a/pods/x/log", Route::Resource(target("pods", "a", "x", "log")));
        check("/api/v1/namespaces/a", Route::Resource(target("namespaces", "", "a", "")));
        check("/api/v1/namespaces/a/finalize", Route::Resource(target("namespaces", "", "a", "finalize")));
        check(
            "/apis/apps/v1/namespaces/a/daemonsets/x",
            Route::Resource(Target { group: "apps".into(), ..target("daemonsets", "a", "x", "") }),
        );
        check(
            "/api/v1/nodes/n/proxy/a/b",
            Route::Resource(Target { rest: "a/b".into(), ..target("nodes", "", "n", "proxy") }),
        );
        check(
            "/api/v1/watch/namespaces/a/pods",
            Route::Resource(Target { legacy_watch: true, ..target("pods", "a", "", "") }),
        );
        check("/apis/apps/", Route::Group("apps".into()));
        check("/livez/ping", Route::Health { endpoint: "livez", check: Some("ping".into()) });
        check("/.well-known/openid-configuration", Route::IssuerConfiguration);
        check("/openid/v1/jwks", Route::IssuerKeys);
        check("/nothing", Route::Unknown);
        check("/", Route::Root);
    }

    #[test]
    fn an_encoded_slash_stays_in_its_segment() {
        let parsed = Request::parse(&Method::GET, "/api/v1/nodes/a%2Fb%3a%zz", "");
        assert_eq!(parsed.route, Route::Resource(target("nodes", "", "a/b:%zz", "")));
    }

    #[test]
    fn the_verb_follows_method_name_and_watch() {
        let check = |method: Method, path: &str, query: &str, verb: Verb| {
            assert_eq!(Request::parse(&method, path, query).verb(), verb, "{method} {path}?{query}");
        };
        check(Method::GET, "/api/v1/pods", "", Verb::List);
        check(Method::GET, "/api/v1/pods", "watch", Verb::Watch);
        check(Method::GET, "/api/v1/pods", "watch=0", Verb::List);
        check(Method::GET, "/api/v1/namespaces/a/pods/x", "watch=1", Verb::Get);
        check(Method::DELETE, "/api/v1/namespaces/a/pods", "", Verb::DeleteCollection);
        check(Method::PATCH, "/api/v1/namespaces/a/pods/x", "", Verb::Patch);
    }
}
