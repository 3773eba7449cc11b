//! What a new pod takes over from its RuntimeClass: what the runtime itself costs, and the nodes that have it.
//!
//! The class must be there. A pod that says something else of the same thing is refused, as is an overhead without a class
//! that has one. Kubernetes: `plugin/pkg/admission/runtimeclass`, `util/tolerations` (`MergeTolerations`).

use crate::Inner;
use crate::error::ApiError;
use crate::resources::fields::{entries, inner_or_new, int, is_set, items, text};
use crate::resources::pod_template::amounts;
use crate::resources::runtimeclasses::KIND;
use serde_json::Value;

/// Fills in what the class says, or refuses the pod.
pub(super) async fn of_pod(server: &Inner, pod: &mut Value) -> Result<(), ApiError> {
    let name = text(&pod["spec"], "runtimeClassName");
    let class = match name {
        "" => Value::Null,
        name => match server.read(&KIND, "", name).await? {
            Some((class, _)) => class,
            None => {
                let why = format!("pod rejected: RuntimeClass {name:?} not found");
                return Err(super::pod_forbidden(pod, why));
            }
        },
    };
    overhead(&class, pod)
        .and_then(|()| scheduling(&class["scheduling"], pod))
        .map_err(|why| super::pod_forbidden(pod, why))
}

fn overhead(class: &Value, pod: &mut Value) -> Result<(), String> {
    let given = is_set(&pod["spec"], "overhead");
    if !is_set(class, "overhead") {
        return match given {
            true => {
                Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
                    .into())
            }
            false => Ok(()),
        };
    }
    let fixed = &class["overhead"]["podFixed"];
    if given && !same_amounts(&pod["spec"]["overhead"], fixed) {
        return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into());
    }
    if !fixed.is_null() {
        pod["spec"]["overhead"] = fixed.clone();
    }
    Ok(())
}

/// `0.5` is `500m`.
fn same_amounts(one: &Value, other: &Value) -> bool {
    let amounts = |map: &Value| -> Vec<_> {
        let all = map.as_object().into_iter().flatten();
        all.map(|(name, amount)| (name.clone(), amounts::parse(amount))).collect()
    };
    amounts(one) == amounts(other)
}

fn scheduling(scheduling: &Value, pod: &mut Value) -> Result<(), String> {
    for (key, value) in entries(scheduling, "nodeSelector") {
        let said = &pod["spec"]["nodeSelector"][key];
        if let (Some(said), Some(value)) = (said.as_str(), value.as_str())
            && said != value
        {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {said}"
            ));
        }
    }
    let Some(spec) = pod.get_mut("spec") else { return Ok(()) };
    let selector = entries(scheduling, "nodeSelector");
    if !selector.is_empty()
        && let Some(own) = inner_or_new(spec, "nodeSelector")
    {
        for (key, value) in selector {
            own[key] = value.clone();
        }
    }
    let more = items(scheduling, "tolerations");
    if !more.is_empty() {
        spec["tolerations"] = merged([more, items(spec, "tolerations")].concat()).into();
    }
    Ok(())
}

/// Without those that another one includes; of equal ones the first stays.
fn merged(all: Vec<Value>) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let later = all.iter().skip(index + 1).filter(|other| *other != toleration);
        if !merged.iter().chain(later).any(|other| includes(other, toleration)) {
            merged.push(toleration.clone());
        }
    }
    merged
}

/// Whether all that the second one tolerates is tolerated by the first.
fn includes(wide: &Value, narrow: &Value) -> bool {
    if wide == narrow {
        return true;
    }
    let (field, operator) = (|field: &str| (text(wide, field), text(narrow, field)), text(wide, "operator"));
    let (key, of_key) = field("key");
    let (effect, of_effect) = field("effect");
    if key != of_key && !(key.is_empty() && operator == "Exists")
        || !(effect.is_empty() || effect == of_effect)
    {
        return false;
    }
    if effect == "NoExecute"
        && let Some(seconds) = int(wide, "tolerationSeconds")
        && int(narrow, "tolerationSeconds").is_none_or(|narrow| narrow > seconds)
    {
        return false;
    }
    match operator {
        "Exists" => true,
        "" | "Equal" => operator == text(narrow, "operator") && text(wide, "value") == text(narrow, "value"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn admitted(class: Value, spec: Value) -> Result<Value, String> {
        let mut pod = json!({"spec": spec});
        overhead(&class, &mut pod)?;
        scheduling(&class["scheduling"], &mut pod)?;
        Ok(pod["spec"].take())
    }

    #[test]
    fn the_overhead_is_the_classes() {
        let check = |class: Value, spec: Value, expected: Result<Value, &str>| {
            assert_eq!(admitted(class, spec), expected.map_err(str::to_string));
        };
        let class = json!({"overhead": {"podFixed": {"cpu": "500m"}}});
        let other = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
        let alone = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        check(Value::Null, json!({}), Ok(json!({})));
        check(Value::Null, json!({"overhead": {"cpu": "1"}}), Err(alone));
        check(class.clone(), json!({}), Ok(json!({"overhead": {"cpu": "500m"}})));
        check(class.clone(), json!({"overhead": {"cpu": "0.5"}}), Ok(json!({"overhead": {"cpu": "500m"}})));
        check(class.clone(), json!({"overhead": {"cpu": "1"}}), Err(other));
        check(class, json!({"overhead": {"cpu": "500m", "memory": "1"}}), Err(other));
    }

    #[test]
    fn node_selectors_are_merged_and_may_not_contradict() {
        let class = json!({"scheduling": {"nodeSelector": {"a": "b", "c": "d"}}});
        let check = |spec: Value, expected: Result<Value, &str>| {
            assert_eq!(admitted(class.clone(), spec), expected.map_err(str::to_string));
        };
        check(json!({}), Ok(json!({"nodeSelector": {"a": "b", "c": "d"}})));
        check(
            json!({"nodeSelector": {"a": "b", "e": "f"}}),
            Ok(json!({"nodeSelector": {"a": "b", "c": "d", "e": "f"}})),
        );
        check(
            json!({"nodeSelector": {"c": "x"}}),
            Err("conflict: runtimeClass.scheduling.nodeSelector[c] = d; pod.spec.nodeSelector[c] = x"),
        );
    }

    #[test]
    fn tolerations_are_merged_without_those_that_others_include() {
        let check = |class: Value, own: Value, expected: Value| {
            let found = admitted(json!({"scheduling": {"tolerations": class}}), json!({"tolerations": own}));
            assert_eq!(found, Ok(json!({"tolerations": expected})));
        };
        let exists = |key: &str, effect: &str| json!({"key": key, "operator": "Exists", "effect": effect});
        check(json!([exists("a", "")]), json!([]), json!([exists("a", "")]));
        check(
            json!([exists("a", "")]),
            json!([exists("a", "NoSchedule"), exists("b", "")]),
            json!([exists("a", ""), exists("b", "")]),
        );
        check(
            json!([exists("a", "NoExecute")]),
            json!([{"operator": "Exists"}]),
            json!([{"operator": "Exists"}]),
        );
        check(json!([exists("a", "")]), json!([exists("a", "")]), json!([exists("a", "")]));
        let lasting =
            json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9});
        check(json!([lasting]), json!([exists("a", "NoExecute")]), json!([exists("a", "NoExecute")]));
        let equal = |value: &str| json!({"key": "a", "operator": "Equal", "value": value});
        check(json!([equal("x")]), json!([equal("y")]), json!([equal("x"), equal("y")]));
    }
}
