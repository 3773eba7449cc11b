//! Does a new pod keep to the LimitRanges of its namespace, and what do they fill in for it?
//!
//! Containers that do not say what they need get the defaults, noted in an annotation; then every bound is checked, and
//! all that are broken are told. Kubernetes: `plugin/pkg/admission/limitranger`.
//! Differs: ranges are looked at in the order of their names, so that the same pod gets the same defaults.

use crate::Inner;
use crate::error::{ApiError, several};
use crate::resources::fields::{annotations, entries, inner_or_new, items, items_mut, text};
use crate::resources::limitranges::{KIND, quotient};
use crate::resources::pod_template::amounts;
use k8s_openapi::api::core::v1::PodSpec;
use objects::pod;
use objects::quantity::Amount;
use serde_json::Value;
use std::collections::BTreeMap;

/// Where the defaults that were filled in are told.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// The two lists of containers, and what upstream calls one of them in the annotation.
const LISTS: &[(&str, &str)] = &[("containers", "container"), ("initContainers", "init container")];

/// Fills in the defaults of a new pod and refuses it if it keeps outside of the bounds.
pub(super) fn of_pod(server: &Inner, pod: &mut Value) -> Result<(), ApiError> {
    let ranges = server.cached_in(&KIND, text(&pod["metadata"], "namespace"));
    for range in &ranges {
        fill(range, pod);
    }
    for range in &ranges {
        let broken = broken(range, pod);
        if !broken.is_empty() {
            return Err(super::pod_forbidden(pod, several(&broken)));
        }
    }
    Ok(())
}

/// The defaults of one range.
fn fill(range: &Value, pod: &mut Value) {
    let (mut limits, mut requests) = (BTreeMap::new(), BTreeMap::new());
    for limit in items(&range["spec"], "limits").iter().filter(|limit| text(limit, "type") == "Container") {
        limits.extend(entries(limit, "default"));
        requests.extend(entries(limit, "defaultRequest"));
    }
    let mut told = Vec::new();
    for (list, word) in LISTS {
        for container in items_mut(&mut pod["spec"], list) {
            for (map, defaults, of) in [("requests", &requests, "request"), ("limits", &limits, "limit")] {
                let names = fill_map(container, map, defaults);
                if !names.is_empty() {
                    told.push(format!("{} {of} for {word} {}", names.join(", "), text(container, "name")));
                }
            }
        }
    }
    if let (false, Some(annotations)) = (told.is_empty(), annotations(pod)) {
        annotations.insert(ANNOTATION.into(), format!("LimitRanger plugin set: {}", told.join("; ")).into());
    }
}

/// Names of the amounts that were not there.
fn fill_map(container: &mut Value, map: &str, defaults: &BTreeMap<&str, &Value>) -> Vec<String> {
    let missing: Vec<_> =
        defaults.iter().filter(|(name, _)| container["resources"][map].get(name).is_none()).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let amounts = inner_or_new(container, "resources").and_then(|resources| inner_or_new(resources, map));
    let Some(amounts) = amounts.and_then(Value::as_object_mut) else { return Vec::new() };
    for (name, amount) in &missing {
        amounts.insert(name.to_string(), (**amount).clone());
    }
    missing.into_iter().map(|(name, _)| name.to_string()).collect()
}

/// Every bound of one range that the pod breaks, as texts.
fn broken(range: &Value, pod: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    for limit in items(&range["spec"], "limits") {
        match text(limit, "type") {
            "Container" => {
                for container in LISTS.iter().flat_map(|(list, _)| items(&pod["spec"], list)) {
                    let resources = &container["resources"];
                    check(
                        &mut broken,
                        limit,
                        &amounts_of(resources, "requests"),
                        &amounts_of(resources, "limits"),
                    );
                }
            }
            "Pod" => {
                let (requests, limits) = sums(pod);
                check(&mut broken, limit, &requests, &limits);
            }
            _ => {}
        }
    }
    broken
}

type Amounts = BTreeMap<String, Amount>;

fn amounts_of(object: &Value, map: &str) -> Amounts {
    let parsed = |(name, amount): (&str, &Value)| Some((name.to_string(), amounts::parse(amount)?));
    entries(object, map).into_iter().filter_map(parsed).collect()
}

/// What the whole pod asks for and may use at most. A spec that is none is refused by the pod's own rules, later.
fn sums(pod: &Value) -> (Amounts, Amounts) {
    let spec = serde_json::from_value::<PodSpec>(pod["spec"].clone()).unwrap_or_default();
    let spec = PodSpec { overhead: None, ..spec };
    (pod::requests(&spec), pod::limits(&spec))
}

