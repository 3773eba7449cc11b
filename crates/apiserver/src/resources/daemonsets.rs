//! DaemonSets: one pod of a template on every node that fits. Defaults, what may change, and what is counted.
//!
//! Invariants: the selector never changes and always matches the template; `metadata.generation` rises with every
//! meaningful change of the spec and with nothing else; the hidden template generation lives in an annotation that
//! clients cannot change (OW-25…27). Kubernetes: `apis/apps/validation`, `registry/apps/daemonset/strategy.go`.
//! Differs: on update every cause is reported once, as since 1.34 (AP-23).

pub mod strategy;

#[cfg(test)]
mod tests;

use super::cells::{self, AGE, NAME, column, integer, wide};
use super::fields::{
    annotations, check_immutable, check_not_negative, fill_absent, inner_or_new, int, is_set, items, keep,
    raise_generation, set, text,
};
use super::labels::{self, Values, has_bad_values, parse_selector, validate_selector};
use super::pod_template;
use super::{Column, Kind, ORDINARY, PLAIN, Row, Rules, Traits, status_of};
use crate::error::FieldError;
use crate::verbs::same::same;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The kind (AP-1).
pub const KIND: Kind = Kind {
    group: "apps",
    kind: "DaemonSet",
    plural: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    categories: &["all"],
    subresources: &[status_of("DaemonSet")],
    traits: Traits { has_generation: true, ..PLAIN },
    rules: super::Rulebook::Fixed(&DaemonSets),
    ..ORDINARY
};

/// The only outside form of the template generation (OW-25).
pub const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
/// Old revisions that are kept, unless the user says otherwise (AP-8).
const REVISION_HISTORY: i64 = 10;

struct DaemonSets;

impl Rules for DaemonSets {
    fn default(&self, object: &mut Value) {
        let Some(spec) = inner_or_new(object, "spec") else { return };
        if let Some(template) = inner_or_new(spec, "template") {
            pod_template::default_template(template);
        }
        strategy::default(spec);
        fill_absent(spec, "revisionHistoryLimit", REVISION_HISTORY);
    }

    fn prepare_create(&self, object: &mut Value) {
        let given = template_generation(object);
        if given.as_ref().is_none_or(Result::is_ok) {
            let generation = given.and_then(Result::ok).filter(|generation| *generation >= 1).unwrap_or(1);
            set_template_generation(object, generation);
        }
        set(object, "status", empty_status());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
        let generation = template_generation(old).and_then(Result::ok).unwrap_or(1);
        // AP-16: a changed template raises both; any other change of the spec only the generation.
        if !same(&new["spec"]["template"], &old["spec"]["template"]) {
            set_template_generation(new, generation.saturating_add(1));
            raise_generation(new, old);
            return;
        }
        set_template_generation(new, generation);
        if !same(&new["spec"], &old["spec"]) {
            raise_generation(new, old);
        }
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
        let generation = template_generation(old).and_then(Result::ok).unwrap_or(1);
        set_template_generation(new, generation);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        validate(object, Values::Checked)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let selector = &old["spec"]["selector"];
        let values = if has_bad_values(selector) { Values::Tolerated } else { Values::Checked };
        let mut errors = validate(new, values);
        check_immutable(&mut errors, &new["spec"]["selector"], selector, "spec.selector");
        errors
    }

    fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        validate_status(&new["status"], &old["status"])
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let unchanged = |old: &Value| text_generation(old) == text_generation(new);
        match old {
            Some(old) if unchanged(old) => Vec::new(),
            _ => pod_template::warnings::of_template(&new["spec"]["template"], "spec.template"),
        }
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let (spec, status) = (&object["spec"], &object["status"]);
        let pod = &spec["template"]["spec"];
        cells::row(vec![
            cells::name(object),
            cells::count(status, "desiredNumberScheduled"),
            cells::count(status, "currentNumberScheduled"),
            cells::count(status, "numberReady"),
            cells::count(status, "updatedNumberScheduled"),
            cells::count(status, "numberAvailable"),
            cells::labels(pod, "nodeSelector").into(),
            cells::age(object, now),
            cells::of_containers(pod, "name").into(),
            cells::of_containers(pod, "image").into(),
            cells::selector(&spec["selector"]).into(),
        ])
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    integer("Desired", "The total number of nodes that should be running the daemon pod."),
    integer("Current", "The number of nodes that run at least one daemon pod and are supposed to."),
    integer("Ready", "The number of nodes whose daemon pod is ready."),
    integer("Up-to-date", "The number of nodes whose daemon pod is of the current template."),
    integer("Available", "The number of nodes whose daemon pod is available."),
    column("Node Selector", "The labels that a node needs to run the daemon pod."),
    AGE,
    wide("Containers", "Names of each container in the template."),
    wide("Images", "Images referenced by each container in the template."),
    wide("Selector", "The label query over pods that are managed by the daemon set."),
];

