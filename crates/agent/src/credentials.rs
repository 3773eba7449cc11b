//! PURE. With which credentials an image is pulled: what the pod's pull secrets say about its registry.
//!
//! A key of a pull secret is `[scheme://]host[:port][/path]`. It fits an image whose host has the same parts (`*` stands for
//! anything within one part), whose port is the same, and whose path begins with the key's. The most exact key is tried
//! first. Docker Hub is `docker.io` in names of images and `index.docker.io` in most secrets.
//!
//! 1. A secret that cannot be read fails the pull by its name; no word of its content is in the error.
//! 2. The server's address is left out of what the runtime gets: containerd reads it as a URL and would drop the credentials.
//!
//! Differs: the key of the data decides, not the secret's type, because both always agree on objects made by kubectl; an
//! identity token is used, which kubelet overlooks; `localhost/a` is no image of Docker Hub and gets none of its passwords.
//!
//! Kubernetes: pkg/credentialprovider/{keyring,config}.go, pkg/credentialprovider/secrets/secrets.go.

use crate::image_name::{DOCKER_HUB, DOCKER_HUB_INDEX, ImageName};
use crate::runtime::cri::messages::AuthConfig;
use crate::sources::Data;
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use std::collections::BTreeMap;

/// With padding or without: `docker login` writes the one, people write the other.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a pull secret is of no use. Its content is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Not the JSON that it should be.
    #[error("image pull secret {secret:?}: {key} is not a docker configuration")]
    NotADockerConfig {
        /// The secret.
        secret: String,
        /// The key in its data.
        key: &'static str,
    },
    /// An `auth` that says nothing.
    #[error("image pull secret {secret:?}: auth of {registry:?} is not base64 of username:password")]
    BadAuth {
        /// The secret.
        secret: String,
        /// The registry.
        registry: String,
    },
}

/// Credentials that fit an image, in the order in which they are tried; of the named `secrets`, in the order of the pod.
pub fn credentials(
    image: &ImageName,
    secrets: &[(String, Data)],
) -> Result<Vec<AuthConfig>, CredentialsError> {
    let mut by_place: BTreeMap<String, Vec<AuthConfig>> = BTreeMap::new();
    for (name, data) in secrets {
        for (registry, entry) in registries(name, data)? {
            let auth = entry.auth(name, &registry)?;
            by_place.entry(place(&registry).into()).or_default().extend(auth);
        }
    }
    let wanted = image.repository();
    // From the last to the first: what is longer and begins the same is more exact.
    let fitting = by_place.iter().rev().filter(|(place, _)| fits(place, &wanted));
    let found: Vec<AuthConfig> = fitting.flat_map(|(_, auths)| auths.clone()).collect();
    if found.is_empty() && image.host == DOCKER_HUB {
        return Ok(by_place.remove(DOCKER_HUB_INDEX).unwrap_or_default());
    }
    Ok(found)
}

#[derive(Deserialize)]
struct Docker {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
}

impl Entry {
    /// `auth` wins over `username` and `password`; an entry without any says nothing.
    fn auth(self, secret: &str, registry: &str) -> Result<Option<AuthConfig>, CredentialsError> {
        if !self.identity_token.is_empty() {
            return Ok(Some(AuthConfig { identity_token: self.identity_token, ..AuthConfig::default() }));
        }
        let (username, password) = if self.auth.is_empty() {
            (self.username, self.password)
        } else {
            decode(&self.auth).ok_or_else(|| CredentialsError::BadAuth {
                secret: secret.into(),
                registry: registry.into(),
            })?
        };
        let auth = AuthConfig { username, password, ..AuthConfig::default() };
        Ok((auth != AuthConfig::default()).then_some(auth))
    }
}

