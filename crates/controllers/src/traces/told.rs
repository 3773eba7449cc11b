//! PURE. What do spans say of a wake, a plan and a request?
//!
//! Words of OpenTelemetry's conventions where there are some (`http.*`, `url.path`, `k8s.*`), else `everynode.*`. Lists have an
//! end, and say how much was left out.

use super::wakes::Wake;
use crate::calls::subject::Subject;
use daemonset::{Action, Plan};
use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use objects::key::ObjectKey;
use opentelemetry::{Array, KeyValue, StringValue, Value};

/// Reasons of one plan that are told: one look at the first nodes explains a roll-out over all.
pub(super) const REASONS: usize = 16;
/// Characters of one reason: a sentence, and not what somebody has put into a name or a message.
pub(super) const REASON_CHARS: usize = 256;

/// Of what a look is.
pub(super) fn look(key: &ObjectKey) -> Vec<KeyValue> {
    vec![
        KeyValue::new("k8s.namespace.name", key.namespace.clone()),
        KeyValue::new("k8s.daemonset.name", key.name.clone()),
    ]
}

/// Which of its states was looked at.
pub(super) fn generation(meta: &ObjectMeta) -> KeyValue {
    KeyValue::new("everynode.generation", meta.generation.unwrap_or_default())
}

/// What woke it; nothing but time, if there was no event.
pub(super) fn wake(wake: Option<&Wake>) -> Vec<KeyValue> {
    let Some(Wake { kind, object, version, change, more, .. }) = wake else {
        return vec![KeyValue::new("everynode.wake.by", "time")];
    };
    vec![
        KeyValue::new("everynode.wake.by", format!("{kind} {object}")),
        KeyValue::new("everynode.wake.change", *change),
        KeyValue::new("everynode.wake.resource_version", version.clone()),
        KeyValue::new("everynode.wake.more", *more),
    ]
}

/// What was planned, and why.
pub(super) fn plan(pass: &'static str, plan: &Plan) -> Vec<KeyValue> {
    let count =
        |wanted: fn(&Action) -> bool| number(plan.actions.iter().filter(|action| wanted(action)).count());
    let mut told = vec![
        KeyValue::new("everynode.plan.pass", pass),
        KeyValue::new("everynode.plan.desired", i64::from(plan.status.desired_number_scheduled)),
        KeyValue::new("everynode.plan.creates", count(|action| matches!(action, Action::CreatePod { .. }))),
        KeyValue::new("everynode.plan.deletes", count(|action| matches!(action, Action::DeletePod { .. }))),
        KeyValue::new("everynode.plan.actions", number(plan.actions.len())),
    ];
    if let Some(standstill) = &plan.standstill {
        told.push(KeyValue::new("everynode.plan.standstill", cut(&standstill.to_string())));
    }
    if plan.more {
        told.push(KeyValue::new("everynode.plan.more", true));
    }
    told.extend(list("everynode.plan.reasons", plan.actions.iter().map(ToString::to_string)));
    told.extend(list("everynode.plan.problems", plan.problems.iter().cloned()));
    told
}

/// What a request is called: few names, so that they can be compared.
pub(super) fn request_name(method: &Method, path: &str) -> String {
    match Subject::of(path) {
        Some(Subject { resource, part: "", .. }) => format!("{method} {resource}"),
        Some(Subject { resource, part, .. }) => format!("{method} {resource}/{part}"),
        None => method.to_string(),
    }
}

/// What is asked, and for what, if that is known.
pub(super) fn request(method: &Method, path: &str, action: Option<String>) -> Vec<KeyValue> {
    let Subject { namespace, resource, name, .. } = Subject::of(path).unwrap_or_default();
    let mut told = vec![
        KeyValue::new("http.request.method", method.to_string()),
        KeyValue::new("url.path", path.to_string()),
        KeyValue::new("k8s.namespace.name", namespace.to_string()),
        KeyValue::new("everynode.resource", resource.to_string()),
        KeyValue::new("everynode.object", name.to_string()),
    ];
    told.retain(|pair| pair.value.as_str() != "");
    told.extend(action.map(|action| KeyValue::new("everynode.action", cut(&action))));
    told
}

