//! PURE. A manifest's bytes → the pod it describes, or what is wrong with it.
//!
//! 1. The pod is called `<name>-<node>` and bound to this node, whatever the manifest says.
//! 2. Its uid is the hash of what the manifest says and of the node's name: the same after a restart, another after a
//!    change; blanks, comments and the file's name do not matter.
//! 3. It may not refer to objects of the server: it must start while there is none, and a node must not be able to read
//!    a Secret by writing a file.
//! 4. It stays whatever happens to its node: it tolerates every `NoExecute` taint.
//!
//! Kubernetes: pkg/kubelet/config/common.go `tryDecodeSinglePod`, `applyDefaults`.
//! Differs: a uid in the manifest is not used; renaming the file restarts nothing.

use crate::{env, volumes};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration};
use kube::api::ObjectMeta;
use objects::key::ObjectKey;
use objects::name;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

/// Where a pod comes from: `file`.
pub const SOURCE: &str = "kubernetes.io/config.source";
/// The manifest's hash.
pub const HASH: &str = "kubernetes.io/config.hash";
/// When the node first saw the manifest.
pub const SEEN: &str = "kubernetes.io/config.seen";
/// On the server's copy: the hash of what runs.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// Bytes of the hash that make a uid: as many as a UUID has.
const UID_BYTES: usize = 16;

/// Why a manifest is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The system does not give it.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// Too long.
    #[error("is larger than {} bytes", super::files::MAX_BYTES)]
    TooLarge,
    /// Too many before it.
    #[error("is one of more than {} files; those after it are not looked at", super::files::MAX_FILES)]
    TooMany,
    /// Neither YAML nor JSON.
    #[error("is neither YAML nor JSON: {0}")]
    Syntax(String),
    /// Something else than a Pod.
    #[error("is not one v1 Pod but {0}")]
    Kind(String),
    /// A field has the wrong form.
    #[error("is not a Pod: {0}")]
    Shape(String),
    /// A field has a wrong value.
    #[error("{field}: {why}")]
    Field {
        /// For example `spec.containers[0].image`.
        field: String,
        /// The sentence.
        why: String,
    },
    /// It needs the server.
    #[error("static pods may not reference {0}: they run without a server")]
    Reference(&'static str),
    /// Two files describe one pod.
    #[error("describes the pod {pod}, as {file} does")]
    Twice {
        /// The pod.
        pod: ObjectKey,
        /// The file that is used.
        file: String,
    },
}

/// Reads a manifest.
pub fn parse(bytes: &[u8], node_name: &str, now: Timestamp) -> Result<Arc<Pod>, Broken> {
    let value = decode(bytes)?;
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    if (text("apiVersion"), text("kind")) != ("v1", "Pod") {
        return Err(Broken::Kind(format!("{:?} of {:?}", text("kind"), text("apiVersion"))));
    }
    // Keys are sorted in this form: it does not depend on how the manifest was written.
    let uid = uid(&value.to_string(), node_name);
    let given: Pod = serde_json::from_value(value).map_err(|error| Broken::Shape(error.to_string()))?;
    check(&given, node_name)?;
    Ok(Arc::new(complete(given, uid, node_name, now)))
}

/// The name under which the server's users see it.
pub fn key(pod: &Pod) -> ObjectKey {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    ObjectKey { namespace: text(&pod.metadata.namespace), name: text(&pod.metadata.name) }
}

/// An annotation of a pod.
pub fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn decode(bytes: &[u8]) -> Result<Value, Broken> {
    let syntax = |text: String| Broken::Syntax(text.lines().next().unwrap_or_default().to_string());
    // JSON may hold tabs, YAML may not.
    if bytes.trim_ascii_start().starts_with(b"{") {
        return serde_json::from_slice(bytes).map_err(|error| syntax(error.to_string()));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| syntax(error.to_string()))?;
    serde_saphyr::from_str(text).map_err(|error| syntax(error.to_string()))
}

fn uid(text: &str, node_name: &str) -> String {
    let hash = Sha256::new().chain_update(text).chain_update([0]).chain_update(node_name).finalize();
    hash.iter().take(UID_BYTES).fold(String::new(), |mut uid, byte| {
        let _ = write!(uid, "{byte:02x}");
        uid
    })
}

