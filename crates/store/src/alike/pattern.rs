//! PURE. A value, told by what it has in common with another one: pieces in order, which are some of the other's bytes, or
//! bytes of its own.
//!
//! The same idea as in `git`'s packs and in RFC 3284; the form is ours, and never leaves this process.

use bytes::Bytes;

/// Shorter pieces in common are not looked for: telling one takes up to ten bytes, and finding it time.
const BLOCK: usize = 16;
/// A difference that saves less than half is not worth undoing it.
const WORTH: usize = 2;

/// The bytes that others are told by, and where each block of them lies.
#[derive(Debug)]
pub struct Pattern {
    bytes: Bytes,
    /// By the highest bits of a block's hash; one more than the block's number, 0 for none. Of equal blocks the last.
    slots: Box<[u32]>,
    shift: u32,
}

impl Pattern {
    /// Others will be told by these bytes.
    pub fn new(bytes: Bytes) -> Self {
        let size = (bytes.len() / BLOCK * 2).next_power_of_two().max(2);
        let slots = vec![0; size].into_boxed_slice();
        let mut pattern = Self { shift: u64::BITS - size.trailing_zeros(), slots, bytes };
        for (block, number) in pattern.bytes.clone().chunks_exact(BLOCK).zip(1..) {
            let slot = pattern.slot(block);
            pattern.slots[slot] = number;
        }
        pattern
    }

    /// How `target` differs; nothing when that is hardly shorter than `target` itself.
    pub fn difference(&self, target: &[u8]) -> Option<Box<[u8]>> {
        let mut out = Pieces { bytes: Vec::new(), limit: target.len() / WORTH };
        let begin = common_head(&self.bytes, target);
        out.copy(0, begin);
        let (mut at, mut told) = (begin, begin);
        while let Some(block) = target.get(at..at + BLOCK) {
            let Some(place) = self.find(block) else {
                at += 1;
                continue;
            };
            let (before, after) = (target.get(told..at)?, target.get(at + BLOCK..)?);
            let back = common_tail(self.bytes.get(..place)?, before);
            let forth = common_head(self.bytes.get(place + BLOCK..)?, after);
            out.own(before.get(..before.len() - back)?)?;
            out.copy(place - back, back + BLOCK + forth);
            at += BLOCK + forth;
            told = at;
        }
        let rest = target.get(told..)?;
        let end = common_tail(&self.bytes, rest);
        out.own(rest.get(..rest.len() - end)?)?;
        out.copy(self.bytes.len() - end, end);
        (out.bytes.len() <= out.limit).then(|| out.bytes.into_boxed_slice())
    }

    /// The bytes that differ so, `length` in all; nothing when `difference` is not one from this pattern.
    pub fn applied(&self, difference: &[u8], length: usize) -> Option<Vec<u8>> {
        let (mut out, mut rest) = (Vec::with_capacity(length), difference);
        while !rest.is_empty() {
            let word = number(&mut rest)?;
            let piece = word >> 1;
            if word & 1 == 1 {
                let from = number(&mut rest)?;
                out.extend_from_slice(self.bytes.get(from..from.checked_add(piece)?)?);
            } else {
                out.extend_from_slice(rest.split_off(..piece)?);
            }
        }
        (out.len() == length).then_some(out)
    }

    fn find(&self, block: &[u8]) -> Option<usize> {
        let number = self.slots[self.slot(block)].checked_sub(1)?;
        let place = number as usize * BLOCK;
        (self.bytes.get(place..place + BLOCK)? == block).then_some(place)
    }

    /// Below the number of slots, because only so many bits of the hash are left.
    fn slot(&self, block: &[u8]) -> usize {
        let (low, high) = block.split_at(BLOCK / 2);
        let word = |half: &[u8]| half.try_into().map_or(0, u64::from_le_bytes);
        // Fibonacci hashing: an odd number near 2^64 / the golden ratio.
        let mixed = (word(low) ^ word(high).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> self.shift) as usize
    }
}

/// Most of two states is equal: whole blocks first, and bytes only in the one that differs.
fn common_head(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.chunks_exact(BLOCK).zip(other.chunks_exact(BLOCK));
    let equal = BLOCK * blocks.take_while(|(one, other)| one == other).count();
    let rest = one.iter().zip(other).skip(equal);
    equal + rest.take_while(|(one, other)| one == other).count()
}

