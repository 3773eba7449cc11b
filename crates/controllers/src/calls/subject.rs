//! PURE. What of the API does a request's path speak of?

/// A collection, an object or a part of one. Words that the path does not have are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Subject<'a> {
    /// The API group; Kubernetes' own first one has no name.
    pub(crate) group: &'a str,
    pub(crate) namespace: &'a str,
    /// As it stands in URLs: `pods`.
    pub(crate) resource: &'a str,
    pub(crate) name: &'a str,
    /// A subresource: `status`.
    pub(crate) part: &'a str,
}

impl<'a> Subject<'a> {
    /// None where the path is not one of objects.
    pub(crate) fn of(path: &'a str) -> Option<Self> {
        let words: Vec<&str> = path.split('/').collect();
        let (group, rest) = match words.as_slice() {
            ["", "api", "v1", rest @ ..] => ("", rest),
            ["", "apis", group, _, rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let word = |at: usize| rest.get(at).copied().unwrap_or_default();
        rest.first().map(|resource| Self { group, namespace, resource, name: word(1), part: word(2) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_word_by_word() {
        let check = |path: &str, expected: Option<[&str; 5]>| {
            let found = Subject::of(path).map(|s| [s.group, s.namespace, s.resource, s.name, s.part]);
            assert_eq!(found, expected, "{path}");
        };
        check("/api/v1/namespaces/a/pods", Some(["", "a", "pods", "", ""]));
        check("/api/v1/namespaces/pods/pods/x", Some(["", "pods", "pods", "x", ""]));
        check(
            "/apis/apps/v1/namespaces/a/daemonsets/x/status",
            Some(["apps", "a", "daemonsets", "x", "status"]),
        );
        check("/api/v1/namespaces/a", Some(["", "", "namespaces", "a", ""]));
        check("/api/v1/nodes", Some(["", "", "nodes", "", ""]));
        check("/apis/apps/v1", None);
        check("/version", None);
        check("", None);
    }
}
