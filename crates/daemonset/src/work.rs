//! What is created and deleted in one plan, from coverage or from the rollout, and how much of it at once (MG-17).

use crate::coverage::Removal;
use crate::plan::{Action, Doing, Name};
use crate::snapshot::Subject;
use crate::template::Stamp;
use std::collections::BTreeMap;

/// Creates, and deletes, of one plan (MG-17): upstream's burst, so that one DaemonSet cannot flood the server.
pub const BURST: usize = 250;

/// Pods to create and to delete, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Work {
    pub(crate) creates: Vec<Name>,
    pub(crate) deletes: Vec<(Name, Removal)>,
}

/// What is to be said of nodes because of the work.
pub(crate) type Doings = BTreeMap<Name, Doing>;

impl Work {
    pub(crate) fn is_empty(&self) -> bool {
        self.creates.is_empty() && self.deletes.is_empty()
    }

    /// What happens on the nodes. Of several pods of a node the first is shown, and a creation before a deletion.
    pub(crate) fn doings(&self) -> Doings {
        let deletes = self.deletes.iter().rev().map(|(node, removal)| {
            let Removal { name, cause, .. } = removal;
            (node.clone(), Doing::Deleting { pod: name.clone(), cause: cause.clone() })
        });
        deletes.chain(self.creates.iter().map(|node| (node.clone(), Doing::Creating))).collect()
    }

    /// Cuts what is too much for one plan; it waits for a later one. True if something was cut.
    pub(crate) fn limit(&mut self, doings: &mut Doings) -> bool {
        let creates = self.creates.split_off(BURST.min(self.creates.len()));
        let deletes = self.deletes.split_off(BURST.min(self.deletes.len()));
        let cut = creates.into_iter().chain(deletes.into_iter().map(|(node, _)| node));
        let cut: Doings = cut.map(|node| (node, Doing::NextBurst)).collect();
        let is_cut = !cut.is_empty();
        doings.extend(cut);
        is_cut
    }

    /// The work as actions: all creates, then all deletes (MG-21).
    pub(crate) fn actions(self, subject: &Subject<'_>, hash: &str) -> Vec<Action> {
        let mut actions = Vec::with_capacity(self.creates.len() + self.deletes.len());
        if !self.creates.is_empty() {
            let stamp = Stamp::new(subject, hash);
            let create = |node: &Name| Action::CreatePod { node: node.to_string(), pod: stamp.pod(node) };
            actions.extend(self.creates.iter().map(create));
        }
        actions.extend(self.deletes.into_iter().map(|(node, removal)| Action::DeletePod {
            name: removal.name.to_string(),
            uid: removal.uid.into(),
            resource_version: removal.resource_version.into(),
            node: node.to_string(),
            cause: removal.cause,
        }));
        actions
    }
}