/// The same from the end.
fn common_tail(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.rchunks_exact(BLOCK).zip(other.rchunks_exact(BLOCK));
    let equal = BLOCK * blocks.take_while(|(one, other)| one == other).count();
    let rest = one.iter().rev().zip(other.iter().rev()).skip(equal);
    equal + rest.take_while(|(one, other)| one == other).count()
}

/// A difference as it grows.
struct Pieces {
    bytes: Vec<u8>,
    limit: usize,
}

impl Pieces {
    fn copy(&mut self, from: usize, length: usize) {
        if length > 0 {
            self.number(length << 1 | 1);
            self.number(from);
        }
    }

    /// Stops with nothing as soon as it gets too long.
    fn own(&mut self, bytes: &[u8]) -> Option<()> {
        if !bytes.is_empty() {
            self.number(bytes.len() << 1);
            self.bytes.extend_from_slice(bytes);
        }
        (self.bytes.len() <= self.limit).then_some(())
    }

    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    fn number(&mut self, mut number: usize) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = *rest.split_off_first()?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn check(base: &str, target: &str, at_most: usize) {
        let pattern = pattern(base);
        let difference = pattern.difference(target.as_bytes());
        let difference = difference.unwrap_or_else(|| panic!("not worth it: {target}"));
        assert!(difference.len() <= at_most, "{} bytes for {target}", difference.len());
        let whole = pattern.applied(&difference, target.len());
        assert_eq!(whole.as_deref(), Some(target.as_bytes()));
    }

    const POD: &str = r#"{"kind":"Pod","metadata":{"name":"hello-x7k2p","time":"2026-11-22T01:02:03Z","managedFields":[{"manager":"everynode","operation":"Update"}]},"spec":{"nodeName":"n1","containers":[{"name":"hello","image":"everynode.dev/hello:1"}]},"status":{"phase":"Pending","qosClass":"Burstable"}}"#;

    #[test]
    fn words_that_come_go_change_and_move_are_told_shortly() {
        check(POD, POD, 8);
        check(&POD.replace("Pending", "Running"), POD, 20);
        check(&POD.replace("x7k2p", "q9z8w").replace("02:03Z", "02:04Z").replace("n1", "n17"), POD, 40);
        check(
            &POD.replace(",\"qosClass\":\"Burstable\"", ",\"podIP\":\"10.43.1.7\",\"startTime\":\"now\""),
            POD,
            50,
        );
        let (spec, status) = (POD.find(",\"spec\"").unwrap(), POD.find(",\"status\"").unwrap());
        let moved = format!("{}{}{}}}", &POD[..spec], &POD[status..POD.len() - 1], &POD[spec..status]);
        check(&moved, POD, 30);
    }

    #[test]
    fn what_has_little_in_common_stays_whole() {
        let other: String = POD.chars().rev().collect();
        for (base, target) in [(POD, other.as_str()), ("", POD), (POD, "short"), ("", "x")] {
            assert_eq!(pattern(base).difference(target.as_bytes()), None, "{target}");
        }
        check("abc", "", 0);
    }

    /// Edits from a small generator of numbers; whatever they do, what comes back is what went in.
    #[test]
    fn many_edits_come_back_as_they_were() {
        let mut seed = 1_u64;
        let mut next = move |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let mut told = 0;
        for _ in 0..2_000 {
            let base: Vec<u8> = (0..next(4)).flat_map(|_| POD.bytes().skip(next(100))).collect();
            let mut target = base.clone();
            for _ in 0..next(6) {
                let from = next(target.len() + 1);
                let to = (from + next(40)).min(target.len());
                let new: Vec<u8> = (0..next(40)).map(|_| b"abc{}\""[next(6)]).collect();
                target.splice(from..to, new);
            }
            let pattern = Pattern::new(base.into());
            if let Some(difference) = pattern.difference(&target) {
                told += 1;
                assert_eq!(pattern.applied(&difference, target.len()), Some(target));
            }
        }
        assert!(told > 1_000, "{told}");
    }

    #[test]
    fn broken_differences_are_refused() {
        let whole = pattern(&POD.replace("Pending", "Running")).difference(POD.as_bytes()).unwrap();
        let short = pattern("short");
        for broken in
            [&whole[..], &whole[..whole.len() - 1], &[0xff; 12], &[3, 0xff, 0x7f], &[40, 1], &[9, 4]]
        {
            assert_eq!(short.applied(broken, POD.len()), None, "{broken:?}");
        }
    }
}
