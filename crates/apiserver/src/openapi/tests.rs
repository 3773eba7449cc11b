//! What kubectl looks for in the documents, and that table and descriptions agree.

use super::*;
use crate::schema::schema;
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
        let kind = KINDS.iter().find(|kind| Gvk::from(*kind) == gvk).unwrap();
        let text = &schemas::of(&[kind])[&name]["description"];
        assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{gvk:?}: {name} says nothing");
    }
}

#[test]
fn the_document_has_what_kubectl_apply_and_explain_look_for() {
    let json: Value =
        serde_json::from_slice(&document(&Documents::new(), "apps", "v1").unwrap().bytes()).unwrap();
    let gvk = json!({"group": "apps", "version": "v1", "kind": "DaemonSet"});
    let item = &json["paths"]["/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}"];
    assert_eq!(item["patch"]["x-kubernetes-group-version-kind"], gvk);
    let parameters = item["patch"]["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|p| p["name"] == "fieldValidation" && p["in"] == "query"));
    let body = &item["patch"]["requestBody"]["content"];
    assert!(body.get("application/strategic-merge-patch+json").is_some());

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

/// Every document, by its name: those of v3, and v2.
fn all_documents() -> Vec<(String, Value)> {
    let read = |document: &Document| serde_json::from_slice(&document.bytes()).unwrap();
    let v3 = DOCUMENTS.iter().map(|(path, document)| (path.clone(), read(document)));
    v3.chain([("v2".to_string(), read(&version_2(Form::Json)))]).collect()
}

#[test]
fn every_reference_leads_somewhere() {
    for (path, json) in all_documents() {
        let mut references = Vec::new();
        collect(&json, &mut references);
        assert!(!references.is_empty());
        for reference in references {
            assert!(json.pointer(reference.trim_start_matches('#')).is_some(), "{path}: {reference}");
        }
    }
}

/// Method, level and Kubernetes' action of a verb.
fn place(verb: &str, subresource: bool) -> (&'static str, bool, &'static str) {
    match verb {
        "list" | "watch" => ("get", false, "list"),
        "create" => ("post", subresource, "post"),
        "deletecollection" => ("delete", false, "deletecollection"),
        "get" => ("get", true, "get"),
        "update" => ("put", true, "put"),
        "patch" => ("patch", true, "patch"),
        "delete" => ("delete", true, "delete"),
        verb => panic!("{verb}"),
    }
}

#[test]
fn every_verb_of_everything_that_is_served_is_an_operation_of_both_documents() {
    let documents: BTreeMap<String, Value> = all_documents().into_iter().collect();
    for kind in KINDS {
        let main = [("", kind.verbs, Gvk::from(kind))];
        let subs = kind.subresources.iter().map(|sub| (sub.name, sub.verbs, kind.of_subresource(sub)));
        for (sub, verb, gvk) in main
            .into_iter()
            .chain(subs)
            .flat_map(|(sub, verbs, gvk)| verbs.iter().map(move |verb| (sub, *verb, gvk)))
        {
            let (method, item, action) = place(verb, !sub.is_empty());
            let namespace = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
            let group = path_of(kind.group, kind.version);
            let mut path = format!("/{group}{namespace}/{}", kind.plural);
            path.extend(item.then_some("/{name}"));
            path.extend((!sub.is_empty()).then(|| format!("/{sub}")));
            for name in [group.as_str(), "v2"] {
                let operation = &documents[name]["paths"][&path][method];
                let said = format!("{name}: {method} {path} for {verb}");
                assert_eq!(operation["x-kubernetes-group-version-kind"], extension(gvk), "{said}");
                let told = operation["x-kubernetes-action"].as_str();
                assert!([Some(action), Some("connect")].contains(&told), "{said}: {told:?}");
                if verb == "watch" {
                    let parameters = operation["parameters"].as_array().unwrap();
                    assert!(parameters.iter().any(|parameter| parameter["name"] == "watch"), "{said}");
                }
            }
        }
    }
}

#[test]
fn a_generator_finds_names_parameters_and_bodies() {
    for (document, json) in all_documents() {
        let mut names = BTreeSet::new();
        for (path, item) in json["paths"].as_object().unwrap() {
            let in_path: BTreeSet<&str> =
                path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}')).collect();
            let declared = item["parameters"].as_array().unwrap().iter().filter(|p| p["in"] == "path");
            let declared: BTreeSet<&str> = declared.map(|p| p["name"].as_str().unwrap()).collect();
            assert_eq!(in_path, declared, "{document}: {path}");
            for (method, operation) in item.as_object().unwrap().iter().filter(|(k, _)| *k != "parameters") {
                let name = operation["operationId"].as_str().unwrap().to_string();
                assert!(names.insert(name.clone()), "{document}: {name} stands twice");
                assert!(operation["responses"]["200"].is_object(), "{document}: {name}");
                let bodies = operation["parameters"].as_array().into_iter().flatten();
                let body =
                    operation["requestBody"].is_object() || bodies.into_iter().any(|p| p["in"] == "body");
                let carries = method != "get" && operation["x-kubernetes-action"] != "connect";
                assert_eq!(body, carries, "{document}: {name}");
            }
        }
    }
    for name in [
        "listAppsV1DaemonSetForAllNamespaces",
        "createCoreV1NamespacedPodBinding",
        "deleteRbacAuthorizationV1CollectionClusterRole",
        "connectGetCoreV1NodeProxyWithPath",
        "readCoreV1NamespacedPodLog",
    ] {
        let json = &all_documents().pop().unwrap().1;
        assert!(json["paths"].to_string().contains(&format!("\"operationId\":\"{name}\"")), "{name}");
    }
}

#[test]
fn a_list_and_its_items_are_told_apart() {
    let json: Value =
        serde_json::from_slice(&document(&Documents::new(), "apps", "v1").unwrap().bytes()).unwrap();
    let list = &json["components"]["schemas"]["io.k8s.api.apps.v1.DaemonSetList"];
    let gvk = json!([{"group": "apps", "version": "v1", "kind": "DaemonSetList"}]);
    assert_eq!(list["x-kubernetes-group-version-kind"], gvk);
    let item = &list["properties"]["items"]["items"]["$ref"];
    assert_eq!(item, "#/components/schemas/io.k8s.api.apps.v1.DaemonSet");
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
    let json: Value = serde_json::from_slice(&index(&BTreeMap::new())).unwrap();
    let url = json["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert_eq!(
        url,
        format!("/openapi/v3/apis/apps/v1?hash={}", document(&Documents::new(), "apps", "v1").unwrap().hash)
    );
    assert!(json["paths"].get("api/v1").is_some());
    assert!(document(&Documents::new(), "apps", "v1beta1").is_none());
}
