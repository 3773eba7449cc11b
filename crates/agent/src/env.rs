//! PURE. A container's environment: literals, references, and `$(VAR)`.
//!
//! `envFrom` comes first, in order; `env` after it and above it; where services are comes last, and below. A reference looks back only: `$(VAR)` means a
//! variable that stands before it, `$$` is a dollar sign, and what is unknown stays as it is.
//!
//! Kubernetes: kubelet_pods.go `makeEnvironmentVariables`, third_party/forked/golang/expansion.

use crate::sources::{Contents, Source};
use crate::{resources, sandbox};
use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector, Pod, ResourceFieldSelector,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::{BTreeMap, BTreeSet};

/// What a pod may ask about itself and its node.
pub struct Facts<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its addresses, as far as they are known.
    pub pod_ips: &'a [String],
    /// The node's address.
    pub host_ip: &'a str,
    /// What the node has, for limits that are not set.
    pub allocatable: &'a BTreeMap<String, Quantity>,
    /// The ConfigMaps and Secrets that [`wanted`] named.
    pub contents: &'a Contents,
    /// Where the API server is, and whatever else the node tells every container; what the pod sets itself stands.
    pub services: &'a [(String, String)],
}

/// Why there is no environment: `CreateContainerConfigError`. The texts are kubelet's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// The object is missing.
    #[error("{kind} {name:?} not found")]
    NoObject {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object has no such key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// The key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
    },
    /// The field cannot be asked for.
    #[error("unsupported fieldPath: {path}")]
    Field {
        /// The path.
        path: String,
    },
    /// The resource cannot be asked for.
    #[error("unsupported container resource : {resource}")]
    Resource {
        /// The resource.
        resource: String,
    },
}

/// The ConfigMaps and Secrets a container's environment refers to.
#[must_use]
pub fn wanted(container: &Container) -> BTreeSet<Source> {
    let mut wanted = BTreeSet::new();
    for from in container.env_from.iter().flatten() {
        wanted.extend(from.config_map_ref.iter().map(|r| Source::ConfigMap(r.name.clone())));
        wanted.extend(from.secret_ref.iter().map(|r| Source::Secret(r.name.clone())));
    }
    for source in container.env.iter().flatten().filter_map(|var| var.value_from.as_ref()) {
        wanted.extend(source.config_map_key_ref.iter().map(|r| Source::ConfigMap(r.name.clone())));
        wanted.extend(source.secret_key_ref.iter().map(|r| Source::Secret(r.name.clone())));
    }
    wanted
}

/// The environment of a container, in order.
pub fn environment(container: &Container, facts: &Facts<'_>) -> Result<Vec<(String, String)>, EnvError> {
    let mut list = List::default();
    for from in container.env_from.iter().flatten() {
        for (name, value) in all_of(from, facts)? {
            list.set(name, value);
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value(variable, container, facts, &list)? {
            list.set(variable.name.clone(), value);
        }
    }
    for (name, value) in facts.services {
        if list.get(name).is_none() {
            list.set(name.clone(), value.clone());
        }
    }
    Ok(list.0)
}

/// Variables in the order of their first appearance.
#[derive(Default)]
struct List(Vec<(String, String)>);

impl List {
    fn set(&mut self, name: String, value: String) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name, value)),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn all_of(from: &EnvFromSource, facts: &Facts<'_>) -> Result<Vec<(String, String)>, EnvError> {
    let (source, optional) = match (&from.config_map_ref, &from.secret_ref) {
        (Some(map), _) => (Source::ConfigMap(map.name.clone()), map.optional),
        (_, Some(secret)) => (Source::Secret(secret.name.clone()), secret.optional),
        _ => return Ok(Vec::new()),
    };
    let Some(data) = facts.contents.get(&source) else {
        return if optional == Some(true) { Ok(Vec::new()) } else { Err(no_object(&source)) };
    };
    let prefix = from.prefix.clone().unwrap_or_default();
    let entry = |(key, value): (&String, &Vec<u8>)| (format!("{prefix}{key}"), text(value));
    Ok(data.iter().map(entry).filter(|(name, _)| !name.is_empty() && !name.contains('=')).collect())
}

