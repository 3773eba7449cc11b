//! Roles and their bindings: who may do what, in the words of `rbac.authorization.k8s.io/v1`.
//!
//! One file for the four kinds, because they share their rules: names are path segments, PUT creates, and the role
//! that a binding points to never changes. Kubernetes: `apis/rbac/validation`, `apis/rbac/v1/defaults.go`.

use super::cells::{self, AGE, NAME, column, wide};
use super::fields::{entries, fill_zero, items, items_mut, text};
use super::{Column, Kind, NameRule, ORDINARY, PLAIN, Row, Rules, Traits};
use crate::error::FieldError;
use crate::resources::labels::{self, Values};
use jiff::Timestamp;
use serde_json::Value;

const GROUP: &str = "rbac.authorization.k8s.io";
const TRAITS: Traits = Traits { create_on_update: true, name_rule: NameRule::PathSegment, ..PLAIN };
const IN_NAMESPACE: Kind = Kind { group: GROUP, traits: TRAITS, ..ORDINARY };
const IN_CLUSTER: Kind = Kind { namespaced: false, ..IN_NAMESPACE };

/// Rights within a namespace.
pub const ROLES: Kind = Kind {
    kind: "Role",
    plural: "roles",
    singular: "role",
    rules: super::Rulebook::Fixed(&Roles { cluster: false }),
    ..IN_NAMESPACE
};
/// Rights everywhere.
pub const CLUSTER_ROLES: Kind = Kind {
    kind: "ClusterRole",
    plural: "clusterroles",
    singular: "clusterrole",
    rules: super::Rulebook::Fixed(&Roles { cluster: true }),
    ..IN_CLUSTER
};
/// Who has a role within a namespace.
pub const ROLE_BINDINGS: Kind = Kind {
    kind: "RoleBinding",
    plural: "rolebindings",
    singular: "rolebinding",
    rules: super::Rulebook::Fixed(&Bindings { cluster: false }),
    ..IN_NAMESPACE
};
/// Who has a role everywhere.
pub const CLUSTER_ROLE_BINDINGS: Kind = Kind {
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    rules: super::Rulebook::Fixed(&Bindings { cluster: true }),
    ..IN_CLUSTER
};

struct Roles {
    cluster: bool,
}

impl Rules for Roles {
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (index, rule) in items(object, "rules").iter().enumerate() {
            self.validate_rule(&mut errors, rule, &format!("rules[{index}]"));
        }
        if self.cluster && !object["aggregationRule"].is_null() {
            validate_aggregation(&mut errors, &object["aggregationRule"]);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        cells::UNPRINTED
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Row {
        cells::unprinted(object)
    }
}

impl Roles {
    fn validate_rule(&self, errors: &mut Vec<FieldError>, rule: &Value, path: &str) {
        if items(rule, "verbs").is_empty() {
            errors
                .push(FieldError::required(format!("{path}.verbs"), "verbs must contain at least one value"));
        }
        if !items(rule, "nonResourceURLs").is_empty() {
            return self.validate_url_rule(errors, rule, path);
        }
        if items(rule, "apiGroups").is_empty() {
            let detail = "resource rules must supply at least one api group";
            errors.push(FieldError::required(format!("{path}.apiGroups"), detail));
        }
        if items(rule, "resources").is_empty() {
            let detail = "resource rules must supply at least one resource";
            errors.push(FieldError::required(format!("{path}.resources"), detail));
        }
    }

    fn validate_url_rule(&self, errors: &mut Vec<FieldError>, rule: &Value, path: &str) {
        let field = format!("{path}.nonResourceURLs");
        let urls = rule["nonResourceURLs"].clone();
        if !self.cluster {
            let detail = "namespaced rules cannot apply to non-resource URLs";
            errors.push(FieldError::invalid(field.as_str(), urls.clone(), detail));
        }
        let more =
            ["apiGroups", "resources", "resourceNames"].iter().any(|list| !items(rule, list).is_empty());
        if more {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(field, urls, detail));
        }
    }
}

fn validate_aggregation(errors: &mut Vec<FieldError>, aggregation: &Value) {
    let path = "aggregationRule.clusterRoleSelectors";
    let selectors = items(aggregation, "clusterRoleSelectors");
    if selectors.is_empty() {
        errors.push(FieldError::required(
            path,
            "at least one clusterRoleSelector required if aggregationRule is non-nil",
        ));
    }
    for (index, selector) in selectors.iter().enumerate() {
        labels::validate_selector(errors, selector, &format!("{path}[{index}]"), Values::Checked);
    }
}

struct Bindings {
    cluster: bool,
}

