//! The roles and bindings that clients and installers look for in every cluster (wire 7.8.2–7.8.4).
//!
//! Tables and what reads them. `view`, `edit` and `admin` collect the `system:aggregate-to-…` roles, and whatever else
//! carries their label. Differs: roles of components that are not here (`system:kube-scheduler`, `system:controller:…`)
//! are left out; our loops run as `system:masters`. Kubernetes: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy`.

use super::default_metadata;
use crate::aggregation;
use crate::authn::{AUTHENTICATED, MASTERS, UNAUTHENTICATED};
use crate::rbac::GROUP;
use serde_json::{Value, json};

/// Groups, resources, verbs.
type Rule = (&'static [&'static str], &'static [&'static str], &'static [&'static str]);

const CORE: &[&str] = &[""];
const APPS: &[&str] = &["apps"];
const POLICY: &[&str] = &["policy"];
const DISCOVERY: &[&str] = &["discovery.k8s.io"];
const CERTIFICATES: &[&str] = &["certificates.k8s.io"];
const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const CREATE: &[&str] = &["create"];
const ALL: &[&str] = &["*"];
const EVERYTHING: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const REQUESTS: &str = "certificatesigningrequests";
const PUBLIC: &[&str] = &["/healthz", "/livez", "/readyz", "/version", "/version/"];
const ISSUER: &[&str] = &[
    "/.well-known/openid-configuration",
    "/.well-known/openid-configuration/",
    "/openid/v1/jwks",
    "/openid/v1/jwks/",
];
const LOOK_AROUND: &[&str] = &[
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
];

