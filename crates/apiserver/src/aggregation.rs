//! A role that collects others holds their rules in its own `rules`, so that `kubectl describe clusterrole view` shows them.
//!
//! Rights do not depend on it: [`crate::rbac`] evaluates a collecting role with what it collects, from the first moment. This
//! loop writes down what is so, whenever a ClusterRole has changed.
//!
//! Kubernetes: `controller/clusterroleaggregation`, a loop of kube-controller-manager. Differs: it is the server's own, because
//! it is about the server's own decisions and has to run where no loop does.

use crate::Inner;
use crate::cache::collection::Taken;
use crate::cache::item::Filter;
use crate::rbac;
use crate::resources::{Kind, find};
use crate::verbs::own::as_server;
use crate::verbs::update::{Write, rewrite};
use objects::selector::Selector;
use serde_json::Value;
use std::collections::BTreeMap;

/// Writes rules for as long as the server runs. Begins when the default roles are there.
pub async fn run(server: &Inner) {
    let Some(kind) = find(rbac::GROUP, "v1", "clusterroles") else { return };
    let Some(roles) = server.cache.of(kind) else { return };
    server.furnished.cancelled().await;
    loop {
        let (_, mut changes) = roles.watch_now(Filter::default());
        write(server, kind).await;
        loop {
            match changes.take() {
                Taken::Events(_) => write(server, kind).await,
                Taken::UpTo(_) => changes.changed().await,
                Taken::Lost => break,
            }
        }
    }
}

/// Until nothing is left to write: what one role collects another may collect from it.
async fn write(server: &Inner, kind: &'static Kind) {
    let all = server.cached(kind);
    for role in &all {
        let Some(wanted) = collected(role, &all).filter(|wanted| role["rules"] != *wanted) else { continue };
        let name = role["metadata"]["name"].as_str().unwrap_or_default();
        let written = as_server(server, kind, ("", name), async |call| {
            let collecting = rewrite(call, Write::own(false), |role| {
                let mut role = role.clone();
                if role["aggregationRule"].is_object() {
                    role["rules"] = wanted.clone();
                }
                Ok((role, Vec::new()))
            });
            collecting.await
        });
        match written.await {
            Ok(_) => {}
            Err(error) if error.code == 404 => {}
            // The next change of a role, or the next start, tries again.
            Err(error) => tracing::warn!(role = name, %error, "collected rules were not written"),
        }
    }
}

/// The rules that a collecting role has to show: of each role that one of its selectors takes, in the order of names,
/// each rule once. None for a role that collects nothing.
pub fn collected(role: &Value, all: &[Value]) -> Option<Value> {
    let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array()?;
    let mut found: Vec<Value> = Vec::new();
    for selector in selectors {
        let Ok(parsed) = serde_json::from_value(selector.clone()) else { continue };
        let Ok(selector) = Selector::from_label_selector(&parsed) else { continue };
        let name = |role: &Value| role["metadata"]["name"].as_str().unwrap_or_default().to_string();
        let others = all.iter().filter(|other| name(other) != name(role));
        let taken: BTreeMap<String, &Value> = others
            .filter(|other| selector.matches(&crate::resources::labels::map(&other["metadata"], "labels")))
            .map(|other| (name(other), other))
            .collect();
        for rule in taken.values().filter_map(|other| other["rules"].as_array()).flatten() {
            if !found.contains(rule) {
                found.push(rule.clone());
            }
        }
    }
    Some(found.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_come_in_the_order_of_names_and_once() {
        let role = |name: &str, label: &str, rules: Value| json!({"metadata": {"name": name, "labels": {label: "true"}}, "rules": rules});
        let mut own = role("a", "x", json!(["old"]));
        own["aggregationRule"] =
            json!({"clusterRoleSelectors": [{"matchLabels": {"x": "true"}}, {"matchLabels": {"y": "true"}}]});
        let all = [
            own.clone(),
            role("c", "x", json!([3, 1])),
            role("b", "x", json!([1, 2])),
            role("d", "y", json!([4])),
            role("e", "z", json!([5])),
        ];
        assert_eq!(collected(&own, &all), Some(json!([1, 2, 3, 4])));
        assert_eq!(collected(&all[1], &all), None);
    }
}
