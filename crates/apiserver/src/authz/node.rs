//! PURE but for [`Graph`]. What may the agent of a node ask for? (wire 7.5.1, with the narrower reads of 1.32, 7.5.2)
//!
//! Its own Node, the pods bound to it, and what these pods refer to; nothing of anybody else. What it may write into these
//! is decided with the object at hand, in `admission::node_restriction`.
//!
//! Kubernetes: `plugin/pkg/auth/authorizer/node/node_authorizer.go`. Differs: an agent reads only the certificate requests
//! that it made, because nothing of ours needs others; it may `get` the ServiceAccounts of its pods, for their pull secrets.

use super::{Decision, Graph, ResourceAction, allowed, denied};
use crate::authn::User;

/// A yes, or why not; the reason may be empty.
type Answer = Result<(), String>;

/// Decides for the agent of `node`.
pub(super) fn decide(node: &str, user: &User, action: &ResourceAction<'_>, graph: &dyn Graph) -> Decision {
    let answer = match (action.group, action.resource) {
        ("", "nodes") => itself(node, action),
        ("", "pods") => pod(node, action, graph),
        ("", "secrets" | "configmaps") => referred(node, action, graph),
        ("", "serviceaccounts") => account(node, action, graph),
        ("coordination.k8s.io", "leases") => lease(node, action),
        ("certificates.k8s.io", "certificatesigningrequests") => request(node, user, action, graph),
        _ => ordinary(action),
    };
    match answer {
        Ok(()) => allowed("node"),
        Err(why) => denied(&why),
    }
}

/// The name is compared, and no object looked for: an agent asks for its Node before it makes it.
fn itself(node: &str, action: &ResourceAction<'_>) -> Answer {
    match (action.subresource, action.verb, action.name) {
        ("", "create" | "update" | "patch", _) | ("status", "update" | "patch", _) => Ok(()),
        ("", "get" | "list" | "watch", name) if name == node => Ok(()),
        ("", "get" | "list" | "watch", "") => {
            Err(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch", name) => {
            Err(format!("node '{node}' cannot read '{name}', only its own Node object"))
        }
        _ => no(),
    }
}

fn pod(node: &str, action: &ResourceAction<'_>, graph: &dyn Graph) -> Answer {
    let here = || related(node, graph.pod_is_on(action.namespace, action.name, node));
    match (action.subresource, action.verb) {
        ("", "get") => here(),
        ("", "list" | "watch") if action.of_node == node => Ok(()),
        ("", "list" | "watch") if !action.name.is_empty() => here(),
        ("", "list" | "watch") => {
            Err("can only list/watch pods with spec.nodeName field selector".to_string())
        }
        ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
        _ => no(),
    }
}

fn referred(node: &str, action: &ResourceAction<'_>, graph: &dyn Graph) -> Answer {
    let why = match action {
        ResourceAction { verb: "get" | "list" | "watch", .. } => match action {
            ResourceAction { subresource, .. } if !subresource.is_empty() => "cannot read subresource",
            ResourceAction { namespace: "", .. } => "can only read namespaced object of this type",
            ResourceAction { name: "", .. } => "No Object name found",
            _ => {
                let used = graph.node_uses(node, action.resource, action.namespace, action.name);
                return related(node, used);
            }
        },
        _ => "can only read resources of this type",
    };
    Err(why.to_string())
}

fn account(node: &str, action: &ResourceAction<'_>, graph: &dyn Graph) -> Answer {
    let why = match (action.verb, action.subresource, action.name) {
        ("create", "token", name) | ("get", "", name) if !name.is_empty() => {
            return related(node, graph.node_uses(node, "serviceaccounts", action.namespace, name));
        }
        ("create", "token", _) => "can only create tokens for individual service accounts",
        ("create", ..) => "can only create token subresource of serviceaccount",
        _ => "can only create tokens for individual service accounts",
    };
    Err(why.to_string())
}

/// The name of a new lease is not known here: `admission::node_restriction` looks at it.
fn lease(node: &str, action: &ResourceAction<'_>) -> Answer {
    let why = match (action.verb, action.namespace, action.name) {
        ("get" | "create" | "update" | "patch" | "delete", "kube-node-lease", name) => {
            match action.verb == "create" || name == node {
                true => return Ok(()),
                false => "can only access node lease with the same name as the requesting node",
            }
        }
        ("get" | "create" | "update" | "patch" | "delete", ..) => {
            "can only access leases in the \"kube-node-lease\" system namespace"
        }
        _ => "can only get, create, update, patch, or delete a node lease",
    };
    Err(why.to_string())
}

fn request(node: &str, user: &User, action: &ResourceAction<'_>, graph: &dyn Graph) -> Answer {
    match (action.subresource, action.verb) {
        ("", "create") => Ok(()),
        ("", "get" | "list" | "watch") => related(node, graph.request_is_by(action.name, &user.name)),
        _ => no(),
    }
}

/// What is not about one node.
fn ordinary(action: &ResourceAction<'_>) -> Answer {
    let reads = matches!(action.verb, "get" | "list" | "watch");
    let yes = match (action.group, action.resource, action.subresource) {
        ("", "services", "")
        | ("storage.k8s.io", "csidrivers", "")
        | ("node.k8s.io", "runtimeclasses", "") => reads,
        ("", "endpoints", "") => action.verb == "get",
        ("" | "events.k8s.io", "events", "") => matches!(action.verb, "create" | "update" | "patch"),
        ("authentication.k8s.io", "tokenreviews", "")
        | ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews", "") => {
            action.verb == "create"
        }
        _ => false,
    };
    if yes { Ok(()) } else { no() }
}

fn related(node: &str, is: bool) -> Answer {
    match is {
        true => Ok(()),
        false => Err(format!("no relationship found between node '{node}' and this object")),
    }
}

fn no() -> Answer {
    Err(String::new())
}