fn decode(auth: &str) -> Option<(String, String)> {
    let one_line: String = auth.split_whitespace().collect();
    let text = String::from_utf8(BASE64.decode(one_line).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((username.into(), password.into()))
}

/// What a secret says about each registry: the newer form, or else the older one.
fn registries(secret: &str, data: &Data) -> Result<BTreeMap<String, Entry>, CredentialsError> {
    const NEW: &str = ".dockerconfigjson";
    const OLD: &str = ".dockercfg";
    let bad = |key| CredentialsError::NotADockerConfig { secret: secret.into(), key };
    let text = |key| data.get(key).filter(|text| !text.is_empty());
    if let Some(text) = text(NEW) {
        return Ok(serde_json::from_slice::<Docker>(text).map_err(|_| bad(NEW))?.auths);
    }
    let Some(text) = text(OLD) else { return Ok(BTreeMap::new()) };
    serde_json::from_slice(text).map_err(|_| bad(OLD))
}

/// `https://index.docker.io/v1/` → `index.docker.io`; `https://r:5000/team` → `r:5000/team`.
fn place(registry: &str) -> &str {
    let scheme = ["https://", "http://"].into_iter().find_map(|scheme| registry.strip_prefix(scheme));
    let bare = scheme.unwrap_or(registry);
    let bare = bare.split(['?', '#']).next().unwrap_or_default();
    match split(bare) {
        (host, "" | "/" | "/v1/" | "/v2/") => host,
        _ => bare,
    }
}

/// Whether a repository lies in a place.
fn fits(place: &str, repository: &str) -> bool {
    let (host, path) = split(repository);
    let (wanted_host, wanted_path) = split(place);
    let (name, port) = split_port(host);
    let (wanted_name, wanted_port) = split_port(wanted_host);
    let (parts, wanted_parts): (Vec<_>, Vec<_>) =
        (name.split('.').collect(), wanted_name.split('.').collect());
    port == wanted_port
        && path.starts_with(wanted_path)
        && parts.len() == wanted_parts.len()
        && parts.iter().zip(&wanted_parts).all(|(part, wanted)| is_like(wanted, part))
}

/// `r:5000/a/b` → `r:5000`, `/a/b`.
fn split(name: &str) -> (&str, &str) {
    name.split_at(name.find('/').unwrap_or(name.len()))
}

/// `r:5000` → `r`, `5000`; an address of IPv6 stands in brackets.
fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    }
}

