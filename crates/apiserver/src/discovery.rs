//! Which groups, versions, kinds and verbs are served? The legacy documents and the aggregated ones (wire 1.1–1.3).
//!
//! Everything comes from the kinds that are served now; what is not served is not listed (1.4.1). `/api` and `/apis` answer in
//! the same style (1.3.3).

use crate::Inner;
use crate::accept;
use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::request::Route;
use crate::resources::{Kind, KindRef, Subresource};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const AGGREGATED: [(&str, &str); 2] = [
    ("v2", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
    ("v2beta1", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"),
];

/// `GET /`: for humans.
pub fn root(server: &Inner) -> Reply {
    let mut paths = vec!["/api".to_string(), "/apis".to_string()];
    for (group, version) in versions(&kinds(server)) {
        if group.is_empty() {
            paths.push(format!("/api/{version}"));
        } else {
            paths.push(format!("/apis/{group}"));
            paths.push(format!("/apis/{group}/{version}"));
        }
    }
    let others = [
        "/everynode/ca",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ];
    let issuer = ["/.well-known/openid-configuration", "/openid/v1/jwks"];
    paths.extend(others.into_iter().chain(issuer).map(str::to_string));
    paths.sort();
    paths.dedup();
    reply::json_value(200, &json!({ "paths": paths }))
}

/// `GET /version` (1.1.1).
pub fn version() -> Reply {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    reply::json_value(
        200,
        &json!({
            "major": "1", "minor": "33", "gitVersion": objects::VERSION, "gitCommit": "unknown",
            "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none (Rust)",
            "compiler": "rustc", "platform": format!("{}/{arch}", std::env::consts::OS),
        }),
    )
}

/// Whether a group and version has anything.
pub fn is_served(server: &Inner, group: &str, version: &str) -> bool {
    kinds(server).iter().any(|kind| (kind.group, kind.version) == (group, version))
}

fn kinds(server: &Inner) -> Vec<KindRef> {
    server.cache.catalog().kinds()
}

/// `/api`, `/apis`, `/apis/<group>`, and the lists of one group and version.
pub fn answer(server: &Inner, route: &Route, headers: &HeaderMap) -> Result<Reply, ApiError> {
    let core = matches!(route, Route::CoreVersions);
    let kinds = kinds(server);
    match route {
        Route::CoreVersions | Route::Groups => {
            let aggregated = wanted(headers)?;
            let (value, media) = match aggregated {
                Some((version, media)) => (aggregated_list(&kinds, core, version), media),
                None if core => (core_versions(server), "application/json"),
                None => (group_list(&kinds), "application/json"),
            };
            Ok(tagged(&value, media, headers))
        }
        Route::Group(name) => match groups(&kinds).find(|group| group == name) {
            Some(group) => {
                let mut value = api_group(&kinds, group);
                value["kind"] = "APIGroup".into();
                value["apiVersion"] = "v1".into();
                Ok(reply::json_value(200, &value))
            }
            None => Ok(reply::text(404, "404 page not found\n")),
        },
        Route::Resources { group, version } if is_served(server, group, version) => {
            Ok(reply::json_bytes(200, resource_list(&kinds, group, version)))
        }
        _ => Ok(reply::text(404, "404 page not found\n")),
    }
}

/// The first entry of Accept that we know decides (1.3.2).
fn wanted(headers: &HeaderMap) -> Result<Option<(&'static str, &'static str)>, ApiError> {
    let accept = headers.get(http::header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    for entry in accept::entries(accept).iter().filter(|entry| entry.takes_json()) {
        if entry.parameter("as").is_empty() {
            return Ok(None);
        }
        let known = entry.parameter("g") == "apidiscovery.k8s.io"
            && entry.parameter("as") == "APIGroupDiscoveryList"
            && !matches!(entry.parameter("profile"), "nopeer");
        if let Some(found) = AGGREGATED.iter().find(|(version, _)| known && *version == entry.parameter("v"))
        {
            return Ok(Some(*found));
        }
    }
    let text = "only the following media types are accepted: application/json";
    Err(ApiError::plain(406, "NotAcceptable", text))
}

/// With an ETag, and 304 for who has it already (1.3.7).
fn tagged(value: &Value, media: &'static str, headers: &HeaderMap) -> Reply {
    let body = format!("{value}\n");
    let hash: String = Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02X}")).collect();
    let tag = format!("\"{hash}\"");
    let known = headers.get(IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes());
    let mut reply = match known {
        true => reply::with_type(304, media, ""),
        false => reply::with_type(200, media, body),
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        reply.headers_mut().insert(ETAG, tag);
    }
    reply.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    reply
}

fn core_versions(server: &Inner) -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [
        {"clientCIDR": "0.0.0.0/0", "serverAddress": server.config.advertise.to_string()}]})
}

