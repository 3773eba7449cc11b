//! The key that signs tokens, and the keys that are believed: ECDSA over P-256, `ES256` in JSON Web Tokens.
//!
//! One key signs; any number of public keys is believed besides, so that tokens of an older key stay good. A key's id is
//! the hash of its public half, as kube-apiserver names it, so nothing has to be kept about it.
//! Differs: RSA keys are not read. `ES256` is a third of the size, and every verifier that Kubernetes' own tokens meet
//! knows it. Kubernetes: `pkg/serviceaccount/jwt.go` `keyIDFromPublicKey`, `openidmetadata.go`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The algorithm's name in a token's header.
pub const ALGORITHM: &str = "ES256";

/// What stands before the point in every public key of P-256 (RFC 5480): a fixed head, as it holds no number but lengths.
const HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// An uncompressed point: 4, x, y.
const POINT: usize = 65;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The private key cannot be used.
    #[error("the signing key is no PKCS #8 key of P-256, PEM: {0}")]
    Private(String),
    /// A public key cannot be used.
    #[error("the public key is none of P-256, PEM: {0}")]
    Public(String),
}

/// The keys of a cluster.
pub struct Keys {
    signing: EcdsaKeyPair,
    /// The signing key's first.
    believed: Vec<Public>,
}

/// One public key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Public {
    id: String,
    point: Vec<u8>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("believed", &self.believed).finish_non_exhaustive()
    }
}

impl Keys {
    /// The key that signs, and those that are believed besides; a key that stands twice counts once.
    ///
    /// # Errors
    /// When one of them is no P-256 key in PEM.
    pub fn new<'a>(signing: &str, also: impl IntoIterator<Item = &'a str>) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(signing.as_bytes())
            .map_err(|error| KeyError::Private(error.to_string()))?;
        let random = SystemRandom::new();
        let signing =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &random)
                .map_err(|error| KeyError::Private(error.to_string()))?;
        let mut believed = vec![Public::of(signing.public_key().as_ref())];
        for text in also {
            let key = Public::read(text)?;
            if !believed.contains(&key) {
                believed.push(key);
            }
        }
        Ok(Self { signing, believed })
    }

    /// Which key signs.
    pub fn id(&self) -> &str {
        self.believed.first().map_or("", |key| &key.id)
    }

    /// The signature of a message; none if the system gives no chance for it.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signature = self.signing.sign(&SystemRandom::new(), message).ok()?;
        Some(signature.as_ref().to_vec())
    }

    /// Whether the key of this id has signed the message. An empty id is any key's: tokens from before ids have none.
    pub fn has_signed(&self, id: &str, message: &[u8], signature: &[u8]) -> bool {
        let asked = self.believed.iter().filter(|key| id.is_empty() || key.id == id);
        asked.into_iter().any(|key| {
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key.point);
            key.verify(message, signature).is_ok()
        })
    }

    /// The public keys as a JSON Web Key Set (RFC 7517).
    pub fn set(&self) -> Value {
        let keys: Vec<Value> = self.believed.iter().map(Public::to_json).collect();
        json!({ "keys": keys })
    }
}

impl Public {
    fn of(point: &[u8]) -> Self {
        let der = [HEAD.as_slice(), point].concat();
        Self { id: URL_SAFE_NO_PAD.encode(Sha256::digest(der)), point: point.to_vec() }
    }

    fn read(text: &str) -> Result<Self, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes())
            .map_err(|error| KeyError::Public(error.to_string()))?;
        let point = der.as_ref().strip_prefix(HEAD.as_slice());
        match point.filter(|point| point.len() == POINT && point.first() == Some(&4)) {
            Some(point) => Ok(Self::of(point)),
            None => Err(KeyError::Public("another algorithm or curve".to_string())),
        }
    }

    fn to_json(&self) -> Value {
        let (x, y) = self.point.get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
        json!({"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": ALGORITHM,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
    }
}