/// What may be read in a namespace, less what gives power over it.
const VIEW: &[Rule] = &[
    (
        CORE,
        &[
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "namespaces",
            "namespaces/status",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "pods",
            "pods/log",
            "pods/status",
            "resourcequotas",
            "resourcequotas/status",
            "serviceaccounts",
            "services",
            "services/status",
        ],
        READ,
    ),
    (DISCOVERY, &["endpointslices"], READ),
    // `system:aggregated-metrics-reader` of metrics-server.
    (&["metrics.k8s.io"], &["nodes", "pods"], &["get", "list"]),
    (
        APPS,
        &[
            "controllerrevisions",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
        READ,
    ),
    (&["batch"], &["cronjobs", "cronjobs/status", "jobs", "jobs/status"], READ),
    (POLICY, &["poddisruptionbudgets", "poddisruptionbudgets/status"], READ),
    (&["networking.k8s.io"], &["ingresses", "ingresses/status", "networkpolicies"], READ),
];

const EDIT: &[Rule] = &[
    (
        CORE,
        &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"],
        READ,
    ),
    (CORE, &["serviceaccounts"], &["impersonate"]),
    (CORE, &["pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"], WRITE),
    (CORE, &["pods/eviction", "serviceaccounts/token"], CREATE),
    (
        CORE,
        &[
            "configmaps",
            "events",
            "persistentvolumeclaims",
            "secrets",
            "serviceaccounts",
            "services",
            "services/proxy",
        ],
        WRITE,
    ),
    (
        APPS,
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
        WRITE,
    ),
    (&["batch"], &["cronjobs", "jobs"], WRITE),
    (POLICY, &["poddisruptionbudgets"], WRITE),
    (&["networking.k8s.io"], &["ingresses", "networkpolicies"], WRITE),
];

const ADMIN: &[Rule] = &[
    (&["authorization.k8s.io"], &["localsubjectaccessreviews"], CREATE),
    (&[GROUP], &["rolebindings", "roles"], EVERYTHING),
];

/// Roles with rules about resources.
const ROLES: &[(&str, &[Rule])] = &[
    (
        "system:basic-user",
        &[
            (&["authorization.k8s.io"], &["selfsubjectaccessreviews", "selfsubjectrulesreviews"], CREATE),
            (&["authentication.k8s.io"], &["selfsubjectreviews"], CREATE),
        ],
    ),
    (
        "system:auth-delegator",
        &[
            (&["authentication.k8s.io"], &["tokenreviews"], CREATE),
            (&["authorization.k8s.io"], &["subjectaccessreviews"], CREATE),
        ],
    ),
    ("system:node", &[]),
    ("system:node-bootstrapper", &[(CERTIFICATES, &[REQUESTS], &["create", "get", "list", "watch"])]),
    (
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[(CERTIFICATES, &["certificatesigningrequests/nodeclient"], CREATE)],
    ),
    (
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[(CERTIFICATES, &["certificatesigningrequests/selfnodeclient"], CREATE)],
    ),
    (
        "system:kubelet-api-admin",
        &[
            (CORE, &["nodes"], READ),
            (CORE, &["nodes"], &["proxy"]),
            (CORE, &["nodes/log", "nodes/metrics", "nodes/proxy", "nodes/stats"], ALL),
        ],
    ),
];

/// Roles that others collect: the label, the rules.
const PIECES: &[(&str, &[Rule])] = &[("view", VIEW), ("edit", EDIT), ("admin", ADMIN)];

/// All roles, as they are created.
pub fn roles() -> Vec<Value> {
    let mut roles = vec![
        role(
            "cluster-admin",
            json!([
            {"apiGroups": ALL, "resources": ALL, "verbs": ALL}, {"nonResourceURLs": ALL, "verbs": ALL}]),
        ),
        role("system:discovery", json!([{"nonResourceURLs": LOOK_AROUND, "verbs": ["get"]}])),
        role("system:public-info-viewer", json!([{"nonResourceURLs": PUBLIC, "verbs": ["get"]}])),
        role(
            "system:service-account-issuer-discovery",
            json!([{"nonResourceURLs": ISSUER, "verbs": ["get"]}]),
        ),
        role(
            "system:monitoring",
            json!([{"verbs": ["get"],
            "nonResourceURLs": ["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis",
                "/readyz", "/readyz/*"]}]),
        ),
    ];
    roles.extend(ROLES.iter().map(|(name, rules)| role(name, written(rules))));
    for (of, rules) in PIECES {
        let mut piece = role(&format!("system:aggregate-to-{of}"), written(rules));
        piece["metadata"]["labels"][label(of)] = "true".into();
        let mut whole = role(of, json!([]));
        whole["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label(of): "true"}}]});
        roles.extend([piece, whole]);
    }
    // Who may edit may view, and who administers may edit.
    for (of, into) in [("view", "edit"), ("edit", "admin")] {
        let found = roles.iter_mut().find(|role| role["metadata"]["name"] == of);
        found.into_iter().for_each(|role| role["metadata"]["labels"][label(into)] = "true".into());
    }
    with_collected(roles)
}

/// Each role with what it collects, the ones below first, as [`crate::aggregation`] would write it.
fn with_collected(mut roles: Vec<Value>) -> Vec<Value> {
    for of in ["view", "edit", "admin"] {
        let all = roles.clone();
        let whole = roles.iter_mut().find(|role| role["metadata"]["name"] == of);
        if let Some(role) = whole {
            role["rules"] = aggregation::collected(role, &all).unwrap_or_default();
        }
    }
    roles
}

/// All bindings, as they are created.
pub fn bindings() -> Vec<Value> {
    let requests = |kind: &str| format!("system:certificates.k8s.io:certificatesigningrequests:{kind}");
    vec![
        binding("cluster-admin", &[MASTERS]),
        binding("system:basic-user", &[AUTHENTICATED]),
        binding("system:discovery", &[AUTHENTICATED]),
        binding("system:public-info-viewer", &[AUTHENTICATED, UNAUTHENTICATED]),
        binding("system:service-account-issuer-discovery", &["system:serviceaccounts"]),
        binding("system:monitoring", &["system:monitoring"]),
        binding("system:node", &[]),
        // Who joins sees its own request only, and that no role can say: `authz` decides it.
        binding("system:node-bootstrapper", &[]),
        binding(&requests("nodeclient"), &["system:bootstrappers"]),
        binding(&requests("selfnodeclient"), &["system:nodes"]),
    ]
}

fn label(of: &str) -> String {
    format!("{GROUP}/aggregate-to-{of}")
}

fn written(rules: &[Rule]) -> Value {
    let rule = |(groups, resources, verbs): &Rule| json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
    rules.iter().map(rule).collect()
}

fn role(name: &str, rules: Value) -> Value {
    json!({"metadata": default_metadata(name), "rules": rules})
}

fn binding(name: &str, groups: &[&str]) -> Value {
    let subjects: Vec<Value> =
        groups.iter().map(|group| json!({"apiGroup": GROUP, "kind": "Group", "name": group})).collect();
    json!({"metadata": default_metadata(name), "subjects": subjects,
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rbac::{Rights, RoleRef, Rule as Read, missing};

    fn of(name: &str) -> Vec<Read> {
        let mut rights = Rights::default();
        roles().iter().for_each(|role| rights.add("clusterroles", role));
        rights.rules(&RoleRef::Cluster(name.to_string()), "").unwrap()
    }

    #[test]
    fn who_edits_may_view_and_who_administers_may_edit() {
        assert_eq!(missing(&of("edit"), &of("view")), []);
        assert_eq!(missing(&of("admin"), &of("edit")), []);
        assert_ne!(missing(&of("view"), &of("edit")), []);
        assert_eq!(missing(&of("cluster-admin"), &of("admin")), []);
    }

    #[test]
    fn viewers_see_no_secret() {
        let action = crate::authz::ResourceAction { verb: "get", resource: "secrets", ..Default::default() };
        let may =
            |role: &str| of(role).iter().any(|rule| rule.allows(crate::authz::Action::Resource(action)));
        assert_eq!((may("view"), may("edit")), (false, true));
    }
}
