//! Events of the core group: what happened, to which object, how often. They vanish an hour after their last write.
//!
//! `events.k8s.io/v1` is not served: it is the same stored object in other field names, and a kind of its own would
//! show half of the events to each client. Kubernetes: `registry/core/event`, `core/validation/events.go`.

use super::cells::{self, column, or, since, wide};
use super::fields::{int, text};
use super::{Column, Kind, ORDINARY, PLAIN, Row, Rules, Traits};
use crate::error::FieldError;
use jiff::Timestamp;
use serde_json::Value;

/// Seconds after the last write (2.10.7).
const LIFETIME_SECONDS: u32 = 3600;

/// The kind.
pub const KIND: Kind = Kind {
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    traits: Traits { create_on_update: true, expires_seconds: Some(LIFETIME_SECONDS), ..PLAIN },
    rules: super::Rulebook::Fixed(&Events),
    ..ORDINARY
};

struct Events;

impl Rules for Events {
    fn default(&self, object: &mut Value) {
        // The client may have written null; the field is not optional in Go.
        super::fields::fill_absent(object, "source", serde_json::json!({}));
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let involved = text(&object["involvedObject"], "namespace");
        let own = text(&object["metadata"], "namespace");
        // Events about cluster-scoped objects live in `default`.
        let fits = if involved.is_empty() { own.is_empty() || own == "default" } else { involved == own };
        if fits {
            return Vec::new();
        }
        vec![FieldError::invalid("involvedObject.namespace", involved, "does not match event.namespace")]
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }

    fn field(&self, object: &Value, path: &str) -> String {
        match path.strip_prefix("involvedObject.") {
            Some(field) => text(&object["involvedObject"], field).to_string(),
            None if path == "source" => component(object).to_string(),
            None => text(object, path).to_string(),
        }
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let involved = &object["involvedObject"];
        let kind = text(involved, "kind").to_ascii_lowercase();
        let series = &object["series"];
        cells::row(vec![
            last_seen(object, now).into(),
            text(object, "type").into(),
            text(object, "reason").into(),
            format!("{kind}/{}", text(involved, "name")).into(),
            text(involved, "fieldPath").into(),
            source(object).into(),
            text(object, "message").trim().into(),
            since(first_seen(object), now).into(),
            int(series, "count").or_else(|| int(object, "count")).unwrap_or_default().max(1).into(),
            cells::name(object),
        ])
    }
}

const COLUMNS: &[Column] = &[
    column("Last Seen", "When the event was last seen."),
    column("Type", "Normal or Warning."),
    column("Reason", "Why it happened, as a word for machines."),
    column("Object", "The object that it is about."),
    wide("Subobject", "The part of the object that it is about."),
    wide("Source", "The component that reports it, and where that runs."),
    column("Message", "What happened, for people."),
    wide("First Seen", "When the event was first seen."),
    wide("Count", "How often it has happened."),
    Column { priority: 1, ..cells::NAME },
];

fn first_seen(object: &Value) -> &Value {
    let first = &object["firstTimestamp"];
    if first.is_null() { &object["eventTime"] } else { first }
}

fn last_seen(object: &Value, now: Timestamp) -> String {
    let series = &object["series"]["lastObservedTime"];
    match (series.is_null(), object["lastTimestamp"].is_null()) {
        (false, _) => since(series, now),
        (true, false) => since(&object["lastTimestamp"], now),
        (true, true) => since(first_seen(object), now),
    }
}

fn component(object: &Value) -> &str {
    or(text(&object["source"], "component"), text(object, "reportingComponent"))
}

fn source(object: &Value) -> String {
    let host = or(text(&object["source"], "host"), text(object, "reportingInstance"));
    let parts: Vec<&str> = [component(object), host].into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_take_the_newest_and_the_fullest_fields() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let check = |object: Value, expected: Value| {
            assert_eq!(Value::Array(Events.row(&object, now).cells), expected, "{object}");
        };
        let involved = json!({"kind": "DaemonSet", "name": "x", "fieldPath": "spec"});
        check(
            json!({"metadata": {"name": "e"}, "involvedObject": involved, "type": "Normal", "reason": "SuccessfulCreate",
                "message": " Created pod: x-1\n", "source": {"component": "daemonset-controller"}, "count": 3,
                "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:59:30Z"}),
            json!([
                "30s",
                "Normal",
                "SuccessfulCreate",
                "daemonset/x",
                "spec",
                "daemonset-controller",
                "Created pod: x-1",
                "60m",
                3,
                "e"
            ]),
        );
        check(
            json!({"involvedObject": {"kind": "Pod", "name": "p"}, "eventTime": "2026-01-01T00:58:00.000000Z",
                "reportingComponent": "scheduler", "reportingInstance": "s-1"}),
            json!(["2m", "", "", "pod/p", "", "scheduler, s-1", "", "2m", 1, ""]),
        );
        check(
            json!({"involvedObject": {"kind": "Pod", "name": "p"}, "eventTime": "2026-01-01T00:00:00.000000Z",
                "series": {"count": 7, "lastObservedTime": "2026-01-01T00:59:59.000000Z"}}),
            json!(["1s", "", "", "pod/p", "", "", "", "60m", 7, ""]),
        );
    }

    #[test]
    fn an_event_lives_beside_its_object() {
        let check = |own: &str, involved: &str, ok: bool| {
            let event = json!({"metadata": {"namespace": own}, "involvedObject": {"namespace": involved}});
            assert_eq!(Events.validate_create(&event).is_empty(), ok, "{own} {involved}");
        };
        check("a", "a", true);
        check("default", "", true);
        check("a", "", false);
        check("a", "b", false);
    }

    #[test]
    fn an_event_is_found_by_what_it_is_about() {
        let event = json!({"involvedObject": {"kind": "Pod", "uid": "u"}, "source": {}, "reportingComponent": "c",
            "type": "Normal"});
        let check = |path: &str, expected: &str| assert_eq!(Events.field(&event, path), expected, "{path}");
        check("involvedObject.uid", "u");
        check("involvedObject.name", "");
        check("source", "c");
        check("type", "Normal");
    }
}