fn value(
    variable: &EnvVar,
    container: &Container,
    facts: &Facts<'_>,
    before: &List,
) -> Result<Option<String>, EnvError> {
    let Some(source) = &variable.value_from else {
        let literal = variable.value.as_deref().unwrap_or_default();
        let service = |name: &str| facts.services.iter().find(|(known, _)| known == name);
        let known = |name: &str| before.get(name).or_else(|| service(name).map(|(_, value)| value.as_str()));
        return Ok(Some(expand(literal, known)));
    };
    let EnvVarSource { field_ref, resource_field_ref, config_map_key_ref, secret_key_ref, .. } = source;
    if let Some(field_ref) = field_ref {
        return field(field_ref, facts).map(Some);
    }
    if let Some(resource) = resource_field_ref {
        return resource_field(resource, container, facts.allocatable).map(Some);
    }
    if let Some(key) = config_map_key_ref {
        return one_key(&Source::ConfigMap(key.name.clone()), &key.key, key.optional, facts);
    }
    if let Some(key) = secret_key_ref {
        return one_key(&Source::Secret(key.name.clone()), &key.key, key.optional, facts);
    }
    Ok(Some(String::new()))
}

fn one_key(
    source: &Source,
    key: &str,
    optional: Option<bool>,
    facts: &Facts<'_>,
) -> Result<Option<String>, EnvError> {
    let data = facts.contents.get(source);
    match (data.map(|data| data.get(key)), optional) {
        (Some(Some(value)), _) => Ok(Some(text(value))),
        (_, Some(true)) => Ok(None),
        (None, _) => Err(no_object(source)),
        (Some(None), _) => Err(EnvError::NoKey {
            key: key.into(),
            kind: source.kind(),
            namespace: facts.pod.metadata.namespace.clone().unwrap_or_default(),
            name: source.name().into(),
        }),
    }
}

