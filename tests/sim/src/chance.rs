//! All chance of a simulation comes from its seed, through a tree: each part draws from a branch of its own, so that one
//! more draw in one part leaves the others' as they were.

use std::cell::RefCell;
use std::time::Duration;

/// A source of random numbers: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The root of a tree.
    pub(crate) fn of_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// The branch of this name; the same name gives the same branch.
    pub(crate) fn branch(&self, name: &str) -> Self {
        let named = name.bytes().fold(self.0, |sum, byte| mix(sum ^ u64::from(byte)));
        Self(mix(named))
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `0..end`; 0 for an empty range.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = end as u64;
        usize::try_from(self.next().checked_rem(end).unwrap_or_default()).unwrap_or_default()
    }

    /// A number in `from..=to`.
    pub(crate) fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// True so many times in a thousand.
    pub(crate) fn per_mille(&mut self, times: usize) -> bool {
        times > 0 && self.below(1000) < times
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&mut self, times: usize) -> bool {
        self.per_mille(times * 10)
    }

    /// A duration below `end`, in whole milliseconds.
    pub(crate) fn within(&mut self, end: Duration) -> Duration {
        let end = usize::try_from(end.as_millis()).unwrap_or(usize::MAX);
        Duration::from_millis(self.below(end) as u64)
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }
}

fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

thread_local! {
    static OF_SERVER: RefCell<Chance> = const { RefCell::new(Chance(0)) };
}

/// Gives this thread's API server its branch.
pub(crate) fn give_server(chance: Chance) {
    OF_SERVER.set(chance);
}

/// The API server's chance (`apiserver::Sources`).
pub(crate) fn of_server(out: &mut [u8]) {
    OF_SERVER.with_borrow_mut(|chance| {
        for chunk in out.chunks_mut(8) {
            let number = chance.next().to_le_bytes();
            chunk.iter_mut().zip(number).for_each(|(byte, drawn)| *byte = drawn);
        }
    });
}
