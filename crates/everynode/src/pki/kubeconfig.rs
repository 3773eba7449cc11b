//! The file that kubectl reads: where the server is, whom to believe, and who asks.
//!
//! Everything stands in the file itself, so that it can be copied; it is written for its owner only.
//! Kubernetes: client-go, tools/clientcmd/api/v1.

use super::Issued;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// Name of the cluster, the user and the context.
const NAME: &str = "everynode";

/// A kubeconfig for the server at `server` (`https://host:port`), as YAML.
pub fn text(server: &str, ca_pem: &str, user: &Issued) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(ca_pem),
        }}],
        "users": [{"name": NAME, "user": {
            "client-certificate-data": STANDARD.encode(&user.certificate_pem),
            "client-key-data": STANDARD.encode(&user.key_pem),
        }}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
        "current-context": NAME,
    });
    // JSON is YAML; one printer less.
    format!("{config:#}\n")
}
