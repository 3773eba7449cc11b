//! One rule of a role: what it lets through, and whether it holds another one.
//!
//! Pure. A rule is about resources or about other paths, never both (wire 7.7.1). Kubernetes: `apis/rbac/v1/evaluation_helpers.go`,
//! `component-helpers/auth/rbac/validation`.

use crate::authz::{Action, ResourceAction};
use serde_json::{Map, Value};

/// What a role lets its subjects do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Rule {
    /// `get`, `*`.
    pub verbs: Vec<String>,
    /// API groups; empty for a rule about paths.
    pub groups: Vec<String>,
    /// `pods`, `pods/log`, `*/log`, `*`.
    pub resources: Vec<String>,
    /// Only these objects; empty: all.
    pub names: Vec<String>,
    /// Other paths, `/healthz`, `/apis/*`, `*`.
    pub paths: Vec<String>,
}

const ALL: &str = "*";

impl Rule {
    /// Reads a rule as it stands in a role.
    pub fn read(rule: &Value) -> Self {
        let list = |field: &str| {
            let texts = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
            texts.map(str::to_string).collect()
        };
        Self {
            verbs: list("verbs"),
            groups: list("apiGroups"),
            resources: list("resources"),
            names: list("resourceNames"),
            paths: list("nonResourceURLs"),
        }
    }

    /// As it stands in a role.
    pub fn to_json(&self) -> Value {
        let mut rule = Map::new();
        rule.insert("verbs".to_string(), self.verbs.clone().into());
        for (field, list) in [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.paths),
        ] {
            if !list.is_empty() {
                rule.insert(field.to_string(), list.clone().into());
            }
        }
        Value::Object(rule)
    }

    /// Whether it lets an action through.
    pub fn allows(&self, action: Action<'_>) -> bool {
        match action {
            Action::Path { verb, path } => has(&self.verbs, verb) && self.has_path(path),
            Action::Resource(action) => self.allows_on(&action),
        }
    }

    fn allows_on(&self, action: &ResourceAction<'_>) -> bool {
        let named = self.names.is_empty() || self.names.iter().any(|name| name == action.name);
        has(&self.verbs, action.verb)
            && has(&self.groups, action.group)
            && self.has_resource(action.resource, action.subresource)
            && named
    }

    /// `pods` does not cover `pods/log`.
    fn has_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|ours| match (ours.as_str(), ours.split_once('/')) {
            (ALL, _) => true,
            (_, Some((of, part))) => (of == ALL || of == resource) && part == subresource,
            (plain, None) => plain == resource && subresource.is_empty(),
        })
    }

    fn has_path(&self, path: &str) -> bool {
        self.paths.iter().any(|ours| match ours.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => ours == path,
        })
    }

    /// Its parts, each with one verb and one group, resource and name, or one path.
    pub fn parts(&self) -> Vec<Rule> {
        let mut parts = Vec::new();
        for verb in &self.verbs {
            let verbs = vec![verb.clone()];
            let path =
                |path: &String| Rule { verbs: verbs.clone(), paths: vec![path.clone()], ..Rule::default() };
            parts.extend(self.paths.iter().map(path));
            for (group, resource) in pairs(&self.groups, &self.resources) {
                let part = Rule {
                    verbs: verbs.clone(),
                    groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    ..Rule::default()
                };
                match self.names.is_empty() {
                    true => parts.push(part),
                    false => parts.extend(
                        self.names.iter().map(|name| Rule { names: vec![name.clone()], ..part.clone() }),
                    ),
                }
            }
        }
        parts
    }

    /// Whether whoever has this rule has the other one, a single [part](Rule::parts), too.
    pub fn holds(&self, part: &Rule) -> bool {
        let each = |ours: &[String], theirs: &[String]| theirs.iter().all(|text| has(ours, text));
        let names = self.names.is_empty() || !part.names.is_empty() && each(&self.names, &part.names);
        let resource = |text: &String| match text.split_once('/') {
            Some((of, sub)) => self.has_resource(of, sub),
            None => self.has_resource(text, ""),
        };
        let paths = part.paths.iter().all(|path| self.paths.contains(path) || self.has_path(path));
        each(&self.verbs, &part.verbs)
            && each(&self.groups, &part.groups)
            && part.resources.iter().all(resource)
            && names
            && paths
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|text| text == ALL || text == wanted)
}

