//! A cluster as a late cache shows it, with what has been touched since the last plan.

use crate::steps::{PodChange, Step};
use crate::support::{Case, PodCase, World, merged, node, now, pod, typed};
use daemonset::ledger::Touched;
use daemonset::plan::{Action, Plan};
use daemonset::{Change, Snapshot};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;

pub struct Fleet {
    /// What the cache shows.
    pub world: World,
    pub now: Timestamp,
    /// The last plan.
    pub plan: Plan,
    pub touched: Touched,
    /// Something has changed that a ledger does not follow.
    pub must_open: bool,
    /// What the server has done and the cache does not show.
    on_the_way: VecDeque<Shown>,
    made: usize,
}

enum Shown {
    Pod(Box<Pod>),
    Ends(String),
}

impl Fleet {
    pub fn of(case: &Case) -> Self {
        Self {
            world: World::of(case),
            now: now(),
            plan: Plan::default(),
            touched: Touched::default(),
            must_open: true,
            on_the_way: VecDeque::new(),
            made: 0,
        }
    }

    pub fn snapshot(&self) -> Snapshot<'_> {
        self.world.snapshot()
    }

    pub fn node(&self, name: &str) -> Option<Arc<Node>> {
        let found = self.world.nodes.iter().find(|node| node.metadata.name.as_deref() == Some(name));
        found.cloned().map(Arc::new)
    }

    pub fn pod(&self, name: &str) -> Option<Arc<Pod>> {
        let found = self.world.pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(name));
        found.cloned().map(Arc::new)
    }

    pub fn take(&mut self, step: &Step) {
        match step {
            Step::Node { name, taint, disk, silent } => {
                let ready = if *silent { "Unknown" } else { "True" };
                let taints: Vec<&str> = taint.iter().copied().collect();
                let case = json!({"name": format!("n{name}"), "labels": {"disk": disk}, "taints": taints, "ready": ready});
                self.node_goes(*name);
                self.world.nodes.push(node(&case));
            }
            Step::NodeGoes(name) => self.node_goes(*name),
            Step::Pod { which, change } => self.change_pod(*which, *change),
            Step::Stranger { node, hash, owner, bound } => self.stranger(*node, *hash, owner, *bound),
            Step::Act(count) => self.act(*count),
            Step::Show(count) => {
                (0..*count).for_each(|_| self.show_one());
                self.tell();
            }
            Step::ShowFirst(count) => (0..*count).for_each(|_| self.show_one()),
            Step::Tell => self.tell(),
            Step::Time(seconds) => self.now += SignedDuration::from_secs(*seconds),
            Step::Template(variant) => {
                let user = ["a", "b", "c"][usize::from(*variant)];
                self.edit(json!({"spec": {"template": {"spec": {"hostname": user}}}}), true);
            }
            Step::Strategy(strategy) => self.edit(json!({"spec": {"updateStrategy": strategy}}), false),
            Step::Paused(value) => {
                let annotations = self.world.raw["metadata"]["annotations"].as_object_mut().unwrap();
                match value {
                    Some(value) => drop(annotations.insert("everynode.dev/paused".into(), json!(value))),
                    None => drop(annotations.remove("everynode.dev/paused")),
                }
                self.read_again();
            }
            Step::Nothing => {}
        }
    }

    fn node_goes(&mut self, name: usize) {
        let name = format!("n{name}");
        self.world.nodes.retain(|node| node.metadata.name.as_ref() != Some(&name));
        self.touched.nodes.insert(name);
    }

    fn change_pod(&mut self, which: usize, change: PodChange) {
        if self.world.pods.is_empty() {
            return;
        }
        let (index, now) = (which % self.world.pods.len(), self.now);
        let pod = &mut self.world.pods[index];
        self.touched.pods.insert(pod.metadata.name.clone().unwrap());
        match change {
            PodChange::Ready(ready) => set_ready(pod, ready, now),
            PodChange::Phase(phase) => {
                set_ready(pod, false, now);
                pod.status.get_or_insert_default().phase = Some(phase.to_string());
            }
            PodChange::Bound => {
                let spec = pod.spec.as_mut().unwrap();
                let target = objects::node_affinity::target_node(spec).ok().map(str::to_string);
                spec.node_name = target;
            }
            PodChange::Ends => pod.metadata.deletion_timestamp = Some(Time(now)),
            PodChange::LosesHash => {
                pod.metadata.labels.get_or_insert_default().remove("controller-revision-hash");
            }
            PodChange::LosesLabels => pod.metadata.labels = None,
            PodChange::Gone => {
                let gone = self.world.pods.remove(index);
                self.world.unseen.gone(gone.metadata.uid.as_deref().unwrap());
            }
        }
        if let Some(pod) = self.world.pods.get(index) {
            self.world.unseen.seen(pod);
        }
    }

    fn stranger(&mut self, on: usize, hash: Option<&str>, owner: &str, bound: bool) {
        self.made += 1;
        let case = PodCase {
            name: format!("s{}", self.made),
            node: bound.then(|| format!("n{on}")),
            pinned: Some(format!("n{on}")),
            hash: hash.map(str::to_string),
            owner: typed(json!(owner)),
            ..PodCase::default()
        };
        self.touched.pods.insert(case.name.clone());
        self.world.pods.push(pod(&case));
    }

    /// The first `count` actions succeed, and none after them: a crash, or a server that has gone away.
    fn act(&mut self, count: usize) {
        let plan = std::mem::take(&mut self.plan);
        self.world.backoff.apply(plan.backoff, self.now);
        // Asking changes nothing.
        let writes = plan.actions.iter().filter(|action| **action != Action::ConfirmAlive);
        writes.take(count).for_each(|action| self.carry_out(action));
    }

    fn carry_out(&mut self, action: &Action) {
        let ours = json!([objects::owner::controller_reference("apps/v1", "DaemonSet", "d", "d-uid")]);
        match action {
            Action::CreatePod { node, pod } => {
                self.made += 1;
                let mut pod: Pod = typed(pod.clone());
                pod.metadata.name = Some(format!("d{}", self.made));
                pod.metadata.uid = Some(format!("d{}-uid", self.made));
                pod.metadata.creation_timestamp = Some(Time(self.now));
                pod.status = Some(typed(json!({"phase": "Pending"})));
                self.world.unseen.created(node, pod.metadata.uid.as_deref().unwrap(), self.now);
                self.on_the_way.push_back(Shown::Pod(Box::new(pod)));
            }
            Action::DeletePod { uid, .. } => {
                self.world.unseen.deleted(uid, self.now);
                self.on_the_way.push_back(Shown::Ends(uid.clone()));
            }
            Action::WriteStatus(status) => {
                self.world.raw["status"] = json!(status);
                self.world.daemon_set.status = Some((**status).clone());
            }
            Action::ConfirmAlive => {}
            Action::ClaimPod { name, claim, .. } => {
                let pod = self.world.pods.iter_mut().find(|pod| pod.metadata.name.as_ref() == Some(name));
                if let Some(pod) = pod {
                    self.touched.pods.insert(name.clone());
                    let owners = if *claim == Change::Adopt { ours } else { Value::Null };
                    pod.metadata.owner_references = typed(owners);
                }
            }
            revisions => self.carry_out_on_revisions(revisions),
        }
    }

    fn carry_out_on_revisions(&mut self, action: &Action) {
        self.must_open = true;
        let revisions = &mut self.world.revisions;
        match action {
            Action::CreateRevision(new) => {
                let mut object = new.object.clone();
                object["metadata"]["uid"] = json!(format!("{}-uid", new.name));
                revisions.push(typed(object));
            }
            Action::NumberRevision { name, revision } => {
                let found = revisions.iter_mut().find(|one| one.metadata.name.as_ref() == Some(name));
                found.unwrap().revision = *revision;
            }
            Action::DeleteRevision { uid, .. } => {
                revisions.retain(|one| one.metadata.uid.as_ref() != Some(uid))
            }
            other => panic!("no such history: {other}"),
        }
    }

    fn show_one(&mut self) {
        match self.on_the_way.pop_front() {
            Some(Shown::Pod(pod)) => {
                self.touched.pods.insert(pod.metadata.name.clone().unwrap());
                self.world.pods.push(*pod);
            }
            Some(Shown::Ends(uid)) => {
                let pod = self.world.pods.iter_mut().find(|pod| pod.metadata.uid.as_ref() == Some(&uid));
                if let Some(pod) = pod {
                    pod.metadata.deletion_timestamp = Some(Time(self.now));
                    self.touched.pods.insert(pod.metadata.name.clone().unwrap());
                }
            }
            None => {}
        }
    }

    fn tell(&mut self) {
        self.world.pods.iter().for_each(|pod| self.world.unseen.seen(pod));
    }

    /// As the API server does: another spec is another generation (AP-16).
    fn edit(&mut self, patch: Value, is_template: bool) {
        let edited = merged(self.world.raw.clone(), &patch);
        if edited == self.world.raw {
            return;
        }
        self.world.raw = edited;
        let meta = &mut self.world.raw["metadata"];
        meta["generation"] = json!(meta["generation"].as_i64().unwrap() + 1);
        if is_template {
            let key = "deprecated.daemonset.template.generation";
            let count: i64 = meta["annotations"][key].as_str().unwrap().parse().unwrap();
            meta["annotations"][key] = json!((count + 1).to_string());
        }
        self.read_again();
    }

    fn read_again(&mut self) {
        let status = self.world.daemon_set.status.take();
        self.world.daemon_set = typed(self.world.raw.clone());
        self.world.daemon_set.status = status;
    }
}

fn set_ready(pod: &mut Pod, ready: bool, now: Timestamp) {
    let status = if ready { "True" } else { "False" };
    let phase = if ready { "Running".to_string() } else { objects::pod::phase(pod).to_string() };
    pod.status = Some(typed(json!({
        "phase": phase,
        "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": now}],
    })));
}
