//! Where in an object or a schema are we? Lives on the stack beside the recursion and costs nothing until it is printed.

use std::fmt;

/// A place, from the inside out.
#[derive(Debug, Clone, Copy)]
pub enum Path<'a> {
    /// Nothing above.
    Root,
    /// A beginning that somebody else has made: `spec.versions[0].schema`.
    At(&'a str),
    /// A field or a key of a map.
    Field(&'a Path<'a>, &'a str),
    /// An item of a list.
    Index(&'a Path<'a>, usize),
    /// A key as Kubernetes writes it in paths of schemas: `properties[name]`.
    Key(&'a Path<'a>, &'a str),
}

impl Path<'_> {
    /// A field below.
    pub fn field<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path::Field(self, name)
    }

    /// An item below.
    pub fn index(&self, at: usize) -> Path<'_> {
        Path::Index(self, at)
    }

    /// A key below.
    pub fn key<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path::Key(self, name)
    }
}

/// `spec.containers[0].name`.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::At(text) => f.write_str(text),
            Path::Field(Path::Root | Path::At(""), name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, at) => write!(f, "{parent}[{at}]"),
            Path::Key(parent, name) => write!(f, "{parent}[{name}]"),
        }
    }
}
