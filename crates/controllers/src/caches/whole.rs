//! An object together with the JSON that the server sent of it.
//!
//! A template must reach pods and revisions whole, with fields that our types do not know (TK-3), so for DaemonSets the
//! typed form alone will not do.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;

/// One object in two forms.
#[derive(Debug, Clone)]
pub struct Whole<K> {
    /// The typed form.
    pub object: K,
    /// All of it.
    pub json: Value,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Whole<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Value::deserialize(deserializer)?;
        let object = K::deserialize(&json).map_err(D::Error::custom)?;
        Ok(Self { object, json })
    }
}

impl<K: Resource> Resource for Whole<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        self.object.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.object.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::DaemonSet;
    use serde_json::json;

    #[test]
    fn a_field_of_tomorrow_survives() {
        let sent = json!({"kind": "DaemonSet", "apiVersion": "apps/v1", "metadata": {"name": "d"},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c", "tomorrow": {"x": 1}}]}}}});
        let seen: Whole<DaemonSet> = serde_json::from_str(&sent.to_string()).unwrap();
        assert_eq!((seen.meta().name.as_deref(), &seen.json), (Some("d"), &sent));
    }
}