fn pairs<'a>(
    groups: &'a [String],
    resources: &'a [String],
) -> impl Iterator<Item = (&'a String, &'a String)> {
    groups.iter().flat_map(move |group| resources.iter().map(move |resource| (group, resource)))
}

/// `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`, as Kubernetes prints a rule.
impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lists = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.names),
            ("NonResourceURLs", &self.paths),
            ("Verbs", &self.verbs),
        ];
        let shown = lists.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| {
            let texts: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
            format!("{name}:[{}]", texts.join(" "))
        });
        write!(f, "{{{}}}", shown.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> Rule {
        let list =
            |text: &str| text.split(' ').filter(|t| !t.is_empty()).map(|t| t.replace("core", "")).collect();
        Rule {
            verbs: list(verbs),
            groups: list(groups),
            resources: list(resources),
            names: list(names),
            paths: vec![],
        }
    }

    #[test]
    fn every_part_of_a_rule_counts() {
        // Wire 7.7.1.
        let check = |rule: &Rule, words: &str, expected: bool| {
            let [verb, group, resource, name] = words.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{words}")
            };
            let empty = |text| if text == "-" { "" } else { text };
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let (group, name) = (empty(group), empty(name));
            let action = ResourceAction { verb, group, resource, subresource, name, ..Default::default() };
            assert_eq!(rule.allows(Action::Resource(action)), expected, "{rule} {words}");
        };
        let pods = rule("get list", "core", "pods", "");
        check(&pods, "get - pods x", true);
        check(&pods, "list - pods -", true);
        check(&pods, "watch - pods -", false);
        check(&pods, "get apps pods x", false);
        check(&pods, "get - pods/log x", false);
        let logs = rule("*", "*", "*/log", "");
        check(&logs, "get - pods/log x", true);
        check(&logs, "get - pods x", false);
        check(&rule("*", "*", "*", ""), "get - pods/log x", true);
        check(&rule("get", "core", "pods/log", ""), "get - pods/log x", true);
        let one = rule("get create list", "core", "configmaps", "x");
        check(&one, "get - configmaps x", true);
        check(&one, "get - configmaps y", false);
        check(&one, "create - configmaps -", false);
        check(&one, "list - configmaps -", false);
    }

    #[test]
    fn paths_are_exact_or_begin_alike() {
        let paths = Rule::read(&json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/apis/*"]}));
        for (verb, path, expected) in [
            ("get", "/healthz", true),
            ("get", "/healthz/x", false),
            ("get", "/apis/apps/v1", true),
            ("get", "/apis", false),
            ("post", "/healthz", false),
        ] {
            assert_eq!(paths.allows(Action::Path { verb, path }), expected, "{verb} {path}");
        }
    }

    #[test]
    fn a_rule_holds_what_is_within_it() {
        let check = |ours: Rule, theirs: Rule, expected: bool| {
            assert_eq!(theirs.parts().iter().all(|part| ours.holds(part)), expected, "{ours} {theirs}");
        };
        let pods = || rule("get list", "core", "pods", "");
        check(pods(), rule("get", "core", "pods", ""), true);
        check(pods(), rule("get", "core", "pods", "x"), true);
        check(rule("get", "core", "pods", "x"), pods(), false);
        check(rule("get", "core", "pods", "x"), rule("get", "core", "pods", "x y"), false);
        check(pods(), rule("*", "core", "pods", ""), false);
        check(rule("*", "*", "*", ""), rule("*", "core apps", "pods pods/log", ""), true);
        check(pods(), rule("get", "core", "pods/log", ""), false);
    }

    #[test]
    fn a_rule_reads_back_and_prints_as_kubernetes_prints_it() {
        let json = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
        assert_eq!(Rule::read(&json).to_json(), json);
        assert_eq!(Rule::read(&json).to_string(), r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#);
    }
}
