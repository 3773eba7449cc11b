//! Whose is the bootstrap token `<id>.<secret>`? What the Secret `kube-system/bootstrap-token-<id>` says.
//!
//! 1. The Secret has the type `bootstrap.kubernetes.io/token`, the same id and secret, `usage-bootstrap-authentication: "true"`,
//!    and is neither over nor being deleted. One that is wrong in anything is nobody's.
//! 2. The user is `system:bootstrap:<id>` in `system:bootstrappers` and in the groups of `auth-extra-groups`, all of which are
//!    called `system:bootstrappers:…`: no token makes an administrator.
//!
//! Kubernetes: `plugin/pkg/auth/authenticator/token/bootstrap`, `cluster-bootstrap/token`.

use crate::Inner;
use crate::authn::User;
use crate::resources::secrets;
use crate::service_accounts::check::NoUser;
use crate::verbs::metadata::is_terminating;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use objects::bootstrap_token::{GROUP, NAMESPACE, TYPE, parse, secret_name};
use serde_json::Value;

/// Letters of a group's own part. Kubernetes: `BootstrapGroupPattern`.
const GROUP_LETTERS: usize = 256;

/// The user of a token; none if no Secret knows it.
///
/// # Errors
/// The store cannot be read.
pub async fn user(server: &Inner, token: &str) -> Result<Option<User>, NoUser> {
    let Some((id, secret)) = parse(token) else { return Ok(None) };
    let found = server.read(&secrets::KIND, NAMESPACE, &secret_name(id)).await.map_err(NoUser::Failed)?;
    Ok(found.and_then(|(found, _)| judge(&found, id, secret, server.now())))
}

fn judge(object: &Value, id: &str, secret: &str, now: Timestamp) -> Option<User> {
    let data = |key: &str| {
        let bytes = STANDARD.decode(object["data"][key].as_str()?).ok()?;
        String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
    };
    let right = object["type"] == TYPE
        && !is_terminating(object)
        && data("token-id").as_deref() == Some(id)
        && data("token-secret").is_some_and(|held| is_same(&held, secret))
        && data("usage-bootstrap-authentication").as_deref() == Some("true");
    let ended = data("expiration").is_some_and(|end| end.parse().is_ok_and(|end: Timestamp| end <= now));
    // A time that cannot be read is over.
    let readable = data("expiration").is_none_or(|end| end.parse::<Timestamp>().is_ok());
    if !right || ended || !readable {
        return None;
    }
    let more = data("auth-extra-groups").unwrap_or_default();
    let more: Vec<String> = more.split(',').filter(|group| !group.is_empty()).map(String::from).collect();
    let groups = [GROUP.to_string()].into_iter().chain(more.iter().cloned());
    more.iter()
        .all(|group| is_group(group))
        .then(|| User::authenticated(format!("system:bootstrap:{id}"), groups))
}

/// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]`.
fn is_group(group: &str) -> bool {
    let Some(own) = group.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix(':')) else { return false };
    let letter = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
    own.len() <= GROUP_LETTERS
        && own.bytes().next_back().is_some_and(letter)
        && own.bytes().all(|b| letter(b) || b == b':' || b == b'-')
}

/// Compares every byte, so that the time it takes says nothing about the secret.
fn is_same(held: &str, shown: &str) -> bool {
    held.len() == shown.len() && held.bytes().zip(shown.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECRET: &str = "0123456789abcdef";

    fn object(more: &[(&str, &str)]) -> Value {
        let mut data = serde_json::Map::new();
        let usual =
            [("token-id", "abcdef"), ("token-secret", SECRET), ("usage-bootstrap-authentication", "true")];
        for (key, value) in usual.iter().chain(more) {
            data.insert((*key).into(), STANDARD.encode(value).into());
        }
        json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": TYPE, "data": data})
    }

    #[test]
    fn a_token_is_what_its_secret_says_until_it_is_over() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let check = |more: &[(&str, &str)], expected: Option<&[&str]>| {
            let user = judge(&object(more), "abcdef", SECRET, now);
            let expected = expected.map(|groups| {
                User::authenticated("system:bootstrap:abcdef", groups.iter().map(ToString::to_string))
            });
            assert_eq!(user, expected, "{more:?}");
        };
        let plain: Option<&[&str]> = Some(&["system:bootstrappers"]);
        check(&[], plain);
        check(&[("expiration", "2026-11-21T12:00:01Z")], plain);
        check(&[("expiration", "2026-11-21T13:00:01+01:00")], plain);
        check(&[("expiration", "2026-11-21T12:00:00Z")], None);
        check(&[("expiration", "tomorrow")], None);
        check(&[("usage-bootstrap-authentication", "false")], None);
        check(&[("usage-bootstrap-signing", "true")], plain);
        check(&[("token-secret", "0123456789abcdee")], None);
        check(&[("token-id", "abcdee")], None);
        let groups = ["system:bootstrappers", "system:bootstrappers:a", "system:bootstrappers:b:c-d"];
        check(&[("auth-extra-groups", "system:bootstrappers:a,system:bootstrappers:b:c-d")], Some(&groups));
        for wrong in
            ["system:masters", "system:bootstrappers", "system:bootstrappers:", "system:bootstrappers:A"]
        {
            check(&[("auth-extra-groups", wrong)], None);
        }
        let mut ending = object(&[]);
        ending["metadata"]["deletionTimestamp"] = "2026-11-21T11:00:00Z".into();
        assert_eq!(judge(&ending, "abcdef", SECRET, now), None);
        let mut other = object(&[]);
        other["type"] = "Opaque".into();
        assert_eq!(judge(&other, "abcdef", SECRET, now), None);
    }
}
