//! The roles and bindings of the cache as one value, and the guard against escalation.
//!
//! [`Inner::rights`] reads the objects anew only when one of them has changed: a put raises the newest revision, a
//! delete lowers the count, so that both together name a state.

use crate::Inner;
use crate::authn::{MASTERS, User};
use crate::authz::{self, Action, Decision, ResourceAction};
use crate::error::ApiError;
use crate::rbac::{self, Judgement, RoleRef, Rule};
use crate::resources::{Kind, find};
use crate::verbs::metadata;
use serde_json::Value;
use std::sync::{Arc, PoisonError};
use store::Revision;

/// How many objects, and the newest revision among them, for each kind.
pub type State = [(usize, Revision); 4];

/// Rights, and what they were read from.
pub type Read = Option<(State, Arc<rbac::Rights>)>;

impl Inner {
    /// What roles and bindings say now.
    pub fn rights(&self) -> Arc<rbac::Rights> {
        let mut read = self.rights.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |plural| find(rbac::GROUP, "v1", plural).map(|kind| self.items(kind)).unwrap_or_default();
        let found = rbac::PLURALS.map(of);
        let state = found
            .each_ref()
            .map(|items| (items.len(), items.iter().map(|item| item.revision).max().unwrap_or_default()));
        if let Some((of, rights)) = &*read
            && *of == state
        {
            return rights.clone();
        }
        let mut rights = rbac::Rights::default();
        for (plural, items) in rbac::PLURALS.iter().zip(&found) {
            // An object that cannot be read gives no right.
            items.iter().filter_map(|item| item.object().ok()).for_each(|object| rights.add(plural, &object));
        }
        let rights = Arc::new(rights);
        *read = Some((state, rights.clone()));
        rights
    }
}

/// Refuses a role or binding that gives what its writer does not have (wire 7.7.4).
pub fn no_escalation(
    server: &Inner,
    user: &User,
    kind: &Kind,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    if kind.group != rbac::GROUP || user.is_in(MASTERS) || old.is_some_and(|old| same_rights(old, new)) {
        return Ok(());
    }
    let namespace = metadata::text(new, "namespace");
    let rights = server.rights();
    let (wanted, exempt) = match kind.plural {
        "roles" | "clusterroles" => {
            let own = may(server, user, "escalate", kind.plural, namespace, metadata::text(new, "name"));
            (granted_by_role(kind, new, &rights), own)
        }
        _ => {
            let role = rbac::role_ref(new);
            let (plural, name) = match &role {
                RoleRef::Cluster(name) => ("clusterroles", name),
                RoleRef::Namespaced(name) => ("roles", name),
            };
            let rules = rights.rules(&role, namespace);
            let own = may(server, user, "bind", plural, namespace, name);
            let rules = if own { Some(Vec::new()) } else { rules };
            (rules.ok_or_else(|| ApiError::not_found(resource(plural), name))?, own)
        }
    };
    let lacking = if exempt { Vec::new() } else { rbac::missing(&rights.of(user, namespace), &wanted) };
    match lacking.is_empty() {
        true => Ok(()),
        false => Err(escalates(user, kind, new, &lacking)),
    }
}

/// A role that collects others gives whatever these may ever hold.
fn granted_by_role(kind: &Kind, role: &Value, rights: &rbac::Rights) -> Vec<Rule> {
    let mut rules = rbac::rules(role);
    if kind.plural == "clusterroles" && role["aggregationRule"].is_object() {
        let mut with = rights.clone();
        with.add("clusterroles", role);
        let name = metadata::text(role, "name").to_string();
        rules = with.rules(&RoleRef::Cluster(name), "").unwrap_or_default();
    }
    rules
}

fn same_rights(old: &Value, new: &Value) -> bool {
    ["rules", "aggregationRule", "subjects", "roleRef"].iter().all(|field| old[*field] == new[*field])
}

fn may(server: &Inner, user: &User, verb: &str, plural: &str, namespace: &str, name: &str) -> bool {
    let action =
        ResourceAction { verb, group: rbac::GROUP, resource: plural, namespace, name, ..Default::default() };
    matches!(authz::decide(user, Action::Resource(action), server), Decision::Allowed(_))
}

fn resource(plural: &'static str) -> crate::error::ResourceName<'static> {
    crate::error::ResourceName { group: rbac::GROUP, plural }
}

fn escalates(user: &User, kind: &Kind, object: &Value, lacking: &[Rule]) -> ApiError {
    let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
    let lacking: Vec<String> = lacking.iter().map(ToString::to_string).collect();
    let why = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        lacking.join("\n")
    );
    ApiError::forbidden(resource(kind.plural), metadata::text(object, "name"), why)
}

/// What `system:masters` may do.
pub fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_string()];
    [
        Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), paths: all(), ..Rule::default() },
    ]
}

/// Judges an action by roles and bindings.
pub fn judge(server: &Inner, user: &User, action: Action<'_>) -> Judgement {
    server.rights().judge(user, action)
}
