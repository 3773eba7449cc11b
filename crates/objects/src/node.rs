//! What a node says about itself: ready, its conditions, its addresses.
//!
//! A condition that is absent is not `False`: [`condition`] gives the whole entry, so that callers can tell.
//! Kubernetes: `controller/util/node` (`GetNodeCondition`), `component-helpers/node`.

use k8s_openapi::api::core::v1::{Node, NodeCondition};

/// The node's name; empty if it has none.
pub fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// Whether the condition `Ready` has the status `True`.
pub fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Whether the condition `Ready` has the status `Unknown`: nothing has been heard of its kubelet for some time.
pub fn is_silent(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|ready| ready.status == "Unknown")
}

/// The condition of this type.
pub fn condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

/// The first address of type `InternalIP`.
pub fn internal_ip(node: &Node) -> Option<&str> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses.iter().find(|address| address.type_ == "InternalIP").map(|address| address.address.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{NodeAddress, NodeStatus};

    fn node(ready: Option<&str>, addresses: &[(&str, &str)]) -> Node {
        let ready = ready.map(|status| NodeCondition {
            type_: "Ready".into(),
            status: status.into(),
            ..NodeCondition::default()
        });
        let addresses = addresses
            .iter()
            .map(|(type_, address)| NodeAddress { type_: (*type_).into(), address: (*address).into() })
            .collect();
        Node {
            status: Some(NodeStatus {
                conditions: ready.map(|ready| vec![ready]),
                addresses: Some(addresses),
                ..NodeStatus::default()
            }),
            ..Node::default()
        }
    }

    #[test]
    fn a_node_is_ready_only_when_it_says_true() {
        for (status, expected) in
            [(Some("True"), true), (Some("False"), false), (Some("Unknown"), false), (None, false)]
        {
            assert_eq!(is_ready(&node(status, &[])), expected, "{status:?}");
            assert_eq!(is_silent(&node(status, &[])), status == Some("Unknown"), "{status:?}");
        }
        assert!(!is_ready(&Node::default()));
    }

    #[test]
    fn the_internal_address_is_found_among_others() {
        let node = node(None, &[("Hostname", "n1"), ("InternalIP", "10.0.0.1"), ("InternalIP", "fd00::1")]);
        assert_eq!(internal_ip(&node), Some("10.0.0.1"));
        assert_eq!(internal_ip(&Node::default()), None);
    }
}
