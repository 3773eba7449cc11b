//! What does SPDY/3.1 look like on the wire, as far as the client of a runtime's stream server needs it?
//!
//! PURE. Frames out are byte vectors; frames in come from [`Reader`], which takes bytes in any pieces and gives data on as
//! it arrives: a frame may be 16 MiB long and is never kept. Header blocks that we send are valid zlib without compression
//! (stored blocks behind SPDY's preset dictionary), and those that come back say nothing that a client of exec needs, so
//! there is no compressor here. Nor are there windows: the server (moby/spdystream) neither counts nor announces them, and
//! TCP slows the writer down.
//!
//! SPDY Protocol, Draft 3.1, sections 2.2 and 2.6. Kubernetes: `apimachinery/pkg/util/httpstream/spdy`.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Bytes before every frame's payload.
const HEAD: usize = 8;
/// Control frames whose content matters are 8 bytes long at most.
const CONTROL: u8 = 0x80;
const VERSION: u8 = 3;
const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GO_AWAY: u16 = 7;
const FIN: u8 = 1;
/// Longest payload that its 24-bit length can say.
pub const PAYLOAD_MAX: usize = (1 << 24) - 1;
/// zlib's header for a window of 32 KiB with a preset dictionary, and that dictionary's Adler-32 (2.6.10.1).
const ZLIB: [u8; 6] = [0x78, 0x20, 0xe3, 0xc6, 0xa7, 0xc2];
/// An empty stored block: readers hand out what came before it.
const FLUSH: [u8; 5] = [0, 0, 0, 0xff, 0xff];
/// Longest block of stored bytes (RFC 1951, 3.2.4).
const STORED_MAX: usize = u16::MAX as usize;

/// Opens streams: the bytes for the server. Keeps whether zlib's header was sent.
#[derive(Debug, Default)]
pub struct Opener {
    opened: u32,
}

impl Opener {
    /// The next stream, with one header; its number and its SYN_STREAM.
    pub fn open(&mut self, name: &str, value: &str) -> (u32, Vec<u8>) {
        let mut block = Vec::with_capacity(12 + name.len() + value.len());
        block.put_u32(1);
        for text in [name, value] {
            block.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
            block.put_slice(text.as_bytes());
        }
        // A client's streams have odd numbers.
        let stream = 2 * self.opened + 1;
        let mut payload = Vec::with_capacity(64);
        payload.put_u32(stream);
        // No associated stream, highest priority, no credential slot.
        payload.put_slice(&[0; 6]);
        if self.opened == 0 {
            payload.put_slice(&ZLIB);
        }
        for part in block.chunks(STORED_MAX) {
            let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
            payload.put_u8(0);
            payload.put_u16_le(length);
            payload.put_u16_le(!length);
            payload.put_slice(part);
        }
        payload.put_slice(&FLUSH);
        self.opened += 1;
        (stream, control(SYN_STREAM, &payload))
    }
}

/// Data on a stream, in as many frames as it takes. `last` closes our half of it.
pub fn data(stream: u32, bytes: &[u8], last: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + bytes.len());
    let mut parts = bytes.chunks(PAYLOAD_MAX).peekable();
    loop {
        let part = parts.next().unwrap_or_default();
        let ends = parts.peek().is_none();
        out.put_u32(stream & !(1 << 31));
        out.put_u8(if last && ends { FIN } else { 0 });
        out.put_uint(part.len() as u64, 3);
        out.put_slice(part);
        if ends {
            return out;
        }
    }
}

/// The answer to a ping, and a ping itself.
pub fn ping(id: u32) -> Vec<u8> {
    control(PING, &id.to_be_bytes())
}

fn control(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + payload.len());
    out.put_slice(&[CONTROL, VERSION]);
    out.put_u16(kind);
    out.put_u8(0);
    out.put_uint(payload.len() as u64, 3);
    out.put_slice(payload);
    out
}

/// What has come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Bytes of a stream; a frame may come in several.
    Data {
        /// Which.
        stream: u32,
        /// Some bytes, or none with the last of a stream.
        bytes: Bytes,
        /// Whether the other side's half ends with these.
        last: bool,
    },
    /// The other side wants no more of this stream.
    Reset {
        /// Which.
        stream: u32,
    },
    /// To be sent back.
    Ping {
        /// The number to send back.
        id: u32,
    },
    /// The other side takes no new streams.
    GoAway,
}

