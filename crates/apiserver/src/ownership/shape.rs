//! Which parts of a value are owned one by one?
//!
//! [`Form`] is the answer for one field of the schema: a leaf is owned as a whole, everything else by its parts, and
//! [`parts`] names these. Lists without a mark are leaves; those that strategic merge knows by a key are keyed (wire
//! 4.5.10). Kubernetes: `structured-merge-diff/typed`, `kube-openapi/schemaconv`.

use super::fields::{self, Step};
use crate::schema::{Base, Container, Field, Granularity, Shape, Strategy, Type, schema};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use structural::{ListType, Schema};

/// How a field is owned.
#[derive(Debug, Clone, Copy)]
pub enum Form<'a> {
    /// As a whole.
    Leaf,
    /// Per field.
    Struct(&'static Type),
    /// Per key; every value is of one form.
    Map(Shape),
    /// Per item, named by these fields of it.
    Keyed(Keys, &'static Type),
    /// Per item, which is its own name.
    Set,
    /// A whole object of a defined kind.
    Object(&'a Schema),
    /// What a definition's schema says.
    Defined(&'a Schema),
    /// Per item, named by fields of it, as a definition says.
    DefinedKeys(&'a [String], &'a Schema),
    /// What no schema speaks of: maps per key, lists as a whole.
    Untold,
}

/// The fields that name an item of a list.
#[derive(Debug, Clone, Copy)]
pub enum Keys {
    /// One.
    One(&'static str),
    /// Several.
    Several(&'static [&'static str]),
}

impl Keys {
    fn names(&self) -> &[&'static str] {
        match self {
            Keys::One(name) => std::slice::from_ref(name),
            Keys::Several(names) => names,
        }
    }
}

impl<'a> Form<'a> {
    /// The form of what a definition's schema describes.
    fn defined(schema: &'a Schema) -> Self {
        match (schema.ty, &schema.list_type) {
            (Some(structural::Type::Array), ListType::Set) => Form::Set,
            (Some(structural::Type::Array), ListType::Map(keys)) => match &schema.items {
                Some(items) => Form::DefinedKeys(keys, items),
                None => Form::Leaf,
            },
            (Some(structural::Type::Object), _) if !schema.atomic_map => Form::Defined(schema),
            (None, _) if schema.preserves_unknown => Form::Untold,
            _ => Form::Leaf,
        }
    }

    fn defined_part(schema: &'a Schema, step: &str) -> Self {
        let Some(name) = fields::field_name(step) else { return Form::Leaf };
        match schema.key(name) {
            _ if schema.is_resource && name == "metadata" => Form::metadata(),
            Some(part) => Form::defined(part),
            None => Form::Untold,
        }
    }

    fn metadata() -> Self {
        schema().named("meta.v1.ObjectMeta").map_or(Form::Untold, Form::of_type)
    }

    /// The form of a struct's field.
    pub fn of(field: &'static Field) -> Self {
        match (field.shape.container, &field.granularity) {
            (_, Granularity::Atomic) => Form::Leaf,
            (Container::List, Granularity::Set) => Form::Set,
            (Container::List, Granularity::Keys(keys)) => keyed(field.shape, Keys::Several(keys)),
            (Container::List, _) => match field.strategy {
                Strategy::MergeByKey(key) => keyed(field.shape, Keys::One(key)),
                Strategy::MergeScalars => Form::Set,
                Strategy::Ordinary | Strategy::Replace => Form::Leaf,
            },
            (Container::Map, _) => Form::Map(field.shape.element()),
            (Container::One, _) => Form::of_element(field.shape),
        }
    }

    /// The form of one value of a map, or of a field that is neither list nor map.
    pub fn of_element(shape: Shape) -> Self {
        match shape.base {
            Base::Struct(id) => Form::of_type(schema().get(id)),
            _ => Form::Leaf,
        }
    }

    /// The form of a struct.
    pub fn of_type(ty: &'static Type) -> Self {
        if ty.atomic { Form::Leaf } else { Form::Struct(ty) }
    }

    /// The form of the part at a step; a field that the schema does not know is a leaf.
    pub fn part(self, step: &str) -> Form<'a> {
        match self {
            Form::Struct(ty) => {
                fields::field_name(step).and_then(|name| ty.field(name)).map_or(Form::Leaf, Form::of)
            }
            Form::Map(element) => Form::of_element(element),
            Form::Keyed(_, ty) => Form::of_type(ty),
            Form::Object(schema) => match fields::field_name(step) {
                Some("metadata") => Form::metadata(),
                Some("apiVersion" | "kind") => Form::Leaf,
                _ => Form::defined_part(schema, step),
            },
            Form::Defined(schema) => Form::defined_part(schema, step),
            Form::DefinedKeys(_, items) => Form::defined(items),
            Form::Untold => Form::Untold,
            Form::Leaf | Form::Set => Form::Leaf,
        }
    }

    /// What its parts are, if they are fields of a struct or keys of a map.
    pub fn members(self) -> Option<Members<'a>> {
        match self {
            Form::Struct(ty) => Some(Members::Of(ty)),
            Form::Map(_) | Form::Object(_) | Form::Defined(_) | Form::Untold => Some(Members::Free(self)),
            Form::Leaf | Form::Keyed(..) | Form::DefinedKeys(..) | Form::Set => None,
        }
    }
}

/// The members of a JSON object.
#[derive(Debug, Clone, Copy)]
pub enum Members<'a> {
    /// Those of a struct.
    Of(&'static Type),
    /// Any.
    Free(Form<'a>),
}

/// One member.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// How it is owned.
    pub form: Form<'a>,
    /// Go writes it even when nobody has set it, so that it is never news that it is there.
    pub always_there: bool,
}

impl<'a> Members<'a> {
    /// The one of this name.
    pub fn named(self, name: &str) -> Member<'a> {
        let unknown = || Member { form: Form::Leaf, always_there: false };
        match self {
            Members::Of(ty) => ty.field(name).map_or_else(unknown, |field| Member {
                form: Form::of(field),
                always_there: is_always_there(field),
            }),
            Members::Free(form) => Member { form: form.part(&fields::field(name)), always_there: false },
        }
    }

    /// The step to it.
    pub fn step(self, name: &str) -> Step {
        match self {
            Members::Of(ty) => {
                ty.field(name).map_or_else(|| fields::field(name), |f| Step::Borrowed(&f.step))
            }
            Members::Free(_) => fields::field(name),
        }
    }
}

