//! The join tokens that `everynode up` makes for its own nodes.
//!
//! The text is `<sha-256 of the authority>:<id>.<secret>`, as for the bootstrap tokens that are Secrets
//! ([`crate::join_secrets`]): a machine knows by it whom to believe, and shows `<id>.<secret>` as a bearer token. These here
//! are a line `<id> <sha-256 of the secret> <last second of its life>` in `<data-dir>/pki/join-tokens`. Why beside: `up`
//! needs one for every start of a node, also before its server answers, and whoever reads the file can join nothing.

use super::{Authority, PkiError, hex, write_private};
use jiff::{SignedDuration, Timestamp};
use objects::bootstrap_token::{ID_LENGTH, SECRET_LENGTH, parse as parse_token};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Name of the file.
const FILE: &str = "join-tokens";
/// No letter that could be taken for another is left out: tokens are copied, not read aloud.
const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// Lines that are read; a token is forgotten at the next new one after its life.
const LINES: usize = 10_000;

/// The tokens of a cluster.
#[derive(Debug, Clone)]
pub struct Tokens {
    path: PathBuf,
}

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    secret_hash: String,
    last_second: i64,
}

impl Tokens {
    /// The tokens in the folder of the authority.
    pub fn new(dir: &Path) -> Self {
        Self { path: dir.join(FILE) }
    }

    /// Makes a token that is good for `life`, and answers its full text: the only time that its secret is seen.
    pub fn create(
        &self,
        authority: &Authority,
        now: Timestamp,
        life: SignedDuration,
    ) -> Result<String, PkiError> {
        let (id, secret) = fresh()?;
        let mut tokens = self.read()?;
        tokens.retain(|_, kept| kept.last_second >= now.as_second());
        let kept = Kept { secret_hash: hash(&secret), last_second: (now + life).as_second() };
        tokens.insert(id.clone(), kept);
        write_private(&self.path, &print(&tokens))?;
        Ok(format!("{}:{id}.{secret}", authority.fingerprint()))
    }

    /// The id of the token `<id>.<secret>`, if it is known, right and not over.
    pub fn check(&self, bearer: &str, now: Timestamp) -> Result<Option<String>, PkiError> {
        let Some((id, secret)) = parse_token(bearer) else { return Ok(None) };
        let tokens = self.read()?;
        // Two hashes are compared, so the time it takes says nothing about the secret.
        let right = tokens
            .get(id)
            .is_some_and(|kept| kept.secret_hash == hash(secret) && kept.last_second >= now.as_second());
        Ok(right.then(|| id.to_string()))
    }

    fn read(&self) -> Result<BTreeMap<String, Kept>, PkiError> {
        match std::fs::read_to_string(&self.path) {
            Ok(text) => parse(&text).ok_or_else(|| PkiError::Unreadable {
                path: self.path.clone(),
                reason: "a broken line".into(),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(source) => Err(PkiError::File { path: self.path.clone(), source }),
        }
    }
}

fn parse(text: &str) -> Option<BTreeMap<String, Kept>> {
    text.lines().take(LINES).map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(String, Kept)> {
    let mut words = line.split(' ');
    let (id, secret_hash) = (words.next()?.to_string(), words.next()?.to_string());
    let last_second = words.next()?.parse().ok()?;
    words.next().is_none().then_some((id, Kept { secret_hash, last_second }))
}

fn print(tokens: &BTreeMap<String, Kept>) -> String {
    tokens.iter().map(|(id, kept)| format!("{id} {} {}\n", kept.secret_hash, kept.last_second)).collect()
}

fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret))
}

/// A new id and a new secret.
pub fn fresh() -> Result<(String, String), PkiError> {
    Ok((random(ID_LENGTH)?, random(SECRET_LENGTH)?))
}

/// Letters from the system's chance; bytes that would favour the first letters are thrown away.
fn random(length: usize) -> Result<String, PkiError> {
    let limit = u8::MAX - u8::MAX % 36;
    let mut text = String::with_capacity(length);
    let mut bytes = [0u8; 32];
    while text.len() < length {
        getrandom::fill(&mut bytes).map_err(|error| PkiError::File {
            path: "/dev/urandom".into(),
            source: std::io::Error::other(error.to_string()),
        })?;
        let letters = bytes.iter().filter(|byte| **byte < limit);
        text.extend(
            letters.take(length - text.len()).map(|byte| char::from(LETTERS[usize::from(byte % 36)])),
        );
    }
    Ok(text)
}
