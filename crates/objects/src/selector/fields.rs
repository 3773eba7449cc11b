//! Field selectors: `spec.nodeName=n1,status.phase!=Failed`.
//!
//! Which paths a kind knows is its own affair; here they are texts. Kubernetes: `apimachinery/pkg/fields/selector.go`.

/// One term of a field selector.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldRequirement {
    /// For example `metadata.name`.
    pub path: String,
    /// Whether the field must have the value, or must not.
    pub equal: bool,
    /// The value, without its escapes.
    pub value: String,
}

/// Terms that all must hold; none selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector(Vec<FieldRequirement>);

/// A text that is no field selector. The texts are Kubernetes'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A term without an operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole text.
        selector: String,
        /// The part in question.
        term: String,
    },
    /// A backslash before something that needs none.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// A separator inside a value, without a backslash.
    #[error("invalid field selector: unescaped character in value: {}", u32::from(*.0))]
    Unescaped(char),
}

impl FieldSelector {
    /// Reads a selector; the empty text selects everything (3.8.1). Terms come out sorted, as upstream.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let mut terms = split(text);
        terms.sort_unstable();
        let terms = terms.into_iter().filter(|term| !term.is_empty());
        terms.map(|term| requirement(text, term)).collect::<Result<_, _>>().map(Self)
    }

    /// The terms.
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.0
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object with these fields is meant. A field that is absent reads as the empty text.
    pub fn matches<S: AsRef<str>>(&self, field: impl Fn(&str) -> S) -> bool {
        self.0.iter().all(|term| (field(&term.path).as_ref() == term.value) == term.equal)
    }

    /// The value that a path must have, if one is required.
    pub fn required(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|term| term.equal && term.path == path).map(|term| term.value.as_str())
    }
}

/// Splits at commas that no backslash escapes.
fn split(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(move |c| {
        let separates = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        separates
    })
    .collect()
}

fn requirement(selector: &str, term: &str) -> Result<FieldRequirement, FieldError> {
    let unknown = || FieldError::Term { selector: selector.to_string(), term: term.to_string() };
    let at = term.find(['=', '!']).map(|_| operator(term)).unwrap_or_default().ok_or_else(unknown)?;
    let (path, equal, value) = at;
    Ok(FieldRequirement { path: path.to_string(), equal, value: unescaped(value)? })
}

/// Path, whether it must be equal, and value: at the first `!=`, `==` or `=`.
fn operator(term: &str) -> Option<(&str, bool, &str)> {
    for (at, _) in term.char_indices() {
        let (path, rest) = term.split_at(at);
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((path, equal, value));
            }
        }
    }
    None
}

fn unescaped(value: &str) -> Result<String, FieldError> {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => text.push(escaped),
                Some(other) => return Err(FieldError::Escape(format!("\\{other}"))),
                None => return Err(FieldError::Escape("\\".to_string())),
            },
            ',' | '=' => return Err(FieldError::Unescaped(c)),
            c => text.push(c),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&[(&str, bool, &str)], &str>) {
        let found = FieldSelector::parse(text);
        let found = found.as_ref().map(|selector| {
            let terms = selector.requirements().iter();
            terms.map(|t| (t.path.as_str(), t.equal, t.value.as_str())).collect::<Vec<_>>()
        });
        let found = found.map_err(ToString::to_string);
        assert_eq!(found, expected.map(<[_]>::to_vec).map_err(str::to_string), "{text}");
    }

    #[test]
    fn field_selectors_parse_as_in_3_8_1() {
        check("", Ok(&[]));
        check("a=b", Ok(&[("a", true, "b")]));
        check("a==b,", Ok(&[("a", true, "b")]));
        check("b=,a!=x", Ok(&[("a", false, "x"), ("b", true, "")]));
        check(r"a=x\,y\=z\\", Ok(&[("a", true, r"x,y=z\")]));
        check("metadata.name", Err("invalid selector: 'metadata.name'; can't understand 'metadata.name'"));
        check("a=b,c", Err("invalid selector: 'a=b,c'; can't understand 'c'"));
        check("a!", Err("invalid selector: 'a!'; can't understand 'a!'"));
        check(r"a=\x", Err(r"invalid field selector: invalid escape sequence: \x"));
        check("a=b=c", Err("invalid field selector: unescaped character in value: 61"));
    }

    #[test]
    fn all_terms_must_hold() {
        let selector = FieldSelector::parse("spec.nodeName=n1,status.phase!=Failed").unwrap();
        let pod = |node: &'static str, phase: &'static str| {
            move |path: &str| if path == "spec.nodeName" { node } else { phase }
        };
        assert!(selector.matches(pod("n1", "Running")));
        assert!(!selector.matches(pod("n1", "Failed")));
        assert!(!selector.matches(pod("n2", "Running")));
        assert_eq!(selector.required("spec.nodeName"), Some("n1"));
        assert_eq!(selector.required("status.phase"), None);
    }
}
