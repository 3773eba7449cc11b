//! The rules of wire 2.7 as values.

use super::graph::{Entry, Graph, KindName, Policy, Step};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

fn kind(kind: &str) -> KindName {
    let group = if kind == "DaemonSet" { "apps" } else { "" };
    KindName { group: group.into(), kind: kind.into() }
}

/// An object `kind name`, its uid the name, with owners as JSON references.
fn entry(
    of: &str,
    namespace: &str,
    name: &str,
    owners: &[Value],
    finalizers: &[&str],
    ending: bool,
) -> Entry {
    let ending = ending.then_some("2026-01-01T00:00:00Z");
    let namespace = (!namespace.is_empty()).then_some(namespace);
    let meta = json!({"namespace": namespace, "name": name, "uid": name, "resourceVersion": "1",
        "ownerReferences": owners, "finalizers": finalizers, "deletionTimestamp": ending});
    Entry::of(&Arc::new(kind(of)), &serde_json::from_value(meta).unwrap())
}

fn owned_by(name: &str, blocks: bool) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": name, "uid": name, "blockOwnerDeletion": blocks})
}

fn set(name: &str, finalizers: &[&str]) -> Entry {
    entry("DaemonSet", "a", name, &[], finalizers, !finalizers.is_empty())
}

fn pod(name: &str, owners: &[Value]) -> Entry {
    entry("Pod", "a", name, owners, &[], false)
}

fn served(kind: &KindName) -> Option<bool> {
    match kind.kind.as_str() {
        "DaemonSet" | "Pod" | "ConfigMap" => Some(true),
        "Node" => Some(false),
        _ => None,
    }
}

fn graph(entries: &[Entry]) -> Graph {
    let mut graph = Graph::default();
    entries.iter().for_each(|entry| {
        graph.apply(entry.clone());
    });
    graph
}

fn plan(graph: &Graph, uid: &str) -> Step {
    graph.plan(uid, served, &BTreeSet::new())
}

#[test]
fn an_object_whose_owners_are_gone_goes() {
    let mut graph = graph(&[set("d", &[]), pod("p", &[owned_by("d", true)])]);
    assert_eq!(plan(&graph, "p"), Step::Nothing);
    assert_eq!(graph.remove("d"), ["p"]);
    let Step::Ask(asked) = plan(&graph, "p") else { panic!("a watch can be late") };
    assert_eq!(asked[0].uid, "d");
    let confirmed = BTreeSet::from(["d".to_string()]);
    assert_eq!(graph.plan("p", served, &confirmed), Step::Nothing);
    graph.note_absent("d");
    assert_eq!(plan(&graph, "p"), Step::Delete(Policy::Background));
}

#[test]
fn one_living_owner_is_enough_and_the_dead_are_taken_off() {
    let mut graph = graph(&[set("d", &[]), pod("p", &[owned_by("d", true), owned_by("old", true)])]);
    graph.note_absent("old");
    assert_eq!(plan(&graph, "p"), Step::Release { owners: vec!["old".into()] });
}

#[test]
fn the_same_name_with_another_uid_is_no_owner() {
    let mut reference = owned_by("d", true);
    reference["uid"] = "former".into();
    let mut graph = graph(&[set("d", &[]), pod("p", &[reference])]);
    assert!(matches!(plan(&graph, "p"), Step::Ask(_)));
    graph.note_absent("former");
    assert_eq!(plan(&graph, "p"), Step::Delete(Policy::Background));
}

#[test]
fn owners_of_unserved_kinds_and_of_other_namespaces() {
    let widget = json!({"apiVersion": "x.io/v1", "kind": "Widget", "name": "w", "uid": "w"});
    assert_eq!(plan(&graph(&[pod("p", &[widget])]), "p"), Step::Nothing);
    let elsewhere = entry("DaemonSet", "b", "d", &[], &[], false);
    assert!(matches!(plan(&graph(&[elsewhere, pod("p", &[owned_by("d", true)])]), "p"), Step::Ask(_)));
    let node = entry("Node", "", "n", &[owned_by("d", true)], &[], false);
    assert_eq!(plan(&graph(&[set("d", &[]), node]), "n"), Step::Delete(Policy::Background));
}

#[test]
fn a_foreground_deletion_waits_for_those_who_block() {
    let waiting = set("d", &["foregroundDeletion"]);
    let mut graph = graph(&[waiting, pod("p", &[owned_by("d", true)]), pod("q", &[owned_by("d", false)])]);
    assert_eq!(plan(&graph, "d"), Step::Wake(vec!["p".into(), "q".into()]));
    assert_eq!(plan(&graph, "p"), Step::Delete(Policy::Background));
    graph.apply(entry("Pod", "a", "p", &[owned_by("d", true)], &[], true));
    assert_eq!(plan(&graph, "d"), Step::Wake(vec!["q".into()]));
    assert_eq!(graph.remove("p"), ["d"], "the owner is looked at again");
    assert_eq!(plan(&graph, "d"), Step::Finalize { finalizer: "foregroundDeletion" });
}

#[test]
fn dependents_that_have_dependents_are_deleted_in_the_foreground_too() {
    let middle = entry("Pod", "a", "p", &[owned_by("d", true)], &[], false);
    let of_pod =
        json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "blockOwnerDeletion": true});
    let leaf = entry("ConfigMap", "a", "c", &[of_pod], &[], false);
    let graph = graph(&[set("d", &["foregroundDeletion"]), middle, leaf]);
    assert_eq!(plan(&graph, "p"), Step::Delete(Policy::Foreground));
    assert_eq!(plan(&graph, "c"), Step::Nothing);
}

#[test]
fn orphans_let_go_before_the_owner_may_go() {
    let mut graph = graph(&[set("d", &["orphan"]), pod("p", &[owned_by("d", true)])]);
    let Step::Orphan { dependents } = plan(&graph, "d") else { panic!() };
    assert_eq!(dependents, [pod("p", &[owned_by("d", true)])]);
    assert_eq!(graph.apply(pod("p", &[])), ["d"], "the owner is looked at again");
    assert_eq!(plan(&graph, "d"), Step::Finalize { finalizer: "orphan" });
    assert_eq!(plan(&graph, "p"), Step::Nothing);
}

#[test]
fn a_dependent_keeps_its_own_way_of_deletion() {
    let mut graph = graph(&[entry("Pod", "a", "p", &[owned_by("d", true)], &["orphan"], false)]);
    graph.note_absent("d");
    assert_eq!(plan(&graph, "p"), Step::Delete(Policy::Orphan));
}

#[test]
fn a_change_that_says_nothing_new_wakes_nobody() {
    let mut graph = Graph::default();
    assert_eq!(graph.apply(pod("p", &[owned_by("d", true)])), ["p"]);
    let mut newer = pod("p", &[owned_by("d", true)]);
    newer.resource_version = "2".into();
    assert_eq!(graph.apply(newer), Vec::<String>::new());
    assert_eq!(graph.entry("p").map(|entry| &*entry.resource_version), Some("2"));
}