/// Whether a text is like a pattern in which `*` stands for anything.
fn is_like(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = rest.split_at(at + piece.len()).1,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn secret(name: &str, key: &str, content: &Value) -> (String, Data) {
        (name.into(), Arc::new(BTreeMap::from([(key.to_string(), content.to_string().into_bytes())])))
    }

    fn image(name: &str) -> ImageName {
        ImageName::parse(name).unwrap()
    }

    fn new_form(name: &str, auths: &Value) -> (String, Data) {
        secret(name, ".dockerconfigjson", &json!({"auths": auths}))
    }

    /// The users whose credentials are tried for an image, where each key of a secret is the name of its user.
    #[track_caller]
    fn check(name: &str, keys: &[&str], expected: &[&str]) {
        let auths: Value =
            keys.iter().map(|key| ((*key).to_string(), json!({"username": key, "password": "p"}))).collect();
        let found = credentials(&image(name), &[new_form("s", &auths)]).unwrap();
        let users: Vec<&str> = found.iter().map(|auth| auth.username.as_str()).collect();
        assert_eq!(users, expected, "{name} among {keys:?}");
    }

    #[test]
    fn host_and_port_are_the_same_in_every_part() {
        check("r.example/a:1", &["r.example"], &["r.example"]);
        check("r.example/a:1", &["example", "x.r.example", "s.example", "r.example:443"], &[]);
        check("r.example:5000/a", &["r.example:5000"], &["r.example:5000"]);
        check("r.example:5000/a", &["r.example", "r.example:5001"], &[]);
        check("10.88.0.1:5000/a:1", &["10.88.0.1:5000"], &["10.88.0.1:5000"]);
        check("[fd00::1]:5000/a", &["[fd00::1]:5000"], &["[fd00::1]:5000"]);
        check("localhost/a", &["localhost"], &["localhost"]);
        check("R.example/a", &["r.example"], &[]);
    }

    #[test]
    fn scheme_and_the_paths_of_the_two_protocols_say_nothing() {
        for key in [
            "r.example/",
            "https://r.example",
            "http://r.example/",
            "https://r.example/v1/",
            "https://r.example/v2/",
        ] {
            check("r.example/a", &[key], &[key]);
        }
        check("r.example/a", &["ftp://r.example", ""], &[]);
    }

    #[test]
    fn the_path_is_a_beginning_and_the_longest_goes_first() {
        let keys = ["r.example", "r.example/team", "r.example/team/app", "r.example/other"];
        check("r.example/team/app:1", &keys, &["r.example/team/app", "r.example/team", "r.example"]);
        check("r.example/team-two/app", &keys, &["r.example/team", "r.example"]);
        check("r.example/team-two/app", &["r.example/team/"], &[]);
        check("r.example/b", &keys, &["r.example"]);
    }

    #[test]
    fn a_star_stands_for_anything_in_one_part_of_the_host() {
        check("eu.cloud.example/b", &["*.cloud.example"], &["*.cloud.example"]);
        check("a.eu.cloud.example/b", &["*.cloud.example"], &[]);
        check("cloud.example/b", &["*.cloud.example"], &[]);
        check("a-eu-1.r.example:5000/b", &["a-*-1.*.example:5000"], &["a-*-1.*.example:5000"]);
        check("a-eu-2.r.example/b", &["a-*-1.r.example", "a*b.r.example"], &[]);
        check("r.example:5000/b", &["r.example:*"], &[]);
        check("r.example/team/b", &["r.example/*/b"], &[]);
        check("aba.example/b", &["ab*ba.example", "a*a.example"], &["a*a.example"]);
    }

    #[test]
    fn docker_hub_has_two_names() {
        let hub = "https://index.docker.io/v1/";
        for image in ["busybox", "busybox:1", "team/app", "docker.io/team/app", "index.docker.io/app"] {
            check(image, &[hub], &[hub]);
            check(image, &["docker.io", hub], &["docker.io"]);
        }
        check("busybox", &["docker.io/library", "docker.io/team"], &["docker.io/library"]);
        for image in ["r.example/app", "localhost/app", "r:5000/app"] {
            check(image, &[hub, "docker.io"], &[]);
        }
    }

    #[track_caller]
    fn check_entry(entry: &Value, expected: Result<&[(&str, &str)], &str>) {
        for secret in [
            new_form("s", &json!({"r.example": entry})),
            secret("s", ".dockercfg", &json!({"r.example": entry})),
        ] {
            let found = credentials(&image("r.example/a"), &[secret]).map_err(|error| error.to_string());
            let found: Result<Vec<_>, _> =
                found.map(|all| all.into_iter().map(|a| (a.username, a.password)).collect());
            let expected = expected.map_err(String::from);
            let own = |(user, password): &(&str, &str)| (user.to_string(), password.to_string());
            assert_eq!(found, expected.map(|all| all.iter().map(own).collect()), "{entry}");
        }
    }

    #[test]
    fn an_entry_is_read_in_both_forms() {
        check_entry(&json!({"username": "u", "password": "p", "email": "e"}), Ok(&[("u", "p")]));
        check_entry(&json!({"auth": "dTpwOnA="}), Ok(&[("u", "p:p")]));
        check_entry(&json!({"auth": "dTpwOnA"}), Ok(&[("u", "p:p")]));
        check_entry(&json!({"auth": " dTpw\nOnA=\n"}), Ok(&[("u", "p:p")]));
        check_entry(&json!({"auth": "dTpwOnA=", "username": "x", "password": "y"}), Ok(&[("u", "p:p")]));
        check_entry(&json!({}), Ok(&[]));
        let bad = "image pull secret \"s\": auth of \"r.example\" is not base64 of username:password";
        check_entry(&json!({"auth": "secret!"}), Err(bad));
        check_entry(&json!({"auth": "c2VjcmV0"}), Err(bad));
    }

    #[test]
    fn an_identity_token_stands_alone() {
        let auths = json!({"r.example": {"auth": "dTpw", "identitytoken": "t"}});
        let expected = AuthConfig { identity_token: "t".into(), ..AuthConfig::default() };
        assert_eq!(credentials(&image("r.example/a"), &[new_form("s", &auths)]), Ok(vec![expected]));
    }

    #[test]
    fn the_same_registry_in_two_secrets_is_tried_in_the_order_of_the_pod() {
        let of = |user: &str| new_form(user, &json!({"r.example": {"username": user, "password": "p"}}));
        let found = credentials(&image("r.example/a"), &[of("b"), of("a")]).unwrap();
        let users: Vec<&str> = found.iter().map(|auth| auth.username.as_str()).collect();
        assert_eq!(users, ["b", "a"]);
    }

    #[test]
    fn what_cannot_be_read_is_named_without_its_content() {
        let check = |key: &str, text: &str, expected: &str| {
            let data = Arc::new(BTreeMap::from([(key.to_string(), text.as_bytes().to_vec())]));
            let found = credentials(&image("r.example/a"), &[("s".to_string(), data)]);
            assert_eq!(found.map_err(|error| error.to_string()), Err(expected.to_string()), "{text}");
        };
        let new = "image pull secret \"s\": .dockerconfigjson is not a docker configuration";
        let old = "image pull secret \"s\": .dockercfg is not a docker configuration";
        check(".dockerconfigjson", "secret", new);
        check(".dockerconfigjson", r#"{"auths":{"r":"secret"}}"#, new);
        check(".dockercfg", r#"{"r":"secret"}"#, old);
        let other: Data = Arc::new(BTreeMap::from([("password".to_string(), b"x".to_vec())]));
        assert_eq!(credentials(&image("r.example/a"), &[("s".into(), other)]), Ok(vec![]));
    }
}