fn check(broken: &mut Vec<String>, limit: &Value, requests: &Amounts, limits: &Amounts) {
    let of = text(limit, "type");
    let uses = |(name, bound): (String, Amount)| {
        let (request, limit) = (requests.get(&name).copied(), limits.get(&name).copied());
        Use { of, name, bound, request, limit }
    };
    broken.extend(amounts_of(limit, "min").into_iter().filter_map(|min| uses(min).below()));
    broken.extend(amounts_of(limit, "max").into_iter().filter_map(|max| uses(max).above()));
    let ratios = amounts_of(limit, "maxLimitRequestRatio");
    broken.extend(ratios.into_iter().filter_map(|ratio| uses(ratio).out_of_ratio()));
}

/// What a container or a pod uses of one resource, beside what bounds it.
struct Use<'a> {
    /// `Container` or `Pod`.
    of: &'a str,
    name: String,
    bound: Amount,
    request: Option<Amount>,
    limit: Option<Amount>,
}

impl Use<'_> {
    fn below(&self) -> Option<String> {
        let Self { of, name, bound, .. } = self;
        let text = format!("minimum {name} usage per {of} is {bound}");
        match (self.request, self.limit) {
            (None, _) => Some(format!("{text}.  No request is specified")),
            (Some(request), _) if request < *bound => Some(format!("{text}, but request is {request}")),
            (_, Some(limit)) if limit < *bound => Some(format!("{text}, but limit is {limit}")),
            _ => None,
        }
    }

    fn above(&self) -> Option<String> {
        let Self { of, name, bound, .. } = self;
        let text = format!("maximum {name} usage per {of} is {bound}");
        match (self.limit, self.request) {
            (None, _) => Some(format!("{text}.  No limit is specified")),
            (Some(limit), _) if limit > *bound => Some(format!("{text}, but limit is {limit}")),
            (_, Some(request)) if request > *bound => Some(format!("{text}, but request is {request}")),
            _ => None,
        }
    }

    fn out_of_ratio(&self) -> Option<String> {
        let Self { of, name, bound, .. } = self;
        let text = format!("{name} max limit to request ratio per {of} is {bound}, but");
        let some = |amount: Option<Amount>| amount.filter(|amount| !amount.is_zero());
        let Some(request) = some(self.request) else {
            return Some(format!("{text} no request is specified or request is 0"));
        };
        let Some(limit) = some(self.limit) else {
            return Some(format!("{text} no limit is specified or limit is 0"));
        };
        let exceeds = limit.milli().saturating_mul(1000) > bound.milli().saturating_mul(request.milli());
        exceeds.then(|| format!("{text} provided ratio is {:.6}", quotient(limit, request)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn range(limits: Value) -> Value {
        json!({"metadata": {"name": "lr", "namespace": "d"}, "spec": {"limits": limits}})
    }

    fn pod(resources: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]}})
    }

    #[test]
    fn a_container_that_does_not_say_gets_the_default_and_the_annotation() {
        let check = |given: Value, resources: Value, told: Value| {
            let mut pod = pod(given);
            fill(
                &range(
                    json!([{"type": "Container", "default": {"cpu": "1", "memory": "64Mi"}, "defaultRequest": {"cpu": "1"}}]),
                ),
                &mut pod,
            );
            assert_eq!(pod["spec"]["containers"][0]["resources"], resources);
            assert_eq!(pod["metadata"]["annotations"][ANNOTATION], told);
        };
        check(
            Value::Null,
            json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1", "memory": "64Mi"}}),
            "LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c".into(),
        );
        check(
            json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "2", "memory": "1Gi"}}),
            json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "2", "memory": "1Gi"}}),
            Value::Null,
        );
    }

    #[test]
    fn every_broken_bound_is_told() {
        let check = |limit: Value, resources: Value, expected: &[&str]| {
            assert_eq!(
                broken(&range(json!([limit])), &pod(resources.clone())),
                expected,
                "{limit} {resources}"
            );
        };
        let max = json!({"type": "Container", "max": {"cpu": "1"}});
        check(max.clone(), json!({"limits": {"cpu": "1"}}), &[]);
        check(max.clone(), json!({}), &["maximum cpu usage per Container is 1.  No limit is specified"]);
        check(
            max,
            json!({"limits": {"cpu": "1500m"}}),
            &["maximum cpu usage per Container is 1, but limit is 1500m"],
        );
        let min = json!({"type": "Pod", "min": {"memory": "64Mi"}});
        check(min.clone(), json!({"requests": {"memory": "64Mi"}}), &[]);
        check(
            min,
            json!({"requests": {"memory": "32Mi"}}),
            &["minimum memory usage per Pod is 64Mi, but request is 32Mi"],
        );
        let ratio = json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}});
        check(ratio.clone(), json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}), &[]);
        check(
            ratio.clone(),
            json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}),
            &["cpu max limit to request ratio per Container is 2, but provided ratio is 10.000000"],
        );
        check(
            ratio,
            json!({"limits": {"cpu": "1"}}),
            &[
                "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
            ],
        );
    }
}
