//! Slices before and after, as text: `name: endpoints`.

use super::*;
use serde_json::json;

const MAX: usize = 3;

fn head() -> Head {
    Head {
        namespace: "a".to_string(),
        generate_name: "s-".to_string(),
        owner: objects::owner::controller_reference("v1", "Service", "s", "u"),
        labels: BTreeMap::from([(SERVICE.to_string(), "s".to_string())]),
        annotations: None,
    }
}

fn ports(number: i32) -> Vec<EndpointPort> {
    vec![serde_json::from_value(json!({"name": "", "port": number, "protocol": "TCP"})).unwrap()]
}

/// `a!` is the endpoint `a`, not ready.
fn endpoint(text: &str) -> Endpoint {
    let (name, ready) = text.strip_suffix('!').map_or((text, true), |name| (name, false));
    let target = json!({"kind": "Pod", "uid": name});
    serde_json::from_value(json!({"addresses": [name], "conditions": {"ready": ready}, "targetRef": target}))
        .unwrap()
}

fn endpoints(text: &str) -> Vec<Endpoint> {
    text.split_whitespace().map(endpoint).collect()
}

fn wanted(text: &str, number: i32) -> Wanted {
    Wanted { family: "IPv4", ports: ports(number), endpoints: endpoints(text) }
}

fn slice(name: &str, text: &str, number: i32) -> Arc<EndpointSlice> {
    let mut slice = head().slice("IPv4", ports(number), endpoints(text));
    slice.metadata.name = Some(name.to_string());
    Arc::new(slice)
}

fn show(slice: &EndpointSlice) -> String {
    let word = |endpoint: &Endpoint| {
        let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true);
        format!(" {}{}", endpoint.addresses.join(","), if ready { "" } else { "!" })
    };
    let number = slice.ports.iter().flatten().next().and_then(|port| port.port).unwrap_or_default();
    let name = slice.metadata.name.as_deref().unwrap_or("new");
    format!("{name}/{number}:{}", slice.endpoints.iter().map(word).collect::<String>())
}

fn lines(plan: &Plan) -> Vec<String> {
    let create = plan.create.iter().map(|slice| format!("create {}", show(slice)));
    let update = plan.update.iter().map(|(_, new)| format!("update {}", show(new)));
    let delete = plan.delete.iter().map(|slice| format!("delete {}", show(slice)));
    create.chain(update).chain(delete).collect()
}

fn check(seen: &[Arc<EndpointSlice>], wants: Vec<Wanted>, expected: &[&str]) {
    let plan = plan(&head(), wants, seen, MAX, &["IPv4"]);
    assert_eq!(lines(&plan), expected);
}

#[test]
fn new_endpoints_come_in_full_slices() {
    check(&[], vec![wanted("a b c d", 80)], &["create new/80: a b c", "create new/80: d"]);
    check(&[], vec![wanted("a", 80), wanted("b", 81)], &["create new/80: a", "create new/81: b"]);
}

#[test]
fn what_is_right_is_left_alone() {
    check(&[slice("x", "a b", 80), slice("y", "c", 80)], vec![wanted("a b c", 80)], &[]);
}

#[test]
fn an_endpoint_changes_in_its_place() {
    let seen = [slice("x", "a b", 80), slice("y", "c", 80)];
    check(&seen, vec![wanted("a b! c", 80)], &["update x/80: a b!"]);
    check(&seen, vec![wanted("a c", 80)], &["update x/80: a"]);
}

#[test]
fn new_endpoints_go_where_a_write_happens_anyway() {
    let seen = [slice("x", "a b", 80), slice("y", "c", 80)];
    check(&seen, vec![wanted("a d c", 80)], &["update x/80: a d"]);
    check(&seen, vec![wanted("a c d e f", 80)], &["update x/80: a d e", "update y/80: c f"]);
}

#[test]
fn the_rest_goes_into_the_slice_that_it_fills_best() {
    let seen = [slice("x", "a", 80), slice("y", "b c", 80)];
    check(&seen, vec![wanted("a b c d", 80)], &["update y/80: b c d"]);
    check(&seen, vec![wanted("a b c d e", 80)], &["update x/80: a d e"]);
    check(&seen, vec![wanted("a b c d e f", 80)], &["create new/80: d e f"]);
}

#[test]
fn an_empty_slice_goes_and_the_last_one_stays_as_a_placeholder() {
    check(&[slice("x", "a", 80), slice("y", "b", 80)], vec![wanted("b", 80)], &["delete x/80: a"]);
    check(&[slice("x", "a", 80)], vec![wanted("", 80)], &["update x/0:"]);
    check(&[], vec![], &["create new/0:"]);
    let mut empty = slice("x", "", 80).as_ref().clone();
    empty.ports = None;
    check(&[Arc::new(empty)], vec![], &[]);
}

#[test]
fn a_slice_that_would_go_becomes_one_that_comes() {
    let mut empty = slice("x", "", 80).as_ref().clone();
    empty.ports = Some(Vec::new());
    check(&[Arc::new(empty)], vec![wanted("a", 80)], &["update x/80: a"]);
    check(&[slice("x", "a", 80)], vec![wanted("a", 81)], &["update x/81: a"]);
}

#[test]
fn anothers_slice_goes_and_is_not_reused() {
    let mut foreign = slice("x", "a", 80).as_ref().clone();
    foreign.metadata.owner_references = None;
    check(&[Arc::new(foreign)], vec![wanted("a", 80)], &["create new/80: a", "delete x/80: a"]);
}

#[test]
fn an_endpoint_in_two_slices_stays_in_the_first() {
    let seen = [slice("x", "a b", 80), slice("y", "b c", 80)];
    check(&seen, vec![wanted("a b c", 80)], &["update y/80: c"]);
}

#[test]
fn other_labels_are_a_change_of_the_slice() {
    let mut other = slice("x", "a", 80).as_ref().clone();
    other.metadata.labels.get_or_insert_default().insert("k".to_string(), "v".to_string());
    let seen = Arc::new(other);
    let plan = plan(&head(), vec![wanted("a", 80)], std::slice::from_ref(&seen), MAX, &["IPv4"]);
    assert_eq!(plan.update, [(seen.clone(), slice("x", "a", 80).as_ref().clone())]);
}
