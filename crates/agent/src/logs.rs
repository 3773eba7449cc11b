//! PURE. The CRI log format, and which of its lines a reader gets.
//!
//! A line is `<time> <stdout|stderr> <F|P> <text>`: `P` means that the text goes on in the next line of that stream. A
//! reader gets the text as the container wrote it: parts are joined, only a full line ends with a newline.
//!
//! Kubernetes: pkg/kubelet/kuberuntime/logs, cri-client/pkg/logs.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Go on when the end is reached.
    pub follow: bool,
    /// Only the last lines.
    pub tail: Option<u64>,
    /// Only lines from then on.
    pub since: Option<Timestamp>,
    /// The time before each line.
    pub timestamps: bool,
    /// Not more bytes than this.
    pub limit_bytes: Option<u64>,
    /// The run before the last.
    pub previous: bool,
}

/// Why a question cannot be answered; the texts are those of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Not a number, or too small.
    #[error("{name}: Invalid value: {value:?}: must be an integer of at least {least}")]
    Number {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: String,
        /// The least value.
        least: i64,
    },
    /// Not a time.
    #[error("sinceTime: Invalid value: {value:?}: must be an RFC 3339 time")]
    Time {
        /// What was given.
        value: String,
    },
    /// Both ways to say since when.
    #[error("at most one of `sinceTime` or `sinceSeconds` may be specified")]
    Both,
}

impl Options {
    /// Reads the query of a log request.
    pub fn parse(query: &BTreeMap<String, String>, now: Timestamp) -> Result<Self, OptionsError> {
        let flag = |name: &str| matches!(query.get(name).map(String::as_str), Some("true" | "1" | "True"));
        let number = |name: &'static str, least: i64| {
            let Some(value) = query.get(name) else { return Ok(None) };
            let number = value.parse::<i64>().ok().filter(|number| *number >= least);
            number.map(Some).ok_or(OptionsError::Number { name, value: value.clone(), least })
        };
        let seconds = number("sinceSeconds", 1)?;
        let time = match query.get("sinceTime") {
            None => None,
            Some(value) => Some(value.parse().map_err(|_| OptionsError::Time { value: value.clone() })?),
        };
        if seconds.is_some() && time.is_some() {
            return Err(OptionsError::Both);
        }
        let ago = |seconds| now.saturating_sub(SignedDuration::from_secs(seconds)).ok();
        Ok(Self {
            follow: flag("follow"),
            previous: flag("previous"),
            timestamps: flag("timestamps"),
            tail: number("tailLines", 0)?.and_then(|lines| u64::try_from(lines).ok()),
            limit_bytes: number("limitBytes", 1)?.and_then(|bytes| u64::try_from(bytes).ok()),
            since: time.or_else(|| seconds.and_then(ago)),
        })
    }
}

/// One line of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was written.
    pub time: &'a str,
    /// Whether the text ends here.
    pub full: bool,
    /// What was written.
    pub text: &'a [u8],
}

/// Reads a line without its newline; `None` for what is not in the format.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = parts.next()?;
    let tags = parts.next()?;
    let text = parts.next()?;
    if !matches!(stream, b"stdout" | b"stderr") {
        return None;
    }
    // Tags are separated by colons; the first says whether the line is full.
    Some(Line { time, full: tags.split(|byte| *byte == b':').next() != Some(b"P"), text })
}

/// Turns bytes of a log file into what a reader gets; keeps what is not yet a whole line.
#[derive(Debug, Default)]
pub struct Printer {
    options: Options,
    rest: Vec<u8>,
    printed: u64,
    /// Whether the last line printed was a part: the next gets no time before it.
    within: bool,
}

/// Whether there may be more to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    /// Yes.
    On,
    /// `limitBytes` is reached.
    Done,
}

