//! PURE. Static pods × their workers × their mirrors → what to start, stop, make and delete.
//!
//! 1. Two pods of one name never run beside each other: the new one waits until nothing is left of the old one.
//! 2. A mirror is made when its pod has a worker, and deleted when it mirrors something else, when somebody has deleted
//!    it, and when its pod is gone from the node for good.
//! 3. Without the server (no mirrors known, or no node object) pods start and stop all the same.
//!
//! Kubernetes: kubelet.go `SyncPod` (mirror pods), kubelet_pods.go `HandlePodCleanups`.

use super::manifest::{MIRROR, annotation};
use k8s_openapi::api::core::v1::Pod;
use objects::key::ObjectKey;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything the plan may know.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// The pods of the manifests.
    pub wanted: &'a BTreeMap<ObjectKey, Arc<Pod>>,
    /// Workers of static pods, by uid.
    pub workers: BTreeMap<String, Working>,
    /// Pods in the runtime that no worker looks after, by uid.
    pub leftovers: BTreeMap<String, ObjectKey>,
    /// The server's mirrors; none: it has not told yet, or this node is not registered.
    pub mirrors: Option<&'a BTreeMap<ObjectKey, Arc<Pod>>>,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Working {
    /// Its pod.
    pub key: ObjectKey,
    /// Whether it has been told to end its pod.
    pub ending: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Give it a worker.
    Start(Arc<Pod>),
    /// Its manifest is gone or says something else.
    Stop {
        /// The worker's.
        uid: String,
    },
    /// Stop what an earlier agent left under a name that is needed.
    Clear {
        /// In the runtime.
        uid: String,
    },
    /// Show it on the server.
    Create(Arc<Pod>),
    /// Take it from the server.
    Delete {
        /// Which.
        key: ObjectKey,
        /// This very one.
        uid: String,
        /// For the log.
        why: &'static str,
    },
}

