//! A value in the bytes of a request: JSON or YAML, with what no value can say in it ([`RAW`]).

use crate::bend::RAW_MARK;
use crate::draw::Draw;
use serde_json::Value;

/// Pieces of text that stand in the place of a value: numbers beyond numbers, texts beyond Unicode, towers.
pub const RAW: &[&str] = &[
    "1e999",
    "-1e999",
    "1e-999",
    "-0",
    "-0.0",
    "1E400",
    "1.0",
    "1e3",
    "1e19",
    "12345678901234567890",
    "18446744073709551616",
    "9223372036854775808",
    "-9223372036854775809",
    "0.1e1",
    "01",
    "+1",
    ".5",
    "NaN",
    "Infinity",
    "\"\\ud800\"",
    "\"\\ud800\\udc00\"",
    "\"\\u0000\"",
    "\"\\x\"",
    "\"\u{7f}\"",
    "\"\n\"",
    "[",
    "{",
    "]",
    "}",
    "\"",
    ",",
    "{\"a\":1,\"a\":2}",
    "{\"a\":{},\"a\":[]}",
    "{\"\":{}}",
    "nul",
    "true false",
    "/* */1",
    "'x'",
    "[1,]",
    "{\"name\":\"x\",\"name\":\"y\"}",
];
/// The same, where the text is YAML.
pub const YAML: &[&str] = &[
    "!!binary eHh4",
    "!!str 1",
    "!!int x",
    "!!float .inf",
    "!!null x",
    "!!set {a, b}",
    "!x {}",
    "!!python/object:x {}",
    "0x7fffffffffffffff",
    "0o777",
    "0777",
    "1_000",
    ".inf",
    "-.inf",
    ".nan",
    "~",
    "yes",
    "no",
    "on",
    "2001-01-01",
    "12:30:45",
    "&a [x, x]",
    "*a",
    "&a [*a]",
    "&a {a: *a}",
    "{<<: *a}",
    "{<<: [*a, *a]}",
    "|\n          x",
    ">-\n          x",
    "? a",
    "{a: b, a: c}",
    "{? [a]: b}",
    "{[a]: b}",
    "%YAML 9.9",
    "---",
    "...",
    "- a",
    "\"\\x00\"",
    "\"\\U0010ffff\"",
    "\"\\Ud8000000\"",
    "'it''s'",
    "\t",
    "@x",
    "`x",
    "{a",
    "#",
    "<<",
    "\u{feff}",
];
/// Documents that are small and mean much.
const BOMBS: &[&str] = &[
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n",
    "a: &a {k1: v, k2: v, k3: v}\nb: &b {<<: *a, x: *a, y: *a, z: *a}\nc: &c {<<: *b, x: *b, y: *b, z: *b}\nd: &d {<<: *c, x: *c, y: *c, z: *c}\ne: &e {<<: *d, x: *d, y: *d, z: *d}\n",
    "&a [*a]\n",
    "--- a\n--- b\n",
    "\u{feff}a: b\n",
    "%TAG ! tag:x,2000:\n---\n!x a\n",
    "? ? ? ? ? ? ? ? a\n",
    "- - - - - - - - - - a\n",
    "a:\n\tb: c\n",
];

/// Length after which no pieces are put in: a body of more than 3 MiB is refused unread.
const LENGTH_MAX: usize = 2 << 20;

/// JSON, which may be broken on purpose.
pub fn json(draw: &mut Draw<'_>, value: &Value) -> Vec<u8> {
    let text = with_raw(value.to_string(), RAW);
    broken(draw, text.into_bytes())
}

/// YAML, which may be broken on purpose.
pub fn yaml(draw: &mut Draw<'_>, value: &Value) -> Vec<u8> {
    let mut text = String::new();
    if draw.sometimes(24) {
        text.push_str(draw.word(BOMBS));
    }
    if draw.sometimes(200) {
        block(value, 0, &mut text);
    } else {
        text.push_str(&value.to_string());
    }
    let text = with_raw(text, YAML);
    broken(draw, text.into_bytes())
}

