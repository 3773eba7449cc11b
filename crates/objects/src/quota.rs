//! What does an object take of a ResourceQuota, and is that allowed?
//!
//! The API server charges a quota before it stores an object, a loop counts again what is there; both ask here, so that
//! they cannot disagree. A pod that has ended takes no resources any more, only its place in the store (`count/pods`).
//!
//! Kubernetes: `pkg/quota/v1/evaluator/core` (pods, services), `apiserver/pkg/quota/v1`.

use crate::pod;
use crate::quantity::{Amount, Format};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceQuotaSpec, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::{BTreeMap, BTreeSet};

/// Amounts by the names that quotas use.
pub type Amounts = BTreeMap<String, Amount>;

/// What each container has to say when it is bounded.
const SAID_BY_CONTAINERS: &[&str] =
    &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// Resources of pods that are counted under their own name, and as requests and limits.
const SHARED: &[&str] = &["cpu", "memory", "ephemeral-storage"];
/// Kinds of the core group that have a name of their own besides `count/…`.
const PLAINLY_COUNTED: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];

/// What one object of any kind takes, besides what it is made of.
pub fn of_kind(group: &str, plural: &str) -> Amounts {
    let one = Amount::whole(1, Format::DecimalSi);
    let mut taken = Amounts::from([(counted_name(group, plural), one)]);
    if group.is_empty() && PLAINLY_COUNTED.contains(&plural) {
        taken.insert(plural.to_string(), one);
    }
    taken
}

/// `count/pods`, `count/daemonsets.apps`.
pub fn counted_name(group: &str, plural: &str) -> String {
    match group {
        "" => format!("count/{plural}"),
        group => format!("count/{plural}.{group}"),
    }
}

/// What a pod takes.
pub fn of_pod(pod: &Pod, now: Timestamp) -> Amounts {
    let mut taken = of_kind("", "pods");
    let Some(spec) = pod.spec.as_ref().filter(|_| is_counted(pod, now)) else { return taken };
    taken.insert("pods".into(), Amount::whole(1, Format::DecimalSi));
    for (name, amount) in pod::requests(spec) {
        if SHARED.contains(&name.as_str()) || name.starts_with("hugepages-") {
            taken.insert(name.clone(), amount);
        }
        taken.insert(format!("requests.{name}"), amount);
    }
    let limits = pod::limits(spec).into_iter().filter(|(name, _)| SHARED.contains(&name.as_str()));
    taken.extend(limits.map(|(name, amount)| (format!("limits.{name}"), amount)));
    taken
}

/// Whether the pod has not ended, and not overrun its grace period.
fn is_counted(pod: &Pod, now: Timestamp) -> bool {
    let meta = &pod.metadata;
    // The deletion timestamp is the end of the grace period already; upstream adds it once more.
    let grace = jiff::SignedDuration::from_secs(meta.deletion_grace_period_seconds.unwrap_or_default());
    let overrun = meta.deletion_timestamp.as_ref().is_some_and(|end| {
        meta.deletion_grace_period_seconds.is_some() && end.0.saturating_add(grace).is_ok_and(|end| now > end)
    });
    !pod::is_terminal(pod) && !overrun
}

/// What a service takes.
pub fn of_service(service: &Service) -> Amounts {
    let mut taken = of_kind("", "services");
    let Some(spec) = &service.spec else { return taken };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let numbered = ports.iter().filter(|port| port.node_port.unwrap_or_default() != 0).count();
    let node_ports = match spec.type_.as_deref() {
        Some("NodePort") => ports.len(),
        Some("LoadBalancer") if spec.allocate_load_balancer_node_ports == Some(false) => numbered,
        Some("LoadBalancer") => ports.len(),
        _ => 0,
    };
    let balancers = i64::from(spec.type_.as_deref() == Some("LoadBalancer"));
    let node_ports = i64::try_from(node_ports).unwrap_or(i64::MAX);
    taken.insert("services.nodeports".into(), Amount::whole(node_ports, Format::DecimalSi));
    taken.insert("services.loadbalancers".into(), Amount::whole(balancers, Format::DecimalSi));
    taken
}

/// Whether a bound of this name is about pods.
pub fn is_of_pods(bound: &str) -> bool {
    let of_resource = |name: &str| SHARED.contains(&name) || name.starts_with("hugepages-");
    let of_requests = |name: &str| of_resource(name) || name.contains('/');
    matches!(bound, "pods" | "count/pods")
        || of_resource(bound)
        || bound.strip_prefix("requests.").is_some_and(of_requests)
        || bound.strip_prefix("limits.").is_some_and(of_resource)
}

/// Whether a quota has scopes; then it is about pods only.
pub fn is_scoped(spec: &ResourceQuotaSpec) -> bool {
    let selected = spec.scope_selector.as_ref().and_then(|selector| selector.match_expressions.as_deref());
    !spec.scopes.as_deref().unwrap_or_default().is_empty() || !selected.unwrap_or_default().is_empty()
}