/// Decides.
#[must_use]
pub fn plan(seen: &Seen<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    workers(seen, &mut steps);
    if let Some(mirrors) = seen.mirrors {
        deletions(seen, mirrors, &mut steps);
        creations(seen, mirrors, &mut steps);
    }
    steps
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn workers(seen: &Seen<'_>, steps: &mut Vec<Step>) {
    for (id, worker) in &seen.workers {
        let wanted = seen.wanted.get(&worker.key).is_some_and(|pod| uid(pod) == id);
        if !wanted && !worker.ending {
            steps.push(Step::Stop { uid: id.clone() });
        }
    }
    for (key, pod) in seen.wanted {
        if seen.workers.values().any(|worker| worker.key == *key) {
            continue;
        }
        let old: Vec<&String> = seen.leftovers.iter().filter(|(_, k)| *k == key).map(|(id, _)| id).collect();
        let foreign: Vec<&String> = old.into_iter().filter(|id| *id != uid(pod)).collect();
        match foreign.is_empty() {
            true => steps.push(Step::Start(pod.clone())),
            false => steps.extend(foreign.into_iter().map(|id| Step::Clear { uid: id.clone() })),
        }
    }
}

fn deletions(seen: &Seen<'_>, mirrors: &BTreeMap<ObjectKey, Arc<Pod>>, steps: &mut Vec<Step>) {
    for (key, mirror) in mirrors {
        let wanted = seen.wanted.get(key);
        let why = match wanted {
            None if seen.workers.values().any(|worker| worker.key == *key) => continue,
            None => "its pod is gone",
            Some(pod) if annotation(mirror, MIRROR) != Some(uid(pod)) => "it shows an older manifest",
            Some(_) if mirror.metadata.deletion_timestamp.is_some() => "somebody has deleted it",
            Some(_) => continue,
        };
        steps.push(Step::Delete { key: key.clone(), uid: uid(mirror).into(), why });
    }
}

fn creations(seen: &Seen<'_>, mirrors: &BTreeMap<ObjectKey, Arc<Pod>>, steps: &mut Vec<Step>) {
    for (key, pod) in seen.wanted {
        let works = seen.workers.contains_key(uid(pod)) || steps.contains(&Step::Start(pod.clone()));
        if works && !mirrors.contains_key(key) {
            steps.push(Step::Create(pod.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::api::ObjectMeta;

    fn key(name: &str) -> ObjectKey {
        ObjectKey { namespace: "d".into(), name: name.into() }
    }

    fn pod(name: &str, uid: &str) -> Arc<Pod> {
        let metadata = ObjectMeta { name: Some(name.into()), uid: Some(uid.into()), ..ObjectMeta::default() };
        Arc::new(Pod { metadata, ..Pod::default() })
    }

    /// `name:uid`, one after the other.
    fn pods(text: &str) -> BTreeMap<ObjectKey, Arc<Pod>> {
        let pair = |word: &str| word.split_once(':').map(|(name, uid)| (key(name), pod(name, uid)));
        text.split_whitespace().filter_map(pair).collect()
    }

    /// `name:hash`, with `!` behind it where somebody has deleted it.
    fn mirrors(text: &str) -> BTreeMap<ObjectKey, Arc<Pod>> {
        let one = |(key, pod): (ObjectKey, Arc<Pod>)| {
            let mut mirror = (*pod).clone();
            let hash = uid(&pod).to_string();
            mirror.metadata.annotations =
                Some([(MIRROR.to_string(), hash.trim_end_matches('!').to_string())].into());
            mirror.metadata.deletion_timestamp = hash.ends_with('!').then_some(Time(Timestamp::UNIX_EPOCH));
            mirror.metadata.uid = Some(format!("m-{}", key.name));
            (key, Arc::new(mirror))
        };
        pods(text).into_iter().map(one).collect()
    }

    fn show(step: &Step) -> String {
        match step {
            Step::Start(pod) => format!("start {}", uid(pod)),
            Step::Stop { uid } => format!("stop {uid}"),
            Step::Clear { uid } => format!("clear {uid}"),
            Step::Create(pod) => format!("create {}", uid(pod)),
            Step::Delete { key, uid, why } => format!("delete {} {uid}: {why}", key.name),
        }
    }

    /// Workers are `name:uid`, with `!` behind those that end; no mirrors means that the server is away.
    fn check(wanted: &str, workers: &str, leftovers: &str, on_server: Option<&str>, expected: &[&str]) {
        let wanted = pods(wanted);
        let working = |(key, pod): (ObjectKey, Arc<Pod>)| {
            let name = uid(&pod).trim_end_matches('!').to_string();
            (name, Working { key, ending: uid(&pod).ends_with('!') })
        };
        let mirrors = on_server.map(mirrors);
        let seen = Seen {
            wanted: &wanted,
            workers: pods(workers).into_iter().map(working).collect(),
            leftovers: pods(leftovers).into_iter().map(|(key, pod)| (uid(&pod).to_string(), key)).collect(),
            mirrors: mirrors.as_ref(),
        };
        let found: Vec<String> = plan(&seen).iter().map(show).collect();
        assert_eq!(found, expected, "{wanted:?} {workers} {leftovers} {on_server:?}");
    }

    #[test]
    fn pods_start_and_stop_without_a_server() {
        check("a:1 b:2", "", "", None, &["start 1", "start 2"]);
        check("a:1", "a:1", "", None, &[]);
        check("", "a:1", "", None, &["stop 1"]);
        check("", "a:1!", "", None, &[]);
    }

    #[test]
    fn a_new_pod_waits_for_the_end_of_the_old_one() {
        check("a:2", "a:1", "", None, &["stop 1"]);
        check("a:2", "a:1!", "", None, &[]);
        check("a:2", "", "", None, &["start 2"]);
        check("a:2", "", "a:1", None, &["clear 1"]);
        check("a:2", "", "a:2", None, &["start 2"]);
    }

    #[test]
    fn mirrors_follow_the_pods() {
        check("a:1", "a:1", "", Some(""), &["create 1"]);
        check("a:1", "", "", Some(""), &["start 1", "create 1"]);
        check("a:1", "a:1", "", Some("a:1"), &[]);
        check("a:1", "a:1", "", Some("a:1!"), &["delete a m-a: somebody has deleted it"]);
        check("a:2", "a:1!", "", Some("a:1"), &["delete a m-a: it shows an older manifest"]);
        check("a:2", "a:1!", "", Some(""), &[]);
        check("", "a:1!", "", Some("a:1"), &[]);
        check("", "", "", Some("a:1"), &["delete a m-a: its pod is gone"]);
    }
}