fn is_always_there(field: &Field) -> bool {
    match (field.shape.container, field.shape.base) {
        _ if field.shape.pointer => false,
        (Container::One, Base::Struct(_)) => true,
        _ => !field.omit_empty,
    }
}

fn keyed(shape: Shape, keys: Keys) -> Form<'static> {
    match shape.base {
        Base::Struct(id) => Form::Keyed(keys, schema().get(id)),
        _ => Form::Leaf,
    }
}

/// Why a list has no parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nameless {
    /// Two items have one name.
    Duplicate(String),
    /// An item lacks the fields that name it.
    NoKey,
}

/// The parts of a value in the order in which they stand there, by their steps. None: the value has no parts, and is
/// owned as a whole.
pub fn parts<'v>(form: Form<'_>, value: &'v Value) -> Result<Option<Vec<(Step, &'v Value)>>, Nameless> {
    let parts: Vec<(Step, &Value)> = match (form, value) {
        (
            Form::Struct(_) | Form::Map(_) | Form::Object(_) | Form::Defined(_) | Form::Untold,
            Value::Object(map),
        ) => map.iter().map(|(name, value)| (fields::field(name), value)).collect(),
        (Form::Keyed(keys, _), Value::Array(items)) => {
            let named = items.iter().map(|item| Ok((key_step(&keys, item)?, item)));
            named.collect::<Result<_, Nameless>>()?
        }
        (Form::DefinedKeys(keys, schema), Value::Array(items)) => {
            let named = items.iter().map(|item| Ok((defined_key(keys, schema, item)?, item)));
            named.collect::<Result<_, Nameless>>()?
        }
        (Form::Set, Value::Array(items)) => {
            items.iter().map(|item| (format!("v:{item}").into(), item)).collect()
        }
        _ => return Ok(None),
    };
    let mut seen = BTreeMap::new();
    match parts.iter().find(|(step, _)| seen.insert(step.as_ref(), ()).is_some()) {
        Some((step, _)) => Err(Nameless::Duplicate(step.to_string())),
        None if parts.is_empty() => Ok(None),
        None => Ok(Some(parts)),
    }
}

