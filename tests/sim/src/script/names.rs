//! Names that chance has made, in words that stay the same: pods by their number, hashes by theirs.

use std::collections::BTreeMap;

/// What stands for what.
#[derive(Default)]
pub(super) struct Names {
    /// Pod name → `a-1`.
    pods: BTreeMap<String, String>,
    /// Pods so far, by the name of their set.
    made: BTreeMap<String, u32>,
    /// Hash → `v1`.
    hashes: BTreeMap<String, String>,
}

impl Names {
    /// The line with plain names; new ones are taken in first.
    pub(super) fn plain(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split(|c: char| c.is_whitespace() || "()[]".contains(c)).collect();
        for pair in words.windows(2) {
            match pair {
                ["pod", key] => self.pod(key),
                ["hash", hash] if *hash != "none" => self.hash(hash),
                ["revision", key] => self.revision(key),
                _ => {}
            }
        }
        let mut line = line.to_string();
        for (name, plain) in self.pods.iter().chain(&self.hashes) {
            line = line.replace(name, plain);
        }
        line.replace("(hash v", "(v").replace("default/", "")
    }

    /// The real name of a plain one.
    pub(super) fn real(&self, plain: &str) -> Option<&str> {
        self.pods.iter().find(|(_, known)| *known == plain).map(|(name, _)| name.as_str())
    }

    /// The real name of a revision that is called `a-v1`.
    pub(super) fn real_revision(&self, plain: &str) -> Option<String> {
        let (set, version) = plain.rsplit_once('-')?;
        let (hash, _) = self.hashes.iter().find(|(_, known)| *known == version)?;
        Some(format!("{set}-{hash}"))
    }

    fn pod(&mut self, key: &str) {
        let name = key.trim_start_matches("default/");
        let Some((set, suffix)) = name.rsplit_once('-').filter(|(_, suffix)| suffix.len() == 5) else {
            return;
        };
        if self.pods.contains_key(name) || suffix.chars().all(|c| c.is_ascii_digit()) {
            return;
        }
        let number = self.made.entry(set.to_string()).or_default();
        *number += 1;
        self.pods.insert(name.to_string(), format!("{set}-{number}"));
    }

    fn revision(&mut self, key: &str) {
        if let Some((_, hash)) = key.rsplit_once('-') {
            self.hash(hash);
        }
    }

    fn hash(&mut self, hash: &str) {
        let number = self.hashes.len() + 1;
        if hash.len() >= 6 {
            self.hashes.entry(hash.to_string()).or_insert_with(|| format!("v{number}"));
        }
    }
}
