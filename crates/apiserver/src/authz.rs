//! May this user do that? One function for requests and for all access reviews (wire 7.3).
//!
//! Pure but for [`Graph`], which answers what hangs together with what. In this order: `system:masters`, what everybody
//! may read, nodes ([`node`]), joining nodes, roles and bindings ([`crate::rbac`]). The first yes is the answer.

mod node;

use crate::authn::{MASTERS, User};
use crate::error::{ApiError, ResourceName};
use crate::rbac::Judgement;
use serde_json::json;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Something on an API resource.
    Resource(ResourceAction<'a>),
    /// A method on another path; the verb is the method in lower case.
    Path {
        /// `get`.
        verb: &'a str,
        /// `/healthz`.
        path: &'a str,
    },
}

/// Something on an API resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResourceAction<'a> {
    /// `get`, `list`, … or any word in a review.
    pub verb: &'a str,
    /// API group.
    pub group: &'a str,
    /// Plural.
    pub resource: &'a str,
    /// `status`, `log`, …
    pub subresource: &'a str,
    /// Empty at the cluster scope.
    pub namespace: &'a str,
    /// Empty for collections, except with an exact `metadata.name` selector (3.8.4).
    pub name: &'a str,
    /// The value of an exact `spec.nodeName` selector.
    pub of_node: &'a str,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes, and why.
    Allowed(String),
    /// No, and why, where there is more to say than no.
    Denied(String),
}

