//! Priorities of pods come from PriorityClasses, and only from there; of these one may be the default, and two are the
//! system's own.
//!
//! Kubernetes: `plugin/pkg/admission/priority`, `registry/scheduling/priorityclass/storage`.

use crate::Inner;
use crate::error::{ApiError, ResourceName};
use crate::resources::priorityclasses::{KIND, SYSTEM_CLASSES};
use crate::verbs::metadata::text;
use serde_json::Value;

/// What a pod gets that names no class where none is the default.
const ORDINARY_POLICY: &str = "PreemptLowerPriority";

/// Fills priority and preemption policy of a new pod. What the pod itself says of them must be the same.
pub(super) async fn of_pod(server: &Inner, pod: &mut Value) -> Result<(), ApiError> {
    let name = text_at(&pod["spec"], "priorityClassName").to_string();
    let class = match name.as_str() {
        "" => default_class(server),
        name => {
            let found = server.read(&KIND, "", name).await?;
            let missing =
                || super::pod_forbidden(pod, format!("no PriorityClass with name {name} was found"));
            Some(found.ok_or_else(missing)?.0)
        }
    };
    let value = class.as_ref().and_then(|class| class["value"].as_i64()).unwrap_or(0);
    let policy =
        class.as_ref().map_or(ORDINARY_POLICY, |class| text_at(class, "preemptionPolicy")).to_string();
    agrees(pod, value, &policy).map_err(|why| super::pod_forbidden(pod, why))?;
    let spec = &mut pod["spec"];
    spec["priority"] = value.into();
    if !policy.is_empty() {
        spec["preemptionPolicy"] = policy.into();
    }
    if let Some(class) = &class {
        spec["priorityClassName"] = text(class, "name").into();
    }
    Ok(())
}

/// Only one class may be the default.
pub(super) fn of_class(server: &Inner, class: &Value) -> Result<(), ApiError> {
    let name = text(class, "name");
    let other = default_class(server).filter(|default| text(default, "name") != name);
    match other.filter(|_| class["globalDefault"] == true) {
        None => Ok(()),
        Some(other) => {
            let other = text(&other, "name");
            let why =
                format!("PriorityClass {other} is already marked as default. Only one default can exist");
            Err(class_forbidden(name, why))
        }
    }
}

/// The system's own classes stay.
pub(super) fn end_of_class(name: &str) -> Result<(), ApiError> {
    match SYSTEM_CLASSES.iter().any(|(system, _)| *system == name) {
        true => Err(class_forbidden(name, "this is a system priority class and cannot be deleted")),
        false => Ok(()),
    }
}

/// Of several defaults, which a race can bring about, the lowest counts.
fn default_class(server: &Inner) -> Option<Value> {
    let defaults = server.cached(&KIND).into_iter().filter(|class| class["globalDefault"] == true);
    defaults.min_by_key(|class| class["value"].as_i64())
}

fn agrees(pod: &Value, value: i64, policy: &str) -> Result<(), String> {
    const COMPUTED: &str = "must not be provided in pod spec; priority admission controller computed";
    const FROM: &str = "from the given PriorityClass name";
    let said = pod["spec"]["priority"].as_i64().filter(|said| *said != value);
    if let Some(said) = said {
        return Err(format!("the integer value of priority ({said}) {COMPUTED} {value} {FROM}"));
    }
    let said = text_at(&pod["spec"], "preemptionPolicy");
    if !said.is_empty() && !policy.is_empty() && said != policy {
        return Err(format!("the string value of PreemptionPolicy ({said}) {COMPUTED} {policy} {FROM}"));
    }
    Ok(())
}

fn text_at<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

fn class_forbidden(name: &str, why: impl Into<String>) -> ApiError {
    ApiError::forbidden(ResourceName { group: KIND.group, plural: KIND.plural }, name, why.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_pod_says_itself_must_be_what_its_class_says() {
        let check = |spec: Value, expected: Result<(), &str>| {
            let found = agrees(&json!({"spec": spec}), 7, "Never");
            assert_eq!(found, expected.map_err(str::to_string));
        };
        check(json!({}), Ok(()));
        check(json!({"priority": 7, "preemptionPolicy": "Never"}), Ok(()));
        check(
            json!({"priority": 8}),
            Err("the integer value of priority (8) must not be provided in pod spec; priority admission \
                 controller computed 7 from the given PriorityClass name"),
        );
        check(
            json!({"preemptionPolicy": "PreemptLowerPriority"}),
            Err(
                "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; \
                 priority admission controller computed Never from the given PriorityClass name",
            ),
        );
    }
}
