//! Which URLs and methods does a kind have, as OpenAPI says it?
//!
//! One operation for every verb of a kind and of its subresources, with the names, parameters, bodies and answers that
//! client generators read (wire 1.5.3, 1.5.7). A watch is a list with `watch=true`, as for a real server, whose
//! `/watch/` paths are deprecated: they are served and not listed.
//! Kubernetes: `apiserver/pkg/endpoints/installer.go`.

use super::extension;
use super::parameters;
use super::schemas::{meta, name_of, reference};
use crate::resources::{Kind, Subresource};
use crate::schema::{Gvk, schema};
use serde_json::{Map, Value, json};

/// Where a path leads.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    /// All objects of all namespaces.
    Everywhere,
    Collection,
    Item,
}

/// OpenAPI method, Kubernetes verb, Kubernetes action, start of the operation's name.
type Method = (&'static str, &'static str, &'static str, &'static str);

const COLLECTION: &[Method] = &[
    ("get", "list", "list", "list"),
    ("post", "create", "post", "create"),
    ("delete", "deletecollection", "deletecollection", "delete"),
];
const ITEM: &[Method] = &[
    ("get", "get", "get", "read"),
    ("put", "update", "put", "replace"),
    ("patch", "patch", "patch", "patch"),
    ("delete", "delete", "delete", "delete"),
    ("post", "create", "post", "create"),
];

/// The types in which a patch may come.
const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// What one operation is about.
struct Subject<'a> {
    kind: &'a Kind,
    sub: Option<&'a Subresource>,
    level: Level,
}

/// Path items of the kind, its collection and its subresources.
pub(super) fn of(kind: &Kind) -> Vec<(String, Value)> {
    let root = format!("/{}", super::path_of(kind.group, kind.version));
    let collection = match kind.namespaced {
        true => format!("{root}/namespaces/{{namespace}}/{}", kind.plural),
        false => format!("{root}/{}", kind.plural),
    };
    let item = format!("{collection}/{{name}}");
    let of_kind = |level| Subject { kind, sub: None, level };
    let mut paths = Vec::new();
    if kind.namespaced {
        paths.push((format!("{root}/{}", kind.plural), of_kind(Level::Everywhere)));
    }
    paths.push((collection, of_kind(Level::Collection)));
    paths.push((item.clone(), of_kind(Level::Item)));
    for sub in kind.subresources {
        let path = format!("{item}/{}", sub.name);
        paths.push((path.clone(), Subject { kind, sub: Some(sub), level: Level::Item }));
        if sub.name == "proxy" {
            paths.push((format!("{path}/{{path}}"), Subject { kind, sub: Some(sub), level: Level::Item }));
        }
    }
    let items = paths.into_iter().map(|(path, subject)| {
        let item = subject.path_item(&path);
        (path, item)
    });
    items.filter_map(|(path, item)| item.map(|item| (path, item))).collect()
}