fn empty_status() -> Value {
    json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
}

fn text_generation(object: &Value) -> &str {
    text(&object["metadata"]["annotations"], TEMPLATE_GENERATION)
}

/// The annotation, if there is one; an error if it is no number.
fn template_generation(object: &Value) -> Option<Result<i64, std::num::ParseIntError>> {
    match text_generation(object) {
        "" => None,
        text => Some(text.parse()),
    }
}

fn set_template_generation(object: &mut Value, generation: i64) {
    if let Some(annotations) = annotations(object) {
        annotations.insert(TEMPLATE_GENERATION.to_string(), generation.to_string().into());
    }
}

fn validate(object: &Value, values: Values) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = Vec::new();
    if let Some(Err(why)) = template_generation(object) {
        let path = format!("metadata.annotations[{TEMPLATE_GENERATION}]");
        errors.push(FieldError::invalid(path, text_generation(object), format!("must be an integer: {why}")));
    }
    validate_selector_of(&mut errors, spec, values);
    pod_template::validate_template(&mut errors, &spec["template"], "spec.template");
    validate_daemon_pod(&mut errors, &spec["template"]["spec"]);
    check_not_negative(&mut errors, spec, "minReadySeconds", "spec.minReadySeconds");
    strategy::validate(&mut errors, &spec["updateStrategy"], "spec.updateStrategy");
    check_not_negative(&mut errors, spec, "revisionHistoryLimit", "spec.revisionHistoryLimit");
    errors
}

/// AP-25…AP-27.
fn validate_selector_of(errors: &mut Vec<FieldError>, spec: &Value, values: Values) {
    let selector = &spec["selector"];
    validate_selector(errors, selector, "spec.selector", values);
    let template = &spec["template"]["metadata"];
    let labels = labels::map(template, "labels");
    // An absent selector matches nothing; a broken one has been reported already.
    let matches = match selector.is_null() {
        true => false,
        false => parse_selector(selector).is_none_or(|selector| selector.matches(&labels)),
    };
    if !matches {
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            template["labels"].clone(),
            "`selector` does not match template `labels`",
        ));
    }
    let empty = cells::size(selector, "matchLabels") + items(selector, "matchExpressions").len() == 0;
    if !selector.is_null() && empty {
        let detail = "empty selector is invalid for daemonset";
        errors.push(FieldError::invalid("spec.selector", selector.clone(), detail));
    }
}

/// AP-28: what a daemon pod may not have.
fn validate_daemon_pod(errors: &mut Vec<FieldError>, pod: &Value) {
    let restart = text(pod, "restartPolicy");
    if restart != "Always" {
        errors.push(FieldError::not_supported("spec.template.spec.restartPolicy", restart, &["Always"]));
    }
    if is_set(pod, "activeDeadlineSeconds") {
        errors.push(FieldError::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            "activeDeadlineSeconds in DaemonSet is not Supported",
        ));
    }
}

/// AP-36.
fn validate_status(new: &Value, old: &Value) -> Vec<FieldError> {
    const COUNTS: &[&str] = &[
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    let mut errors = Vec::new();
    for count in COUNTS {
        check_not_negative(&mut errors, new, count, &format!("status.{count}"));
    }
    let collisions = int(new, "collisionCount");
    if int(old, "collisionCount").is_some_and(|old| collisions.is_none_or(|new| new < old)) {
        let value = collisions.unwrap_or_default();
        errors.push(FieldError::invalid("status.collisionCount", value, "cannot be decremented"));
    }
    errors
}
