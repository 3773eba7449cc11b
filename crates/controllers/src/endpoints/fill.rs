//! PURE. How are endpoints spread over slices, with as few changes as can be?
//!
//! 1. An endpoint stays in its slice. What is no longer wanted leaves it; a slice that is empty then goes.
//! 2. What is new goes first into slices that change anyway, the fullest first; then, if all of the rest fits, into the one
//!    slice that it fills best; then into new slices.
//! 3. A slice has one family and one set of ports. Nobody's and another owner's slices go.
//! 4. A slice that would go becomes one that would come, where families allow it.
//!
//! Kubernetes: `staging/endpointslice/reconciler.go`. Differs: no chance; where upstream takes any, the smallest goes first.

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use objects::owner::is_controlled_by;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The label with the name of the service.
pub(crate) const SERVICE: &str = "kubernetes.io/service-name";
/// The label that says whose a slice is.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// Endpoints of one family and one set of ports.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) family: &'static str,
    pub(crate) ports: Vec<EndpointPort>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// What all slices of one owner have in common.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Head {
    pub(crate) namespace: String,
    /// Of new slices.
    pub(crate) generate_name: String,
    pub(crate) owner: OwnerReference,
    /// Exactly these.
    pub(crate) labels: BTreeMap<String, String>,
    /// None: whatever others have written.
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

/// What to do, in this order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) create: Vec<EndpointSlice>,
    /// As it was seen, and as it is to be.
    pub(crate) update: Vec<(Arc<EndpointSlice>, EndpointSlice)>,
    pub(crate) delete: Vec<Arc<EndpointSlice>>,
}

