//! PURE. An old state of an object, told by what it has in common with the state after it.
//!
//! Two states of a pod differ by some words of its status and a time or two: told so, the old one takes a few hundred bytes
//! instead of five thousand. What is told is pieces in order: some of the other's bytes, or bytes of its own.
//!
//! The same idea as in `git`'s packs and in RFC 3284; the form is ours, and never leaves this process.

/// Shorter pieces in common are not looked for: telling one takes up to ten bytes, and finding it time.
const BLOCK: usize = 16;
/// A difference that saves less than half is not worth undoing it.
const WORTH: usize = 2;

/// How `target` differs from `base`; nothing when that is hardly shorter than `target` itself.
pub fn between(base: &[u8], target: &[u8]) -> Option<Box<[u8]>> {
    let head = common_head(base, target);
    let (base_rest, target_rest) = (base.get(head..)?, target.get(head..)?);
    let tail = common_tail(base_rest, target_rest);
    let base_middle = base_rest.get(..base_rest.len() - tail)?;
    let target_middle = target_rest.get(..target_rest.len() - tail)?;

    let mut out = Pieces { bytes: Vec::new(), limit: target.len() / WORTH };
    out.copy(0, head);
    middle(base_middle, target_middle, head, &mut out)?;
    out.copy(base.len() - tail, tail);
    (out.bytes.len() <= out.limit).then(|| out.bytes.into_boxed_slice())
}

/// The state that differs so from `base`; nothing when `difference` is not one from these bytes.
pub fn applied(base: &[u8], difference: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::new(), difference);
    while !rest.is_empty() {
        let word = number(&mut rest)?;
        let length = word >> 1;
        if word & 1 == 1 {
            let from = number(&mut rest)?;
            out.extend_from_slice(base.get(from..from.checked_add(length)?)?);
        } else {
            out.extend_from_slice(rest.split_off(..length)?);
        }
    }
    Some(out)
}

/// What lies between the common head and tail. Stops with nothing as soon as it gets too long.
fn middle(base: &[u8], target: &[u8], offset: usize, out: &mut Pieces) -> Option<()> {
    let places = Places::of(base);
    let (mut at, mut told) = (0, 0);
    while let Some(block) = target.get(at..at + BLOCK) {
        let Some(place) = places.find(base, block) else {
            at += 1;
            continue;
        };
        let (before, after) = (target.get(told..at)?, target.get(at + BLOCK..)?);
        let back = common_tail(base.get(..place)?, before);
        let forth = common_head(base.get(place + BLOCK..)?, after);
        out.own(before.get(..before.len() - back)?)?;
        out.copy(offset + place - back, back + BLOCK + forth);
        at += BLOCK + forth;
        told = at;
    }
    out.own(target.get(told..)?)
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

/// Where the blocks of some bytes lie, by their content. Of equal blocks the last is known.
struct Places {
    /// By the highest bits of the hash; one more than the number of the block, 0 for none.
    slots: Vec<u32>,
    shift: u32,
}

impl Places {
    fn of(bytes: &[u8]) -> Self {
        let size = (bytes.len() / BLOCK * 2).next_power_of_two().max(2);
        let mut places = Self { slots: vec![0; size], shift: u64::BITS - size.trailing_zeros() };
        for (block, number) in bytes.chunks_exact(BLOCK).zip(1..) {
            let slot = places.slot(block);
            places.slots[slot] = number;
        }
        places
    }

    fn find(&self, bytes: &[u8], block: &[u8]) -> Option<usize> {
        let number = self.slots[self.slot(block)].checked_sub(1)?;
        let place = number as usize * BLOCK;
        (bytes.get(place..place + BLOCK)? == block).then_some(place)
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

    fn check(base: &str, target: &str, at_most: usize) {
        let difference = between(base.as_bytes(), target.as_bytes());
        let difference = difference.unwrap_or_else(|| panic!("not worth it: {target}"));
        assert!(difference.len() <= at_most, "{} bytes for {target}", difference.len());
        assert_eq!(applied(base.as_bytes(), &difference).as_deref(), Some(target.as_bytes()));
    }

    const POD: &str = r#"{"kind":"Pod","metadata":{"name":"hello-x7k2p","time":"2026-11-22T01:02:03Z","managedFields":[{"manager":"everynode","operation":"Update"}]},"spec":{"nodeName":"n1","containers":[{"name":"hello","image":"everynode.dev/hello:1"}]},"status":{"phase":"Pending","qosClass":"Burstable"}}"#;

    #[test]
    fn words_that_come_go_change_and_move_are_told_shortly() {
        check(POD, POD, 8);
        check(&POD.replace("Pending", "Running"), POD, 20);
        check(&POD.replace("02:03Z", "02:04Z").replace("Pending", "Running"), POD, 30);
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
            assert_eq!(between(base.as_bytes(), target.as_bytes()), None, "{target}");
        }
        assert_eq!(applied(b"", &between(b"abc", b"").unwrap()).as_deref(), Some(&b""[..]));
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
            if let Some(difference) = between(&base, &target) {
                told += 1;
                assert_eq!(applied(&base, &difference), Some(target));
            }
        }
        assert!(told > 1_000, "{told}");
    }

    #[test]
    fn broken_differences_are_refused() {
        let whole = between(POD.replace("Pending", "Running").as_bytes(), POD.as_bytes()).unwrap();
        for broken in [&whole[..whole.len() - 1], &[0xff; 12], &[3, 0xff, 0x7f], &[40, 1]] {
            assert_ne!(applied(b"short", broken).as_deref(), Some(POD.as_bytes()));
        }
        assert_eq!(applied(b"short", &[0xff; 12]), None);
        assert_eq!(applied(b"short", &[9, 4]), None);
    }
}
