//! Which parameters has a request, as OpenAPI says it?
//!
//! Pure data. `fieldValidation` at PATCH is what makes kubectl leave strict validation to the server (wire 1.5.3).
//! Kubernetes: the `…Options` structs of `apimachinery/pkg/apis/meta/v1`.

use serde_json::{Value, json};

/// Name, type, what it does.
type Parameter = (&'static str, &'static str, &'static str);

const WRITE: &[Parameter] = &[
    ("dryRun", "string", "\"All\": nothing is stored; the answer is what would have been."),
    ("fieldManager", "string", "The name of who makes the change, at most 128 printable characters."),
    (
        "fieldValidation",
        "string",
        "What happens to unknown and duplicate fields: Ignore drops them, Warn (default) says so in a header, Strict refuses the request.",
    ),
];

const FORCE: Parameter =
    ("force", "boolean", "Takes over fields that others own. Only for server-side apply.");

const DELETE: &[Parameter] = &[
    ("dryRun", "string", "\"All\": nothing is deleted; the answer is what would have been."),
    ("gracePeriodSeconds", "integer", "Seconds that the object has to end; zero means at once."),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    (
        "propagationPolicy",
        "string",
        "What becomes of dependents: Orphan leaves them, Background deletes them afterwards, Foreground before.",
    ),
];

const LIST: &[Parameter] = &[
    ("continue", "string", "The token of the next page, from metadata.continue of the last one."),
    ("fieldSelector", "string", "Only objects with these values of fields."),
    ("labelSelector", "string", "Only objects with these labels."),
    ("limit", "integer", "At most so many objects; the answer says where to go on."),
    ("resourceVersion", "string", "How new the answer must at least be, or where a watch begins."),
    ("resourceVersionMatch", "string", "How resourceVersion is meant: NotOlderThan or Exact."),
    ("timeoutSeconds", "integer", "How long the request may take, whatever happens."),
];

const WATCH: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean", "Asks for events of type BOOKMARK, which tell only a revision."),
    ("sendInitialEvents", "boolean", "Begins a watch with what is there, and a bookmark after it."),
    ("watch", "boolean", "Answers with a stream of changes instead of a list."),
];

const LOG: &[Parameter] = &[
    ("container", "string", "Which container, where the pod has several."),
    ("follow", "boolean", "Goes on while the container writes."),
    (
        "insecureSkipTLSVerifyBackend",
        "boolean",
        "Accepted and ignored: the node always has to prove who it is.",
    ),
    ("limitBytes", "integer", "At most so many bytes."),
    ("previous", "boolean", "The log of the container's last life."),
    ("sinceSeconds", "integer", "Only what was written in the last seconds."),
    ("sinceTime", "string", "Only what was written since, RFC 3339."),
    ("stream", "string", "All, Stdout or Stderr."),
    ("tailLines", "integer", "Only the last lines."),
    ("timestamps", "boolean", "Each line begins with its time."),
];

/// Of an operation on a kind.
pub(super) fn of_query(verb: &str, watched: bool) -> Vec<Value> {
    let force = [FORCE];
    let lists: &[&[Parameter]] = match verb {
        "create" | "update" => &[WRITE],
        "patch" => &[WRITE, &force],
        "delete" => &[DELETE],
        "deletecollection" => &[DELETE, LIST],
        "list" if watched => &[LIST, WATCH],
        "list" => &[LIST],
        _ => &[],
    };
    let mut all: Vec<&Parameter> = lists.iter().copied().flatten().collect();
    all.sort_by_key(|(name, ..)| *name);
    all.into_iter().map(in_query).collect()
}

/// Of `pods/log`.
pub(super) fn of_log() -> Vec<Value> {
    LOG.iter().map(in_query).collect()
}

/// Of every operation of a path: its names, and `pretty`.
pub(super) fn of_path(path: &str) -> Vec<Value> {
    let names = ["name", "namespace", "path"];
    let named = names.into_iter().filter(|name| path.contains(&format!("{{{name}}}")));
    let mut all: Vec<Value> = named
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "description": format!("{name} of what is meant"),
                "schema": { "type": "string", "uniqueItems": true } })
        })
        .collect();
    all.push(in_query(&("pretty", "string", "\"true\": the answer is indented.")));
    all
}

fn in_query((name, kind, description): &Parameter) -> Value {
    json!({ "name": name, "in": "query", "description": description,
        "schema": { "type": kind, "uniqueItems": true } })
}
