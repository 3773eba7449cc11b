//! Services: a name and an address for a set of pods. Stored, defaulted and shown.
//!
//! Its address is chosen by the verbs ([`crate::addresses`]); `None` stays `None`.
//! Differs: nothing programs addresses into nodes yet. Kubernetes: `registry/core/service`, `core/validation.ValidateService*`.

pub mod addresses;

use super::cells::{self, AGE, NAME, NONE, column, or, wide};
use super::fields::{
    check_label_name, check_one_of, fill_absent, fill_zero, int, items, items_mut, keep, remove, set, text,
    texts,
};
use super::{Column, Kind, NameRule, ORDINARY, PLAIN, Row, Rules, Traits, status_of};
use crate::error::FieldError;
use crate::resources::labels;
use crate::resources::pod_template::ports::{PROTOCOLS, check_port, check_port_number};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The kind.
pub const KIND: Kind = Kind {
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    subresources: &[status_of("Service")],
    traits: Traits {
        create_on_update: true,
        delete_returns_object: true,
        name_rule: NameRule::Label1035,
        ..PLAIN
    },
    rules: super::Rulebook::Fixed(&Services),
    ..ORDINARY
};

/// Seconds that a client stays with one pod under `sessionAffinity: ClientIP`, unless it says otherwise.
const STICKY_SECONDS: i64 = 10800;
const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

struct Services;

