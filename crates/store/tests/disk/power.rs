//! What a power cut may leave of a file and its log: the log ends anywhere, or its last sectors hold something else.
//!
//! A shim beneath SQLite would need `unsafe`; instead the files of a killed child are copied and their log is cut. The end
//! of the last transaction is known from the log itself: what is behind it was never answered. A cut before it takes
//! flushed bytes away, which no honest disk does; then the store may be older or refuse, but shows no half a write.

use crate::{Random, beside};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What a disk writes at once, or not at all.
const SECTOR: usize = 512;
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// The files as they were left.
pub struct Cut {
    pub file: PathBuf,
    /// For messages.
    pub what: String,
    /// Every transaction in the log is there: whatever was answered must be there too.
    pub is_flushed_whole: bool,
    _folder: TempDir,
}

/// Some ways in which the power could have gone. None when there is no log.
pub fn cuts(file: &Path, random: &mut Random) -> Vec<Cut> {
    let log = std::fs::read(beside(file, "-wal")).unwrap_or_default();
    let ends = transaction_ends(&log);
    let Some(last) = ends.last().copied() else { return Vec::new() };
    let mut cuts = Vec::new();
    // The end of the log, at or behind the last transaction, and rubbish there.
    let tail = log.len() - last;
    let at = last + random.below(tail as u64 / SECTOR as u64 + 1) as usize * SECTOR;
    cuts.push(cut(file, &log[..at.min(log.len())], format!("cut at {at} of {}", log.len()), true));
    let mut torn = log[..last].to_vec();
    torn.extend((0..random.below(9_000)).map(|byte| (byte * 31 % 256) as u8));
    cuts.push(cut(file, &torn, format!("rubbish behind {last}"), true));
    // Anywhere: a transaction torn in the middle, and sectors that never came.
    let at = random.below(log.len() as u64) as usize / SECTOR * SECTOR;
    cuts.push(cut(file, &log[..at], format!("cut at {at} of {}", log.len()), false));
    let begin = ends.iter().rev().nth(1).copied().unwrap_or(HEADER);
    let mut holes = log.clone();
    let at = begin + random.below((last - begin) as u64) as usize;
    let at = at / SECTOR * SECTOR;
    let end = (at + SECTOR).min(holes.len());
    holes[at.max(HEADER)..end].fill(0);
    cuts.push(cut(file, &holes, format!("sector {at} is lost"), false));
    cuts
}

fn cut(file: &Path, log: &[u8], what: String, is_flushed_whole: bool) -> Cut {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("store.db");
    std::fs::copy(file, &copy).unwrap();
    std::fs::write(beside(&copy, "-wal"), log).unwrap();
    Cut { file: copy, what, is_flushed_whole, _folder: folder }
}

/// Where each transaction of the log ends. Frames of an earlier log, behind the first of another salt, do not count.
fn transaction_ends(log: &[u8]) -> Vec<usize> {
    let word = |at: usize| log.get(at..at + 4).map(|four| u32::from_be_bytes(four.try_into().unwrap()));
    let (Some(page), Some(salt)) = (word(8), log.get(16..24)) else { return Vec::new() };
    let frame = FRAME_HEADER + page as usize;
    let mut ends = Vec::new();
    let mut at = HEADER;
    while at + frame <= log.len() && log.get(at + 8..at + 16) == Some(salt) {
        if word(at + 4).is_some_and(|size| size != 0) {
            ends.push(at + frame);
        }
        at += frame;
    }
    ends
}