/// Whether a pod is in all scopes of the quota.
pub fn takes(spec: &ResourceQuotaSpec, pod: &Pod) -> bool {
    let Some(of) = &pod.spec else { return false };
    let scopes = spec.scopes.iter().flatten().map(|scope| (scope.as_str(), "Exists", [].as_slice()));
    let selected =
        spec.scope_selector.iter().filter_map(|selector| selector.match_expressions.as_ref()).flatten();
    let selected = selected.map(|term| {
        (term.scope_name.as_str(), term.operator.as_str(), term.values.as_deref().unwrap_or_default())
    });
    scopes.chain(selected).all(|(scope, operator, values)| is_in_scope(of, scope, operator, values))
}

fn is_in_scope(spec: &PodSpec, scope: &str, operator: &str, values: &[String]) -> bool {
    match scope {
        "Terminating" => spec.active_deadline_seconds.is_some(),
        "NotTerminating" => spec.active_deadline_seconds.is_none(),
        "BestEffort" => is_best_effort(spec),
        "NotBestEffort" => !is_best_effort(spec),
        "CrossNamespacePodAffinity" => looks_into_namespaces(spec),
        "PriorityClass" => {
            let class = spec.priority_class_name.as_ref().filter(|class| !class.is_empty());
            match operator {
                "In" => class.is_some_and(|class| values.contains(class)),
                "NotIn" => class.is_none_or(|class| !values.contains(class)),
                "DoesNotExist" => class.is_none(),
                _ => class.is_some(),
            }
        }
        _ => false,
    }
}

/// Whether no container asks for or is bounded in cpu or memory. Kubernetes: `qos.ComputePodQOS`.
fn is_best_effort(spec: &PodSpec) -> bool {
    let says = |amounts: Option<&BTreeMap<String, Quantity>>| {
        amounts.into_iter().flatten().any(|(name, quantity)| {
            matches!(name.as_str(), "cpu" | "memory")
                && Amount::try_from(quantity).is_ok_and(|amount| !amount.is_zero())
        })
    };
    let speaks = |container: &Container| {
        let resources = container.resources.as_ref();
        resources.is_some_and(|all| says(all.requests.as_ref()) || says(all.limits.as_ref()))
    };
    !containers(spec).any(speaks)
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

fn looks_into_namespaces(spec: &PodSpec) -> bool {
    let Some(affinity) = &spec.affinity else { return false };
    let near = affinity.pod_affinity.iter().flat_map(|near| {
        let preferred = near.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        let required = near.required_during_scheduling_ignored_during_execution.iter().flatten();
        required.chain(preferred.map(|term| &term.pod_affinity_term))
    });
    let far = affinity.pod_anti_affinity.iter().flat_map(|far| {
        let preferred = far.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        let required = far.required_during_scheduling_ignored_during_execution.iter().flatten();
        required.chain(preferred.map(|term| &term.pod_affinity_term))
    });
    near.chain(far).any(|term| {
        term.namespace_selector.is_some() || !term.namespaces.as_deref().unwrap_or_default().is_empty()
    })
}

/// Which containers do not say what the quota bounds, as upstream writes it: `must specify cpu for: a,b; memory for: a`.
pub fn unsaid(bounds: &BTreeSet<&str>, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let mut texts = Vec::new();
    for name in SAID_BY_CONTAINERS.iter().filter(|name| bounds.contains(*name)) {
        let silent: BTreeSet<&str> =
            containers(spec).filter(|one| !says(one, name)).map(|one| one.name.as_str()).collect();
        if !silent.is_empty() {
            let names: Vec<&str> = silent.into_iter().collect();
            texts.push(format!("{name} for: {}", names.join(",")));
        }
    }
    texts.sort();
    (!texts.is_empty()).then(|| format!("must specify {}", texts.join("; ")))
}

fn says(container: &Container, bound: &str) -> bool {
    let Some(resources) = &container.resources else { return false };
    let (amounts, name) = match bound.split_once('.') {
        Some(("limits", name)) => (&resources.limits, name),
        Some((_, name)) => (&resources.requests, name),
        None => (&resources.requests, bound),
    };
    amounts.as_ref().is_some_and(|amounts| amounts.contains_key(name))
}

/// Adds what an object takes of what is bounded.
pub fn add(used: &mut Amounts, taken: &Amounts) {
    for (name, amount) in taken {
        if let Some(used) = used.get_mut(name) {
            *used += *amount;
        }
    }
}

/// Names of the bounds that would be broken.
pub fn exceeded<'a>(used: &'a Amounts, taken: &Amounts, hard: &Amounts) -> Vec<&'a str> {
    let breaks = |(name, used): &(&String, &Amount)| {
        let more = taken.get(*name).copied().unwrap_or_default();
        !more.is_zero() && hard.get(*name).is_some_and(|hard| **used + more > *hard)
    };
    used.iter().filter(breaks).map(|(name, _)| name.as_str()).collect()
}