/// Plans the slices of one owner. With `placeholder`, each of these families has a slice even without endpoints.
pub(crate) fn plan(
    head: &Head,
    wanted: Vec<Wanted>,
    seen: &[Arc<EndpointSlice>],
    max: usize,
    placeholder: &[&'static str],
) -> Plan {
    let (own, foreign): (Vec<_>, Vec<_>) =
        seen.iter().cloned().partition(|slice| is_controlled_by(&slice.metadata, &head.owner.uid));
    let mut groups: BTreeMap<Group, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in own {
        groups
            .entry(group(&slice.address_type, slice.ports.as_deref().unwrap_or_default()))
            .or_default()
            .push(slice);
    }
    let mut plan = Plan { delete: foreign, ..Plan::default() };
    let mut filled = BTreeSet::new();
    for wanted in wanted.into_iter().filter(|wanted| !wanted.endpoints.is_empty()) {
        filled.insert(wanted.family);
        let there = groups.remove(&group(wanted.family, &wanted.ports)).unwrap_or_default();
        fill(&mut plan, head, wanted, there, max);
    }
    for family in placeholder.iter().filter(|family| !filled.contains(*family)) {
        match groups.remove(&group(family, &[])).map(|mut slices| (slices.pop(), slices)) {
            Some((Some(kept), rest)) => {
                let empty = EndpointSlice { endpoints: Vec::new(), ..kept.as_ref().clone() };
                amend(&mut plan, head, kept, empty);
                plan.delete.extend(rest);
            }
            _ => plan.create.push(head.slice(family, Vec::new(), Vec::new())),
        }
    }
    plan.delete.extend(groups.into_values().flatten());
    recycle(plan, head)
}

impl Head {
    fn slice(&self, family: &str, ports: Vec<EndpointPort>, endpoints: Vec<Endpoint>) -> EndpointSlice {
        let metadata = ObjectMeta {
            namespace: Some(self.namespace.clone()),
            generate_name: Some(self.generate_name.clone()),
            owner_references: Some(vec![self.owner.clone()]),
            labels: Some(self.labels.clone()),
            annotations: self.annotations.clone(),
            ..ObjectMeta::default()
        };
        EndpointSlice { address_type: family.to_string(), endpoints, metadata, ports: Some(ports) }
    }
}

/// Family, and per port its name, number, protocol and application.
type Group = (String, Vec<(Option<String>, Option<i32>, Option<String>, Option<String>)>);

fn group(family: &str, ports: &[EndpointPort]) -> Group {
    let key = |port: &EndpointPort| {
        let name = port.name.clone().filter(|name| !name.is_empty());
        (name, port.port, port.protocol.clone(), port.app_protocol.clone())
    };
    let mut ports: Vec<_> = ports.iter().map(key).collect();
    ports.sort();
    (family.to_string(), ports)
}

/// Who an endpoint is: its addresses, and the pod behind them.
type Identity = (Vec<String>, Option<String>);

fn identity(endpoint: &Endpoint) -> Identity {
    let target = endpoint.target_ref.as_ref();
    let mut addresses = endpoint.addresses.clone();
    addresses.sort();
    (addresses, target.and_then(|target| target.uid.clone().or_else(|| target.name.clone())))
}

/// A slice on its way to what it will be.
struct Draft {
    seen: Option<Arc<EndpointSlice>>,
    endpoints: Vec<Endpoint>,
    changes: bool,
}

fn fill(plan: &mut Plan, head: &Head, wanted: Wanted, there: Vec<Arc<EndpointSlice>>, max: usize) {
    let mut left: BTreeMap<Identity, Endpoint> =
        wanted.endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let mut drafts: Vec<Draft> = there.into_iter().map(|slice| kept(slice, &mut left)).collect();
    top_up(&mut drafts, &mut left, max);
    while !left.is_empty() {
        let draft = match best_fit(&mut drafts, left.len(), max) {
            Some(draft) => draft,
            None => {
                drafts.push(Draft { seen: None, endpoints: Vec::new(), changes: true });
                let Some(draft) = drafts.last_mut() else { break };
                draft
            }
        };
        draft.changes = true;
        take(draft, &mut left, max);
    }
    for draft in drafts {
        match draft.seen {
            None => plan.create.push(head.slice(wanted.family, wanted.ports.clone(), draft.endpoints)),
            Some(seen) if draft.endpoints.is_empty() => plan.delete.push(seen),
            Some(seen) => {
                let new = EndpointSlice { endpoints: draft.endpoints, ..seen.as_ref().clone() };
                amend(plan, head, seen, new);
            }
        }
    }
}

/// What of a slice is still wanted, as it is now.
fn kept(slice: Arc<EndpointSlice>, left: &mut BTreeMap<Identity, Endpoint>) -> Draft {
    let endpoints: Vec<Endpoint> =
        slice.endpoints.iter().filter_map(|endpoint| left.remove(&identity(endpoint))).collect();
    let changes = endpoints != slice.endpoints;
    Draft { seen: Some(slice), endpoints, changes }
}

/// Slices that change anyway, the fullest first.
fn top_up(drafts: &mut [Draft], left: &mut BTreeMap<Identity, Endpoint>, max: usize) {
    let mut changing: Vec<&mut Draft> =
        drafts.iter_mut().filter(|draft| draft.changes && !draft.endpoints.is_empty()).collect();
    changing.sort_by_key(|draft| std::cmp::Reverse(draft.endpoints.len()));
    changing.into_iter().for_each(|draft| take(draft, left, max));
}

/// The slice in which all of these find room and least room is left.
fn best_fit(drafts: &mut [Draft], count: usize, max: usize) -> Option<&mut Draft> {
    let fits = |draft: &&mut Draft| !draft.changes && draft.endpoints.len() + count <= max;
    drafts.iter_mut().filter(fits).max_by_key(|draft| draft.endpoints.len())
}

fn take(draft: &mut Draft, left: &mut BTreeMap<Identity, Endpoint>, max: usize) {
    while draft.endpoints.len() < max {
        let Some((_, endpoint)) = left.pop_first() else { return };
        draft.endpoints.push(endpoint);
    }
}

/// Notes what a slice is to be, unless it is that already.
fn amend(plan: &mut Plan, head: &Head, seen: Arc<EndpointSlice>, mut new: EndpointSlice) {
    new.metadata.labels = Some(head.labels.clone());
    if let Some(annotations) = &head.annotations {
        new.metadata.annotations = Some(annotations.clone());
    }
    let labels = seen.metadata.labels.as_ref() == Some(&head.labels);
    let none = BTreeMap::new();
    let has = seen.metadata.annotations.as_ref().unwrap_or(&none);
    let annotations = head.annotations.as_ref().is_none_or(|wanted| wanted == has);
    let ports = |slice: &EndpointSlice| group("", slice.ports.as_deref().unwrap_or_default());
    if !(labels && annotations && seen.endpoints == new.endpoints && ports(&seen) == ports(&new)) {
        plan.update.push((seen, new));
    }
}

/// Rule 4. The last that would come takes the place of the first that would go.
fn recycle(mut plan: Plan, head: &Head) -> Plan {
    for seen in std::mem::take(&mut plan.delete) {
        let family = |new: &EndpointSlice| new.address_type == seen.address_type;
        let is_own = is_controlled_by(&seen.metadata, &head.owner.uid);
        match plan.create.iter().rposition(family).filter(|_| is_own) {
            Some(place) => {
                let new = plan.create.remove(place);
                let becomes =
                    EndpointSlice { ports: new.ports, endpoints: new.endpoints, ..seen.as_ref().clone() };
                amend(&mut plan, head, seen, becomes);
            }
            None => plan.delete.push(seen),
        }
    }
    plan
}

#[cfg(test)]
mod tests;
