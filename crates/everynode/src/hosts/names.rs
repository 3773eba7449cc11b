//! What the things of a cluster are called on this machine.
//!
//! The names follow from the data folder alone, so that a start after a crash finds what the one before it made. The
//! default folder has the plain names; every other folder has a part of its hash in them, so that several clusters can
//! live side by side. Names of network links have at most 15 letters.

use crate::pki::hex;
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// Letters of the hash: enough to tell apart the few clusters of one machine, short enough for a link's name.
const HASH_LETTERS: usize = 6;

/// The names of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    cluster: String,
    link: String,
}

impl Names {
    /// The names for a data folder (an absolute path without symbolic links).
    pub fn of(data_dir: &Path, is_default: bool) -> Self {
        if is_default {
            return Self { cluster: "everynode".into(), link: "everynode".into() };
        }
        let hash = hex(&Sha256::digest(data_dir.as_os_str().as_encoded_bytes()));
        let short = &hash[..HASH_LETTERS];
        Self { cluster: format!("everynode-{short}"), link: format!("en{short}") }
    }

    /// The cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The bridge that joins its nodes.
    pub fn bridge(&self) -> String {
        format!("{}0", self.link)
    }

    /// The bridge's end of a node's link.
    pub fn link(&self, number: u32) -> String {
        format!("{}-{number}", self.link)
    }

    /// A node's network namespace.
    pub fn netns(&self, node: &str) -> String {
        format!("{}-{node}", self.cluster)
    }

    /// Whether a network namespace is one of ours.
    pub fn is_our_netns(&self, name: &str) -> bool {
        let number = name.strip_prefix(&self.cluster).and_then(|rest| rest.strip_prefix("-n"));
        number.is_some_and(is_number)
    }

    /// Whether a link is one of ours: the bridge, or a node's.
    pub fn is_our_link(&self, name: &str) -> bool {
        let number = name.strip_prefix(&self.link).and_then(|rest| rest.strip_prefix('-'));
        name == self.bridge() || number.is_some_and(is_number)
    }

    /// Parent of the cgroups of all nodes.
    pub fn cgroup(&self) -> String {
        format!("/everynode/{}", self.cluster)
    }

    /// Parent of the cgroups of a node's pods.
    pub fn cgroup_of(&self, node: &str) -> String {
        format!("{}/{node}", self.cgroup())
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_folder_has_plain_names() {
        let names = Names::of(Path::new("/var/lib/everynode"), true);
        let all = [names.bridge(), names.link(1), names.netns("n1"), names.cgroup_of("n1")];
        assert_eq!(all, ["everynode0", "everynode-1", "everynode-n1", "/everynode/everynode/n1"]);
    }

    #[test]
    fn other_folders_have_names_of_their_own_that_fit_into_fifteen_letters() {
        let (one, two) = (Names::of(Path::new("/tmp/a"), false), Names::of(Path::new("/tmp/b"), false));
        assert_ne!(one, two);
        assert_eq!(one, Names::of(Path::new("/tmp/a"), false));
        assert!(one.link(200).len() <= 15 && one.bridge().len() <= 15);
    }

    #[test]
    fn nobody_elses_things_are_ours() {
        let (ours, other) = (Names::of(Path::new("/x"), true), Names::of(Path::new("/tmp/a"), false));
        for names in [&ours, &other] {
            assert!(names.is_our_netns(&names.netns("n12")) && names.is_our_link(&names.link(12)));
            assert!(names.is_our_link(&names.bridge()));
        }
        for name in ["everynode-nx", "everynode", "cni-1", &other.netns("n1")] {
            assert!(!ours.is_our_netns(name), "{name}");
        }
        for name in ["eth0", "everynode1", "everynode-", &other.link(1), &other.bridge()] {
            assert!(!ours.is_our_link(name), "{name}");
        }
    }
}