impl Subject<'_> {
    fn path_item(&self, path: &str) -> Option<Value> {
        let verbs = self.sub.map_or(self.kind.verbs, |sub| sub.verbs);
        let methods = match self.level {
            Level::Everywhere => COLLECTION.iter().filter(|(method, ..)| *method == "get").collect(),
            Level::Collection => COLLECTION.iter().collect(),
            // Objects are created in their collection; `binding`, `eviction` and `token` where they are.
            Level::Item => {
                ITEM.iter().filter(|(http, ..)| self.sub.is_some() || *http != "post").collect::<Vec<_>>()
            }
        };
        let operations = methods.into_iter().filter(|(_, verb, ..)| verbs.contains(verb));
        let mut item: Map<String, Value> = operations
            .map(|method| (method.0.to_string(), self.operation(method, path.ends_with("{path}"))))
            .collect();
        if item.is_empty() {
            return None;
        }
        item.insert("parameters".into(), parameters::of_path(path).into());
        Some(item.into())
    }

    fn operation(&self, method: &Method, with_path: bool) -> Value {
        let (http, verb, action, _) = *method;
        let gvk = self.sub.map_or(Gvk::from(self.kind), |sub| self.kind.of_subresource(sub));
        let connects = self.connects();
        let mut operation = json!({
            "description": self.description(verb),
            "operationId": self.operation_id(method, with_path),
            "tags": [tag(self.kind)],
            "responses": self.responses(verb, gvk),
            "x-kubernetes-action": if connects { "connect" } else { action },
            "x-kubernetes-group-version-kind": extension(gvk),
        });
        let watched = verb == "list" && self.kind.verbs.contains(&"watch");
        let query = match self.sub {
            Some(sub) if sub.name == "log" => parameters::of_log(),
            _ if connects => Vec::new(),
            _ => parameters::of_query(verb, watched),
        };
        if !query.is_empty() {
            operation["parameters"] = query.into();
        }
        if let Some(body) = body(http, verb, gvk).filter(|_| !connects) {
            operation["requestBody"] = body;
        }
        operation
    }

    /// What is passed on to a node has no schema: `proxy`, `exec`, `attach`, `portforward`.
    fn connects(&self) -> bool {
        self.sub.is_some_and(|sub| name_of(self.kind.of_subresource(sub)).is_empty())
    }

    fn responses(&self, verb: &str, gvk: Gvk<'_>) -> Value {
        let object = name_of(gvk);
        let answer = match verb {
            "list" => format!("{object}List"),
            "deletecollection" => meta("Status"),
            "delete" if !self.kind.traits.delete_returns_object => meta("Status"),
            _ => object,
        };
        let of_log = self.sub.is_some_and(|sub| sub.name == "log");
        let content = match answer.is_empty() || of_log {
            true if of_log => json!({ "text/plain": { "schema": { "type": "string" } } }),
            true => json!({ "*/*": { "schema": { "type": "string" } } }),
            false => json!({ "application/json": { "schema": reference(&answer) } }),
        };
        let said = |text: &str| json!({ "description": text, "content": content });
        let mut responses = json!({ "200": said("OK"), "401": { "description": "Unauthorized" } });
        match verb {
            "create" => {
                responses["201"] = said("Created");
                responses["202"] = said("Accepted");
            }
            "update" | "patch" => responses["201"] = said("Created"),
            "delete" => responses["202"] = said("Accepted"),
            _ => {}
        }
        responses
    }

    fn description(&self, verb: &str) -> String {
        let kind = self.kind.kind;
        match (self.sub, verb) {
            (Some(sub), verb) => format!("{verb} {} of the specified {kind}", sub.name),
            (None, "list") => format!("list or watch objects of kind {kind}"),
            (None, "create") => format!("create a {kind}"),
            (None, "deletecollection") => format!("delete collection of {kind}"),
            (None, "get") => format!("read the specified {kind}"),
            (None, "update") => format!("replace the specified {kind}"),
            (None, "patch") => format!("partially update the specified {kind}"),
            (None, verb) => format!("{verb} a {kind}"),
        }
    }

    /// `listAppsV1DaemonSetForAllNamespaces`, `readCoreV1NamespacedPodLog`: generators name functions after it.
    fn operation_id(&self, method: &Method, with_path: bool) -> String {
        let (http, verb, _, start) = *method;
        let start = if self.connects() { format!("connect{}", capitalised(http)) } else { start.to_string() };
        let group = capitalised_group(self.kind.group);
        let version = capitalised(self.kind.version);
        let scope = if self.kind.namespaced && self.level != Level::Everywhere { "Namespaced" } else { "" };
        let many = if verb == "deletecollection" { "Collection" } else { "" };
        let sub = self.sub.map(|sub| capitalised(sub.name)).unwrap_or_default();
        let end = match (self.level, with_path) {
            (Level::Everywhere, _) => "ForAllNamespaces",
            (_, true) => "WithPath",
            _ => "",
        };
        format!("{start}{group}{version}{many}{scope}{}{sub}{end}", self.kind.kind)
    }
}

/// What the request carries.
fn body(http: &str, verb: &str, gvk: Gvk<'_>) -> Option<Value> {
    let content = |media: &str, name: &str| (media.to_string(), json!({ "schema": reference(name) }));
    let (required, content) = match (http, verb) {
        ("post" | "put", _) => (true, Map::from_iter([content("*/*", &name_of(gvk))])),
        ("patch", _) => (true, patches(gvk).map(|media| content(media, &meta("Patch"))).collect()),
        ("delete", _) => (false, Map::from_iter([content("*/*", &meta("DeleteOptions"))])),
        _ => return None,
    };
    let mut body = json!({ "content": content });
    if required {
        body["required"] = true.into();
    }
    Some(body)
}

/// Nobody has types of what somebody has defined, so nobody can merge it strategically.
fn patches(gvk: Gvk<'_>) -> impl Iterator<Item = &'static str> {
    let known = schema().kind(gvk).is_some();
    PATCHES.iter().copied().filter(move |media| known || *media != crate::patch::STRATEGIC_PATCH)
}

fn tag(kind: &Kind) -> String {
    let group = capitalised_group(kind.group);
    let mut letters = group.chars();
    let first = letters.next().map(|c| c.to_ascii_lowercase()).into_iter();
    format!("{}_{}", first.chain(letters).collect::<String>(), kind.version)
}

/// `rbac.authorization.k8s.io` is `RbacAuthorization`.
fn capitalised_group(group: &str) -> String {
    match group.strip_suffix(".k8s.io").unwrap_or(group) {
        "" => "Core".to_string(),
        group => group.split('.').map(capitalised).collect(),
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}