fn no_object(source: &Source) -> EnvError {
    let kind = if matches!(source, Source::Secret(_)) { "secret" } else { "configmap" };
    EnvError::NoObject { kind, name: source.name().into() }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One field of the pod (`metadata.name`, `metadata.labels['x']`, `status.podIP`, …).
pub fn field(selector: &ObjectFieldSelector, facts: &Facts<'_>) -> Result<String, EnvError> {
    let path = selector.field_path.as_str();
    let pod = facts.pod;
    let spec = pod.spec.clone().unwrap_or_default();
    let key = sandbox::key(pod);
    Ok(match path {
        "metadata.name" => key.name,
        "metadata.namespace" => key.namespace,
        "metadata.uid" => key.uid,
        "metadata.labels" => listed(pod.metadata.labels.as_ref()),
        "metadata.annotations" => listed(pod.metadata.annotations.as_ref()),
        "spec.nodeName" => spec.node_name.unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => facts.host_ip.into(),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => subscript(pod, path).ok_or_else(|| EnvError::Field { path: path.into() })?,
    })
}

/// `metadata.labels['key']`: a missing key is the empty text.
fn subscript(pod: &Pod, path: &str) -> Option<String> {
    let (map, rest) = match path.strip_prefix("metadata.labels['") {
        Some(rest) => (&pod.metadata.labels, rest),
        None => (&pod.metadata.annotations, path.strip_prefix("metadata.annotations['")?),
    };
    let key = rest.strip_suffix("']")?;
    Some(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default())
}

/// One `key="value"` a line, sorted.
fn listed(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// A limit or request of a container, divided and rounded up; what is not limited is the node's.
pub fn resource_field(
    selector: &ResourceFieldSelector,
    container: &Container,
    allocatable: &BTreeMap<String, Quantity>,
) -> Result<String, EnvError> {
    let unsupported = || EnvError::Resource { resource: selector.resource.clone() };
    let (which, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let asked = container.resources.clone().unwrap_or_default();
    let limits = asked.limits.unwrap_or_default();
    let amounts = match which {
        "limits" => &limits,
        "requests" => &asked.requests.unwrap_or_default(),
        _ => return Err(unsupported()),
    };
    let amounts = if amounts.contains_key(name) || which == "requests" { amounts } else { allocatable };
    let amount = resources::milli(amounts, name).unwrap_or(0);
    let divisor: BTreeMap<String, Quantity> =
        selector.divisor.clone().map(|divisor| (String::new(), divisor)).into_iter().collect();
    let divisor = resources::milli(&divisor, "").filter(|divisor| *divisor > 0).unwrap_or(1000);
    Ok((i128::from(amount) + i128::from(divisor) - 1).div_euclid(i128::from(divisor)).to_string())
}

/// Puts known variables into a text: `$(NAME)`; `$$` is a dollar sign; everything else stays.
#[must_use]
pub fn expand<'a>(text: &str, known: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        expanded.push_str(before);
        let after = from.get(1..).unwrap_or_default();
        if let Some(tail) = after.strip_prefix('$') {
            expanded.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match known(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = tail;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_expanded_once_and_only_when_known() {
        let known = |name: &str| (name == "A").then_some("$(A)");
        for (text, expected) in [
            ("plain", "plain"),
            ("x$(A)y", "x$(A)y"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("$(A", "$(A"),
            ("a$b$", "a$b$"),
            ("$$$(A)", "$$(A)"),
        ] {
            assert_eq!(expand(text, known), expected, "{text}");
        }
    }

    fn check(container: &str, expected: Result<&[(&str, &str)], &str>) {
        let container: Container = serde_json::from_str(container).unwrap();
        let pod: Pod = serde_json::from_str(
            r#"{"metadata":{"name":"p","namespace":"n","labels":{"a":"b"}},"spec":{"containers":[]}}"#,
        )
        .unwrap();
        let data = BTreeMap::from([("K".to_string(), b"v".to_vec())]);
        let contents = Contents::from([(Source::ConfigMap("m".into()), data.into())]);
        let allocatable = BTreeMap::from([("cpu".to_string(), Quantity("4".into()))]);
        let facts = Facts {
            pod: &pod,
            pod_ips: &["10.0.0.1".into()],
            host_ip: "192.0.2.1",
            allocatable: &allocatable,
            contents: &contents,
            services: &[("S".to_string(), "service".to_string())],
        };
        let found = environment(&container, &facts).map_err(|error| error.to_string());
        let expected = expected.map(|list| list.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect());
        assert_eq!(found, expected.map_err(str::to_string));
    }

    #[test]
    fn every_kind_of_source_gives_its_value() {
        check(
            r#"{"name":"c","envFrom":[{"prefix":"P_","configMapRef":{"name":"m"}}],"env":[
               {"name":"A","value":"1"},{"name":"B","value":"$(A)2"},
               {"name":"L","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['a']"}}},
               {"name":"IP","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}},
               {"name":"CPU","valueFrom":{"resourceFieldRef":{"resource":"limits.cpu"}}},
               {"name":"K","valueFrom":{"configMapKeyRef":{"name":"m","key":"K"}}},
               {"name":"T","value":"$(S)"},
               {"name":"O","valueFrom":{"secretKeyRef":{"name":"no","key":"K","optional":true}}}]}"#,
            Ok(&[
                ("P_K", "v"),
                ("A", "1"),
                ("B", "12"),
                ("L", "b"),
                ("IP", "10.0.0.1"),
                ("CPU", "4"),
                ("K", "v"),
                ("T", "service"),
                ("S", "service"),
            ]),
        );
    }

    #[test]
    fn what_a_pod_sets_stands_above_what_the_node_tells() {
        check(r#"{"name":"c","env":[{"name":"S","value":"own"}]}"#, Ok(&[("S", "own")]));
        check(r#"{"name":"c"}"#, Ok(&[("S", "service")]));
    }

    #[test]
    fn a_missing_source_is_named() {
        let secret =
            r#"{"name":"c","env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}]}"#;
        check(secret, Err("secret \"s\" not found"));
        let key =
            r#"{"name":"c","env":[{"name":"A","valueFrom":{"configMapKeyRef":{"name":"m","key":"x"}}}]}"#;
        check(key, Err("couldn't find key x in ConfigMap n/m"));
    }
}
