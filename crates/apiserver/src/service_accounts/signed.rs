//! A signed text of three parts: header, claims and signature (RFC 7515, compact form).
//!
//! Pure but for the chance in a signature. Only our algorithm is read, whatever the header says, so that no token can
//! choose how it is checked. What is not signed by a key of ours is never decoded further than its header.

use super::keys::{ALGORITHM, Keys};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Longest token that is looked at: ours have about 1 KiB; names and audiences could make it a few.
pub const LONGEST: usize = 16 * 1024;

/// Signs claims; none if the system gives no chance for it.
pub fn sign(keys: &Keys, claims: &Value) -> Option<String> {
    let header = json!({"alg": ALGORITHM, "kid": keys.id()}).to_string();
    let message =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = keys.sign(message.as_bytes())?;
    Some(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// The claims of a token that one of these keys has signed.
pub fn open(keys: &Keys, token: &str) -> Option<Value> {
    if token.len() > LONGEST {
        return None;
    }
    let (message, signature) = token.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    // `crit` names extensions that a reader must know; we know none.
    if header["alg"] != ALGORITHM || header.get("crit").is_some() {
        return None;
    }
    let id = header.get("kid").and_then(Value::as_str).unwrap_or_default();
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    if !keys.has_signed(id, message.as_bytes(), &signature) {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

/// Whether a bearer token has the form of these; a join token has not.
pub fn is_one(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}
