//! What kubectl looks for in the documents, and that table and descriptions agree.

use super::*;
use std::collections::BTreeSet;

fn all_kinds() -> Vec<Gvk<'static>> {
    // Every struct with apiVersion and kind in the table, by its group.
    KINDS.iter().map(Gvk::from).collect()
}

#[test]
fn the_table_and_k8s_openapi_name_the_same_fields() {
    let definitions = descriptions::definitions(all_kinds().into_iter());
    let mut compared = 0;
    for ty in schema().types() {
        let Some(properties) = definitions.get(&ty.openapi_name()).and_then(|d| d.get("properties")) else {
            continue;
        };
        let theirs: BTreeSet<&str> = properties.as_object().unwrap().keys().map(String::as_str).collect();
        let ours: BTreeSet<&str> = ty.fields.iter().map(|f| f.name).collect();
        assert_eq!(ours, theirs, "{}", ty.name);
        compared += 1;
    }
    assert!(compared > 150, "only {compared} types were compared");
}

#[test]
fn every_served_kind_has_a_schema_and_a_description() {
    for gvk in all_kinds() {
        let name = schema().kind(gvk).unwrap_or_else(|| panic!("no schema of {gvk:?}")).openapi_name();
        let definitions = descriptions::definitions([gvk].into_iter());
        assert!(definitions.contains_key(&name), "{gvk:?}: no {name}");
    }
}

#[test]
fn the_document_has_what_kubectl_apply_and_explain_look_for() {
    let json: Value = serde_json::from_slice(&document("apps", "v1").unwrap().bytes()).unwrap();
    let gvk = json!({"group": "apps", "version": "v1", "kind": "DaemonSet"});
    let item = &json["paths"]["/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}"];
    assert_eq!(item["patch"]["x-kubernetes-group-version-kind"], gvk);
    let parameters = item["patch"]["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|p| p["name"] == "fieldValidation" && p["in"] == "query"));
    assert!(item["patch"].get("requestBody").is_none());

    let schemas = &json["components"]["schemas"];
    let daemonset = &schemas["io.k8s.api.apps.v1.DaemonSet"];
    assert_eq!(daemonset["x-kubernetes-group-version-kind"], json!([gvk]));
    assert_eq!(daemonset.get("required"), None);
    let strategy = &schemas["io.k8s.api.apps.v1.DaemonSetSpec"]["properties"]["updateStrategy"];
    assert!(strategy["description"].as_str().unwrap().contains("update strategy"));
    assert_eq!(
        strategy["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.api.apps.v1.DaemonSetUpdateStrategy"
    );
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
}

#[test]
fn every_reference_leads_somewhere() {
    for (path, document) in DOCUMENTS.iter() {
        let json: Value = serde_json::from_slice(&document.bytes()).unwrap();
        let mut references = Vec::new();
        collect(&json, &mut references);
        assert!(!references.is_empty());
        for reference in references {
            assert!(json.pointer(reference.trim_start_matches('#')).is_some(), "{path}: {reference}");
        }
    }
}

fn collect(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                into.push(reference.clone());
            }
            map.values().for_each(|v| collect(v, into));
        }
        Value::Array(items) => items.iter().for_each(|v| collect(v, into)),
        _ => {}
    }
}

#[test]
fn the_index_names_every_group_with_its_hash() {
    let json: Value = serde_json::from_slice(&index()).unwrap();
    let url = json["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert_eq!(url, format!("/openapi/v3/apis/apps/v1?hash={}", document("apps", "v1").unwrap().hash));
    assert!(json["paths"].get("api/v1").is_some());
    assert!(document("apps", "v1beta1").is_none());
}
