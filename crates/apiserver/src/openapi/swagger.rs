//! How does OpenAPI v2 say the same? One document of all groups, turned from OpenAPI v3 key by key.
//!
//! Pure. kubectl up to 1.28 validates, explains and merges by this document, in its protobuf form ([`super::gnostic`]).
//! v2 has no `oneOf`, no `nullable` and no request bodies: a Quantity is a string, an IntOrString a string of format
//! `int-or-string`, and a body is a parameter.
//! Kubernetes: `kube-openapi/pkg/builder`.

use serde_json::{Map, Value, json};

const V3: &str = "#/components/schemas/";
const V2: &str = "#/definitions/";

/// The document in version 2 that says what this one of version 3 says.
pub(super) fn from(mut v3: Value) -> Value {
    let paths = taken(&mut v3["paths"]);
    let definitions = taken(&mut v3["components"]["schemas"]);
    json!({
        "swagger": "2.0",
        "info": v3["info"],
        "paths": paths.into_iter().map(|(path, item)| (path, path_item(item))).collect::<Map<_, _>>(),
        "definitions": definitions.into_iter().map(|(n, s)| (n, schema(s))).collect::<Map<_, _>>(),
    })
}

fn taken(value: &mut Value) -> Map<String, Value> {
    match value.take() {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn path_item(item: Value) -> Value {
    let Value::Object(item) = item else { return item };
    let turned = item.into_iter().map(|(key, value)| match key.as_str() {
        "parameters" => (key, each(value, parameter)),
        _ => (key, operation(value)),
    });
    turned.collect::<Map<_, _>>().into()
}

fn operation(operation: Value) -> Value {
    let Value::Object(mut operation) = operation else { return operation };
    let mut parameters: Vec<Value> = Vec::new();
    let mut consumes = vec![json!("*/*")];
    if let Some(mut body) = operation.remove("requestBody") {
        let content = taken(&mut body["content"]);
        consumes = content.keys().map(|media| json!(media)).collect();
        let of_body = content.into_iter().next().map(|(_, mut media)| schema(media["schema"].take()));
        let mut parameter = json!({ "in": "body", "name": "body", "schema": of_body });
        if body["required"] == true {
            parameter["required"] = true.into();
        }
        parameters.push(parameter);
    }
    if let Some(Value::Array(given)) = operation.remove("parameters") {
        parameters.extend(given.into_iter().map(parameter));
    }
    let mut produces = Vec::new();
    let responses = taken(operation.entry("responses").or_insert(Value::Null));
    let responses = responses.into_iter().map(|(code, answer)| (code, response(answer, &mut produces)));
    let responses: Map<String, Value> = responses.collect();
    operation.insert("responses".into(), responses.into());
    operation.insert("consumes".into(), consumes.into());
    operation.insert("produces".into(), produces.into());
    operation.insert("schemes".into(), json!(["https"]));
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.into());
    }
    operation.into()
}

/// The answer without its media types, which are collected for the operation.
fn response(mut response: Value, produces: &mut Vec<Value>) -> Value {
    let mut turned = json!({ "description": response["description"].take() });
    for (media, mut content) in taken(&mut response["content"]) {
        if !produces.contains(&json!(media)) {
            produces.push(media.into());
        }
        turned["schema"] = schema(content["schema"].take());
    }
    turned
}

/// `{name, in, schema: {type}}` becomes `{name, in, type}`.
fn parameter(mut parameter: Value) -> Value {
    let of_schema = taken(&mut parameter["schema"]);
    if let Value::Object(parameter) = &mut parameter {
        parameter.remove("schema");
        parameter.extend(of_schema);
    }
    parameter
}

fn schema(value: Value) -> Value {
    let Value::Object(mut map) = value else { return value };
    if let Some(Value::Array(all)) = map.remove("allOf") {
        // v3 wraps a reference to give it neighbours; v2 lets them stand beside it.
        for part in all {
            map.extend(into_map(part));
        }
    }
    if map.remove("oneOf").is_some() {
        map.insert("type".into(), "string".into());
    }
    let turned = map.into_iter().map(|(key, value)| {
        let value = match (key.as_str(), value) {
            ("$ref", Value::String(reference)) => reference.replace(V3, V2).into(),
            ("properties", Value::Object(all)) => {
                all.into_iter().map(|(name, property)| (name, schema(property))).collect::<Map<_, _>>().into()
            }
            ("items" | "additionalProperties", value) => schema(value),
            (_, value) => value,
        };
        (key, value)
    });
    turned.collect::<Map<_, _>>().into()
}

fn into_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn each(value: Value, turn: impl Fn(Value) -> Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(turn).collect(),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_loses_what_v2_cannot_say() {
        let check = |v3: Value, v2: Value| assert_eq!(schema(v3.clone()), v2, "{v3}");
        check(
            json!({"allOf": [{"$ref": "#/components/schemas/a.B"}], "description": "d"}),
            json!({"$ref": "#/definitions/a.B", "description": "d"}),
        );
        check(
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            json!({"format": "int-or-string", "type": "string"}),
        );
        check(
            json!({"type": "array", "items": {"$ref": "#/components/schemas/X"}, "x-kubernetes-list-type": "set"}),
            json!({"type": "array", "items": {"$ref": "#/definitions/X"}, "x-kubernetes-list-type": "set"}),
        );
        // A property may be called like a word of the schema.
        check(
            json!({"properties": {"items": {"type": "string"}, "$ref": {"type": "string"}}}),
            json!({"properties": {"items": {"type": "string"}, "$ref": {"type": "string"}}}),
        );
    }

    #[test]
    fn a_body_becomes_a_parameter_and_media_types_stand_at_the_operation() {
        let v3 = json!({
            "parameters": [{"name": "dryRun", "in": "query", "schema": {"type": "string", "uniqueItems": true}}],
            "requestBody": {"required": true, "content": {"*/*": {"schema": {"$ref": "#/components/schemas/X"}}}},
            "responses": {"200": {"description": "OK", "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/X"}}}}},
        });
        let v2 = json!({
            "consumes": ["*/*"], "produces": ["application/json"], "schemes": ["https"],
            "parameters": [
                {"in": "body", "name": "body", "required": true, "schema": {"$ref": "#/definitions/X"}},
                {"name": "dryRun", "in": "query", "type": "string", "uniqueItems": true},
            ],
            "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/X"}}},
        });
        assert_eq!(operation(v3), v2);
    }
}