impl Rules for Services {
    fn default(&self, object: &mut Value) {
        let Some(spec) = super::fields::inner_or_new(object, "spec") else { return };
        fill_zero(spec, "type", "ClusterIP");
        fill_zero(spec, "sessionAffinity", "None");
        if text(spec, "sessionAffinity") == "ClientIP" {
            fill_absent(
                spec,
                "sessionAffinityConfig",
                json!({"clientIP": {"timeoutSeconds": STICKY_SECONDS}}),
            );
        }
        for port in items_mut(spec, "ports") {
            fill_zero(port, "protocol", "TCP");
            let number = port["port"].clone();
            fill_zero(port, "targetPort", number);
        }
        match text(spec, "type") {
            "ExternalName" => {}
            "NodePort" | "LoadBalancer" => {
                fill_zero(spec, "externalTrafficPolicy", "Cluster");
                fill_zero(spec, "internalTrafficPolicy", "Cluster");
            }
            _ => fill_zero(spec, "internalTrafficPolicy", "Cluster"),
        }
        addresses::default(spec);
        if text(spec, "type") == "LoadBalancer" {
            fill_absent(spec, "allocateLoadBalancerNodePorts", true);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", json!({"loadBalancer": {}}));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
        let Some(spec) = new.get_mut("spec") else { return };
        keep_node_ports(spec, &old["spec"]);
        addresses::prepare_update(spec, &old["spec"]);
        drop_what_the_type_lacks(spec, &old["spec"]);
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let spec = &object["spec"];
        let mut errors = Vec::new();
        let kind = text(spec, "type");
        if kind != "ExternalName" && items(spec, "ports").is_empty() && text(spec, "clusterIP") != "None" {
            errors.push(FieldError::required("spec.ports", ""));
        }
        errors.extend(addresses::validate(spec));
        validate_ports(&mut errors, spec);
        labels::validate(&mut errors, spec, "selector", "spec.selector");
        check_one_of(&mut errors, "spec.sessionAffinity", &spec["sessionAffinity"], &["ClientIP", "None"]);
        check_one_of(&mut errors, "spec.type", &spec["type"], TYPES);
        if kind == "ExternalName" {
            validate_external_name(&mut errors, spec);
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(new);
        let (was, is) = (text(&old["spec"], "clusterIP"), text(&new["spec"], "clusterIP"));
        let named = [old, new].iter().any(|service| !addresses::needs_address(&service["spec"]));
        if !was.is_empty() && was != is && !named {
            let addresses = new["spec"]["clusterIPs"].clone();
            errors.push(FieldError::invalid("spec.clusterIPs[0]", addresses, "may not change once set"));
        }
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn field(&self, object: &Value, path: &str) -> String {
        text(&object["spec"], path.trim_start_matches("spec.")).to_string()
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let spec = &object["spec"];
        let address = texts(spec, "clusterIPs").first().copied().unwrap_or_default();
        let ports: Vec<String> = items(spec, "ports").iter().map(port).collect();
        cells::row(vec![
            cells::name(object),
            text(spec, "type").into(),
            or(address, NONE).into(),
            external_addresses(object).into(),
            or(&ports.join(","), NONE).into(),
            cells::age(object, now),
            cells::labels(spec, "selector").into(),
        ])
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    column("Type", "How the service is reached."),
    column("Cluster-IP", "The address within the cluster."),
    column("External-IP", "Addresses from outside."),
    column("Port(s)", "Ports and protocols."),
    AGE,
    wide("Selector", "The pods behind it."),
];

/// Whether its ports are ports of every node too.
pub fn has_node_ports(spec: &Value) -> bool {
    match text(spec, "type") {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// A writer that leaves them out means those that are there; one that takes the type away means that they go.
fn keep_node_ports(spec: &mut Value, old: &Value) {
    let has = has_node_ports(spec);
    let before = |port: &Value| {
        let same = |other: &&Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
        items(old, "ports").iter().find(same).and_then(|other| int(other, "nodePort"))
    };
    for port in items_mut(spec, "ports") {
        match (before(port), int(port, "nodePort").unwrap_or_default()) {
            (Some(number), 0) if has => set(port, "nodePort", number),
            (Some(number), said) if !has && said == number => remove(port, "nodePort"),
            _ => {}
        }
    }
}

/// What was there for the old type and means nothing to the new one goes, unless the writer changes it in the same breath.
/// Kubernetes: `dropTypeDependentFields`.
fn drop_what_the_type_lacks(spec: &mut Value, old: &Value) {
    let is_load_balancer = text(spec, "type") == "LoadBalancer";
    let is_outside =
        is_load_balancer || text(spec, "type") == "NodePort" || !items(spec, "externalIPs").is_empty();
    let fields = [
        ("externalTrafficPolicy", is_outside),
        ("allocateLoadBalancerNodePorts", is_load_balancer),
        ("loadBalancerClass", is_load_balancer),
    ];
    for (field, applies) in fields {
        if !applies && spec[field] == old[field] {
            remove(spec, field);
        }
    }
}

fn validate_ports(errors: &mut Vec<FieldError>, spec: &Value) {
    let ports = items(spec, "ports");
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let name = text(port, "name");
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !name.is_empty() {
            check_label_name(errors, &format!("{path}.name"), name);
            if !names.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
        }
        check_port_number(errors, &format!("{path}.port"), int(port, "port").unwrap_or_default());
        check_one_of(errors, &format!("{path}.protocol"), &port["protocol"], PROTOCOLS);
        check_port(errors, &port["targetPort"], &format!("{path}.targetPort"));
        let may = matches!(text(spec, "type"), "NodePort" | "LoadBalancer");
        if !may && int(port, "nodePort").unwrap_or_default() != 0 {
            let why = format!("may not be used when `type` is '{}'", text(spec, "type"));
            errors.push(FieldError::forbidden(format!("{path}.nodePort"), why));
        }
        if !numbers.insert((text(port, "protocol"), int(port, "port"))) {
            let value = json!({"protocol": port["protocol"], "port": port["port"]});
            errors.push(FieldError::duplicate(path, value));
        }
    }
}

fn validate_external_name(errors: &mut Vec<FieldError>, spec: &Value) {
    let name = text(spec, "externalName").trim_end_matches('.');
    if name.is_empty() {
        errors.push(FieldError::required("spec.externalName", ""));
    } else {
        super::fields::check_subdomain(errors, "spec.externalName", name);
    }
}

fn port(port: &Value) -> String {
    let number = int(port, "port").unwrap_or_default();
    let protocol = text(port, "protocol");
    match int(port, "nodePort").unwrap_or_default() {
        0 => format!("{number}/{protocol}"),
        node => format!("{number}:{node}/{protocol}"),
    }
}

/// 5.5.
fn external_addresses(object: &Value) -> String {
    let spec = &object["spec"];
    let given = texts(spec, "externalIPs");
    match text(spec, "type") {
        "ClusterIP" | "NodePort" => or(&given.join(","), NONE).to_string(),
        "LoadBalancer" => {
            let ingress = items(&object["status"]["loadBalancer"], "ingress");
            let found: BTreeSet<&str> =
                ingress.iter().map(|i| or(text(i, "ip"), text(i, "hostname"))).collect();
            let all: Vec<&str> = found.into_iter().filter(|a| !a.is_empty()).chain(given).collect();
            or(&all.join(","), "<pending>").to_string()
        }
        "ExternalName" => text(spec, "externalName").to_string(),
        _ => cells::UNKNOWN.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaulted(mut object: Value) -> Value {
        Services.default(&mut object);
        object
    }

    #[test]
    fn defaults_follow_the_type() {
        let check = |spec: Value, expected: Value| {
            assert_eq!(defaulted(json!({"spec": spec}))["spec"], expected);
        };
        check(
            json!({"ports": [{"port": 80}], "clusterIP": "None"}),
            json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                "clusterIP": "None", "clusterIPs": ["None"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}),
        );
        check(
            json!({"type": "ExternalName", "externalName": "example.com"}),
            json!({"type": "ExternalName", "externalName": "example.com", "sessionAffinity": "None"}),
        );
    }

    #[test]
    fn ports_are_named_when_there_are_two() {
        let check = |spec: Value, expected: &[&str]| {
            let errors = Services.validate_create(&defaulted(json!({"spec": spec})));
            let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
            assert_eq!(fields, expected);
        };
        check(json!({"ports": [{"port": 80}]}), &[]);
        check(json!({}), &["spec.ports"]);
        check(json!({"clusterIP": "None"}), &[]);
        check(json!({"ports": [{"port": 80}, {"port": 81, "name": "b"}]}), &["spec.ports[0].name"]);
        check(json!({"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]}), &["spec.ports[1]"]);
        check(json!({"ports": [{"port": 0}]}), &["spec.ports[0].port", "spec.ports[0].targetPort"]);
        check(json!({"ports": [{"port": 80}], "type": "Odd"}), &["spec.type"]);
        check(json!({"type": "ExternalName"}), &["spec.externalName"]);
    }

    #[test]
    fn cells_show_how_it_is_reached() {
        let check = |spec: Value, expected: Value| {
            let row = Services.row(&json!({"metadata": {"name": "s"}, "spec": spec}), Timestamp::UNIX_EPOCH);
            assert_eq!(Value::Array(row.cells), expected);
        };
        check(
            json!({"type": "ClusterIP", "clusterIPs": ["10.96.0.1"], "selector": {"app": "x"},
                "ports": [{"port": 80, "protocol": "TCP"}, {"port": 53, "nodePort": 32769, "protocol": "UDP"}]}),
            json!(["s", "ClusterIP", "10.96.0.1", "<none>", "80/TCP,53:32769/UDP", "<unknown>", "app=x"]),
        );
        check(
            json!({"type": "LoadBalancer", "clusterIPs": ["None"]}),
            json!(["s", "LoadBalancer", "None", "<pending>", "<none>", "<unknown>", "<none>"]),
        );
        check(
            json!({"type": "ExternalName", "externalName": "example.com"}),
            json!(["s", "ExternalName", "<none>", "example.com", "<none>", "<unknown>", "<none>"]),
        );
    }

    #[test]
    fn the_address_stays() {
        let old = json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}});
        let mut new = defaulted(json!({"spec": {"ports": [{"port": 80}]}}));
        Services.prepare_update(&mut new, &old);
        assert_eq!(new["spec"]["clusterIP"], "10.0.0.1");
        assert_eq!(Services.validate_update(&new, &old), []);
        new["spec"]["clusterIP"] = json!("10.0.0.2");
        Services.prepare_update(&mut new, &old);
        let why = "may not change once set";
        let expected = [FieldError::invalid("spec.clusterIPs[0]", json!(["10.0.0.2"]), why)];
        assert_eq!(Services.validate_update(&new, &old), expected);
    }

    #[test]
    fn ports_of_nodes_stay_while_the_type_has_them() {
        let old = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}]}});
        let check = |spec: Value, expected: Value| {
            let mut new = defaulted(json!({"spec": spec}));
            Services.prepare_update(&mut new, &old);
            let numbers = items(&new["spec"], "ports").iter().map(|port| port["nodePort"].clone());
            assert_eq!(numbers.collect::<Value>(), expected);
        };
        check(json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}), json!([30001, null]));
        check(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30002}]}), json!([30002]));
        check(json!({"ports": [{"port": 80, "nodePort": 30001}]}), json!([null]));
        check(json!({"type": "ExternalName", "ports": [{"port": 80, "nodePort": 30001}]}), json!([null]));
        check(json!({"ports": [{"port": 80, "nodePort": 30002}]}), json!([30002]));
        let errors = Services
            .validate_create(&defaulted(json!({"spec": {"ports": [{"port": 80, "nodePort": 30002}]}})));
        let why = "may not be used when `type` is 'ClusterIP'";
        assert_eq!(errors, [FieldError::forbidden("spec.ports[0].nodePort", why)]);
    }
}
