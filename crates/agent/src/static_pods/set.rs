//! PURE. The files of a folder, and what they said before → the static pods of this node.
//!
//! 1. A file that did not change keeps its pod, with the time at which it was first seen.
//! 2. A file that is wrong now keeps the pod it described last: half-written files end nothing.
//! 3. Of two files that describe one pod the first by name counts.

use super::manifest::{Broken, key, parse};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use objects::key::ObjectKey;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One file, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name in the folder.
    pub name: String,
    /// Its bytes, or why there are none.
    pub content: Result<Vec<u8>, Broken>,
}

/// All manifests of a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StaticPods {
    files: BTreeMap<String, Manifest>,
}

#[derive(Debug, Clone, PartialEq)]
struct Manifest {
    content: Result<Vec<u8>, Broken>,
    parsed: Result<Arc<Pod>, Broken>,
    /// What it describes, or described last.
    pod: Option<Arc<Pod>>,
}

impl StaticPods {
    /// What the manifests say now.
    #[must_use]
    pub fn next(&self, files: Vec<File>, node_name: &str, now: Timestamp) -> Self {
        let manifest = |File { name, content }| {
            let before = self.files.get(&name);
            let manifest = match before.filter(|before| before.content == content) {
                Some(same) => same.clone(),
                None => {
                    let parsed = match &content {
                        Ok(bytes) => parse(bytes, node_name, now),
                        Err(why) => Err(why.clone()),
                    };
                    let last = before.and_then(|before| before.pod.clone());
                    let pod = parsed.as_ref().ok().map(|pod| same_or_new(pod, last.as_ref())).or(last);
                    Manifest { content, parsed, pod }
                }
            };
            (name, manifest)
        };
        Self { files: files.into_iter().map(manifest).collect() }
    }

    /// The pods that shall run here.
    #[must_use]
    pub fn pods(&self) -> BTreeMap<ObjectKey, Arc<Pod>> {
        self.chosen().into_iter().map(|(key, (_, pod))| (key, pod.clone())).collect()
    }

    /// What is wrong, by file.
    #[must_use]
    pub fn complaints(&self) -> BTreeMap<String, Broken> {
        let chosen = self.chosen();
        let complaint = |(file, manifest): (&String, &Manifest)| {
            let why = match (&manifest.parsed, &manifest.pod) {
                (Err(why), _) => why.clone(),
                (Ok(_), Some(pod)) => {
                    let (pod, used) = (key(pod), chosen.get(&key(pod)).map(|(used, _)| *used)?);
                    (used != file).then(|| Broken::Twice { pod, file: used.into() })?
                }
                (Ok(_), None) => return None,
            };
            Some((file.clone(), why))
        };
        self.files.iter().filter_map(complaint).collect()
    }

    fn chosen(&self) -> BTreeMap<ObjectKey, (&str, &Arc<Pod>)> {
        let mut chosen = BTreeMap::new();
        for (file, manifest) in &self.files {
            if let Some(pod) = &manifest.pod {
                chosen.entry(key(pod)).or_insert((file.as_str(), pod));
            }
        }
        chosen
    }
}

/// A change of blanks or comments is none: the pod was seen long ago.
fn same_or_new(new: &Arc<Pod>, last: Option<&Arc<Pod>>) -> Arc<Pod> {
    last.filter(|last| last.metadata.uid == new.metadata.uid).unwrap_or(new).clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::static_pods::manifest::{SEEN, annotation};

    fn file(name: &str, pod: &str, image: &str) -> File {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}}}\nspec: {{containers: [{{name: c, image: {image}}}]}}"
        );
        File { name: name.into(), content: Ok(text.into_bytes()) }
    }

    fn broken(name: &str) -> File {
        File { name: name.into(), content: Ok(b"half: [writ".to_vec()) }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Name, image and time of each pod.
    fn shown(pods: &StaticPods) -> Vec<String> {
        let show = |(key, pod): (ObjectKey, Arc<Pod>)| {
            let image = pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
            format!("{} {image} {}", key.name, annotation(&pod, SEEN).unwrap())
        };
        pods.pods().into_iter().map(show).collect()
    }

    #[test]
    fn unchanged_files_keep_their_pods_and_changed_ones_get_others() {
        let first =
            StaticPods::default().next(vec![file("a", "a", "i:1"), file("b", "b", "i:1")], "n", at(0));
        assert_eq!(shown(&first), ["a-n i:1 1970-01-01T00:00:00Z", "b-n i:1 1970-01-01T00:00:00Z"]);
        let second = first.next(vec![file("a", "a", "i:1"), file("b", "b", "i:2")], "n", at(1));
        assert_eq!(shown(&second), ["a-n i:1 1970-01-01T00:00:00Z", "b-n i:2 1970-01-01T00:00:01Z"]);
        let third = second.next(vec![file("b", "b", "i:2")], "n", at(2));
        assert_eq!(shown(&third), ["b-n i:2 1970-01-01T00:00:01Z"]);
        assert_eq!(third, third.next(vec![file("b", "b", "i:2")], "n", at(3)), "nothing new");
    }

    #[test]
    fn a_broken_manifest_is_named_and_changes_nothing_else() {
        let first =
            StaticPods::default().next(vec![file("a", "a", "i:1"), file("b", "b", "i:1")], "n", at(0));
        let second = first.next(vec![broken("a"), file("b", "b", "i:1"), broken("c")], "n", at(1));
        assert_eq!(shown(&second), shown(&first), "what ran goes on");
        assert_eq!(second.complaints().keys().collect::<Vec<_>>(), ["a", "c"]);
        let third = second.next(vec![file("a", "a", "i:2"), file("b", "b", "i:1")], "n", at(2));
        assert_eq!(shown(&third)[0], "a-n i:2 1970-01-01T00:00:02Z");
        assert_eq!(third.complaints(), BTreeMap::new());
    }

    #[test]
    fn one_pod_in_two_files_is_taken_from_the_first() {
        let both = vec![file("a", "x", "i:1"), file("b", "x", "i:2")];
        let first = StaticPods::default().next(both, "n", at(0));
        assert_eq!(shown(&first), ["x-n i:1 1970-01-01T00:00:00Z"]);
        let why = first.complaints().remove("b").unwrap().to_string();
        assert_eq!(why, "describes the pod default/x-n, as a does");
        let second = first.next(vec![file("b", "x", "i:2")], "n", at(1));
        assert_eq!(shown(&second), ["x-n i:2 1970-01-01T00:00:00Z"]);
        assert_eq!(second.complaints(), BTreeMap::new());
    }
}
