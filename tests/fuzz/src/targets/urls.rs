//! Paths, queries and headers: every word of them right or wrong, for every verb.

use super::Target;
use crate::draw::Draw;
use crate::memory::Account;
use crate::{seeds, server};

/// The target.
pub const TARGET: Target = Target {
    name: "urls",
    question: "paths, queries and headers: any of them gets an answer that is no 500",
    tested: 11_000,
    words: &[
        "/api",
        "/apis",
        "/v1",
        "namespaces",
        "?watch=1",
        "&limit=",
        "&continue=",
        "%2f",
        "%00",
        "%",
        "resourceVersion=",
    ],
    run,
};

const METHODS: &[&str] =
    &["GET", "GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"];
const WORDS: &[&str] = &[
    "api",
    "apis",
    "v1",
    "apps",
    "namespaces",
    "default",
    "pods",
    "daemonsets",
    "nodes",
    "status",
    "log",
    "exec",
    "proxy",
    "scale",
    "binding",
    "eviction",
    "watch",
    "configmaps",
    "kube-root-ca.crt",
    "openapi",
    "v2",
    "v3",
    "version",
    "healthz",
    "livez",
    "readyz",
    "metrics",
    "metrics.k8s.io",
    "v1beta1",
    "rbac.authorization.k8s.io",
    "clusterroles",
    "x",
    "",
    ".",
    "..",
    "%2f",
    "%00",
    "%ff",
    "%",
    "%4",
    "%C3%A9",
    "a%2Fb",
    "+",
    ";",
    ":",
    "@",
    "*",
    "~",
    "everynode",
    "ca",
    "finalize",
    "token",
    "attach",
    "portforward",
    "cluster-admin",
    "events",
    "serviceaccounts",
    "customresourcedefinitions",
    "apiextensions.k8s.io",
    ".well-known",
    "openid-configuration",
    "openid",
    "jwks",
    "ping",
    "crd-informer-synced",
    "livez/ping",
];
const PARAMETERS: &[&str] = &[
    "watch",
    "limit",
    "continue",
    "resourceVersion",
    "resourceVersionMatch",
    "labelSelector",
    "fieldSelector",
    "timeoutSeconds",
    "allowWatchBookmarks",
    "sendInitialEvents",
    "fieldValidation",
    "fieldManager",
    "force",
    "dryRun",
    "pretty",
    "timeout",
    "gracePeriodSeconds",
    "propagationPolicy",
    "orphanDependents",
    "includeObject",
    "container",
    "follow",
    "tailLines",
    "sinceSeconds",
    "sinceTime",
    "limitBytes",
    "command",
    "stdin",
    "ports",
    "verbose",
    "exclude",
    "hash",
    "x",
    "",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
];
const VALUES: &[&str] = &[
    "",
    "1",
    "0",
    "true",
    "false",
    "-1",
    "2",
    "10",
    "500",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "1e3",
    "Exact",
    "NotOlderThan",
    "a=b",
    "!a",
    "a%20in%20(b,c)",
    "metadata.name=x",
    "metadata.namespace!=default",
    "spec.nodeName=",
    "status.phase=Running",
    "Strict",
    "Ignore",
    "All",
    "Background",
    "Orphan",
    "Foreground",
    "Object",
    "None",
    "Metadata",
    "%00",
    "%",
    "é",
    "+",
    "1s",
    "1ns",
    "99999999h",
    "-1s",
    "1.5h",
    "2020-01-01T00:00:00Z",
    "eyJ2IjoiZXZlcnlub2RlL3YxIiwicnYiOjEsInN0YXJ0IjoiYSJ9",
    "eyJ2IjoiZXZlcnlub2RlL3YxIiwicnYiOjE4NDQ2NzQ0MDczNzA5NTUxNjE1LCJzdGFydCI6IiJ9",
    "eyJ2IjoiZXZlcnlub2RlL3YxIiwicnYiOjAsInN0YXJ0IjoiL3JlZ2lzdHJ5L3BvZHMvZGVmYXVsdC94In0",
];
const HEADERS: &[(&str, &[&str])] = &[
    (
        "accept",
        &[
            "application/json",
            "*/*",
            "",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
            "text/html;q=0.1",
            "application/json;as=Table;v=v1;g=meta.k8s.io",
            "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            "application/json;as=Table;v=v9;g=x",
            ";;;",
            "a/b/c",
            "application/json;stream=watch",
            "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        ],
    ),
    (
        "content-type",
        &[
            "application/json",
            "",
            "application/yaml",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
            "x",
            "application/json;charset=é",
        ],
    ),
    ("accept-encoding", &["gzip", "gzip;q=0", "*", "br, gzip;q=0.5", ";;q=x"]),
    ("impersonate-user", &["x", "", "system:anonymous", "é"]),
    ("impersonate-group", &["x", "system:masters"]),
    ("impersonate-extra-a%2fb", &["x"]),
    ("authorization", &["Bearer x", "Bearer ", "Basic x", "Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer a.b.c"]),
    ("if-none-match", &["*", "\"x\"", "x"]),
    ("user-agent", &["kubectl/v1.33.0 (linux/amd64)", "", "é", "/"]),
    ("connection", &["upgrade"]),
    ("upgrade", &["SPDY/3.1", "websocket"]),
    ("sec-websocket-protocol", &["v5.channel.k8s.io", "x, y", "base64url.bearer.authorization.k8s.io.eA"]),
];

fn run(input: &[u8], account: &mut Account) {
    let mut draw = Draw::new(input);
    server::with(account, async |api| {
        for _ in 0..4 {
            let method = draw.word(METHODS);
            let uri = uri(&mut draw);
            let mut headers = Vec::new();
            for _ in 0..draw.below(4) {
                let (name, values) = draw.pick(HEADERS);
                headers.push((*name, draw.word(values)));
            }
            let body = draw.bytes(draw.clone().below(8)).to_vec();
            let answer = api.call(method, &uri, &headers, body).await;
            if answer.code == 201 && answer.is_written() && !uri.contains("dryRun") {
                let path = uri.split('?').next().unwrap_or_default();
                api.made(path, &answer.json);
            }
            if draw.is_over() {
                break;
            }
        }
    });
}

fn uri(draw: &mut Draw<'_>) -> String {
    let mut uri = match draw.below(4) {
        // As it comes.
        0 => format!("/{}", String::from_utf8_lossy(draw.bytes(40))),
        1 => String::new(),
        2 => draw.pick(seeds::all()).path.clone(),
        _ => format!("{}/x", draw.pick(seeds::all()).path),
    };
    for _ in 0..draw.below(if uri.is_empty() { 9 } else { 4 }) {
        uri.push('/');
        uri.push_str(draw.word(WORDS));
    }
    if uri.is_empty() {
        uri.push('/');
    }
    for number in 0..draw.below(6) {
        uri.push(if number == 0 { '?' } else { '&' });
        uri.push_str(draw.word(PARAMETERS));
        uri.push('=');
        match draw.below(8) {
            0 => uri.push_str(&server::encoded(&String::from_utf8_lossy(draw.bytes(12)))),
            1 => uri.push_str(&draw.word(VALUES).repeat(1 << draw.below(10))),
            _ => uri.push_str(draw.word(VALUES)),
        }
    }
    uri
}