/// What the node itself could not live with; everything else the server says about the mirror.
fn check(pod: &Pod, node_name: &str) -> Result<(), Broken> {
    let field = |field: &str, why: &str| Err(Broken::Field { field: field.into(), why: why.into() });
    let valid = |place: &str, answer: Result<(), Vec<String>>| {
        answer.map_err(|why| Broken::Field { field: place.into(), why: why.join("; ") })
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        return field("metadata.name", "Required value");
    }
    valid("metadata.name", name::dns1123_subdomain(&full_name(name, node_name)))?;
    valid("metadata.namespace", name::dns1123_label(namespace(pod)))?;
    let Some(spec) = pod.spec.as_ref().filter(|spec| !spec.containers.is_empty()) else {
        return field("spec.containers", "Required value");
    };
    let mut names = BTreeSet::new();
    let inits = spec.init_containers.iter().flatten().enumerate().map(|(at, c)| ("initContainers", at, c));
    let mains = spec.containers.iter().enumerate().map(|(at, c)| ("containers", at, c));
    for (list, at, container) in inits.chain(mains) {
        let place = format!("spec.{list}[{at}]");
        valid(&format!("{place}.name"), name::dns1123_label(&container.name))?;
        if !names.insert(&container.name) {
            return field(&format!("{place}.name"), "Duplicate value");
        }
        if container.image.as_deref().unwrap_or_default().trim().is_empty() {
            return field(&format!("{place}.image"), "Required value");
        }
    }
    reference(pod, spec).map_or(Ok(()), |kind| Err(Broken::Reference(kind)))
}

/// The first kind of object of the server that a pod needs.
fn reference(pod: &Pod, spec: &PodSpec) -> Option<&'static str> {
    let volumes = || spec.volumes.iter().flatten();
    let accounts = [&spec.service_account_name, &spec.service_account];
    if accounts.into_iter().flatten().any(|name| !name.is_empty()) {
        return Some("serviceaccounts");
    }
    if volumes().any(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some()) {
        return Some("persistentvolumeclaims");
    }
    if spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        return Some("resourceclaims");
    }
    if spec.image_pull_secrets.as_ref().is_some_and(|secrets| !secrets.is_empty()) {
        return Some("secrets");
    }
    let of_containers = crate::sandbox::containers(spec).flat_map(env::wanted);
    of_containers.chain(volumes::wanted(pod)).next().map(|source| match source.kind() {
        "ConfigMap" => "configmaps",
        "Secret" => "secrets",
        _ => "serviceaccounts",
    })
}

fn full_name(name: &str, node_name: &str) -> String {
    format!("{name}-{}", node_name.to_lowercase())
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default")
}

