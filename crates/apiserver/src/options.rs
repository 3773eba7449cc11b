//! What the query of a request says: list, watch and write options, parsed once and then trusted.
//!
//! Pure. Texts are Kubernetes' (wire 2.5, 3.1.4, 3.5.4); an option that we do not understand is an error and
//! never "match all" (3.8.5).

use crate::decode::FieldValidation;
use crate::error::{ApiError, FieldError};
use crate::request::percent_decoded;
use objects::selector::{FieldSelector, Selector};
use serde_json::Value;
use store::Revision;

/// Longest field manager name in bytes (2.5.2).
const FIELD_MANAGER_MAX: usize = 128;

/// Query parameters in their order; a name may stand twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Splits `a=b&c=d`, with `+` as a blank.
    pub fn parse(query: &str) -> Self {
        let plain = |text: &str| percent_decoded(&text.replace('+', " "));
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| match pair.split_once('=') {
            Some((name, value)) => (plain(name), plain(value)),
            None => (plain(pair), String::new()),
        });
        Self(pairs.collect())
    }

    /// The first value of a name; absent reads as empty.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether the name stands there at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// A boolean: everything but `false` and `0` is true (3.3.1).
    pub fn flag(&self, name: &str) -> bool {
        self.all(name).next().is_some_and(|value| !matches!(value, "false" | "False" | "0"))
    }
}

/// Which state a list shows (3.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The newest.
    Latest,
    /// Anything from this revision on.
    NotOlderThan(Revision),
    /// Exactly this one.
    Exact(Revision),
}

/// Options of list, watch and deletecollection.
#[derive(Debug, Clone)]
pub struct ListOptions {
    /// Which labels.
    pub labels: Selector,
    /// Which fields.
    pub fields: FieldSelector,
    /// Which state.
    pub at: At,
    /// `resourceVersion` as it stood there: absent (or empty), or a number. A watch reads this.
    pub revision: Option<Revision>,
    /// At most so many items; 0 means all.
    pub limit: usize,
    /// Where the last page ended.
    pub resume: Option<Resume>,
    /// `timeoutSeconds`.
    pub timeout_seconds: Option<u64>,
    /// `allowWatchBookmarks`.
    pub bookmarks: bool,
    /// `sendInitialEvents`.
    pub initial_events: Option<bool>,
}

/// A `continue` token: the snapshot and the first key of the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// Snapshot of the first page; 0 asks for the newest state (an inconsistent restart, 3.2.3).
    pub revision: Revision,
    /// The last key that was sent.
    pub after: String,
}

impl Resume {
    /// The token's text: opaque to clients.
    pub fn token(&self) -> String {
        use base64::Engine as _;
        let text =
            serde_json::json!({"v": "everynode/v1", "rv": self.revision, "start": self.after}).to_string();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
    }

    fn parse(token: &str) -> Result<Self, ApiError> {
        use base64::Engine as _;
        let invalid = || ApiError::bad_request("invalid continue token: the token is not one of this server");
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
        match (value["rv"].as_u64(), value["start"].as_str()) {
            (Some(revision), Some(after)) => Ok(Self { revision, after: after.to_string() }),
            _ => Err(invalid()),
        }
    }
}