fn list(key: &'static str, lines: impl ExactSizeIterator<Item = String>) -> Vec<KeyValue> {
    let left_out = lines.len().saturating_sub(REASONS);
    let lines: Vec<StringValue> = lines.take(REASONS).map(|line| cut(&line).into()).collect();
    if lines.is_empty() {
        return Vec::new();
    }
    let mut told = vec![KeyValue::new(key, Value::Array(Array::String(lines)))];
    if left_out > 0 {
        told.push(KeyValue::new(format!("{key}.left_out"), number(left_out)));
    }
    told
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(REASON_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_string(),
    }
}

/// A count as OpenTelemetry has it.
pub(super) fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(told: Vec<KeyValue>) -> Vec<String> {
        told.iter().map(|KeyValue { key, value, .. }| format!("{key}={value}")).collect()
    }

    #[test]
    fn a_plan_tells_its_counts_and_the_first_of_its_reasons() {
        let create = |n: usize| Action::CreatePod { node: format!("n{n}"), pod: json!({}) };
        let mut made = Plan { actions: (1..=2).map(create).collect(), ..Plan::default() };
        made.status.desired_number_scheduled = 5;
        made.problems = vec!["é".repeat(300)];
        let counts = |creates: usize| {
            vec![
                "everynode.plan.pass=full".to_string(),
                "everynode.plan.desired=5".to_string(),
                format!("everynode.plan.creates={creates}"),
                "everynode.plan.deletes=0".to_string(),
                format!("everynode.plan.actions={creates}"),
            ]
        };
        let mut expected = counts(2);
        expected.push(r#"everynode.plan.reasons=["create pod on n1","create pod on n2"]"#.to_string());
        expected.push(format!(r#"everynode.plan.problems=["{}…"]"#, "é".repeat(REASON_CHARS)));
        assert_eq!(text(plan("full", &made)), expected);

        made = Plan { actions: (1..=10_000).map(create).collect(), more: true, problems: Vec::new(), ..made };
        let told = text(plan("full", &made));
        assert_eq!(told[..5], counts(10_000));
        assert_eq!(told[5], "everynode.plan.more=true");
        assert!(told[6].ends_with(r#""create pod on n16"]"#), "{}", told[6]);
        assert_eq!(told[7..], ["everynode.plan.reasons.left_out=9984"]);
    }

    #[test]
    fn a_request_is_named_by_its_resource_and_says_which_object() {
        let check = |method: Method, path: &str, name: &str, expected: &[&str]| {
            assert_eq!(request_name(&method, path), name);
            let told = text(request(&method, path, None));
            let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
            assert_eq!(told[2..], expected, "{path}");
        };
        check(
            Method::DELETE,
            "/api/v1/namespaces/a/pods/x",
            "DELETE pods",
            &["k8s.namespace.name=a", "everynode.resource=pods", "everynode.object=x"],
        );
        check(
            Method::PUT,
            "/apis/apps/v1/namespaces/a/daemonsets/x/status",
            "PUT daemonsets/status",
            &["k8s.namespace.name=a", "everynode.resource=daemonsets", "everynode.object=x"],
        );
        check(
            Method::POST,
            "/api/v1/namespaces/a/pods",
            "POST pods",
            &["k8s.namespace.name=a", "everynode.resource=pods"],
        );
        check(Method::GET, "/version", "GET", &[]);
        let told = text(request(&Method::POST, "/api/v1/nodes", Some("create pod on n1".to_string())));
        assert_eq!(told[3], "everynode.action=create pod on n1");
    }

    #[test]
    fn what_nothing_woke_was_woken_by_time() {
        assert_eq!(text(wake(None)), ["everynode.wake.by=time"]);
    }
}
