//! Real objects, one or more of every kind that can be written, and where they are written.

use apiserver::schema::{Gvk, Type, schema};
use serde_json::Value;
use std::sync::LazyLock;

/// An object as a user writes it.
#[derive(Debug, Clone)]
pub struct Seed {
    /// The collection's path.
    pub path: String,
    /// What is sent.
    pub object: Value,
}

impl Seed {
    /// Its Go type; custom kinds have none.
    pub fn ty(&self) -> Option<&'static Type> {
        let text = |field: &str| self.object[field].as_str().unwrap_or_default();
        schema().kind(Gvk::new(text("apiVersion"), text("kind")))
    }

    /// Whether it is an object that is kept, and no question.
    pub fn is_kept(&self) -> bool {
        !self.path.contains("review") && !self.path.ends_with("/token")
    }
}

/// All of them; the first is the simplest.
///
/// # Panics
/// When `seeds/objects.json` is no list of them.
pub fn all() -> &'static [Seed] {
    static ALL: LazyLock<Vec<Seed>> = LazyLock::new(|| {
        let list: Vec<Value> =
            serde_json::from_str(include_str!("../seeds/objects.json")).expect("the seeds are JSON");
        let seed = |value: &Value| Seed {
            path: value["path"].as_str().expect("a seed has a path").to_string(),
            object: value["object"].clone(),
        };
        list.iter().map(seed).collect()
    });
    &ALL
}
