//! The four kinds of patches, against real objects of every kind.
//!
//! Beyond the promises of every answer: a merge patch, a strategic merge patch or an apply that was accepted changes
//! nothing the second time, and an object is no change of itself.

use super::Target;
use crate::bend::{self, bend};
use crate::body;
use crate::draw::Draw;
use crate::memory::Account;
use crate::seeds::{self, Seed};
use crate::server::{self, Answer, Api, encoded};
use serde_json::{Value, json};

/// RFC 6902.
pub const JSON: Target = Target {
    name: "json-patch",
    question: "JSON patches against real objects: paths that lead nowhere, copies that double",
    tested: 3_800,
    words: &["[{\"op\":", "\"path\":\"", "/metadata", "/-", "~1", "\"from\":\"", "\"copy\"", "\"test\""],
    run: |input, account| run(Form::Json, input, account),
};
/// RFC 7386.
pub const MERGE: Target = Target {
    name: "merge-patch",
    question: "merge patches against real objects",
    tested: 2_700,
    words: &["{\"metadata\":{", "null"],
    run: |input, account| run(Form::Merge, input, account),
};
/// Kubernetes' own.
pub const STRATEGIC: Target = Target {
    name: "strategic",
    question: "strategic merge patches against real objects: directives, keys of lists",
    tested: 2_400,
    words: &["\"$patch\":", "\"$retainKeys\":", "\"$setElementOrder/", "\"$deleteFromPrimitiveList/"],
    run: |input, account| run(Form::Strategic, input, account),
};
/// Server-side apply.
pub const APPLY: Target = Target {
    name: "apply",
    question: "server-side apply by several managers: ownership, conflicts, what is given up",
    tested: 2_200,
    words: &["f:", "k:{\"name\":", "v:", "{\"metadata\":{"],
    run: |input, account| run(Form::Apply, input, account),
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Form::Json => "application/json-patch+json",
            Form::Merge => "application/merge-patch+json",
            Form::Strategic => "application/strategic-merge-patch+json",
            Form::Apply => "application/apply-patch+yaml",
        }
    }
}

/// Longest that one operation becomes by being repeated.
const REPEATED_MAX: usize = 512 << 10;
/// Patches of one input.
const PATCHES: usize = 4;

fn run(form: Form, input: &[u8], account: &mut Account) {
    let mut draw = Draw::new(input);
    let seed = draw.pick(seeds::all());
    if !seed.is_kept() {
        return;
    }
    server::with(account, async |api| {
        let Some(mut object) = api.create(seed).await else { return };
        let url =
            format!("{}/{}", seed.path, encoded(object["metadata"]["name"].as_str().unwrap_or_default()));
        for _ in 0..PATCHES {
            let patch = patch(&mut draw, form, seed, &object);
            let place = ["", "", "", "", "/status"][draw.below(5)];
            let query = query(&mut draw, form);
            let url = format!("{url}{place}{query}");
            let answer = send(api, form, &url, patch.clone()).await;
            if answer.is_written() && !query.contains("dryRun") {
                again(api, form, &url, patch, &answer.json).await;
                api.live_with(&seed.path, &answer.json).await;
                object = answer.json;
            }
            if draw.is_over() {
                break;
            }
        }
        if form == Form::Strategic && seed.ty().is_some() {
            let itself = send(api, form, &url, object.to_string().into_bytes()).await;
            if itself.is_written() {
                server::assert_same(
                    &itself.json,
                    &object,
                    &format!("{url}: an object is a change of itself"),
                );
            }
        }
    });
}

async fn send(api: &mut Api<'_>, form: Form, url: &str, patch: Vec<u8>) -> Answer {
    api.call("PATCH", url, &[("content-type", form.content_type())], patch).await
}

/// The second time nothing changes, or there is a reason to refuse it.
async fn again(api: &mut Api<'_>, form: Form, url: &str, patch: Vec<u8>, first: &Value) {
    let text = String::from_utf8_lossy(&patch).into_owned();
    // Who gives what the server writes itself gives it each time.
    let gives = ["managedFields", "daemonset.template.generation"].iter().any(|own| text.contains(own));
    if form == Form::Json || gives || server::is_kept_up(url) {
        return;
    }
    let second = send(api, form, url, patch).await;
    if second.is_written() {
        server::assert_same(
            &second.json,
            first,
            &format!("{url}: changes something the second time: {text}"),
        );
    }
}

fn query(draw: &mut Draw<'_>, form: Form) -> String {
    let manager = draw.word(&["a", "b", "c"]);
    let more = draw.word(&["", "", "&force=true", "&fieldValidation=Strict", "&dryRun=All", "&force=x"]);
    match form {
        Form::Apply => format!("?fieldManager={manager}{more}"),
        _ if draw.sometimes(128) => format!("?fieldManager={manager}{more}"),
        _ => String::new(),
    }
}

