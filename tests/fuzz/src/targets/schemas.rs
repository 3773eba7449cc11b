//! Schemas of CustomResourceDefinitions, and objects of them: directly, and through the server.
//!
//! What a schema has pruned or filled in, it leaves alone the second time.

use super::Target;
use crate::bend::{self, bend};
use crate::draw::Draw;
use crate::memory::Account;
use crate::novelty::{saw, shape};
use crate::seeds::{self, Seed};
use crate::{body, server};
use apiserver::schema::{Gvk, Type, schema};
use serde_json::{Value, json};
use structural::{Path, Scope};

/// The target.
pub const TARGET: Target = Target {
    name: "schemas",
    question: "schemas of CustomResourceDefinitions, and objects of them",
    tested: 4_800,
    words: &["properties", "pattern", "(a*)*", "x-kubernetes-", "default"],
    run,
};

const PATTERNS: &[&str] = &[
    "^a+$",
    "(a+)+$",
    "a{1000}",
    "(a{100}){100}",
    "((a{100}){100}){100}",
    "[",
    "(?=a)",
    "\\d",
    "\\p{L}*",
    "(?i)é",
    "^$",
    "a|b|",
    "(?P<x>a)",
    ".*.*.*=.*",
    "\\",
    "(((((((((((a)))))))))))",
    "\\x{10ffff}",
    "[^a-z]*",
    "x*?",
    "\\b",
];

fn run(input: &[u8], account: &mut Account) {
    let mut draw = Draw::new(input);
    let Some(seed) = seeds::all().iter().find(|seed| seed.path.contains("customresourcedefinitions")) else {
        return;
    };
    let mut definition = seed.object.clone();
    let place = "/spec/versions/0/schema/openAPIV3Schema";
    let mut open = definition.pointer(place).cloned().unwrap_or_default();
    bend(&mut draw, &mut open, of_schema());
    keywords(&mut draw, &mut open);
    let mut object = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x"},
        "spec": {"size": 1, "name": "a", "list": [{"name": "a", "port": 1}], "map": {"a": "b"}, "any": {"x": [1]}, "when": "2020-01-01T00:00:00Z"}});
    bend(&mut draw, &mut object, None);
    directly(account, &open, &object);
    if draw.sometimes(96) {
        if let Some(there) = definition.pointer_mut(place) {
            *there = open;
        }
        if draw.sometimes(64) {
            bend(&mut draw, &mut definition, seed.ty());
        }
        through_the_server(&mut draw, account, seed, &definition, &object);
    }
}

fn of_schema() -> Option<&'static Type> {
    schema().kind(Gvk::new("apiextensions.k8s.io/v1", "CustomResourceDefinition"))?;
    schema().types().find(|ty| ty.short_name() == "JSONSchemaProps")
}

/// Keywords where schemas stand, which the table of types alone would seldom hit.
fn keywords(draw: &mut Draw<'_>, open: &mut Value) {
    for _ in 0..draw.below(6) {
        let places = bend::places(open);
        let place = draw.pick(&places).clone();
        let (key, value) = match draw.below(12) {
            0 => ("pattern", json!(draw.word(PATTERNS))),
            1 => ("default", bend::scalar(draw)),
            2 => ("enum", json!([bend::scalar(draw), "a", 1, null])),
            3 => (
                "type",
                json!(draw.word(&["object", "array", "string", "integer", "number", "boolean", "x", ""])),
            ),
            4 => ("x-kubernetes-preserve-unknown-fields", json!(true)),
            5 => ("x-kubernetes-int-or-string", json!(true)),
            6 => (
                "additionalProperties",
                draw.pick(&[
                    json!(true),
                    json!(false),
                    json!({"type": "string"}),
                    json!({"type": "object", "default": {}}),
                ])
                .clone(),
            ),
            7 => ("x-kubernetes-list-type", json!(draw.word(&["map", "set", "atomic", "x"]))),
            8 => (
                "format",
                json!(draw.word(&[
                    "date-time",
                    "int32",
                    "int64",
                    "byte",
                    "email",
                    "ipv4",
                    "uuid",
                    "x",
                    "duration",
                    "cidr",
                    "password"
                ])),
            ),
            9 => (
                "allOf",
                json!([{"properties": {"a": {"pattern": draw.word(PATTERNS)}}}, {"not": {"required": ["x"]}}]),
            ),
            10 => ("maxLength", json!(draw.pick(&[-1, 0, 1, i64::MAX]))),
            _ => ("nullable", json!(true)),
        };
        if let Some(Value::Object(map)) = open.pointer_mut(&place) {
            map.insert(key.to_string(), value);
        }
    }
    if draw.sometimes(8) {
        // A body may nest no deeper than a hundred.
        let mut tower = json!({"type": "object"});
        for _ in 0..1 << draw.below(7) {
            tower = json!({"type": "object", "properties": {"a": tower}});
        }
        open["properties"]["tower"] = tower;
    }
}

fn directly(account: &mut Account, open: &Value, object: &Value) {
    account.send(open.to_string().len() + object.to_string().len());
    let schema = match structural::read(open, &Path::At("schema")) {
        Ok(schema) => schema,
        Err(findings) => {
            return findings.iter().for_each(|finding| {
                saw((
                    shape(&finding.detail),
                    format!("{:?}", finding.problem).chars().take(12).collect::<String>(),
                ))
            });
        }
    };
    let mut pruned = object.clone();
    let unknown = structural::prune(&mut pruned, &schema);
    saw(format!("{unknown:?}").len().min(64));
    let mut again = pruned.clone();
    structural::prune(&mut again, &schema);
    assert_eq!(again, pruned, "pruned twice under {open}");
    let mut filled = pruned.clone();
    match structural::fill(&mut filled, &schema) {
        Ok(changed) => {
            saw(changed);
            let mut again = filled.clone();
            assert_eq!(
                structural::fill(&mut again, &schema),
                Ok(false),
                "filled twice under {open}: {filled}"
            );
            assert_eq!(again, filled, "filled twice under {open}");
        }
        Err(_) => saw("too much"),
    }
    for finding in structural::check(&filled, Some(object), &schema, Scope::Object) {
        saw(shape(&finding.detail));
    }
}

fn through_the_server(
    draw: &mut Draw<'_>,
    account: &mut Account,
    seed: &Seed,
    definition: &Value,
    object: &Value,
) {
    let headers = [("content-type", "application/json")];
    let first = body::json(draw, definition);
    let second = body::json(draw, object);
    server::with(account, async |api| {
        let answer = api.call("POST", &seed.path, &headers, first).await;
        if !answer.is_written() {
            return;
        }
        api.live_with(&seed.path, &answer.json).await;
        let text = |pointer: &str| {
            answer.json.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_string()
        };
        let (group, version, plural) =
            (text("/spec/group"), text("/spec/versions/0/name"), text("/spec/names/plural"));
        let place = if text("/spec/scope") == "Cluster" { "" } else { "/namespaces/default" };
        let things = format!("/apis/{group}/{version}{place}/{plural}");
        let made = api.call("POST", &things, &headers, second).await;
        if made.is_written() {
            api.live_with(&things, &made.json).await;
        }
    });
}