/// Why this is no SPDY/3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpdyError {
    /// Another version.
    #[error("a frame of SPDY version {0}")]
    Version(u16),
    /// A frame of a known kind whose length is wrong.
    #[error("a control frame of kind {kind} with {length} bytes")]
    Length {
        /// Its kind.
        kind: u16,
        /// Its length.
        length: usize,
    },
}

/// Reads frames from bytes that come in any pieces.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: BytesMut,
    inside: Inside,
}

/// Where in a frame the next byte belongs.
#[derive(Debug, Default, Clone, Copy)]
enum Inside {
    #[default]
    Head,
    Data {
        stream: u32,
        left: usize,
        fin: bool,
    },
    /// A frame that says nothing to us.
    Skipped {
        left: usize,
    },
}

impl Reader {
    /// Takes bytes; ask [`Reader::event`] until there is none, so that nothing heaps up.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next event; none: more bytes are needed. After an error the reader is of no use.
    pub fn event(&mut self) -> Result<Option<Event>, SpdyError> {
        loop {
            match self.inside {
                Inside::Head => match self.head()? {
                    Step::Event(event) => return Ok(Some(event)),
                    Step::Inside(inside) => self.inside = inside,
                    Step::Hungry => return Ok(None),
                },
                Inside::Data { stream, left, fin } => {
                    if left > 0 && self.bytes.is_empty() {
                        return Ok(None);
                    }
                    let bytes = self.bytes.split_to(left.min(self.bytes.len())).freeze();
                    let left = left - bytes.len();
                    self.inside = if left > 0 { Inside::Data { stream, left, fin } } else { Inside::Head };
                    return Ok(Some(Event::Data { stream, bytes, last: fin && left == 0 }));
                }
                Inside::Skipped { left } => {
                    let now = left.min(self.bytes.len());
                    self.bytes.advance(now);
                    if now < left {
                        self.inside = Inside::Skipped { left: left - now };
                        return Ok(None);
                    }
                    self.inside = Inside::Head;
                }
            }
        }
    }

    fn head(&mut self) -> Result<Step, SpdyError> {
        let Some((head, rest)) = self.bytes.split_first_chunk::<HEAD>() else { return Ok(Step::Hungry) };
        let [first, second, third, fourth, flags, high, middle, low] = *head;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        if first & CONTROL == 0 {
            let stream = u32::from_be_bytes([first, second, third, fourth]);
            self.bytes.advance(HEAD);
            return Ok(Step::Inside(Inside::Data { stream, left: length, fin: flags & FIN != 0 }));
        }
        let version = u16::from_be_bytes([first & !CONTROL, second]);
        if version != u16::from(VERSION) {
            return Err(SpdyError::Version(version));
        }
        let kind = u16::from_be_bytes([third, fourth]);
        let wanted = match kind {
            RST_STREAM | GO_AWAY => 8,
            PING => 4,
            _ => {
                self.bytes.advance(HEAD);
                return Ok(Step::Inside(Inside::Skipped { left: length }));
            }
        };
        if length != wanted {
            return Err(SpdyError::Length { kind, length });
        }
        let (Some(payload), Some(number)) = (rest.get(..wanted), rest.first_chunk::<4>()) else {
            return Ok(Step::Hungry);
        };
        let (length, number) = (payload.len(), u32::from_be_bytes(*number));
        self.bytes.advance(HEAD + length);
        Ok(Step::Event(match kind {
            RST_STREAM => Event::Reset { stream: number & !(1 << 31) },
            PING => Event::Ping { id: number },
            _ => Event::GoAway,
        }))
    }
}

enum Step {
    Event(Event),
    Inside(Inside),
    Hungry,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every event, with the data of one frame put together again.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Event>, SpdyError> {
        let (mut reader, mut events) = (Reader::default(), Vec::<Event>::new());
        let mut open = false;
        for piece in pieces {
            reader.push(piece);
            while let Some(event) = reader.event()? {
                let inside = matches!(reader.inside, Inside::Data { .. });
                match (events.last_mut(), event) {
                    (Some(Event::Data { bytes, last, .. }), Event::Data { bytes: more, last: ends, .. })
                        if open =>
                    {
                        *bytes = [&bytes[..], &more[..]].concat().into();
                        *last = ends;
                    }
                    (_, event) => events.push(event),
                }
                open = inside;
            }
        }
        Ok(events)
    }