/// With all that the node adds. Of the manifest's metadata names, labels and annotations count.
fn complete(given: Pod, uid: String, node_name: &str, now: Timestamp) -> Pod {
    let metadata = &given.metadata;
    let mut annotations = metadata.annotations.clone().unwrap_or_default();
    annotations.remove(MIRROR);
    annotations.extend(
        [(SOURCE, "file".to_string()), (HASH, uid.clone()), (SEEN, now.to_string())]
            .map(|(name, value)| (name.to_string(), value)),
    );
    let metadata = ObjectMeta {
        name: Some(full_name(metadata.name.as_deref().unwrap_or_default(), node_name)),
        namespace: Some(namespace(&given).into()),
        uid: Some(uid),
        labels: metadata.labels.clone(),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    let mut spec = given.spec.unwrap_or_default();
    spec.node_name = Some(node_name.into());
    default(&mut spec);
    Pod { metadata, spec: Some(spec), status: None }
}

/// Those defaults of the API that change what a node does; the agent itself knows what the others mean.
fn default(spec: &mut PodSpec) {
    let host_network = spec.host_network == Some(true);
    let containers = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
    for container in containers {
        request_limits(container);
        for port in container.ports.iter_mut().flatten().filter(|_| host_network) {
            port.host_port = port.host_port.filter(|number| *number > 0).or(Some(port.container_port));
        }
    }
    let everything = Toleration {
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        ..Toleration::default()
    };
    let tolerations = spec.tolerations.get_or_insert_default();
    if !tolerations.contains(&everything) {
        tolerations.push(everything);
    }
}

fn request_limits(container: &mut Container) {
    let Some(resources) = &mut container.resources else { return };
    for (name, amount) in resources.limits.clone().unwrap_or_default() {
        resources.requests.get_or_insert_default().entry(name).or_insert(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  creationTimestamp: null\nspec:\n  \
                         containers:\n  - name: c\n    image: i:1\nstatus: {}\n";

    fn read(text: &str) -> Result<Arc<Pod>, Broken> {
        parse(text.as_bytes(), "Node-1", Timestamp::UNIX_EPOCH)
    }

    fn with(from: &str, to: &str) -> Result<Arc<Pod>, Broken> {
        assert!(PLAIN.contains(from));
        read(&PLAIN.replace(from, to))
    }

    #[test]
    fn a_manifest_becomes_a_pod_of_this_node() {
        let pod = read(PLAIN).unwrap();
        assert_eq!(key(&pod).to_string(), "default/web-node-1");
        assert_eq!(pod.spec.as_ref().unwrap().node_name.as_deref(), Some("Node-1"));
        let uid = pod.metadata.uid.clone().unwrap();
        assert_eq!(uid.len(), 32);
        let expected = [(SOURCE, "file"), (HASH, uid.as_str()), (SEEN, "1970-01-01T00:00:00Z"), (MIRROR, "")];
        for (name, value) in expected {
            assert_eq!(annotation(&pod, name).unwrap_or_default(), value, "{name}");
        }
        let tolerations = pod.spec.as_ref().unwrap().tolerations.clone().unwrap();
        assert_eq!((tolerations.len(), tolerations[0].effect.as_deref()), (1, Some("NoExecute")));
    }

    #[test]
    fn only_what_a_manifest_says_makes_another_pod() {
        let uid = |pod: Result<Arc<Pod>, Broken>| pod.unwrap().metadata.uid.clone().unwrap();
        let plain = uid(read(PLAIN));
        assert_eq!(uid(with("kind: Pod", "# a remark\nkind:   Pod")), plain);
        let json = r#"{"kind": "Pod", "apiVersion": "v1", "status": {}, "spec": {"containers": [{"image": "i:1",
            "name": "c"}]},	"metadata": {"creationTimestamp": null, "name": "web"}}"#;
        assert_eq!(uid(read(json)), plain, "JSON with a tab says the same");
        assert_ne!(uid(with("i:1", "i:2")), plain);
        let elsewhere = parse(PLAIN.as_bytes(), "n2", Timestamp::UNIX_EPOCH);
        assert_ne!(uid(elsewhere), plain);
    }

    #[test]
    fn what_the_server_would_fill_in_is_filled_in() {
        let text = "spec:\n  hostNetwork: true\n  containers:\n  - name: c\n    ports: [{containerPort: 80}]\n    \
                    resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}";
        let pod = with("spec:\n  containers:\n  - name: c", text).unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        assert_eq!(container.ports.as_ref().unwrap()[0].host_port, Some(80));
        let requests = container.resources.clone().unwrap().requests.unwrap();
        assert_eq!((requests["cpu"].0.as_str(), requests["memory"].0.as_str()), ("500m", "1Gi"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |from: &str, to: &str, expected: &str| {
            let found = with(from, to).map(|pod| key(&pod).to_string()).map_err(|why| why.to_string());
            assert_eq!(found, Err(expected.to_string()), "{to}");
        };
        check("kind: Pod", "kind: Deployment", "is not one v1 Pod but \"Deployment\" of \"v1\"");
        check("  name: web\n", "  labels: {}\n", "metadata.name: Required value");
        check("containers:", "initContainers:", "spec.containers: Required value");
        check("  - name: c", "  - name: {}", "is not a Pod: invalid type: map, expected a string");
        check(":\n  - name: c\n    image: i:1", ": []", "spec.containers: Required value");
        check("    image: i:1", "    image: \"\"", "spec.containers[0].image: Required value");
        check(
            "  - name: c\n",
            "  - {name: c, image: j}\n  - name: c\n",
            "spec.containers[1].name: Duplicate value",
        );
        let reference = |spec: &str, kind: &str| {
            let why = format!("static pods may not reference {kind}: they run without a server");
            check("spec:\n", &format!("spec:\n  {spec}\n"), &why);
        };
        reference("serviceAccountName: default", "serviceaccounts");
        reference("imagePullSecrets: [{name: s}]", "secrets");
        reference("volumes: [{name: v, secret: {secretName: s}}]", "secrets");
        reference("volumes: [{name: v, configMap: {name: s}}]", "configmaps");
        reference(
            "volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}]",
            "serviceaccounts",
        );
        reference("volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]", "persistentvolumeclaims");
        reference("resourceClaims: [{name: c}]", "resourceclaims");
        check(
            "    image: i:1",
            "    image: i:1\n    envFrom: [{configMapRef: {name: m}}]",
            "static pods may not reference configmaps: they run without a server",
        );
    }

    #[test]
    fn garbage_is_an_answer_and_not_a_panic() {
        for text in ["", "{", "a: [", "- x", "\u{0}", "a: *b", "--- \nkind: Pod\n---\nkind: Pod", "\t"] {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert!(matches!(parse(&[0xff, 0xfe], "n", Timestamp::UNIX_EPOCH), Err(Broken::Syntax(_))));
    }
}