/// How objects hang together, for the decisions about nodes.
pub trait Graph {
    /// Whether a pod of this name is bound to the node.
    fn pod_is_on(&self, namespace: &str, name: &str, node: &str) -> bool;
    /// Whether a pod bound to the node refers to this Secret, ConfigMap or ServiceAccount.
    fn node_uses(&self, node: &str, plural: &str, namespace: &str, name: &str) -> bool;
    /// Whether this user has made the CertificateSigningRequest.
    fn request_is_by(&self, name: &str, user: &str) -> bool;
    /// What roles and bindings say.
    fn judge(&self, user: &User, action: Action<'_>) -> Judgement;
}

/// Paths that everybody may read.
const PUBLIC: &[&str] = &["/healthz", "/livez", "/readyz", "/version", "/version/", "/everynode/ca"];

/// Decides.
pub fn decide(user: &User, action: Action<'_>, graph: &dyn Graph) -> Decision {
    if user.is_in(MASTERS) {
        return allowed("group system:masters");
    }
    let (graph_says, mut why) = (beyond_roles(user, action, graph), String::new());
    match graph_says {
        Some(Decision::Allowed(reason)) => return Decision::Allowed(reason),
        Some(Decision::Denied(reason)) => why = reason,
        None => {}
    }
    match graph.judge(user, action) {
        Judgement::Allowed(reason) => Decision::Allowed(reason),
        Judgement::Silent(reason) if why.is_empty() => Decision::Denied(reason),
        Judgement::Silent(_) => Decision::Denied(why),
    }
}

/// What is decided without roles.
fn beyond_roles(user: &User, action: Action<'_>, graph: &dyn Graph) -> Option<Decision> {
    match action {
        Action::Path { verb: "get", path } if PUBLIC.contains(&path) => Some(allowed("public paths")),
        Action::Path { .. } => None,
        Action::Resource(action) => {
            if let Some(name) = user.node() {
                return Some(node::decide(name, user, &action, graph));
            }
            if user.name == "system:node:" && user.is_in("system:nodes") {
                return Some(denied(&format!("unknown node for user {:?}", user.name)));
            }
            let joins = user.is_in("system:bootstrappers") && joining_allowed(user, &action, graph);
            joins.then(|| allowed("joining nodes"))
        }
    }
}

/// [`decide`], where a no is the 403.
pub fn require(user: &User, action: Action<'_>, graph: &dyn Graph) -> Result<(), ApiError> {
    reason(user, action, graph).map(drop)
}

/// The same, with the reason of a yes.
pub fn reason(user: &User, action: Action<'_>, graph: &dyn Graph) -> Result<String, ApiError> {
    match decide(user, action, graph) {
        Decision::Allowed(reason) => Ok(reason),
        Decision::Denied(reason) => Err(refusal(user, action, &reason)),
    }
}

/// The 403 of a denied action, in Kubernetes' words (2.9.2).
fn refusal(user: &User, action: Action<'_>, reason: &str) -> ApiError {
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    match action {
        Action::Path { verb, path } => ApiError {
            details: json!({}),
            ..ApiError::plain(
                403,
                "Forbidden",
                format!("forbidden: User {:?} cannot {verb} path {path:?}{reason}", user.name),
            )
        },
        Action::Resource(action) => {
            let resource = match action.subresource {
                "" => action.resource.to_string(),
                subresource => format!("{}/{subresource}", action.resource),
            };
            let scope = match action.namespace {
                "" => "at the cluster scope".to_string(),
                namespace => format!("in the namespace {namespace:?}"),
            };
            let why = format!(
                "User {:?} cannot {} resource {resource:?} in API group {:?} {scope}{reason}",
                user.name, action.verb, action.group
            );
            ApiError::forbidden(
                ResourceName { group: action.group, plural: action.resource },
                action.name,
                why,
            )
        }
    }
}

/// A join token may ask for a certificate and look at its own request, nothing else (7.6). That its request is approved is
/// the right `certificatesigningrequests/nodeclient`, which a binding gives (7.6.2).
fn joining_allowed(user: &User, action: &ResourceAction<'_>, graph: &dyn Graph) -> bool {
    let is_request = (action.group, action.resource, action.subresource)
        == ("certificates.k8s.io", "certificatesigningrequests", "");
    is_request
        && match action.verb {
            "create" => true,
            "get" | "list" | "watch" => {
                !action.name.is_empty() && graph.request_is_by(action.name, &user.name)
            }
            _ => false,
        }
}

fn allowed(reason: &str) -> Decision {
    Decision::Allowed(reason.to_string())
}

fn denied(reason: &str) -> Decision {
    Decision::Denied(reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct OnePod;
    impl Graph for OnePod {
        fn pod_is_on(&self, namespace: &str, name: &str, node: &str) -> bool {
            (namespace, name, node) == ("a", "p", "n1")
        }
        fn node_uses(&self, node: &str, plural: &str, namespace: &str, name: &str) -> bool {
            (node, plural, namespace, name) == ("n1", "secrets", "a", "s")
        }
        fn request_is_by(&self, name: &str, user: &str) -> bool {
            name == "mine" && user == "system:bootstrap:abcdef"
        }
        fn judge(&self, user: &User, _: Action<'_>) -> Judgement {
            match user.name.as_str() {
                "bound" => Judgement::Allowed("RBAC".to_string()),
                _ => Judgement::Silent(String::new()),
            }
        }
    }

    fn check(user: &User, words: &str, expected: bool) {
        let parts: Vec<&str> = words.split(' ').collect();
        let [verb, group, resource, namespace, name] = parts[..] else { panic!("{words}") };
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let empty = |text| if text == "-" { "" } else { text };
        let (name, of_node) = match name.strip_prefix("on:") {
            Some(node) => ("", node),
            None => (empty(name), ""),
        };
        let (group, namespace) = (empty(group), empty(namespace));
        let action = ResourceAction { verb, group, resource, subresource, namespace, name, of_node };
        let decision = decide(user, Action::Resource(action), &OnePod);
        assert_eq!(matches!(decision, Decision::Allowed(_)), expected, "{} {words}: {decision:?}", user.name);
    }

    #[test]
    fn a_node_touches_its_own_and_nothing_else() {
        let n1 = User::authenticated("system:node:n1", ["system:nodes".to_string()]);
        for (words, expected) in [
            ("create - nodes - -", true),
            ("patch - nodes/status - n1", true),
            ("get - nodes - n1", true),
            ("get - nodes - n2", false),
            ("delete - nodes - n1", false),
            ("watch - pods - on:n1", true),
            ("watch - pods - on:n2", false),
            ("list - pods - -", false),
            ("watch - pods a p", true),
            ("watch - pods a q", false),
            ("get - pods a p", true),
            ("get - pods a q", false),
            ("get - secrets a s", true),
            ("get - secrets a t", false),
            ("list - secrets a -", false),
            ("list - secrets a s", true),
            ("list - secrets - s", false),
            ("delete - secrets a s", false),
            ("get - nodes/status n1 -", false),
            ("update coordination.k8s.io leases kube-node-lease n1", true),
            ("update coordination.k8s.io leases kube-node-lease n2", false),
            ("create coordination.k8s.io leases default -", false),
            ("create apps daemonsets a -", false),
        ] {
            check(&n1, words, expected);
        }
    }

    #[test]
    fn half_a_node_is_no_node() {
        let half = User::authenticated("system:node:", ["system:nodes".to_string()]);
        let action = ResourceAction { verb: "list", resource: "nodes", ..Default::default() };
        let why = "unknown node for user \"system:node:\"".to_string();
        assert_eq!(decide(&half, Action::Resource(action), &OnePod), Decision::Denied(why));
    }

    #[test]
    fn a_join_token_asks_for_a_certificate_and_sees_only_its_own_request() {
        let joining = User::authenticated("system:bootstrap:abcdef", ["system:bootstrappers".to_string()]);
        for (words, expected) in [
            ("create certificates.k8s.io certificatesigningrequests - -", true),
            ("create certificates.k8s.io certificatesigningrequests/selfnodeclient - -", false),
            ("get certificates.k8s.io certificatesigningrequests - mine", true),
            ("get certificates.k8s.io certificatesigningrequests - other", false),
            ("list certificates.k8s.io certificatesigningrequests - -", false),
            ("update certificates.k8s.io certificatesigningrequests/approval - mine", false),
            ("list - nodes - -", false),
        ] {
            check(&joining, words, expected);
        }
    }

    #[test]
    fn paths_are_public_or_for_those_whom_a_role_lets_or_for_masters() {
        let may = |user: &User, path: &str| {
            matches!(decide(user, Action::Path { verb: "get", path }, &OnePod), Decision::Allowed(_))
        };
        let (anonymous, bound) = (User::anonymous(), User::authenticated("bound", []));
        let masters = User::authenticated("root", [MASTERS.to_string()]);
        for (path, expected) in [
            ("/version", [true, true, true]),
            ("/readyz", [true, true, true]),
            ("/everynode/ca", [true, true, true]),
            ("/api", [false, true, true]),
            ("/metrics", [false, true, true]),
        ] {
            assert_eq!([may(&anonymous, path), may(&bound, path), may(&masters, path)], expected, "{path}");
        }
    }

    #[test]
    fn a_refusal_reads_as_kubernetes_writes_it() {
        let alice = User::authenticated("alice", []);
        let action = ResourceAction {
            verb: "get",
            resource: "pods",
            subresource: "log",
            namespace: "default",
            name: "x",
            ..Default::default()
        };
        assert_eq!(
            refusal(&alice, Action::Resource(action), "").message,
            "pods \"x\" is forbidden: User \"alice\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"default\""
        );
        let action = ResourceAction { verb: "list", resource: "nodes", ..Default::default() };
        assert_eq!(
            refusal(&alice, Action::Resource(action), "").message,
            "nodes is forbidden: User \"alice\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"
        );
        let refused = refusal(&User::anonymous(), Action::Path { verb: "get", path: "/metrics" }, "");
        assert_eq!(refused.message, "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"");
    }
}
