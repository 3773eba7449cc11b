//! A definition in, broken rules out.

use super::*;
use crate::resources::customresourcedefinitions::KIND;

/// A good definition, changed.
fn widgets(change: impl Fn(&mut Value)) -> Value {
    let mut object = json!({"metadata": {"name": "widgets.a.example"}, "spec": {
        "group": "a.example", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
            "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}, "parts": {"type": "object"}}}}}}}]}});
    change(&mut object);
    KIND.rules.default(&mut object);
    object
}

#[track_caller]
fn refused(change: impl Fn(&mut Value), expected: &[&str]) {
    let errors = check(&widgets(change), None);
    let texts: Vec<String> =
        errors.iter().map(|error| format!("{}: {}", error.field, error.text())).collect();
    assert_eq!(texts, expected);
}

#[test]
fn names_that_are_not_said_are_made() {
    let object = widgets(|_| {});
    let names =
        json!({"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"});
    assert_eq!(object["spec"]["names"], names);
    assert_eq!(object["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(object["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(check(&object, None), []);
}

#[test]
fn a_definition_is_refused_at_the_field_where_it_is_wrong() {
    refused(
        |o| o["metadata"]["name"] = "gadgets.a.example".into(),
        &["metadata.name: Invalid value: \"gadgets.a.example\": must be spec.names.plural+\".\"+spec.group"],
    );
    refused(
        |o| o["spec"]["scope"] = "Everywhere".into(),
        &["spec.scope: Unsupported value: \"Everywhere\": supported values: \"Cluster\", \"Namespaced\""],
    );
    refused(
        |o| o["spec"]["versions"][0]["storage"] = false.into(),
        &[
            "spec.versions: Invalid value: [{\"name\":\"v1\"}]: must have exactly one version marked as storage version",
        ],
    );
    refused(
        |o| o["spec"]["versions"][0]["schema"] = Value::Null,
        &["spec.versions[0].schema.openAPIV3Schema: Required value"],
    );
    refused(
        |o| o["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["type"] = "".into(),
        &[
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
        ],
    );
    refused(
        |o| {
            o["spec"]["versions"][0]["subresources"] =
                json!({"scale": {"specReplicasPath": ".size", "statusReplicasPath": ""}})
        },
        &[
            "spec.versions[0].subresources.scale.specReplicasPath: Invalid value: \".size\": should be a json path under .spec",
            "spec.versions[0].subresources.scale.statusReplicasPath: Required value",
        ],
    );
    refused(
        |o| {
            o["spec"]["versions"][0]["additionalPrinterColumns"] =
                json!([{"name": "A", "type": "text", "jsonPath": "spec"}])
        },
        &[
            "spec.versions[0].additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
            "spec.versions[0].additionalPrinterColumns[0].JSONPath: Invalid value: \"spec\": must be a simple json path starting with .",
        ],
    );
}

#[test]
fn selectable_fields_are_scalars_of_the_schema() {
    refused(|o| o["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".spec.size"}]), &[]);
    refused(
        |o| {
            o["spec"]["versions"][0]["selectableFields"] =
                json!([{"jsonPath": ".spec.parts"}, {"jsonPath": ".metadata.name"}])
        },
        &[
            "spec.versions[0].selectableFields[0].jsonPath: Invalid value: \".spec.parts\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
            "spec.versions[0].selectableFields[1].jsonPath: Invalid value: \".metadata.name\": must not point to fields in metadata",
        ],
    );
}

#[test]
fn groups_that_are_not_ones_own_are_refused() {
    let group = |group: &'static str| {
        move |o: &mut Value| {
            o["spec"]["group"] = group.into();
            o["metadata"]["name"] = format!("widgets.{group}").into();
        }
    };
    refused(
        group("flat"),
        &["spec.group: Invalid value: \"flat\": should be a domain with at least one dot"],
    );
    refused(
        group("coordination.k8s.io"),
        &[
            "spec.group: Forbidden: Everynode itself serves this group",
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
        ],
    );
}

#[test]
fn a_conversion_webhook_is_refused_with_its_reason() {
    let errors = check(&widgets(|o| o["spec"]["conversion"] = json!({"strategy": "Webhook"})), None);
    assert!(errors[0].text().contains("conversion webhooks are not called by this version of Everynode"));
}

#[test]
fn what_is_served_keeps_its_names_and_its_stored_versions() {
    let mut old = widgets(|_| {});
    old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    let mut new = old.clone();
    new["spec"]["names"]["kind"] = "Gadget".into();
    new["spec"]["versions"][0]["name"] = "v2".into();
    new["status"]["storedVersions"] = json!(["v1", "v2"]);
    let fields: Vec<String> = check(&new, Some(&old)).into_iter().map(|error| error.field).collect();
    assert_eq!(fields, ["spec.names.kind", "status.storedVersions[0]"]);
    let fields: Vec<String> = check_stored_versions(&new).into_iter().map(|error| error.field).collect();
    assert_eq!(fields, ["status.storedVersions[0]"], "a status that nobody could write the definition with");
    assert!(check_stored_versions(&old).is_empty());
}

#[test]
fn rules_that_nobody_evaluates_are_told_when_they_are_new() {
    let object = widgets(|o| {
        o["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] =
            json!([{"rule": "true"}]);
    });
    assert_eq!(KIND.rules.warnings(&object, None).len(), 1);
    assert!(KIND.rules.warnings(&object, Some(&object)).is_empty());
}
