//! Is there room for a new object in the ResourceQuotas of its namespace?
//!
//! Every quota that the object counts against is charged with a write of its status before the object is stored, so that
//! two requests cannot both take the last place, also not on two servers. What was charged for an object that could not
//! be stored, and what is given back by objects that end, the loop `quotas` counts again.
//!
//! Kubernetes: `apiserver/pkg/admission/plugin/resourcequota`.

use super::resource;
use crate::addresses::is_service;
use crate::error::ApiError;
use crate::resources::Kind;
use crate::resources::resourcequotas::KIND;
use crate::verbs::metadata::text;
use crate::{Inner, encode};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota, Service};
use objects::quota::{self, Amounts};
use serde_json::Value;
use std::collections::BTreeSet;

/// How often a charge is tried again when another server has changed the quota meanwhile.
const TRIES: usize = 5;

/// Charges what a new object takes, or what a change adds; or says why it may not be. What a change frees is counted later.
pub async fn charge(
    server: &Inner,
    kind: &Kind,
    object: &Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<(), ApiError> {
    // Of what is there only services may take more after a change: a pod's resources stay as they were made.
    if !kind.namespaced || old.is_some() && !is_service(kind) {
        return Ok(());
    }
    let namespace = text(object, "namespace");
    let quotas = server.cached_in(&KIND, namespace);
    if quotas.is_empty() {
        return Ok(());
    }
    let Some(demand) = Demand::of(server, kind, object, old) else { return Ok(()) };
    let mut names: Vec<String> = quotas.iter().map(|quota| text(quota, "name").to_string()).collect();
    // One charge at a time in this process: those of other servers are noticed by the revision.
    let _turn = server.charging.lock().await;
    for _ in 0..TRIES {
        let mut charges = Vec::new();
        for name in &names {
            let Some(known) = server.read_whole(&KIND, namespace, name).await? else { continue };
            if let Some(charged) =
                demand.charged(&known.object).map_err(|why| demand.refused(kind, object, why))?
            {
                charges.push((
                    name.clone(),
                    encode::stored_with(&KIND, &charged, &known.owners),
                    known.revision,
                ));
            }
        }
        if dry_run {
            return Ok(());
        }
        names.clear();
        for (name, charged, revision) in charges {
            let key = encode::key(&KIND, namespace, &name);
            match server.store.update(&key, charged, revision).await {
                Ok(_) | Err(store::Error::Missing { .. }) => {}
                Err(store::Error::Conflict { .. }) => names.push(name),
                Err(error) => return Err(server.store_error(error)),
            }
        }
        if names.is_empty() {
            return Ok(());
        }
    }
    Err(ApiError::stale(resource(&KIND), names.first().map_or("", String::as_str)))
}

/// What an object takes.
struct Demand {
    taken: Amounts,
    pod: Option<Pod>,
}

impl Demand {
    /// None, if a change takes nothing more.
    fn of(server: &Inner, kind: &Kind, object: &Value, old: Option<&Value>) -> Option<Self> {
        let amounts = |object: &Value| match (kind.group, kind.plural) {
            ("", "pods") => quota::of_pod(&typed::<Pod>(object), server.now()),
            ("", "services") => quota::of_service(&typed::<Service>(object)),
            (group, plural) => quota::of_kind(group, plural),
        };
        let mut taken = amounts(object);
        for (name, before) in old.map(amounts).unwrap_or_default() {
            if let Some(amount) = taken.get_mut(&name) {
                *amount -= before;
            }
        }
        taken.retain(|_, amount| !amount.is_zero() && !amount.is_negative());
        let pod = (kind.plural == "pods" && kind.group.is_empty()).then(|| typed(object));
        (!taken.is_empty()).then_some(Self { taken, pod })
    }

    /// The quota after the charge; none if the object does not count against it.
    fn charged(&self, stored: &Value) -> Result<Option<Value>, String> {
        let quota = typed::<ResourceQuota>(stored);
        let (spec, status) = (quota.spec.unwrap_or_default(), quota.status.unwrap_or_default());
        let hard = quota::read(status.hard.as_ref());
        let bounds: BTreeSet<&str> =
            hard.keys().map(String::as_str).filter(|name| self.is_about(name)).collect();
        let in_scope = match &self.pod {
            Some(pod) => quota::takes(&spec, pod),
            None => !quota::is_scoped(&spec),
        };
        if bounds.is_empty() || !in_scope {
            return Ok(None);
        }
        let name = text(stored, "name");
        if let Some(why) = self.pod.as_ref().and_then(|pod| quota::unsaid(&bounds, pod)) {
            return Err(format!("failed quota: {name}: {why}"));
        }
        let mut used = quota::read(status.used.as_ref());
        used.retain(|name, _| bounds.contains(name.as_str()));
        if used.len() < bounds.len() {
            let names: Vec<&str> = bounds.into_iter().collect();
            return Err(format!("status unknown for quota: {name}, resources: {}", names.join(",")));
        }
        let broken = quota::exceeded(&used, &self.taken, &hard);
        if !broken.is_empty() {
            let (taken, used, hard) =
                (shown(&self.taken, &broken), shown(&used, &broken), shown(&hard, &broken));
            return Err(format!("exceeded quota: {name}, requested: {taken}, used: {used}, limited: {hard}"));
        }
        quota::add(&mut used, &self.taken);
        let mut charged = stored.clone();
        for (name, amount) in used {
            charged["status"]["used"][name] = amount.to_string().into();
        }
        Ok(Some(charged))
    }

    fn is_about(&self, bound: &str) -> bool {
        self.taken.contains_key(bound) || self.pod.is_some() && quota::is_of_pods(bound)
    }

    fn refused(&self, kind: &Kind, object: &Value, why: String) -> ApiError {
        match self.pod {
            Some(_) => super::pod_forbidden(object, why),
            None => ApiError::forbidden(resource(kind), text(object, "name"), why),
        }
    }
}

/// `cpu=1,pods=2`.
fn shown(amounts: &Amounts, names: &[&str]) -> String {
    let texts = names.iter().filter_map(|name| Some(format!("{name}={}", amounts.get(*name)?)));
    texts.collect::<Vec<_>>().join(",")
}

/// Decode and defaults have been through it: an object that does not fit counts for nothing, and validation refuses it.
fn typed<T: serde::de::DeserializeOwned + Default>(object: &Value) -> T {
    serde_json::from_value(object.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_quota_is_charged_or_says_what_there_is_too_much_of() {
        let check = |demand: &Demand, hard: Value, used: Value, expected: Result<Value, &str>| {
            let stored = json!({"metadata": {"name": "rq"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}});
            let found = demand
                .charged(&stored)
                .map(|after| after.map_or(Value::Null, |q| q["status"]["used"].clone()));
            assert_eq!(found, expected.map_err(str::to_string), "{stored}");
        };
        let map = Demand { taken: quota::of_kind("", "configmaps"), pod: None };
        check(&map, json!({"configmaps": "2"}), json!({"configmaps": "1"}), Ok(json!({"configmaps": "2"})));
        check(&map, json!({"pods": "2"}), json!({"pods": "1"}), Ok(Value::Null));
        check(
            &map,
            json!({"configmaps": "2"}),
            json!({}),
            Err("status unknown for quota: rq, resources: configmaps"),
        );
        check(
            &map,
            json!({"configmaps": "1", "count/configmaps": "5"}),
            json!({"configmaps": "1", "count/configmaps": "1"}),
            Err("exceeded quota: rq, requested: configmaps=1, used: configmaps=1, limited: configmaps=1"),
        );
        let pod: Pod = typed(&json!({"spec": {"containers": [{"name": "c"}]}}));
        let pod = Demand { taken: quota::of_pod(&pod, jiff::Timestamp::UNIX_EPOCH), pod: Some(pod) };
        check(
            &pod,
            json!({"limits.memory": "1Gi"}),
            json!({"limits.memory": "0"}),
            Err("failed quota: rq: must specify limits.memory for: c"),
        );
        check(&pod, json!({"pods": "1"}), json!({"pods": "0"}), Ok(json!({"pods": "1"})));
    }
}
