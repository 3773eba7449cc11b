//! Schema in, object in; object and findings out.

use serde_json::{Value, json};
use structural::{Path, Schema, Scope, check, fill, has_expressions, prune, read};

#[track_caller]
fn schema(value: Value) -> Schema {
    read(&value, &Path::Root).unwrap_or_else(|found| panic!("{found:?}"))
}

/// The schema of an object with this `spec`.
#[track_caller]
fn spec(spec: Value) -> Schema {
    schema(json!({"type": "object", "properties": {"spec": spec}}))
}

/// `field: problem value: detail`.
fn texts(found: Vec<structural::Finding>) -> Vec<String> {
    found.into_iter().map(|f| format!("{}: {:?} {}: {}", f.field, f.problem, f.value, f.detail)).collect()
}

#[track_caller]
fn refused(value: Value, expected: &[&str]) {
    let found = read(&value, &Path::At("s")).err().unwrap_or_default();
    let found: Vec<String> = found.into_iter().map(|f| format!("{}: {}", f.field, f.detail)).collect();
    assert_eq!(found, expected, "{value}");
}

fn of(spec: Value) -> Value {
    json!({"type": "object", "properties": {"spec": spec}})
}

#[test]
fn a_schema_is_refused_at_the_field_where_it_is_wrong() {
    refused(json!({}), &["s.type: must not be empty at the root"]);
    refused(json!({"type": "string"}), &["s.type: must be object at the root"]);
    refused(
        of(json!({"properties": {}})),
        &["s.properties[spec].type: must not be empty for specified object fields"],
    );
    refused(of(json!({"type": "array"})), &["s.properties[spec].items: must be specified"]);
    refused(
        of(json!({"type": "array", "items": {}})),
        &["s.properties[spec].items.type: must not be empty for specified array items"],
    );
    refused(
        of(json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}})),
        &[
            "s.properties[spec].uniqueItems: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ],
    );
    refused(
        of(
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
        ),
        &[
            "s.properties[spec].additionalProperties: additionalProperties and properties are mutual exclusive",
        ],
    );
    refused(
        of(json!({"type": "object", "anyOf": [{"properties": {"a": {"minLength": 1}}}]})),
        &[
            "s.properties[spec].properties[a]: because it is defined in s.properties[spec].anyOf[0].properties[a]",
        ],
    );
    refused(
        of(json!({"type": "object", "oneOf": [{"type": "object"}]})),
        &["s.properties[spec].oneOf[0].type: must be empty to be structural"],
    );
}

#[test]
fn keywords_that_do_not_go_together_are_refused() {
    refused(
        of(json!({"type": "integer", "default": "x"})),
        &["s.properties[spec].default: s.properties[spec].default"]
            .map(|_| "s.properties[spec].default:  in body must be of type integer: \"string\""),
    );
    refused(
        of(json!({"type": "object", "default": {"a": 1}})),
        &["s.properties[spec].default: must not have unknown fields"],
    );
    refused(
        of(json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}})),
        &[
            "s.properties[spec].x-kubernetes-list-map-keys: must not be empty if x-kubernetes-list-type is map",
        ],
    );
    refused(
        of(json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}}}})),
        &[
            "s.properties[spec].items.properties[name].default: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ],
    );
    refused(json!({"type": "object", "$ref": "#/x"}), &["s.$ref: $ref is not supported"]);
    refused(
        json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
        &[
            "s.properties[metadata]: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ],
    );
    refused(
        of(
            json!({"type": "string", "x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true}),
        ),
        &[
            "s.properties[spec].x-kubernetes-preserve-unknown-fields: must be false if x-kubernetes-int-or-string is true",
        ],
    );
    // What people write, and what is good.
    refused(
        of(json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]})),
        &[],
    );
    refused(of(json!({"x-kubernetes-preserve-unknown-fields": true})), &[]);
    refused(of(json!({"type": "object", "additionalProperties": {"type": "string"}})), &[]);
}

