//! How to point at an object: its namespace and its name.
//!
//! The text form `namespace/name` is the one that Kubernetes' queues, logs and events use; an object without a
//! namespace is written as its bare name. Keys order by namespace, then by name.
//! Kubernetes: `client-go/tools/cache` (`MetaNamespaceKeyFunc`, `SplitMetaNamespaceKey`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::fmt;
use std::str::FromStr;

/// Namespace and name; the namespace is empty for cluster-scoped objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ObjectKey {
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl ObjectKey {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object; absent parts read as empty.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// A text that is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unexpected key format: {0:?}")]
pub struct KeyError(String);

impl FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        match text.split('/').collect::<Vec<_>>().as_slice() {
            [name] => Ok(Self::new("", *name)),
            [namespace, name] => Ok(Self::new(*namespace, *name)),
            _ => Err(KeyError(text.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_what_it_writes() {
        for text in ["kube-system/fluentd", "n1"] {
            assert_eq!(text.parse::<ObjectKey>().map(|key| key.to_string()), Ok(text.to_string()));
        }
        assert!("a/b/c".parse::<ObjectKey>().is_err());
    }

    #[test]
    fn keys_order_by_namespace_then_by_name() {
        let mut keys = [ObjectKey::new("b", "a"), ObjectKey::new("a", "z"), ObjectKey::new("a", "b")];
        keys.sort();
        assert_eq!(keys.map(|key| key.to_string()), ["a/b", "a/z", "b/a"]);
    }
}
