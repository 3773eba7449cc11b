//! Bootstrap tokens: their form, and the Secrets that hold them.
//!
//! A token is `<id>.<secret>`; its Secret is `kube-system/bootstrap-token-<id>`. Kubernetes: `cluster-bootstrap/token`.

/// Where the Secrets are.
pub const NAMESPACE: &str = "kube-system";
/// Their type.
pub const TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group of whoever shows a token; further groups have this and a colon before their names.
pub const GROUP: &str = "system:bootstrappers";
/// Letters of an id, which is public.
pub const ID_LENGTH: usize = 6;
/// Letters of a secret.
pub const SECRET_LENGTH: usize = 16;

/// The name of the Secret of the token with this id.
pub fn secret_name(id: &str) -> String {
    format!("bootstrap-token-{id}")
}

/// Id and secret of a token; none of a text of another form.
pub fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain =
        |text: &str| text.bytes().all(|letter| letter.is_ascii_digit() || letter.is_ascii_lowercase());
    (id.len() == ID_LENGTH && secret.len() == SECRET_LENGTH && plain(id) && plain(secret))
        .then_some((id, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_token() {
        assert_eq!(parse("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for wrong in
            ["abcdef", "abcde.0123456789abcdef", "abcdef.0123456789abcdeF", "abc/ef.0123456789abcdef", ""]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