/// Bytes that were right, and may be cut off or changed in places.
pub fn broken(draw: &mut Draw<'_>, mut bytes: Vec<u8>) -> Vec<u8> {
    if !draw.sometimes(24) {
        return bytes;
    }
    let at = draw.below(bytes.len() + 1);
    match draw.below(4) {
        0 => bytes.truncate(at),
        1 => _ = bytes.splice(at..at, draw.bytes(4).iter().copied()),
        2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = draw.byte()),
        _ => bytes.extend(draw.bytes(8)),
    }
    bytes
}

/// Puts the pieces where their marks are.
fn with_raw(text: String, pieces: &[&str]) -> String {
    let mark = format!("\"{}", RAW_MARK.replace('\u{1}', "\\u0001"));
    if !text.contains(&mark) {
        return text;
    }
    let mut out = String::new();
    for (number, part) in text.split(&mark).enumerate() {
        let tail = match part.split_once('"').filter(|_| number > 0) {
            Some((which, tail)) => {
                if out.len() < LENGTH_MAX {
                    out.push_str(&piece(which.parse().unwrap_or_default(), pieces));
                }
                tail
            }
            None => part,
        };
        out.push_str(tail);
    }
    out
}

/// The first numbers are pieces, the rest are towers and masses.
fn piece(which: usize, pieces: &[&str]) -> String {
    match which {
        // One long key, and much below it: where each is told with its path, they are gigabytes.
        236 => format!("{{\"{}\":{{{}\"z\":0}}}}", "k".repeat(50_000), "\"a\":0,".repeat(5_000)),
        237 => format!("{{\"{}\":{{{}\"z\":0}}}}", "k".repeat(50_000), numbered("\"x#\":{},", 5_000)),
        238 => format!("{{\"{}\":[{}0]}}", "k".repeat(50_000), "{},".repeat(5_000)),
        239 => format!("[{}{{\"name\":\"z\"}}]", numbered("{\"name\":\"n#\"},", 5_000)),
        240 => format!("{}{}", "[".repeat(98), "]".repeat(98)),
        241 => format!("{}{}", "[".repeat(127), "]".repeat(127)),
        242 => format!("{}{}", "[".repeat(50_000), "]".repeat(50_000)),
        243 => format!("{}0{}", "{\"a\":".repeat(90), "}".repeat(90)),
        244 => format!("{}0{}", "{\"a\":".repeat(30_000), "}".repeat(30_000)),
        245 => format!("\"{}\"", "x".repeat(100_000)),
        246 => format!("[{}0]", "0,".repeat(50_000)),
        247 => format!("[{}{{}}]", "{\"a\":0},".repeat(10_000)),
        248 => format!("{{{}\"z\":0}}", numbered("\"k#\":\"v\",", 10_000)),
        249 => "9".repeat(10_000),
        250 => format!("1{}e1", "0".repeat(5_000)),
        251 => format!("\"{}\"", "\\u0000".repeat(10_000)),
        252 => format!("\"{}\"", "é".repeat(10_000)),
        253 => "[".repeat(100_000),
        254 => "{\"a\":".repeat(100_000),
        255 => format!("{{{}\"z\":0}}", "\"a\":0,".repeat(10_000)),
        which => pieces[which % pieces.len()].to_string(),
    }
}

fn numbered(text: &str, times: usize) -> String {
    (0..times).map(|number| text.replace('#', &number.to_string())).collect()
}

/// YAML's own form, with one key or item a line.
fn block(value: &Value, indent: usize, out: &mut String) {
    let blanks = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                out.push_str(&format!("{blanks}{}:", Value::from(key.as_str())));
                below(inner, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&format!("{blanks}-"));
                below(item, indent, out);
            }
        }
        other => out.push_str(&format!("{blanks}{other}\n")),
    }
}

fn below(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(value, indent + 1, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(value, indent + 1, out);
        }
        other => out.push_str(&format!(" {other}\n")),
    }
}
