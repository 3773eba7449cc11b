//! Bytes as a list of choices. A list that has ended chooses zero for ever, so that every input is a whole one.

/// What is left of an input.
#[derive(Debug, Clone)]
pub struct Draw<'a> {
    rest: &'a [u8],
}

impl<'a> Draw<'a> {
    /// The whole input.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        *first
    }

    /// A number in `0..end`; 0 for an empty range. Takes as few bytes as it can.
    pub fn below(&mut self, end: usize) -> usize {
        let mut number = usize::from(self.byte());
        let mut reach = 256;
        while reach < end {
            number = number << 8 | usize::from(self.byte());
            reach <<= 8;
        }
        number.checked_rem(end).unwrap_or_default()
    }

    /// True so many times in 256; never once the input has ended.
    pub fn sometimes(&mut self, times: u8) -> bool {
        !self.is_over() && self.byte() < times
    }

    /// One of these.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.below(all.len())]
    }

    /// One of these texts.
    ///
    /// # Panics
    /// When there is none.
    pub fn word(&mut self, all: &[&'static str]) -> &'static str {
        all[self.below(all.len())]
    }

    /// Eight bytes.
    pub fn number(&mut self) -> u64 {
        (0..8).fold(0, |sum, _| sum << 8 | u64::from(self.byte()))
    }

    /// As many of the next bytes as there are, but no more than `most`.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (head, rest) = self.rest.split_at(most.min(self.rest.len()));
        self.rest = rest;
        head
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }

    /// What is left, as text.
    pub fn rest_text(&mut self) -> String {
        String::from_utf8_lossy(self.rest()).into_owned()
    }
}