fn patch(draw: &mut Draw<'_>, form: Form, seed: &Seed, object: &Value) -> Vec<u8> {
    if draw.sometimes(12) {
        return draw.bytes(512).to_vec();
    }
    match form {
        Form::Json => {
            let operations = operations(draw, object);
            body::json(draw, &operations)
        }
        Form::Merge => {
            let value = partial(draw, seed, object);
            body::json(draw, &value)
        }
        Form::Strategic => {
            let mut value = partial(draw, seed, object);
            directives(draw, &mut value);
            body::json(draw, &value)
        }
        Form::Apply => {
            let base = if draw.sometimes(128) { &seed.object } else { object };
            let mut value = partial(draw, seed, base);
            if let Value::Object(map) = &mut value
                && !draw.sometimes(16)
            {
                map.insert("apiVersion".into(), seed.object["apiVersion"].clone());
                map.insert("kind".into(), seed.object["kind"].clone());
                map.remove("status");
                if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
                    for given in
                        ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"]
                    {
                        metadata.remove(given);
                    }
                }
            }
            if draw.sometimes(64) { body::yaml(draw, &value) } else { body::json(draw, &value) }
        }
    }
}

/// A part of the object, bent.
fn partial(draw: &mut Draw<'_>, seed: &Seed, object: &Value) -> Value {
    let mut value = object.clone();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
        && !draw.sometimes(16)
    {
        metadata.retain(|key, _| {
            matches!(
                key.as_str(),
                "name" | "namespace" | "labels" | "annotations" | "finalizers" | "ownerReferences"
            )
        });
    }
    for _ in 0..draw.below(6) {
        let places = bend::places(&value);
        let place = draw.pick(&places);
        if let Some((parent, key)) = place.rsplit_once('/')
            && let Some(Value::Object(map)) = value.pointer_mut(parent)
        {
            map.remove(&key.replace("~1", "/").replace("~0", "~"));
        }
    }
    bend(draw, &mut value, seed.ty());
    value
}

/// Directives of strategic merge, where they may mean something.
fn directives(draw: &mut Draw<'_>, value: &mut Value) {
    for _ in 0..draw.below(4) {
        let places = bend::places(value);
        let place = draw.pick(&places).clone();
        let list = place.rsplit('/').next().unwrap_or_default().to_string();
        let (key, says) = match draw.below(6) {
            0 => ("$patch".to_string(), json!(draw.word(&["replace", "delete", "merge", "x"]))),
            1 => ("$retainKeys".to_string(), json!(["name", "type", draw.word(&["x", "rollingUpdate"])])),
            2 => (
                format!("$setElementOrder/{list}"),
                json!([{"name": "a"}, {"name": "c"}, {"containerPort": 80}]),
            ),
            3 => (format!("$deleteFromPrimitiveList/{list}"), json!(["a", "x"])),
            4 => (
                format!("$setElementOrder/{}", draw.word(&["containers", "finalizers", "ports", "env", ""])),
                bend::scalar(draw),
            ),
            _ => ("$patch".to_string(), bend::scalar(draw)),
        };
        let at = match key.contains('/') {
            true => place.rsplit_once('/').map_or("", |(parent, _)| parent),
            false => &place,
        };
        if let Some(Value::Object(map)) = value.pointer_mut(at) {
            map.insert(key, says);
        } else if let Some(Value::Array(items)) = value.pointer_mut(at) {
            items.push(json!({ key: says, "name": "c" }));
        }
    }
}

fn operations(draw: &mut Draw<'_>, object: &Value) -> Value {
    let places = bend::places(object);
    let mut list = Vec::new();
    for _ in 0..=draw.below(8) {
        let path = path(draw, &places);
        let operation = match draw.below(7) {
            0 => json!({"op": "add", "path": path, "value": bend::scalar(draw)}),
            1 => json!({"op": "replace", "path": path, "value": bend::scalar(draw)}),
            2 => json!({"op": "remove", "path": path}),
            3 => json!({"op": "copy", "from": self::path(draw, &places), "path": path}),
            4 => json!({"op": "move", "from": self::path(draw, &places), "path": path}),
            5 => json!({"op": "test", "path": path, "value": object.pointer(&path)}),
            _ => json!({"op": bend::scalar(draw), "path": bend::scalar(draw)}),
        };
        let times = if draw.sometimes(16) { 1 << draw.below(14) } else { 1 };
        let times = times.min(1 + REPEATED_MAX / operation.to_string().len());
        list.extend(std::iter::repeat_n(operation, times));
    }
    list.into()
}

fn path(draw: &mut Draw<'_>, places: &[String]) -> String {
    let place = draw.pick(places);
    let more = draw.word(&[
        "",
        "",
        "",
        "",
        "/x",
        "/-",
        "/0",
        "/01",
        "/99999999999999999999",
        "/~",
        "/~2",
        "/",
        "/metadata",
        "x",
    ]);
    format!("{place}{more}")
}