    #[test]
    fn a_stream_is_opened_as_a_go_server_reads_it() {
        let mut opener = Opener::default();
        let (first, bytes) = opener.open("streamtype", "error");
        let mut expected = vec![0x80, 3, 0, 1, 0, 0, 0, 53, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        expected.extend([0x78, 0x20, 0xe3, 0xc6, 0xa7, 0xc2, 0, 27, 0, 0xe4, 0xff]);
        expected.extend(b"\0\0\0\x01\0\0\0\x0astreamtype\0\0\0\x05error");
        expected.extend([0, 0, 0, 0xff, 0xff]);
        assert_eq!((first, bytes), (1, expected));
        let (second, bytes) = opener.open("streamtype", "stdin");
        assert_eq!((second, bytes.len()), (3, 8 + 53 - 6), "zlib's header comes once");
    }

    #[test]
    fn the_header_block_is_zlib_for_every_reader() {
        let (_, bytes) = Opener::default().open("a", "b");
        // Without the preset dictionary's mark, which this decoder does not know, it is a plain zlib stream.
        let plain = [&[0x78, 0x01][..], &bytes[8 + 10 + 6..]].concat();
        let mut out = vec![0; 64];
        let mut reader = flate2::Decompress::new(true);
        reader.decompress(&plain, &mut out, flate2::FlushDecompress::Sync).unwrap();
        let length = usize::try_from(reader.total_out()).unwrap();
        assert_eq!(&out[..length], b"\0\0\0\x01\0\0\0\x01a\0\0\0\x01b");
    }

    #[test]
    fn frames_of_a_server_are_read_and_the_rest_is_passed_over() {
        let reply = control(2, &[0, 0, 0, 1, 0x78, 0xbb]);
        let reset = control(RST_STREAM, &[0, 0, 0, 3, 0, 0, 0, 5]);
        let away = control(GO_AWAY, &[0; 8]);
        let all = [reply, data(5, b"out", false), reset, ping(2), data(1, b"", true), away].concat();
        let expected = vec![
            Event::Data { stream: 5, bytes: Bytes::from_static(b"out"), last: false },
            Event::Reset { stream: 3 },
            Event::Ping { id: 2 },
            Event::Data { stream: 1, bytes: Bytes::new(), last: true },
            Event::GoAway,
        ];
        for cut in 0..all.len() {
            let (left, right) = all.split_at(cut);
            assert_eq!(read([left, right]).unwrap(), expected, "cut at {cut}");
        }
        assert_eq!(read(all.chunks(1)).unwrap(), expected);
    }

    #[test]
    fn what_is_no_spdy_is_refused() {
        let check = |bytes: &[u8], expected| assert_eq!(read([bytes]), Err(expected), "{bytes:?}");
        check(&[0x80, 2, 0, 1, 0, 0, 0, 0], SpdyError::Version(2));
        check(&control(PING, &[0; 5]), SpdyError::Length { kind: PING, length: 5 });
        check(&control(RST_STREAM, &[]), SpdyError::Length { kind: RST_STREAM, length: 0 });
    }

    #[test]
    fn a_long_frame_is_never_kept() {
        let mut reader = Reader::default();
        reader.push(&data(5, &[], false)[..5]);
        reader.push(&[0xff, 0xff, 0xff]);
        let piece = [7; 32 * 1024];
        for _ in 0..512 {
            reader.push(&piece);
            while reader.event().unwrap().is_some() {}
            assert!(reader.bytes.capacity() <= 4 * piece.len(), "{}", reader.bytes.capacity());
        }
    }

    proptest! {
        #[test]
        fn data_comes_back_however_it_is_cut(
            frames in prop::collection::vec((1u32..9, prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 0..8),
            size in 1usize..97,
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(stream, bytes, last)| data(*stream, bytes, *last)).collect();
            let expected: Vec<Event> = frames
                .into_iter()
                .map(|(stream, bytes, last)| Event::Data { stream, bytes: bytes.into(), last })
                .collect();
            prop_assert_eq!(read(bytes.chunks(size)).unwrap(), expected);
        }

        #[test]
        fn garbage_is_an_error_or_events_and_never_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            size in 1usize..50,
        ) {
            let mut reader = Reader::default();
            let mut taken = 0;
            for piece in bytes.chunks(size) {
                reader.push(piece);
                while let Ok(Some(event)) = reader.event() {
                    if let Event::Data { bytes, .. } = event {
                        taken += bytes.len();
                    }
                }
            }
            prop_assert!(taken <= bytes.len());
        }
    }
}