impl Rules for Bindings {
    fn default(&self, object: &mut Value) {
        if let Some(role) = object.get_mut("roleRef") {
            fill_zero(role, "apiGroup", GROUP);
        }
        for subject in items_mut(object, "subjects") {
            if matches!(text(subject, "kind"), "User" | "Group") {
                fill_zero(subject, "apiGroup", GROUP);
            }
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        self.validate_role(&mut errors, &object["roleRef"]);
        for (index, subject) in items(object, "subjects").iter().enumerate() {
            self.validate_subject(&mut errors, subject, &format!("subjects[{index}]"));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(new);
        if entries(new, "roleRef") != entries(old, "roleRef") {
            errors.push(FieldError::invalid("roleRef", new["roleRef"].clone(), "cannot change roleRef"));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            column("Role", "The role that is given."),
            AGE,
            wide("Users", "Users among the subjects."),
            wide("Groups", "Groups among the subjects."),
            wide("ServiceAccounts", "Service accounts among the subjects."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let role = format!("{}/{}", text(&object["roleRef"], "kind"), text(&object["roleRef"], "name"));
        let mut cells = vec![cells::name(object), role.into(), cells::age(object, now)];
        cells.extend(["User", "Group", "ServiceAccount"].map(|kind| subjects(object, kind).into()));
        cells::row(cells)
    }
}

impl Bindings {
    fn validate_role(&self, errors: &mut Vec<FieldError>, role: &Value) {
        if text(role, "apiGroup") != GROUP {
            errors.push(FieldError::not_supported("roleRef.apiGroup", text(role, "apiGroup"), &[GROUP]));
        }
        let kinds: &[&str] = if self.cluster { &["ClusterRole"] } else { &["Role", "ClusterRole"] };
        if !kinds.contains(&text(role, "kind")) {
            errors.push(FieldError::not_supported("roleRef.kind", text(role, "kind"), kinds));
        }
        if text(role, "name").is_empty() {
            errors.push(FieldError::required("roleRef.name", ""));
        }
    }

    fn validate_subject(&self, errors: &mut Vec<FieldError>, subject: &Value, path: &str) {
        if text(subject, "name").is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        let group = text(subject, "apiGroup");
        match text(subject, "kind") {
            "ServiceAccount" => {
                if !group.is_empty() {
                    errors.push(FieldError::not_supported(format!("{path}.apiGroup"), group, &[""]));
                }
                if text(subject, "namespace").is_empty() {
                    errors.push(FieldError::required(format!("{path}.namespace"), ""));
                }
            }
            "User" | "Group" if group != GROUP => {
                errors.push(FieldError::not_supported(format!("{path}.apiGroup"), group, &[GROUP]));
            }
            "User" | "Group" => {}
            other => {
                let known = &["ServiceAccount", "User", "Group"];
                errors.push(FieldError::not_supported(format!("{path}.kind"), other, known));
            }
        }
    }
}

fn subjects(object: &Value, kind: &str) -> String {
    let name = |subject: &Value| match text(subject, "namespace") {
        "" => text(subject, "name").to_string(),
        namespace => format!("{namespace}/{}", text(subject, "name")),
    };
    let found = items(object, "subjects").iter().filter(|subject| text(subject, "kind") == kind);
    found.map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(errors: &[FieldError]) -> Vec<&str> {
        errors.iter().map(|e| e.field.as_str()).collect()
    }

    #[test]
    fn a_rule_is_about_resources_or_about_urls() {
        let check = |cluster: bool, rule: Value, expected: &[&str]| {
            let errors = Roles { cluster }.validate_create(&json!({"rules": [rule]}));
            assert_eq!(fields(&errors), expected, "{rule}");
        };
        check(false, json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}), &[]);
        check(false, json!({}), &["rules[0].verbs", "rules[0].apiGroups", "rules[0].resources"]);
        check(true, json!({"verbs": ["get"], "nonResourceURLs": ["/metrics"]}), &[]);
        check(
            false,
            json!({"verbs": ["get"], "nonResourceURLs": ["/metrics"]}),
            &["rules[0].nonResourceURLs"],
        );
        check(
            true,
            json!({"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"]}),
            &["rules[0].nonResourceURLs"],
        );
    }

    #[test]
    fn a_binding_never_points_elsewhere() {
        let binding = |role: &str| {
            let mut object = json!({"roleRef": {"kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]});
            Bindings { cluster: true }.default(&mut object);
            object
        };
        assert_eq!(binding("a")["subjects"][0]["apiGroup"], GROUP);
        assert_eq!(Bindings { cluster: true }.validate_create(&binding("a")), []);
        let errors = Bindings { cluster: true }.validate_update(&binding("b"), &binding("a"));
        assert_eq!(fields(&errors), ["roleRef"]);
        assert_eq!(errors[0].detail, "cannot change roleRef");
        let row = Bindings { cluster: true }.row(&binding("a"), Timestamp::UNIX_EPOCH);
        let expected = json!(["", "ClusterRole/a", "<unknown>", "u", "", "n/s"]);
        assert_eq!(Value::Array(row.cells), expected);
    }

    #[test]
    fn subjects_are_of_known_kinds() {
        let object = json!({"roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "r"},
            "subjects": [{"kind": "Robot", "name": "x"}, {"kind": "ServiceAccount", "name": "s"}]});
        let errors = Bindings { cluster: false }.validate_create(&object);
        assert_eq!(fields(&errors), ["subjects[0].kind", "subjects[1].namespace"]);
        let errors = Bindings { cluster: true }.validate_create(&object);
        assert_eq!(fields(&errors)[0], "roleRef.kind");
    }
}