/// `k:{"containerPort":80,"protocol":"TCP"}`; of all keys only `protocol` has a default.
fn key_step(keys: &Keys, item: &Value) -> Result<Step, Nameless> {
    let mut map = Map::new();
    for name in keys.names() {
        match &item[*name] {
            Value::Null if *name == "protocol" => drop(map.insert((*name).to_string(), "TCP".into())),
            Value::Null => {}
            value => drop(map.insert((*name).to_string(), value.clone())),
        }
    }
    let given = keys.names().iter().any(|name| !item[*name].is_null());
    if given { Ok(format!("k:{}", Value::Object(map)).into()) } else { Err(Nameless::NoKey) }
}

/// The same as a definition says: an absent key is its default.
fn defined_key(keys: &[String], schema: &Schema, item: &Value) -> Result<Step, Nameless> {
    let value = |name: &String| {
        let default = || schema.properties.get(name).and_then(|property| property.default.as_ref());
        let value = item.get(name).filter(|value| !value.is_null()).or_else(default)?;
        Some((name.clone(), value.clone()))
    };
    let map: Map<String, Value> = keys.iter().filter_map(value).collect();
    if map.is_empty() { Err(Nameless::NoKey) } else { Ok(format!("k:{}", Value::Object(map)).into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn form(ty: &str, name: &str) -> Form<'static> {
        Form::of(schema().named(ty).unwrap().field(name).unwrap())
    }

    #[test]
    fn forms_are_those_of_wire_4_5_10() {
        let check = |ty: &str, name: &str, expected: &str| {
            let found = match form(ty, name) {
                Form::Leaf => "leaf".to_string(),
                Form::Struct(_) => "struct".to_string(),
                Form::Map(_) => "map".to_string(),
                Form::Set => "set".to_string(),
                Form::Keyed(keys, _) => keys.names().join("+"),
                _ => "defined".to_string(),
            };
            assert_eq!(found, expected, "{ty}.{name}");
        };
        check("core.v1.Container", "ports", "containerPort+protocol");
        check("core.v1.Container", "env", "name");
        check("core.v1.Container", "args", "leaf");
        check("core.v1.ServiceSpec", "ports", "port+protocol");
        check("core.v1.ServiceSpec", "selector", "leaf");
        check("core.v1.ServiceSpec", "clusterIPs", "leaf");
        check("core.v1.PodSpec", "topologySpreadConstraints", "topologyKey+whenUnsatisfiable");
        check("core.v1.PodSpec", "nodeSelector", "leaf");
        check("core.v1.PodSpec", "tolerations", "leaf");
        check("core.v1.PodSpec", "securityContext", "struct");
        check("core.v1.PodStatus", "hostIPs", "leaf");
        check("core.v1.ConfigMap", "data", "map");
        check("meta.v1.ObjectMeta", "labels", "map");
        check("meta.v1.ObjectMeta", "finalizers", "set");
        check("meta.v1.ObjectMeta", "ownerReferences", "uid");
        check("apps.v1.DaemonSetSpec", "selector", "leaf");
        check("core.v1.Container", "resizePolicy", "leaf");
        check("core.v1.NodeSpec", "taints", "leaf");
        check("discovery.v1.EndpointSlice", "endpoints", "leaf");
        check("discovery.v1.Endpoint", "addresses", "set");
        check("certificates.v1.CertificateSigningRequestStatus", "conditions", "type");
    }

    #[test]
    fn a_default_is_part_of_a_name() {
        let ports = json!([{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]);
        let named = parts(form("core.v1.Container", "ports"), &ports).unwrap().unwrap();
        let steps: Vec<&str> = named.iter().map(|(step, _)| step.as_ref()).collect();
        let expected =
            [r#"k:{"containerPort":80,"protocol":"TCP"}"#, r#"k:{"containerPort":80,"protocol":"UDP"}"#];
        assert_eq!(steps, expected);
    }

    #[test]
    fn a_list_whose_items_cannot_be_told_apart_has_no_parts() {
        let env = form("core.v1.Container", "env");
        assert_eq!(parts(env, &json!([{"value": "x"}])), Err(Nameless::NoKey));
        let twice = Nameless::Duplicate(r#"k:{"name":"a"}"#.to_string());
        assert_eq!(parts(env, &json!([{"name": "a"}, {"name": "a"}])), Err(twice));
    }
}