impl Printer {
    /// A printer for these options; `tail` is the reader's affair, see [`tail_start`].
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// Takes bytes of the file, puts text into `out`.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Going {
        let mut bytes = bytes;
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, after) = bytes.split_at(end);
            bytes = after.get(1..).unwrap_or_default();
            let whole = if self.rest.is_empty() {
                std::borrow::Cow::Borrowed(line)
            } else {
                self.rest.extend_from_slice(line);
                std::borrow::Cow::Owned(std::mem::take(&mut self.rest))
            };
            if self.print(&whole, out) == Going::Done {
                return Going::Done;
            }
        }
        self.rest.extend_from_slice(bytes);
        Going::On
    }

    fn print(&mut self, line: &[u8], out: &mut Vec<u8>) -> Going {
        let Some(line) = parse(line) else { return Going::On };
        if let Some(since) = self.options.since
            && line.time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return Going::On;
        }
        let mut text = Vec::with_capacity(line.text.len() + 40);
        if self.options.timestamps && !self.within {
            text.extend_from_slice(line.time.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(line.text);
        if line.full {
            text.push(b'\n');
        }
        self.within = !line.full;
        self.limit(&text, out)
    }

    fn limit(&mut self, text: &[u8], out: &mut Vec<u8>) -> Going {
        let left = self.options.limit_bytes.map_or(u64::MAX, |limit| limit.saturating_sub(self.printed));
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(text.len());
        out.extend_from_slice(text.get(..length).unwrap_or_default());
        self.printed = self.printed.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        match self.options.limit_bytes {
            Some(limit) if self.printed >= limit => Going::Done,
            _ => Going::On,
        }
    }
}

/// Where the last `lines` lines of `block` begin, if they are all in it. A last line without newline counts.
#[must_use]
pub fn tail_start(block: &[u8], lines: u64) -> Option<usize> {
    if lines == 0 {
        return Some(block.len());
    }
    let body = block.strip_suffix(b"\n").unwrap_or(block);
    let ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let nth = usize::try_from(lines - 1).unwrap_or(usize::MAX);
    ends.map(|(at, _)| at + 1).nth(nth)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-11-21T02:00:00.000000001Z stdout F one\n\
        2026-11-21T02:00:01.000000001Z stderr P tw\n\
        2026-11-21T02:00:02.000000001Z stderr F o\n\
        not a line\n\
        2026-11-21T02:00:03.000000001Z stdout F \n\
        2026-11-21T02:00:04.000000001Z stdout F a b\n";

    /// However the bytes arrive, the text is the same.
    fn check(options: &Options, expected: &str) {
        for step in [1, 7, LOG.len()] {
            let mut printer = Printer::new(options.clone());
            let mut out = Vec::new();
            for chunk in LOG.as_bytes().chunks(step) {
                if printer.take(chunk, &mut out) == Going::Done {
                    break;
                }
            }
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{options:?} in steps of {step}");
        }
    }

    #[test]
    fn parts_are_joined_and_empty_lines_kept() {
        check(&Options::default(), "one\ntwo\n\na b\n");
    }

    #[test]
    fn a_time_stands_before_a_line_and_not_before_its_parts() {
        let since = Some("2026-11-21T02:00:01Z".parse().unwrap());
        let expected = "2026-11-21T02:00:01.000000001Z two\n2026-11-21T02:00:03.000000001Z \n\
            2026-11-21T02:00:04.000000001Z a b\n";
        check(&Options { timestamps: true, since, ..Options::default() }, expected);
    }

    #[test]
    fn bytes_are_limited_exactly() {
        check(&Options { limit_bytes: Some(6), ..Options::default() }, "one\ntw");
    }

    #[test]
    fn the_tail_is_found_from_the_end() {
        let block = b"a\nb\nc\n";
        let found = |lines| tail_start(block, lines);
        assert_eq!([found(0), found(1), found(2), found(3)], [Some(6), Some(4), Some(2), None]);
        assert_eq!(tail_start(b"a\nb", 1), Some(2));
    }

    #[test]
    fn bad_questions_are_refused_by_name() {
        let parse = |pairs: &[(&str, &str)]| {
            let query = pairs.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
            Options::parse(&query, Timestamp::UNIX_EPOCH).map_err(|error| error.to_string())
        };
        assert!(parse(&[("tailLines", "-1")]).unwrap_err().starts_with("tailLines: Invalid value"));
        assert!(parse(&[("limitBytes", "0")]).unwrap_err().starts_with("limitBytes: Invalid value"));
        assert!(parse(&[("sinceTime", "yesterday")]).unwrap_err().contains("RFC 3339"));
        assert!(parse(&[("sinceTime", "2026-11-21T02:00:01Z"), ("sinceSeconds", "1")]).is_err());
        assert_eq!(parse(&[("follow", "true"), ("tailLines", "5")]).unwrap().tail, Some(5));
    }
}
