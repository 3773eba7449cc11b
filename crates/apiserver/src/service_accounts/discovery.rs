//! Who issues our tokens and with which keys, for those who check them without asking us (OpenID Connect Discovery 1.0).
//!
//! Kubernetes: `pkg/serviceaccount/openidmetadata.go`, `pkg/routes/openidmetadata.go`.

use super::Issuer;
use super::keys::ALGORITHM;
use crate::Inner;
use crate::reply::{self, Reply};
use http::header::{CACHE_CONTROL, HeaderValue};
use serde_json::json;

/// Path of the keys.
const KEYS: &str = "/openid/v1/jwks";
/// A verifier may believe an old answer this long; a new key is to be shown before it signs.
const CACHED: &str = "public, max-age=3600";

/// `/.well-known/openid-configuration`.
pub fn configuration(server: &Inner) -> Reply {
    let keys = format!("https://{}{KEYS}", server.config.advertise);
    answer(server, "application/json", |issuer| {
        json!({"issuer": issuer.url, "jwks_uri": keys, "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": [ALGORITHM]})
    })
}

/// `/openid/v1/jwks`.
pub fn keys(server: &Inner) -> Reply {
    answer(server, "application/jwk-set+json", |issuer| issuer.keys.set())
}

fn answer(server: &Inner, media: &'static str, document: impl Fn(&Issuer) -> serde_json::Value) -> Reply {
    let Some(issuer) = &server.config.issuer else { return reply::text(404, "404 page not found\n") };
    let mut reply = reply::with_type(200, media, document(issuer).to_string());
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(CACHED));
    reply
}
