//! Whether a write-ahead log that a crash left behind ends where the crash cut it, or was damaged before.
//!
//! SQLite replays a log up to its first invalid frame and forgets the rest. After a crash this is right: only the
//! last transaction can be torn, because each is flushed before the next begins. When the ends of two transactions
//! of the same log stand at or behind the invalid frame, then flushed bytes have changed, and cutting there would
//! lose answered writes without a word. One end alone says nothing: the last transaction may be torn, and behind
//! it may stand frames of a longer one that was rolled back. So damage within the last transaction is cut like a
//! tear; it is exposed only from its flush to the next write.
//!
//! Format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Result};
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const MAGIC: u32 = 0x377f_0682;

/// What [`check`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No log, or none with writes.
    Empty,
    /// Writes up to a proper end or a tear.
    Written,
    /// Flushed bytes have changed: what and where.
    Damaged(String),
}

/// Reads the log once from front to back.
pub(super) fn check(log: &Path) -> Result<Verdict> {
    let mut reader = match File::open(log) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Verdict::Empty),
        Err(error) => return Err(error),
    };
    let mut header = [0; HEADER];
    if !fill(&mut reader, &mut header)? {
        return Ok(Verdict::Empty);
    }
    match Header::parse(&header) {
        Some(header) => check_frames(&mut reader, &header),
        None => without_header(&mut reader),
    }
}

/// A header is flushed before its first frame, so frames behind a broken one were written behind a good one.
fn without_header(reader: &mut impl Read) -> Result<Verdict> {
    let mut rest = [0; 4096];
    loop {
        match reader.read(&mut rest)? {
            0 => return Ok(Verdict::Empty),
            length if rest.iter().take(length).all(|byte| *byte == 0) => {}
            _ => return Ok(Verdict::Damaged("the header of the log is broken".into())),
        }
    }
}

fn check_frames(reader: &mut impl Read, header: &Header) -> Result<Verdict> {
    let mut frame = vec![0; FRAME_HEADER + header.page_size];
    let mut sum = header.sum;
    let mut first_broken = None;
    // Ends of transactions of this log, at or behind the first broken frame.
    let mut ends = 0;
    let mut number = 0;
    while fill(reader, &mut frame)? {
        number += 1;
        let ours = word(&frame, 8, true) == header.salt.0 && word(&frame, 12, true) == header.salt.1;
        if first_broken.is_none() {
            sum = header.checksum(header.checksum(sum, &frame[..8]), &frame[FRAME_HEADER..]);
            let intact = ours && sum == (word(&frame, 16, true), word(&frame, 20, true));
            first_broken = (!intact).then_some(number);
        }
        if let Some(broken) = first_broken {
            ends += usize::from(ours && ends_transaction(&frame));
            if ends == 2 {
                return Ok(Verdict::Damaged(format!(
                    "frame {broken} of the log is broken, and later writes follow it"
                )));
            }
        }
    }
    Ok(if number == 0 { Verdict::Empty } else { Verdict::Written })
}

fn ends_transaction(frame: &[u8]) -> bool {
    word(frame, 4, true) != 0
}

/// What the first 32 bytes say.
struct Header {
    big_endian: bool,
    page_size: usize,
    salt: (u32, u32),
    sum: (u32, u32),
}

impl Header {
    fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let magic = word(bytes, 0, true);
        let page_size = word(bytes, 8, true) as usize;
        let header = Self {
            big_endian: magic & 1 == 1,
            page_size,
            salt: (word(bytes, 16, true), word(bytes, 20, true)),
            sum: (word(bytes, 24, true), word(bytes, 28, true)),
        };
        let known = magic & !1 == MAGIC && page_size.is_power_of_two() && (512..=65_536).contains(&page_size);
        (known && header.checksum((0, 0), &bytes[..24]) == header.sum).then_some(header)
    }

    /// SQLite's sum over pairs of words, going on from an earlier one.
    fn checksum(&self, from: (u32, u32), bytes: &[u8]) -> (u32, u32) {
        let (mut first, mut second) = from;
        for at in (0..bytes.len()).step_by(8) {
            first = first.wrapping_add(word(bytes, at, self.big_endian)).wrapping_add(second);
            second = second.wrapping_add(word(bytes, at + 4, self.big_endian)).wrapping_add(first);
        }
        (first, second)
    }
}

/// Four bytes; zero behind the end, which no caller asks for.
fn word(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).unwrap_or_default();
    if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
}

/// Whether the buffer could be filled before the end.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