fn group_list(kinds: &[KindRef]) -> Value {
    let named = groups(kinds).filter(|group| !group.is_empty());
    let groups: Vec<Value> = named.map(|group| api_group(kinds, group)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn api_group(kinds: &[KindRef], group: &str) -> Value {
    let named = |version: &str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let versions: Vec<Value> =
        versions(kinds).filter(|(g, _)| *g == group).map(|(_, version)| named(version)).collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

fn groups(kinds: &[KindRef]) -> impl Iterator<Item = &'static str> + use<> {
    let mut seen: Vec<&str> = Vec::new();
    versions(kinds).map(|(group, _)| group).filter(move |group| {
        let new = !seen.contains(group);
        seen.push(group);
        new
    })
}

/// Every group and version once, core first.
fn versions(kinds: &[KindRef]) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
    let mut all: Vec<(&str, &str)> = Vec::new();
    for version in kinds.iter().map(|kind| (kind.group, kind.version)) {
        if !all.contains(&version) {
            all.push(version);
        }
    }
    all.sort_by_key(|(group, _)| !group.is_empty());
    all.into_iter()
}

/// Fields in the order that Kubernetes' own tests look for (1.2.5), so it is written as text.
fn resource_list(kinds: &[KindRef], group: &str, version: &str) -> String {
    let mut entries: Vec<(String, String)> = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.group == group && kind.version == version) {
        entries.push((kind.plural.to_string(), main_entry(kind)));
        for sub in kind.subresources {
            let name = format!("{}/{}", kind.plural, sub.name);
            let mut entry =
                format!("{{\"name\":{name:?},\"singularName\":\"\",\"namespaced\":{}", kind.namespaced);
            if !sub.group.is_empty() {
                entry += &format!(",\"group\":{:?},\"version\":{:?}", sub.group, sub.version);
            }
            entry += &format!(",\"kind\":{:?},\"verbs\":{}}}", kind_of(kind, sub), json!(sub.verbs));
            entries.push((name, entry));
        }
    }
    entries.sort();
    let entries: Vec<String> = entries.into_iter().map(|(_, entry)| entry).collect();
    let group_version = crate::encode::api_version(group, version);
    format!(
        "{{\"kind\":\"APIResourceList\",\"apiVersion\":\"v1\",\"groupVersion\":{group_version:?},\"resources\":[{}]}}\n",
        entries.join(",")
    )
}

fn kind_of(kind: &Kind, sub: &Subresource) -> &'static str {
    if sub.kind.is_empty() { kind.kind } else { sub.kind }
}

fn main_entry(kind: &Kind) -> String {
    let mut entry = format!(
        "{{\"name\":{:?},\"singularName\":{:?},\"namespaced\":{},\"kind\":{:?},\"verbs\":{}",
        kind.plural,
        kind.singular,
        kind.namespaced,
        kind.kind,
        json!(kind.verbs)
    );
    for (field, values) in [("shortNames", kind.short_names), ("categories", kind.categories)] {
        if !values.is_empty() {
            entry += &format!(",{field:?}:{}", json!(values));
        }
    }
    if kind.verbs.contains(&"list") {
        entry += &format!(",\"storageVersionHash\":{:?}", storage_hash(kind));
    }
    entry + "}"
}

/// Eight stable bytes of the kind's name.
fn storage_hash(kind: &Kind) -> String {
    use base64::Engine as _;
    let digest = Sha256::digest(format!("{}/{}/{}", kind.group, kind.version, kind.kind));
    base64::engine::general_purpose::STANDARD.encode(digest.get(..8).unwrap_or_default())
}

fn aggregated_list(kinds: &[KindRef], core: bool, version: &str) -> Value {
    let wanted = groups(kinds).filter(|group| group.is_empty() == core);
    let items: Vec<Value> = wanted.map(|group| aggregated_group(kinds, group)).collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items})
}

fn aggregated_group(kinds: &[KindRef], group: &str) -> Value {
    let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
    let of_group = versions(kinds).filter(|(g, _)| *g == group);
    let versions = of_group.map(|(_, version)| {
        let mut resources: Vec<Value> = kinds
            .iter()
            .filter(|kind| kind.group == group && kind.version == version)
            .map(|kind| aggregated_kind(kind))
            .collect();
        resources.sort_by_key(|resource| resource["resource"].as_str().unwrap_or_default().to_string());
        json!({"version": version, "freshness": "Current", "resources": resources})
    });
    json!({"metadata": metadata, "versions": versions.collect::<Vec<_>>()})
}

fn aggregated_kind(kind: &Kind) -> Value {
    let mut resource = json!({"resource": kind.plural, "responseKind": gvk(kind.group, kind.version, kind.kind),
        "scope": scope(kind.namespaced), "singularResource": kind.singular, "verbs": kind.verbs});
    for (field, values) in [("shortNames", kind.short_names), ("categories", kind.categories)] {
        if !values.is_empty() {
            resource[field] = json!(values);
        }
    }
    let subresources = kind.subresources.iter().map(|sub| {
        let own = sub.group.is_empty() && sub.version.is_empty();
        let (group, version) = if own { (kind.group, kind.version) } else { (sub.group, sub.version) };
        json!({"subresource": sub.name, "responseKind": gvk(group, version, kind_of(kind, sub)), "verbs": sub.verbs})
    });
    if !kind.subresources.is_empty() {
        resource["subresources"] = subresources.collect();
    }
    resource
}

fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

fn scope(namespaced: bool) -> &'static str {
    if namespaced { "Namespaced" } else { "Cluster" }
}