#[test]
fn a_pattern_is_read_and_its_size_is_limited() {
    let bad = read(
        &json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
        &Path::Root,
    );
    assert!(bad.unwrap_err()[0].detail.starts_with("must be a valid regular expression, but isn't: "));
    for pattern in ["(a{1000}){1000}", "\\pL{100000}"] {
        let huge = json!({"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}});
        assert!(read(&huge, &Path::Root).is_err(), "{pattern}");
    }
}

#[test]
fn what_the_schema_does_not_know_goes_and_is_told() {
    let schema = spec(json!({"type": "object", "properties": {
        "known": {"type": "string"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"b": {"type": "string"}}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"strict": {"type": "object", "properties": {"c": {"type": "string"}}}}},
        "any": {"x-kubernetes-int-or-string": true},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}}}}));
    let mut object = json!({"apiVersion": "v", "kind": "k", "metadata": {"x": 1}, "top": 1, "spec": {
        "known": "a", "unknown": {"deep": 1}, "list": [{"a": 1}, {"a": 2, "z": 3}], "map": {"k": {"b": "x", "y": 1}},
        "free": {"anything": {"goes": 1}, "strict": {"c": "x", "gone": 1}}, "any": 5,
        "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "n"}, "status": {}, "spec": {"gone": 1}}}});
    let unknown = prune(&mut object, &schema);
    assert_eq!(
        unknown,
        [
            "spec.free.strict.gone",
            "spec.list[1].z",
            "spec.map.k.y",
            "spec.template.spec.gone",
            "spec.template.status",
            "spec.unknown",
            "top"
        ]
    );
    assert_eq!(
        object,
        json!({"apiVersion": "v", "kind": "k", "metadata": {"x": 1}, "spec": {
            "known": "a", "list": [{"a": 1}, {"a": 2}], "map": {"k": {"b": "x"}},
            "free": {"anything": {"goes": 1}, "strict": {"c": "x"}}, "any": 5,
            "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "n"}, "spec": {}}}})
    );
    assert!(prune(&mut object, &schema).is_empty());
}

#[test]
fn defaults_stand_where_nothing_is_said() {
    let schema = spec(json!({"type": "object", "default": {}, "properties": {
        "replicas": {"type": "integer", "default": 1},
        "nothing": {"type": "string"},
        "nullable": {"type": "string", "nullable": true, "default": "x"},
        "nested": {"type": "object", "properties": {"a": {"type": "string", "default": "deep"}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"q": {"type": "boolean", "default": true}}}}}}));
    let check = |object: Value, expected: Value| {
        let mut filled = object.clone();
        fill(&mut filled, &schema).unwrap();
        assert_eq!(filled, expected, "{object}");
        let again = fill(&mut filled, &schema);
        assert_eq!((again, filled), (Ok(false), expected));
    };
    check(json!({}), json!({"spec": {"replicas": 1, "nullable": "x"}}));
    check(
        json!({"spec": {"replicas": null, "nothing": null, "nullable": null, "nested": {}}}),
        json!({"spec": {"replicas": 1, "nullable": null, "nested": {"a": "deep"}}}),
    );
    check(
        json!({"spec": {"replicas": 3, "nullable": "y", "list": [{}, {"p": "UDP"}], "map": {"k": {}}}}),
        json!({"spec": {"replicas": 3, "nullable": "y", "list": [{"p": "TCP"}, {"p": "UDP"}], "map": {"k": {"q": true}}}}),
    );
}

#[test]
fn defaults_cannot_fill_the_memory() {
    let big = "x".repeat(100_000);
    let schema = spec(json!({"type": "object", "properties": {"list": {"type": "array", "items":
        {"type": "object", "properties": {"a": {"type": "string", "default": big}}}}}}));
    let mut object = json!({"spec": {"list": vec![json!({}); 1000]}});
    assert_eq!(fill(&mut object, &schema), Err(structural::TooMuch));
}

#[track_caller]
fn broken(of: Value, value: Value, expected: &[&str]) {
    let found = check(&json!({"spec": value}), None, &spec(of.clone()), Scope::Object);
    assert_eq!(texts(found), expected, "{of} {value}");
}

#[test]
fn a_value_of_another_type_reads_as_kubernetes_writes_it() {
    broken(
        json!({"type": "integer"}),
        json!("x"),
        &["spec: TypeInvalid \"string\": spec in body must be of type integer: \"string\""],
    );
    broken(
        json!({"type": "string"}),
        json!(null),
        &["spec: TypeInvalid \"null\": spec in body must be of type string: \"null\""],
    );
    broken(json!({"type": "string", "nullable": true}), json!(null), &[]);
    broken(json!({"type": "integer"}), json!(1.0), &[]);
    broken(
        json!({"type": "integer"}),
        json!(1.5),
        &["spec: TypeInvalid \"number\": spec in body must be of type integer: \"number\""],
    );
    broken(json!({"type": "number"}), json!(1), &[]);
    broken(
        json!({"x-kubernetes-int-or-string": true}),
        json!(true),
        &["spec: TypeInvalid \"boolean\": spec in body must be of type integer,string: \"boolean\""],
    );
    broken(
        json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
        json!("50%"),
        &[],
    );
}

#[test]
fn a_broken_rule_of_a_scalar_reads_as_kubernetes_writes_it() {
    broken(
        json!({"type": "string", "enum": ["a", "b"]}),
        json!("c"),
        &["spec: NotSupported \"c\": supported values: \"a\", \"b\""],
    );
    broken(
        json!({"type": "integer", "enum": [1, 2]}),
        json!(3),
        &["spec: NotSupported 3: supported values: \"1\", \"2\""],
    );
    broken(
        json!({"type": "string", "pattern": "^a+$"}),
        json!("b"),
        &["spec: Invalid \"b\": spec in body should match '^a+$'"],
    );
    broken(
        json!({"type": "integer", "minimum": 1, "maximum": 10}),
        json!(11),
        &["spec: Invalid 11: spec in body should be less than or equal to 10"],
    );
    broken(
        json!({"type": "integer", "minimum": 1, "exclusiveMinimum": true}),
        json!(1),
        &["spec: Invalid 1: spec in body should be greater than 1"],
    );
    broken(
        json!({"type": "integer", "multipleOf": 2}),
        json!(3),
        &["spec: Invalid 3: spec in body should be a multiple of 2"],
    );
    broken(
        json!({"type": "integer", "format": "int32"}),
        json!(3_000_000_000i64),
        &["<nil>: Invalid \"\": Checked value must be of type integer with format int32 in spec"],
    );
    broken(
        json!({"type": "string", "minLength": 2, "maxLength": 3}),
        json!("ä"),
        &["spec: Invalid \"ä\": spec in body should be at least 2 chars long"],
    );
    broken(
        json!({"type": "string", "maxLength": 3}),
        json!("abcd"),
        &["spec: TooLong null: may not be more than 3 bytes"],
    );
}

#[test]
fn a_broken_rule_of_a_list_or_map_reads_as_kubernetes_writes_it() {
    broken(
        json!({"type": "array", "minItems": 2, "items": {"type": "string"}}),
        json!(["a"]),
        &["spec: Invalid 1: spec in body should have at least 2 items"],
    );
    broken(
        json!({"type": "array", "maxItems": 1, "items": {"type": "string"}}),
        json!(["a", 1]),
        &[
            "spec[1]: TypeInvalid \"integer\": spec[1] in body must be of type string: \"integer\"",
            "spec: TooMany 2: must have at most 1 items",
        ],
    );
    broken(
        json!({"type": "object", "minProperties": 1}),
        json!({}),
        &["spec: Invalid 0: spec in body should have at least 1 properties"],
    );
    broken(
        json!({"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}),
        json!({"a": "x"}),
        &["spec.b: Required null: "],
    );
    broken(
        json!({"type": "string", "format": "date"}),
        json!("soon"),
        &["spec: TypeInvalid \"soon\": spec in body must be of type date: \"soon\""],
    );
    broken(
        json!({"type": "object", "additionalProperties": {"type": "string"}}),
        json!({"k": 1}),
        &["spec.k: TypeInvalid \"integer\": spec.k in body must be of type string: \"integer\""],
    );
}

#[test]
fn alternatives_tell_the_one_that_came_nearest() {
    let of = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
    let found = |value: Value| texts(check(&json!({"spec": value}), None, &spec(of.clone()), Scope::Object));
    assert!(found(json!({"a": "x"})).is_empty());
    assert_eq!(
        found(json!({"a": "x", "b": "x"})),
        [
            "<nil>: Invalid \"\": \"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ]
    );
    assert_eq!(
        found(json!({})),
        [
            "<nil>: Invalid \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid",
            "spec.a: Required null: ",
        ]
    );
    let of = json!({"type": "string", "anyOf": [{"minLength": 3}, {"pattern": "^x"}], "not": {"enum": ["xx"]},
        "allOf": [{"maxLength": 5}]});
    let found = |value: Value| texts(check(&json!({"spec": value}), None, &spec(of.clone()), Scope::Object));
    assert!(found(json!("xa")).is_empty());
    assert_eq!(found(json!("xx")), ["<nil>: Invalid \"\": \"spec\" must not validate the schema (not)"]);
    assert_eq!(
        found(json!("xxxxxx")),
        [
            "spec: TooLong null: may not be more than 5 bytes",
            "<nil>: Invalid \"\": \"spec\" must validate all the schemas (allOf). None validated",
        ]
    );
}

#[test]
fn items_of_sets_and_maps_are_told_apart() {
    let set = spec(json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}));
    let found = check(&json!({"spec": ["a", "b", "a", "a"]}), None, &set, Scope::Object);
    assert_eq!(texts(found), ["spec[2]: Duplicate \"a\": "]);
    let map = spec(
        json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
        "items": {"type": "object", "required": ["n"], "properties": {"n": {"type": "string"}, "v": {"type": "integer"}}}}),
    );
    let twice = json!({"spec": [{"n": "a", "v": 1}, {"n": "a", "v": 2}]});
    assert_eq!(texts(check(&twice, None, &map, Scope::Object)), ["spec[1]: Duplicate {\"n\":\"a\"}: "]);
    // It was so before.
    assert!(check(&twice, Some(&twice), &map, Scope::Object).is_empty());
}

#[test]
fn what_an_update_does_not_change_is_not_checked_again() {
    let schema = spec(json!({"type": "object", "required": ["new"], "properties": {
        "new": {"type": "string"}, "old": {"type": "integer", "maximum": 5},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"], "items": {
            "type": "object", "required": ["n"], "properties": {"n": {"type": "string"}, "v": {"type": "integer", "maximum": 5}}}}}}));
    let old = json!({"spec": {"old": 9, "list": [{"n": "a", "v": 9}]}});
    assert!(check(&old, Some(&old), &schema, Scope::Object).is_empty());
    let new = json!({"spec": {"old": 9, "new": "x", "list": [{"n": "b", "v": 9}, {"n": "a", "v": 9}]}});
    assert_eq!(
        texts(check(&new, Some(&old), &schema, Scope::Object)),
        ["spec.list[0].v: Invalid 9: spec.list[0].v in body should be less than or equal to 5",]
    );
}

#[test]
fn a_part_is_named_below_its_place() {
    let schema = schema(json!({"type": "object", "properties": {"n": {"type": "integer"}}}));
    let found = check(&json!({"n": "x"}), None, &schema, Scope::Part("status"));
    assert_eq!(
        texts(found),
        ["status.n: TypeInvalid \"string\": n in body must be of type integer: \"string\""]
    );
}

#[test]
fn checking_has_an_end() {
    // 60 alternatives of 60 alternatives, at each of 100,000 items.
    let inner: Vec<Value> = (0..60).map(|n| json!({"minLength": n + 2})).collect();
    let outer: Vec<Value> = (0..60).map(|_| json!({"anyOf": inner})).collect();
    let schema = spec(json!({"type": "array", "items": {"type": "string", "anyOf": outer}}));
    let object = json!({"spec": vec!["a"; 100_000]});
    let begun = std::time::Instant::now();
    let found = check(&object, None, &schema, Scope::Object);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].detail, "the object is too large to be checked against its schema");
    assert!(begun.elapsed().as_secs() < 60);
}

#[test]
fn expressions_are_seen_wherever_they_stand() {
    let rule = json!([{"rule": "self > 0"}]);
    assert!(has_expressions(&json!({"properties": {"a": {"items": {"x-kubernetes-validations": rule}}}})));
    assert!(!has_expressions(&json!({"default": {"x-kubernetes-validations": rule}})));
}
