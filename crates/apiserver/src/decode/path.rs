//! Where in the document are we?
//!
//! Lives on the stack beside the recursion and costs nothing until somebody prints it.

use std::fmt;

/// A place in a document, from the inside out.
pub(super) enum Path<'a> {
    /// The document.
    Root,
    /// A field of a struct: parent, name of the struct, name of the field.
    Field(&'a Path<'a>, &'static str, &'static str),
    /// A free key of a map.
    Key(&'a Path<'a>, &'a str),
    /// An item of a list.
    Index(&'a Path<'a>, usize),
}

/// `spec.containers[0].name`.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, _, name) | Path::Key(Path::Root, name) => f.write_str(name),
            Path::Field(parent, _, name) => write!(f, "{parent}.{name}"),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::Index(parent, at) => write!(f, "{parent}[{at}]"),
        }
    }
}

impl Path<'_> {
    /// Go's error for a JSON value that does not fit here. Go names the innermost struct and its fields from the
    /// root, without indices and map keys.
    pub(super) fn cannot(&self, what: impl fmt::Display, go_type: impl fmt::Display) -> String {
        match self.go() {
            ("", _) => format!("json: cannot unmarshal {what} into Go value of type {go_type}"),
            (owner, fields) => {
                format!(
                    "json: cannot unmarshal {what} into Go struct field {owner}.{fields} of type {go_type}"
                )
            }
        }
    }

    fn go(&self) -> (&'static str, String) {
        match self {
            Path::Root => ("", String::new()),
            Path::Key(parent, _) | Path::Index(parent, _) => parent.go(),
            Path::Field(parent, owner, name) => match parent.go() {
                (_, above) if above.is_empty() => (owner, (*name).to_string()),
                (_, above) => (owner, format!("{above}.{name}")),
            },
        }
    }
}
