//! Bodies of creates and updates, in the three forms, of every kind.

use super::Target;
use crate::bend::bend;
use crate::draw::Draw;
use crate::memory::Account;
use crate::seeds::{self, Seed};
use crate::server::{self, Api, encoded};
use crate::{body, protobuf};

/// JSON.
pub const JSON: Target = Target {
    name: "json",
    question: "JSON bodies of every kind: refused as a client's mistake, or an object that one can live with",
    tested: 5_700,
    words: &["{", "}", "[", "]", "\"metadata\":", "\"name\":\"x\"", "null", "1e999", "\\ud800"],
    run: |input, account| run(Form::Json, input, account),
};

/// YAML.
pub const YAML: Target = Target {
    name: "yaml",
    question: "YAML bodies of every kind: anchors, tags, documents, towers",
    tested: 1_800,
    words: &[
        "\n",
        ": ",
        "- ",
        "&a ",
        "*a",
        "<<: ",
        "!!",
        "|\n ",
        "---\n",
        "? ",
        "metadata:\n  name: x\n",
        "\t",
        "[",
        "{",
    ],
    run: |input, account| run(Form::Yaml, input, account),
};

/// Protobuf.
pub const PROTOBUF: Target = Target {
    name: "protobuf",
    question: "protobuf bodies of every kind, with lengths that lie",
    tested: 3_000,
    words: &["k8s\0", "\n", "\u{12}", "v1", "\u{8}\u{1}"],
    run: |input, account| run(Form::Protobuf, input, account),
};

#[derive(Debug, Clone, Copy)]
enum Form {
    Json,
    Yaml,
    Protobuf,
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Form::Json => "application/json",
            Form::Yaml => "application/yaml",
            Form::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

const QUERIES: &[&str] = &[
    "",
    "?fieldValidation=Strict",
    "?fieldValidation=Ignore",
    "?fieldManager=x",
    "?pretty=true",
    "?dryRun=All",
    "?fieldValidation=Strict&fieldManager=kubectl-client-side-apply",
];

fn run(form: Form, input: &[u8], account: &mut Account) {
    let mut draw = Draw::new(input);
    let seed = draw.pick(seeds::all());
    let query = draw.word(QUERIES);
    let first = written(&mut draw, form, seed);
    let headers = [("content-type", form.content_type())];
    server::with(account, async |api| {
        let answer = api.call("POST", &format!("{}{query}", seed.path), &headers, first).await;
        if !seed.is_kept() || query.contains("dryRun") {
            return;
        }
        let object = match answer.is_written() {
            true => answer.json,
            false => {
                // What cannot be created may yet be what something becomes.
                let Some(object) = api.create(seed).await else { return };
                object
            }
        };
        if answer.code == 201 {
            api.live_with(&seed.path, &object).await;
        }
        update(api, &mut draw, form, seed, &object).await;
    });
}

/// The body: of a bent object, or the input as it is.
fn written(draw: &mut Draw<'_>, form: Form, seed: &Seed) -> Vec<u8> {
    if draw.sometimes(16) {
        return draw.bytes(1 << 10).to_vec();
    }
    let mut object = seed.object.clone();
    bend(draw, &mut object, seed.ty());
    in_form(draw, form, seed, &object)
}

fn in_form(draw: &mut Draw<'_>, form: Form, seed: &Seed, object: &serde_json::Value) -> Vec<u8> {
    match (form, seed.ty()) {
        (Form::Json, _) => body::json(draw, object),
        (Form::Yaml, _) => body::yaml(draw, object),
        (Form::Protobuf, Some(ty)) => protobuf::enveloped(draw, object, ty),
        (Form::Protobuf, None) => body::json(draw, object),
    }
}

async fn update(api: &mut Api<'_>, draw: &mut Draw<'_>, form: Form, seed: &Seed, object: &serde_json::Value) {
    let mut next = object.clone();
    bend(draw, &mut next, seed.ty());
    let body = in_form(draw, form, seed, &next);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let place = ["", "", "", "/status"][draw.below(4)];
    let url = format!("{}/{}{place}", seed.path, encoded(name));
    let answer = api.call("PUT", &url, &[("content-type", form.content_type())], body).await;
    if answer.is_written() {
        api.live_with(&seed.path, &answer.json).await;
    }
}
