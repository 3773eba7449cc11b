//! Which fields stand in these bytes? The wire layer of protobuf: numbers, lengths, varints.
//!
//! Every read is bounded by the slice; nothing is allocated. Groups (wire types 3 and 4) are refused: Kubernetes has none.

use super::Error;

/// The value of one field as the wire has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Payload<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// 4 or 8 bytes; no field of the table is read from it.
    Fixed,
}

impl<'a> Payload<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], Error> {
        match self {
            Payload::Bytes(bytes) => Ok(bytes),
            _ => Err(Error::Malformed("wrong wire type for a length-delimited field")),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::Malformed("a string holds invalid UTF-8"))
    }

    pub(super) fn varint(self) -> Result<u64, Error> {
        match self {
            Payload::Varint(v) => Ok(v),
            _ => Err(Error::Malformed("wrong wire type for a number")),
        }
    }
}

/// Walks over the fields of one message.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next field, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u16, Payload<'a>)>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        // Numbers above the table's are unknown anyway; zero is illegal.
        let number = u16::try_from(tag >> 3).unwrap_or(u16::MAX);
        if number == 0 {
            return Err(Error::Malformed("illegal tag 0"));
        }
        let payload = match tag & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => self.take(8).map(|_| Payload::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| EOF)?;
                Payload::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Payload::Fixed)?,
            _ => return Err(Error::Malformed("illegal wire type")),
        };
        Ok(Some((number, payload)))
    }

    /// A bare varint, as packed lists have them; `None` at the end.
    pub(super) fn packed(&mut self) -> Result<Option<u64>, Error> {
        if self.rest.is_empty() { Ok(None) } else { self.varint().map(Some) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.rest.split_at_checked(length).ok_or(EOF)?;
        self.rest = tail;
        Ok(head)
    }

    fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(EOF)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::Malformed("integer overflow"))
    }
}

const EOF: Error = Error::Malformed("unexpected EOF");
