//! The kubeconfig of an administrator: where the server is, whom to trust, who we are.

use super::Issued;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The name of cluster, user and context.
const NAME: &str = "everynode";

/// The file's text, JSON (which is YAML).
pub fn kubeconfig(server: &str, authority_pem: &str, user: &Issued) -> String {
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": NAME,
        "clusters": [{"name": NAME, "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(authority_pem),
        }}],
        "users": [{"name": NAME, "user": {
            "client-certificate-data": STANDARD.encode(&user.certificate_pem),
            "client-key-data": STANDARD.encode(&user.key_pem),
        }}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
    });
    format!("{config:#}\n")
}
