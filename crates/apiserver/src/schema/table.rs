//! Reads the table of types into a [`Schema`].
//!
//! A line `:core.v1.PodSpec [atomic]` opens a struct; every other line is one field:
//! `name number type flag…`. Type: `*` pointer, `[` list, `{` map, then a base, then `:GoName`. The name `-` marks
//! an embedded struct. Flags: `o` omitempty, `merge[=key]`, `replace`, `retain`, `list=keys`, `set`, `atomic`.
//! The table is part of the program, so a line that cannot be read is a programming error and the tests find it.

use super::{Base, Container, Field, Granularity, Member, Schema, Shape, Strategy, Type, TypeId};
use std::collections::BTreeMap;

const TABLE: &str = include_str!("../../tables/kubernetes-1.33.table");

struct Raw {
    name: &'static str,
    atomic: bool,
    rows: Vec<&'static str>,
}

pub(super) fn read() -> Schema {
    let raws = blocks();
    let by_name: BTreeMap<&'static str, TypeId> =
        raws.iter().enumerate().map(|(i, raw)| (raw.name, TypeId(i as u16))).collect();
    let types = raws.iter().map(|raw| build(raw, &raws, &by_name)).collect();
    Schema { types, by_name }
}

fn blocks() -> Vec<Raw> {
    let mut raws: Vec<Raw> = Vec::new();
    for line in TABLE.lines() {
        match (line.strip_prefix(':'), raws.last_mut()) {
            (Some(title), _) => {
                let (name, mark) = title.split_once(' ').unwrap_or((title, ""));
                raws.push(Raw { name, atomic: mark == "atomic", rows: Vec::new() });
            }
            (None, Some(raw)) => raw.rows.push(line),
            (None, None) => {}
        }
    }
    raws
}

fn build(raw: &Raw, raws: &[Raw], by_name: &BTreeMap<&'static str, TypeId>) -> Type {
    let mut fields = Vec::new();
    collect(raw, raws, by_name, &mut fields);
    fields.sort_by_key(|f| f.name);
    let mut members = Vec::new();
    for row in &raw.rows {
        let mut words = row.split(' ');
        let (Some(name), Some(number), Some(token)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let Ok(number @ 1..) = number.parse::<u16>() else { continue };
        let member = match (name, by_name.get(token)) {
            ("-", Some(id)) => Member::Embedded(*id),
            _ => match fields.binary_search_by_key(&name, |f| f.name) {
                Ok(at) => Member::Field(at as u16),
                Err(_) => continue,
            },
        };
        members.push((number, member));
    }
    members.sort_by_key(|(number, _)| *number);
    Type { name: raw.name, atomic: raw.atomic, fields: fields.into(), members: members.into() }
}

/// Puts the fields of `raw` and of everything it embeds into `fields`.
fn collect(raw: &Raw, raws: &[Raw], by_name: &BTreeMap<&'static str, TypeId>, fields: &mut Vec<Field>) {
    for row in &raw.rows {
        let mut words = row.split(' ');
        let (Some(name), Some(_), Some(token)) = (words.next(), words.next(), words.next()) else { continue };
        if name != "-" {
            fields.push(field(name, shape(token, by_name), words));
        } else if let Some(inner) = by_name.get(token).and_then(|id| raws.get(usize::from(id.0))) {
            collect(inner, raws, by_name, fields);
        }
    }
}

fn field(name: &'static str, shape: Shape, flags: std::str::Split<'static, char>) -> Field {
    let mut field = Field {
        name,
        step: format!("f:{name}").into(),
        shape,
        omit_empty: false,
        strategy: Strategy::Ordinary,
        retain_keys: false,
        granularity: Granularity::Unmarked,
    };
    for flag in flags {
        match flag.split_once('=').unwrap_or((flag, "")) {
            ("o", _) => field.omit_empty = true,
            ("merge", "") => field.strategy = Strategy::MergeScalars,
            ("merge", key) => field.strategy = Strategy::MergeByKey(key),
            ("replace", _) => field.strategy = Strategy::Replace,
            ("retain", _) => field.retain_keys = true,
            ("atomic", _) => field.granularity = Granularity::Atomic,
            ("set", _) => field.granularity = Granularity::Set,
            ("list", keys) => field.granularity = Granularity::Keys(keys.split(',').collect()),
            _ => {}
        }
    }
    field
}

fn shape(token: &'static str, by_name: &BTreeMap<&'static str, TypeId>) -> Shape {
    let (token, named) = match token.split_once(':') {
        Some((token, name)) => (token, Some(name)),
        None => (token, None),
    };
    let (token, pointer) = match token.strip_prefix('*') {
        Some(rest) => (rest, true),
        None => (token, false),
    };
    let (token, container) = match token.split_at_checked(1) {
        Some(("[", rest)) => (rest, Container::List),
        Some(("{", rest)) => (rest, Container::Map),
        _ => (token, Container::One),
    };
    let base = match token {
        "string" => Base::String,
        "int32" => Base::Int32,
        "int64" => Base::Int64,
        "bool" => Base::Bool,
        "bytes" => Base::Bytes,
        "quantity" => Base::Quantity,
        "intorstring" => Base::IntOrString,
        "time" => Base::Time,
        "microtime" => Base::MicroTime,
        "raw" => Base::Raw,
        "fields" => Base::Fields,
        "extra" => Base::Extra,
        name => match by_name.get(name) {
            Some(id) => Base::Struct(*id),
            None => unreachable!("the table names no type {name:?}; its test reads every line"),
        },
    };
    Shape { pointer, container, base, named }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_understood() {
        let schema = read();
        let rows: usize = blocks().iter().map(|raw| raw.rows.len()).sum();
        assert!(rows > 1000);
        for ty in schema.types() {
            assert!(ty.fields.windows(2).all(|w| w[0].name < w[1].name), "{}: a field stands twice", ty.name);
            assert!(ty.members.windows(2).all(|w| w[0].0 < w[1].0), "{}: a number stands twice", ty.name);
        }
    }
}
