//! Random numbers: uids, name suffixes, the spread of watch lives.
//!
//! [`system`] is the one place that asks the system for chance; a simulation gives the server another source
//! ([`crate::Sources`]).
//!
//! Kubernetes: `apimachinery/pkg/util/uuid`, `util/rand`.

/// Fills a buffer with chance.
pub type Chance = fn(&mut [u8]);

/// The system's. One without randomness cannot make uids; then a clock-seeded hash keeps them distinct.
pub fn system(out: &mut [u8]) {
    if getrandom::fill(out).is_err() {
        use std::hash::{BuildHasher as _, RandomState};
        let now = jiff::Timestamp::now().as_nanosecond();
        for (index, byte) in out.iter_mut().enumerate() {
            *byte = RandomState::new().hash_one((now, index)).to_le_bytes()[0];
        }
    }
}

/// So many random bytes.
pub fn bytes<const N: usize>(chance: Chance) -> [u8; N] {
    let mut out = [0u8; N];
    chance(&mut out);
    out
}

/// A number in `0.0 .. 1.0`.
pub fn fraction(chance: Chance) -> f64 {
    f64::from(u32::from_le_bytes(bytes(chance))) / (f64::from(u32::MAX) + 1.0)
}

/// A random UUID (version 4).
pub fn uuid(chance: Chance) -> String {
    let mut b = bytes::<16>(chance);
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex: String = b.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_uid_is_a_version_4_uuid() {
        let uid = super::uuid(super::system);
        assert_eq!((uid.len(), &uid[14..15]), (36, "4"), "{uid}");
        assert!(matches!(&uid[19..20], "8" | "9" | "a" | "b"), "{uid}");
        assert!((0.0..1.0).contains(&super::fraction(super::system)));
    }
}
