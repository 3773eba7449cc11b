//! Roles and their bindings, read for decisions (wire 7.7).
//!
//! [`Rights`] is a value made from the stored objects; everything here is pure. A role that collects others
//! (aggregationRule) is evaluated with what they hold now, to any depth. [`missing`] is the rule against escalation:
//! nobody gives what they do not have. Kubernetes: `plugin/pkg/auth/authorizer/rbac`.

mod rule;

use crate::authn::User;
use crate::authz::Action;
use objects::selector::Selector;
pub use rule::Rule;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The four kinds.
pub const GROUP: &str = "rbac.authorization.k8s.io";
/// Their plurals.
pub const PLURALS: [&str; 4] = ["clusterroles", "clusterrolebindings", "roles", "rolebindings"];

/// Everything that roles and bindings say.
#[derive(Debug, Clone, Default)]
pub struct Rights {
    cluster_roles: BTreeMap<String, ClusterRole>,
    roles: BTreeMap<(String, String), Vec<Rule>>,
    /// By namespace; those of the cluster have none.
    bindings: BTreeMap<String, Vec<Binding>>,
}

#[derive(Debug, Clone, Default)]
struct ClusterRole {
    rules: Vec<Rule>,
    labels: BTreeMap<String, String>,
    collects: Vec<Selector>,
}

#[derive(Debug, Clone)]
struct Binding {
    name: String,
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// A role that a binding names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleRef {
    /// Of the cluster.
    Cluster(String),
    /// Of the binding's namespace.
    Namespaced(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

/// What the bindings say to an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// A rule lets it through; the text says whose.
    Allowed(String),
    /// None does; the text names roles that bindings name and that do not exist.
    Silent(String),
}

impl Rights {
    /// Adds a stored object of one of [`PLURALS`].
    pub fn add(&mut self, plural: &str, object: &Value) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_string();
        let (namespace, name) = (text("namespace"), text("name"));
        match plural {
            "clusterroles" => drop(self.cluster_roles.insert(name, ClusterRole::read(object))),
            "roles" => drop(self.roles.insert((namespace, name), rules(object))),
            _ => self.bindings.entry(namespace).or_default().push(Binding::read(name, object)),
        }
    }

    /// Judges an action of a user.
    pub fn judge(&self, user: &User, action: Action<'_>) -> Judgement {
        let namespace = match action {
            Action::Path { .. } => "",
            Action::Resource(action) => action.namespace,
        };
        let mut lost = Vec::new();
        for (within, binding) in self.bindings_of(namespace) {
            let Some(subject) = binding.subjects.iter().find(|subject| subject.is(user)) else { continue };
            match self.rules(&binding.role, within) {
                Some(rules) if rules.iter().any(|rule| rule.allows(action)) => {
                    return Judgement::Allowed(reason(within, binding, subject));
                }
                Some(_) => {}
                None => lost.push(not_found(&binding.role)),
            }
        }
        let text = if lost.is_empty() { String::new() } else { format!("RBAC: {}", lost.join(", ")) };
        Judgement::Silent(text)
    }

    /// Every rule that a user has within a namespace (empty: in the cluster).
    pub fn of(&self, user: &User, namespace: &str) -> Vec<Rule> {
        let bound = self.bindings_of(namespace);
        let theirs = bound.filter(|(_, binding)| binding.subjects.iter().any(|subject| subject.is(user)));
        theirs.filter_map(|(within, binding)| self.rules(&binding.role, within)).flatten().collect()
    }

    /// The rules of a role; none when there is no such role.
    pub fn rules(&self, role: &RoleRef, namespace: &str) -> Option<Vec<Rule>> {
        match role {
            RoleRef::Cluster(name) => self.collected(name, &mut BTreeSet::new()),
            RoleRef::Namespaced(name) => self.roles.get(&(namespace.to_string(), name.clone())).cloned(),
        }
    }