/// Amounts of an object's field; a text that is none is left out.
pub fn read(quantities: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    let read =
        |(name, quantity): (&String, &Quantity)| Some((name.clone(), Amount::try_from(quantity).ok()?));
    quantities.into_iter().flatten().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    fn texts(amounts: &Amounts) -> BTreeMap<&str, String> {
        amounts.iter().map(|(name, amount)| (name.as_str(), amount.to_string())).collect()
    }

    #[test]
    fn a_pod_takes_what_it_asks_for_until_it_ends() {
        let resources =
            json!({"requests": {"cpu": "100m", "example.com/gpu": "2"}, "limits": {"memory": "1Gi"}});
        let check = |status: Value, expected: Value| {
            let pod = pod(
                json!({"spec": {"containers": [{"name": "c", "resources": resources}]}, "status": status}),
            );
            assert_eq!(json!(texts(&of_pod(&pod, Timestamp::UNIX_EPOCH))), expected);
        };
        check(
            json!({"phase": "Running"}),
            json!({"count/pods": "1", "pods": "1", "cpu": "100m", "requests.cpu": "100m", "limits.memory": "1Gi",
                "requests.example.com/gpu": "2"}),
        );
        check(json!({"phase": "Succeeded"}), json!({"count/pods": "1"}));
    }

    #[test]
    fn a_service_takes_ports_of_every_node() {
        let check = |spec: Value, ports: &str, balancers: &str| {
            let service: Service = serde_json::from_value(json!({ "spec": spec })).unwrap();
            let taken = of_service(&service);
            let found = texts(&taken);
            assert_eq!(
                (found["services.nodeports"].as_str(), found["services.loadbalancers"].as_str()),
                (ports, balancers)
            );
            assert_eq!((found["services"].as_str(), found["count/services"].as_str()), ("1", "1"));
        };
        let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
        check(json!({"ports": ports}), "0", "0");
        check(json!({"type": "NodePort", "ports": ports}), "2", "0");
        check(json!({"type": "LoadBalancer", "ports": ports}), "2", "1");
        check(
            json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports}),
            "1",
            "1",
        );
    }

    #[test]
    fn scopes_choose_pods() {
        let check = |quota: Value, spec: Value, expected: bool| {
            let quota: ResourceQuotaSpec = serde_json::from_value(quota).unwrap();
            assert_eq!(takes(&quota, &pod(json!({ "spec": spec }))), expected, "{quota:?} {spec}");
        };
        let plain = json!({"containers": [{"name": "c"}]});
        let asking = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}],
            "priorityClassName": "high", "activeDeadlineSeconds": 5});
        for (scope, of_plain, of_asking) in [
            ("BestEffort", true, false),
            ("NotBestEffort", false, true),
            ("Terminating", false, true),
            ("NotTerminating", true, false),
            ("PriorityClass", false, true),
            ("CrossNamespacePodAffinity", false, false),
        ] {
            check(json!({"scopes": [scope]}), plain.clone(), of_plain);
            check(json!({"scopes": [scope]}), asking.clone(), of_asking);
        }
        let class = |operator: &str, values: Value| json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}});
        check(class("In", json!(["high"])), asking.clone(), true);
        check(class("In", json!(["low"])), asking.clone(), false);
        check(class("NotIn", json!(["high"])), plain.clone(), true);
        check(class("DoesNotExist", Value::Null), plain, true);
        check(class("DoesNotExist", Value::Null), asking, false);
    }

    #[test]
    fn containers_must_say_what_is_bounded() {
        let check = |bounds: &[&str], expected: Option<&str>| {
            let pod = pod(json!({"spec": {"containers": [
                {"name": "b", "resources": {"requests": {"cpu": "1"}}}, {"name": "a"}]}}));
            assert_eq!(unsaid(&bounds.iter().copied().collect(), &pod).as_deref(), expected);
        };
        check(&["pods"], None);
        check(&["cpu"], Some("must specify cpu for: a"));
        check(
            &["limits.memory", "requests.cpu"],
            Some("must specify limits.memory for: a,b; requests.cpu for: a"),
        );
    }

    #[test]
    fn a_bound_is_broken_only_by_what_adds_to_it() {
        let amounts = |all: &[(&str, &str)]| -> Amounts {
            all.iter().map(|(name, text)| (name.to_string(), text.parse().unwrap())).collect()
        };
        let (used, hard) =
            (amounts(&[("cpu", "900m"), ("pods", "5")]), amounts(&[("cpu", "1"), ("pods", "4")]));
        let check = |taken: &[(&str, &str)], expected: &[&str]| {
            assert_eq!(exceeded(&used, &amounts(taken), &hard), expected, "{taken:?}");
        };
        check(&[("cpu", "100m")], &[]);
        check(&[("cpu", "101m")], &["cpu"]);
        check(&[("cpu", "101m"), ("pods", "1"), ("memory", "1")], &["cpu", "pods"]);
        check(&[], &[]);
    }
}
