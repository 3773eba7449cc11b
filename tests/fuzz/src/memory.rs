//! How much memory may an input cost, and how much work?
//!
//! Every allocation of this process is counted. An input begins with an allowance; each request adds to it by its length.
//! Above it there is no memory: the process ends, and [`supervise`](crate::supervise) has the input. What is allocated in
//! all, also when it is given back at once, stands for work: it is the same on every machine, and a clock is not.

use cap::Cap;
use std::alloc::System;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// What any input may hold at a time: an API server opened by it has some 10 MB, and a few documents of OpenAPI more.
const BASE: usize = 64 << 20;
/// Bytes held at a time for each byte sent. `{"a":0}` is 7 bytes and, as a tree of JSON, some 700; a write has half a
/// dozen of these trees at a time: as sent, settled, merged, stored, owned, answered.
const HELD_PER_BYTE: usize = 1_000;
/// Bytes allocated in all by any input: opening a server and its documents.
const WORK_BASE: usize = 1 << 30;
/// Bytes allocated in all, for each byte sent.
const WORK_PER_BYTE: usize = 50_000;

/// What one input has cost so far.
#[derive(Debug)]
pub struct Account {
    held: usize,
    work: usize,
    sent: usize,
}

impl Account {
    /// An input begins.
    ///
    /// # Panics
    /// Never in one thread.
    pub fn open() -> Self {
        MEMORY.set_limit(usize::MAX).expect("no limit is above all");
        let account = Self { held: MEMORY.allocated(), work: MEMORY.total_allocated(), sent: 0 };
        account.limit();
        account
    }

    /// So many bytes are sent, and may cost something.
    pub fn send(&mut self, bytes: usize) {
        self.sent += bytes;
        self.limit();
    }

    fn limit(&self) {
        let limit = self.held.saturating_add(BASE).saturating_add(self.sent.saturating_mul(HELD_PER_BYTE));
        let _ = MEMORY.set_limit(limit);
    }

    /// The input has ended.
    ///
    /// # Panics
    /// When it was too much work.
    pub fn close(self) {
        let _ = MEMORY.set_limit(usize::MAX);
        let work = MEMORY.total_allocated().wrapping_sub(self.work);
        let most = WORK_BASE.saturating_add(self.sent.saturating_mul(WORK_PER_BYTE));
        assert!(
            work <= most,
            "{} bytes sent made {work} bytes of memory in all, more than {most}",
            self.sent
        );
    }
}

/// Bytes held now.
pub fn held() -> usize {
    MEMORY.allocated()
}