    fn collected<'a>(&'a self, name: &'a str, seen: &mut BTreeSet<&'a str>) -> Option<Vec<Rule>> {
        let role = self.cluster_roles.get(name)?;
        seen.insert(name);
        let mut rules = role.rules.clone();
        for (other, theirs) in &self.cluster_roles {
            let wanted = role.collects.iter().any(|selector| selector.matches(&theirs.labels));
            if wanted && !seen.contains(other.as_str()) {
                rules.extend(self.collected(other, seen).unwrap_or_default());
            }
        }
        Some(rules)
    }

    /// Bindings of the cluster, then those of the namespace, each with the namespace it holds in.
    fn bindings_of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a str, &'a Binding)> {
        let of = |namespace: &'a str| {
            let bindings = self.bindings.get(namespace).into_iter().flatten();
            bindings.map(move |binding| (namespace, binding))
        };
        let within = (!namespace.is_empty()).then(|| of(namespace));
        of("").chain(within.into_iter().flatten())
    }
}

/// What of the wanted rules is in none of the held ones.
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let parts: BTreeSet<Rule> = wanted.iter().flat_map(Rule::parts).collect();
    parts.into_iter().filter(|part| !held.iter().any(|rule| rule.holds(part))).collect()
}

/// The rules of a role or cluster role as it is stored.
pub fn rules(object: &Value) -> Vec<Rule> {
    object["rules"].as_array().into_iter().flatten().map(Rule::read).collect()
}

/// The role that a binding names.
pub fn role_ref(binding: &Value) -> RoleRef {
    let name = binding["roleRef"]["name"].as_str().unwrap_or_default().to_string();
    match binding["roleRef"]["kind"].as_str() {
        Some("Role") => RoleRef::Namespaced(name),
        _ => RoleRef::Cluster(name),
    }
}

impl ClusterRole {
    fn read(object: &Value) -> Self {
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        let selectors = object["aggregationRule"]["clusterRoleSelectors"].as_array().into_iter().flatten();
        let selector = |value: &Value| {
            let parsed = serde_json::from_value(value.clone()).ok()?;
            Selector::from_label_selector(&parsed).ok()
        };
        Self {
            rules: rules(object),
            labels: labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_string()))).collect(),
            collects: selectors.filter_map(selector).collect(),
        }
    }
}

impl Binding {
    fn read(name: String, object: &Value) -> Self {
        let subjects = object["subjects"].as_array().into_iter().flatten();
        Self { name, role: role_ref(object), subjects: subjects.filter_map(Subject::read).collect() }
    }
}

impl Subject {
    fn read(subject: &Value) -> Option<Self> {
        let text = |field: &str| subject[field].as_str().unwrap_or_default().to_string();
        match subject["kind"].as_str()? {
            "User" => Some(Subject::User(text("name"))),
            "Group" => Some(Subject::Group(text("name"))),
            "ServiceAccount" => {
                Some(Subject::ServiceAccount { namespace: text("namespace"), name: text("name") })
            }
            _ => None,
        }
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Subject::User(name) => user.name == *name,
            Subject::Group(name) => user.is_in(name),
            Subject::ServiceAccount { namespace, name } => {
                let account = user.name.strip_prefix("system:serviceaccount:");
                account.and_then(|account| account.split_once(':')) == Some((namespace, name))
            }
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::User(name) => write!(f, "User {name:?}"),
            Subject::Group(name) => write!(f, "Group {name:?}"),
            Subject::ServiceAccount { namespace, name } => write!(f, "ServiceAccount \"{name}/{namespace}\""),
        }
    }
}

fn reason(namespace: &str, binding: &Binding, subject: &Subject) -> String {
    let role = match &binding.role {
        RoleRef::Cluster(name) => format!("ClusterRole {name:?}"),
        RoleRef::Namespaced(name) => format!("Role {name:?}"),
    };
    let name = &binding.name;
    match namespace {
        "" => format!("RBAC: allowed by ClusterRoleBinding {name:?} of {role} to {subject}"),
        namespace => format!("RBAC: allowed by RoleBinding \"{name}/{namespace}\" of {role} to {subject}"),
    }
}

