//! PURE. What the name of an image says: registry, repository, tag and digest.
//!
//! `[host[:port]/]path[:tag][@digest]`; the first part is a host if it has a dot, a port or capitals, or is `localhost`.
//! Without one the image is Docker Hub's, and there a path of one part lies below `library`. A name is complete after it
//! was parsed: [`ImageName::repository`] always begins with a host.
//!
//! Kubernetes: pkg/util/parsers/parsers.go, with the grammar of github.com/distribution/reference.

/// Docker Hub.
pub const DOCKER_HUB: &str = "docker.io";
/// Docker Hub, as `docker login` calls it.
pub const DOCKER_HUB_INDEX: &str = "index.docker.io";
/// Where an image without any folder lies on Docker Hub.
const OFFICIAL: &str = "library";
/// Letters of a repository with its host. distribution/reference: `RepositoryNameTotalLengthMax`.
const LONGEST: usize = 255;
/// Letters of a tag.
const LONGEST_TAG: usize = 128;
/// A digest has at least these digits.
const SHORTEST_DIGEST: usize = 32;

/// A name that is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName {
    /// `host[:port]`.
    pub host: String,
    /// What lies there.
    pub path: String,
    /// Without one, `latest` is meant.
    pub tag: Option<String>,
    /// `sha256:<hex>`.
    pub digest: Option<String>,
}

/// Why a name is none, in Kubernetes' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// Only hosts and tags may have capitals.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// It could be taken for the id of an image.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LikeAnId(String),
    /// It is too long.
    #[error("repository name must not be more than {LONGEST} characters")]
    TooLong,
}

impl ImageName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NameError::LikeAnId(text.into()));
        }
        let (name, digest) = optional(text.split_once('@'), text);
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if is_host(host) => (host, path),
            _ => (DOCKER_HUB, name),
        };
        let (path, tag) = optional(path.split_once(':'), path);
        if path.chars().any(char::is_uppercase) {
            return Err(NameError::Uppercase(path.into()));
        }
        let (host, path) = match host {
            DOCKER_HUB | DOCKER_HUB_INDEX if path.contains('/') => (DOCKER_HUB, path.to_string()),
            DOCKER_HUB | DOCKER_HUB_INDEX => (DOCKER_HUB, format!("{OFFICIAL}/{path}")),
            _ => (host, path.to_string()),
        };
        let fine = is_place(host)
            && path.split('/').all(is_path_part)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest);
        if !fine {
            return Err(NameError::Format);
        }
        if host.len() + 1 + path.len() > LONGEST {
            return Err(NameError::TooLong);
        }
        Ok(Self { host: host.into(), path, tag: tag.map(Into::into), digest: digest.map(Into::into) })
    }

    /// `host[:port]/path`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }
}

fn optional<'a>(parts: Option<(&'a str, &'a str)>, whole: &'a str) -> (&'a str, Option<&'a str>) {
    parts.map_or((whole, None), |(first, second)| (first, Some(second)))
}

fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase)
}

/// `host[:port]`: a name, or an address of IPv6 in brackets.
fn is_place(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, port)| {
            let digits = port.strip_prefix(':');
            address.parse::<std::net::Ipv6Addr>().is_ok() && (port.is_empty() || digits.is_some_and(is_port))
        });
    }
    let (host, port) = optional(text.split_once(':'), text);
    host.split('.').all(is_host_part) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_host_part(part: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    edge(part.bytes().next())
        && edge(part.bytes().next_back())
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Letters and digits, and between them `.`, `_`, `__` or dashes.
fn is_path_part(part: &str) -> bool {
    let is_word = |b: char| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators: Vec<&str> = part.split(is_word).filter(|between| !between.is_empty()).collect();
    let fine = |between: &&str| matches!(*between, "." | "_" | "__") || between.bytes().all(|b| b == b'-');
    part.starts_with(is_word) && part.ends_with(is_word) && separators.iter().all(fine)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let is_name = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['+', '.', '-', '_']).all(is_name)
        && hex.len() >= SHORTEST_DIGEST
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, repository: &str, tag: Option<&str>) {
        let name = ImageName::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((name.repository().as_str(), name.tag.as_deref()), (repository, tag), "{text}");
    }

    #[test]
    fn a_name_without_a_host_is_docker_hubs() {
        check("busybox", "docker.io/library/busybox", None);
        check("busybox:1.36", "docker.io/library/busybox", Some("1.36"));
        check("team/app", "docker.io/team/app", None);
        check("docker.io/busybox", "docker.io/library/busybox", None);
        check("index.docker.io/team/app:1", "docker.io/team/app", Some("1"));
    }

    #[test]
    fn the_first_part_is_a_host_if_it_looks_like_one() {
        check("r.example/a", "r.example/a", None);
        check("r:5000/a/b:V1.0_x-y", "r:5000/a/b", Some("V1.0_x-y"));
        check("localhost/a", "localhost/a", None);
        check("R/a", "R/a", None);
        check("10.88.0.1:5000/team/app:1", "10.88.0.1:5000/team/app", Some("1"));
        check("[fd00::1]:5000/a:1", "[fd00::1]:5000/a", Some("1"));
        check("[fd00::1]/a", "[fd00::1]/a", None);
    }

    #[test]
    fn a_digest_stands_beside_the_tag() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let name = ImageName::parse(&format!("r.example/a__b/c--d.e_f:1@{digest}")).unwrap();
        let expected = ImageName {
            host: "r.example".into(),
            path: "a__b/c--d.e_f".into(),
            tag: Some("1".into()),
            digest: Some(digest),
        };
        assert_eq!(name, expected);
    }

    #[test]
    fn what_is_no_name_is_explained() {
        for text in [
            "",
            ":1",
            "a:",
            "a@",
            "a@sha256:00",
            "a@sha256",
            "/a",
            "a/",
            "a//b",
            "a b",
            "a:1:2",
            "-a",
            "a-",
            "a___b",
            "a._b",
            "r.example:x/a",
            "-r.example/a",
            "r..example/a",
            "[fd00::1/a",
            "[x]:1/a",
            "a:.1",
            "ä",
        ] {
            assert_eq!(ImageName::parse(text), Err(NameError::Format), "{text:?}");
        }
        let check = |text: &str, expected: &str| {
            assert_eq!(ImageName::parse(text).unwrap_err().to_string(), expected);
        };
        check("UPPER/Case:1", "invalid reference format: repository name (Case) must be lowercase");
        check("Nginx", "invalid reference format: repository name (Nginx) must be lowercase");
        let id = "a".repeat(64);
        let like_id = format!("invalid repository name ({id}), cannot specify 64-byte hexadecimal strings");
        check(&id, &like_id);
        check(&"a".repeat(256), "repository name must not be more than 255 characters");
        check(&format!("a:{}", "t".repeat(129)), "invalid reference format");
    }
}
