//! All chance of a run comes from its seed.

use std::cell::RefCell;

/// A source of random numbers: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The same seed gives the same numbers.
    pub fn of_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let number = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// A number in `0..end`; 0 for an empty range.
    pub fn below(&mut self, end: usize) -> usize {
        let end = end as u64;
        usize::try_from(self.number().checked_rem(end).unwrap_or_default()).unwrap_or_default()
    }

    /// So many random bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.number() as u8).collect()
    }
}

thread_local! {
    static OF_SERVER: RefCell<Chance> = const { RefCell::new(Chance(0)) };
}

/// The server under test begins anew: its uids and name suffixes are those of every other beginning.
pub fn restart_server() {
    OF_SERVER.set(Chance::of_seed(0));
}

/// The API server's chance (`apiserver::Sources`).
pub fn of_server(out: &mut [u8]) {
    OF_SERVER.with_borrow_mut(|chance| out.iter_mut().for_each(|byte| *byte = chance.number() as u8));
}