fn not_found(role: &RoleRef) -> String {
    match role {
        RoleRef::Cluster(name) => format!("clusterrole.{GROUP} {name:?} not found"),
        RoleRef::Namespaced(name) => format!("role.{GROUP} {name:?} not found"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::ResourceAction;
    use serde_json::json;

    fn rights() -> Rights {
        let mut rights = Rights::default();
        let pods = |verbs: &[&str]| json!([{"verbs": verbs, "apiGroups": [""], "resources": ["pods"]}]);
        let collects = |label: &str| json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        for (name, labels, rules, aggregation) in [
            ("reader", json!({"to-view": "true"}), pods(&["get"]), json!(null)),
            ("view", json!({"to-edit": "true"}), json!([]), collects("to-view")),
            ("edit", json!({"to-view": "true"}), pods(&["delete"]), collects("to-edit")),
        ] {
            let role = json!({"metadata": {"name": name, "labels": labels}, "rules": rules,
                "aggregationRule": aggregation});
            rights.add("clusterroles", &role);
        }
        rights.add("roles", &json!({"metadata": {"name": "r", "namespace": "a"}, "rules": pods(&["list"])}));
        let mut bind = |namespace: &str, name: &str, role: &str, of: &str, subject: Value| {
            let plural = if namespace.is_empty() { "clusterrolebindings" } else { "rolebindings" };
            let binding = json!({"metadata": {"name": name, "namespace": namespace}, "subjects": [subject],
                "roleRef": {"kind": role, "name": of}});
            rights.add(plural, &binding);
        };
        bind("", "all", "ClusterRole", "view", json!({"kind": "Group", "name": "lookers"}));
        bind("a", "in-a", "Role", "r", json!({"kind": "User", "name": "alice"}));
        let account = json!({"kind": "ServiceAccount", "namespace": "a", "name": "sa"});
        bind("a", "edits", "ClusterRole", "edit", account);
        bind("a", "lost", "ClusterRole", "nothing", json!({"kind": "User", "name": "bob"}));
        rights
    }

    fn judge(user: &User, verb: &str, namespace: &str) -> Judgement {
        let action = ResourceAction { verb, resource: "pods", namespace, ..Default::default() };
        rights().judge(user, Action::Resource(action))
    }

    #[test]
    fn a_binding_holds_in_its_namespace_or_everywhere() {
        // Wire 7.7.2.
        let alice = User::authenticated("alice", []);
        let looker = User::authenticated("x", ["lookers".to_string()]);
        let account = User::authenticated("system:serviceaccount:a:sa", []);
        for (user, verb, namespace, expected) in [
            (&alice, "list", "a", true),
            (&alice, "list", "b", false),
            (&alice, "list", "", false),
            (&alice, "get", "a", false),
            (&looker, "get", "a", true),
            (&looker, "get", "", true),
            (&account, "delete", "a", true),
            (&account, "delete", "b", false),
        ] {
            let allowed = matches!(judge(user, verb, namespace), Judgement::Allowed(_));
            assert_eq!(allowed, expected, "{} {verb} {namespace}", user.name);
        }
    }

    #[test]
    fn collected_roles_hold_what_theirs_hold_even_in_a_circle() {
        // Wire 7.7.3: view collects reader and edit, and edit collects view.
        let looker = User::authenticated("x", ["lookers".to_string()]);
        assert!(matches!(judge(&looker, "delete", ""), Judgement::Allowed(_)));
        let account = User::authenticated("system:serviceaccount:a:sa", []);
        assert!(matches!(judge(&account, "get", "a"), Judgement::Allowed(_)));
    }

    #[test]
    fn reasons_read_as_kubernetes_writes_them() {
        let check = |user: User, verb: &str, namespace: &str, expected: Judgement| {
            assert_eq!(judge(&user, verb, namespace), expected);
        };
        let yes = |text: &str| Judgement::Allowed(text.to_string());
        let looker = User::authenticated("x", ["lookers".to_string()]);
        let text = r#"RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "view" to Group "lookers""#;
        check(looker, "get", "", yes(text));
        let text = r#"RBAC: allowed by RoleBinding "in-a/a" of Role "r" to User "alice""#;
        check(User::authenticated("alice", []), "list", "a", yes(text));
        let text = r#"RBAC: clusterrole.rbac.authorization.k8s.io "nothing" not found"#;
        check(User::authenticated("bob", []), "get", "a", Judgement::Silent(text.to_string()));
    }

    #[test]
    fn nobody_gives_what_they_do_not_have() {
        let rule = |verbs: &[&str], resources: &[&str]| {
            Rule::read(&json!({"verbs": verbs, "apiGroups": [""], "resources": resources}))
        };
        let held = [rule(&["get", "list"], &["pods"]), rule(&["*"], &["configmaps"])];
        assert_eq!(missing(&held, &[rule(&["get"], &["pods", "configmaps"])]), []);
        let lacking = missing(&held, &[rule(&["get", "delete"], &["pods", "secrets"])]);
        let texts: Vec<String> = lacking.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["delete"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#,
            ]
        );
    }
}