impl ListOptions {
    /// Reads and checks the options of a list (`watching` false) or a watch.
    pub fn parse(query: &Query, watching: bool) -> Result<Self, ApiError> {
        let revision = revision(query.get("resourceVersion"))?;
        let limit = number(query, "limit")?.unwrap_or(0);
        let options = Self {
            labels: Selector::parse(query.get("labelSelector"))
                .map_err(|e| ApiError::bad_request(e.to_string()))?,
            fields: FieldSelector::parse(query.get("fieldSelector"))
                .map_err(|e| ApiError::bad_request(e.to_string()))?,
            at: at(revision, query.get("resourceVersionMatch"), limit > 0),
            revision,
            limit: usize::try_from(limit).unwrap_or(0),
            resume: match query.get("continue") {
                "" => None,
                token => Some(Resume::parse(token)?),
            },
            timeout_seconds: number(query, "timeoutSeconds")?
                .and_then(|n| u64::try_from(n).ok())
                .filter(|n| *n > 0),
            bookmarks: query.flag("allowWatchBookmarks"),
            initial_events: query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents")),
        };
        let errors = options.broken_rules(query, watching);
        match errors.is_empty() {
            true => Ok(options),
            false => Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &errors)),
        }
    }

    /// Kubernetes: `apis/meta/internalversion/validation.ValidateListOptions` (3.1.4, 3.5.4).
    fn broken_rules(&self, query: &Query, watching: bool) -> Vec<FieldError> {
        const MATCH: &str = "resourceVersionMatch";
        let wanted = query.get(MATCH);
        let mut errors = Vec::new();
        if self.initial_events.is_some() {
            if !watching {
                errors.push(FieldError::forbidden(
                    "sendInitialEvents",
                    "sendInitialEvents is forbidden for list",
                ));
            } else if wanted != "NotOlderThan" {
                let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                errors.push(FieldError::forbidden(MATCH, detail));
            }
            return errors;
        }
        if wanted.is_empty() {
            return errors;
        }
        if watching {
            errors.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
            return errors;
        }
        if self.revision.is_none() {
            errors.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if self.resume.is_some() {
            errors.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if !matches!(wanted, "Exact" | "NotOlderThan") {
            errors.push(FieldError::not_supported(MATCH, wanted, &["Exact", "NotOlderThan", ""]));
        }
        if wanted == "Exact" && self.revision == Some(0) {
            errors.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        errors
    }
}

fn at(revision: Option<Revision>, wanted: &str, paged: bool) -> At {
    match (revision, wanted) {
        (None | Some(0), _) => At::Latest,
        (Some(n), "Exact") => At::Exact(n),
        // The old meaning of a revision with a limit (3.1.3).
        (Some(n), "") if paged => At::Exact(n),
        (Some(n), _) => At::NotOlderThan(n),
    }
}

fn revision(text: &str) -> Result<Option<Revision>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        ApiError::bad_request(format!(
            "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}

pub(crate) fn number(query: &Query, name: &str) -> Result<Option<i64>, ApiError> {
    match query.get(name) {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            ApiError::bad_request(format!(
                "unable to convert query parameter {name:?}: strconv.ParseInt: parsing {text:?}: invalid syntax"
            ))
        }),
    }
}

/// Options of create, update and patch (wire 2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOptions {
    /// Everything but the write.
    pub dry_run: bool,
    /// Who writes; from the query or from the user agent.
    pub field_manager: String,
    /// What an unknown field means.
    pub validation: FieldValidation,
}

impl WriteOptions {
    /// Reads the options; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`.
    pub fn parse(query: &Query, kind: &str, user_agent: &str) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let dry_run: Vec<&str> = query.all("dryRun").filter(|v| !v.is_empty()).collect();
        errors.extend(dry_run_errors(&dry_run));
        let given = query.get("fieldManager");
        if given.len() > FIELD_MANAGER_MAX {
            errors.push(FieldError::too_long("fieldManager", FIELD_MANAGER_MAX));
        }
        let validation = match query.get("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                errors.push(FieldError::not_supported("fieldValidation", other, &supported));
                FieldValidation::Warn
            }
        };
        if !errors.is_empty() {
            return Err(ApiError::invalid("meta.k8s.io", kind, "", &errors));
        }
        let field_manager = if given.is_empty() { manager_of(user_agent) } else { given.to_string() };
        Ok(Self { dry_run: !dry_run.is_empty(), field_manager, validation })
    }
}

/// The user agent up to its first slash, printable characters only (2.5.2).
fn manager_of(user_agent: &str) -> String {
    let product = user_agent.split('/').next().unwrap_or_default();
    let text: String = product.chars().filter(|c| !c.is_control()).take(FIELD_MANAGER_MAX).collect();
    if text.is_empty() { "unknown".to_string() } else { text }
}

/// `dryRun` knows one value, `All` (2.5.1).
pub(crate) fn dry_run_errors(values: &[&str]) -> Option<FieldError> {
    let known = values.iter().all(|v| *v == "All");
    (!known).then(|| FieldError {
        field: "dryRun".to_string(),
        problem: crate::error::Problem::NotSupported,
        value: Value::from(values.to_vec()),
        detail: "supported values: \"All\"".to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(query: &str, watching: bool) -> Result<ListOptions, String> {
        ListOptions::parse(&Query::parse(query), watching).map_err(|e| e.message)
    }

    #[test]
    fn a_list_option_that_makes_no_sense_is_refused_in_kubernetes_words() {
        let check = |query: &str, watching: bool, text: &str| {
            let expected = format!("ListOptions.meta.k8s.io \"\" is invalid: {text}");
            assert_eq!(list(query, watching).err(), Some(expected), "{query}");
        };
        check(
            "resourceVersionMatch=Exact",
            false,
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        );
        check(
            "sendInitialEvents=true",
            false,
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
        );
        check(
            "sendInitialEvents=true",
            true,
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        );
        check(
            "resourceVersion=1&resourceVersionMatch=NotOlderThan",
            true,
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        );
    }

    #[test]
    fn a_revision_with_a_limit_means_exactly_that_one() {
        let at = |query: &str| list(query, false).unwrap().at;
        assert_eq!(at(""), At::Latest);
        assert_eq!(at("resourceVersion=0&limit=5"), At::Latest);
        assert_eq!(at("resourceVersion=7"), At::NotOlderThan(7));
        assert_eq!(at("resourceVersion=7&limit=5"), At::Exact(7));
        assert_eq!(at("resourceVersion=7&limit=5&resourceVersionMatch=NotOlderThan"), At::NotOlderThan(7));
    }

    #[test]
    fn a_continue_token_comes_back_as_it_went() {
        let resume = Resume { revision: 9, after: "/registry/core/pods/a/b".into() };
        assert_eq!(Resume::parse(&resume.token()), Ok(resume));
        let refused = Resume::parse("rubbish!").unwrap_err().message;
        assert!(refused.starts_with("invalid continue token: "), "{refused}");
    }

    #[test]
    fn write_options_know_their_values() {
        let parse = |q: &str| WriteOptions::parse(&Query::parse(q), "CreateOptions", "kubectl/v1 (x)");
        assert_eq!(
            parse("dryRun=Bad").unwrap_err().message,
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: []string{\"Bad\"}: supported values: \"All\""
        );
        assert_eq!(
            parse("fieldValidation=x").unwrap_err().message,
            "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"x\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
        );
        assert_eq!(parse("").unwrap().field_manager, "kubectl");
    }
}
