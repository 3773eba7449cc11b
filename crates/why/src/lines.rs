//! One line a node: the plan's verdict, joined with the pod that it is about and with what holds that back.
//!
//! 1. Whether a node wants a pod is the plan's answer and nobody else's.
//! 2. Of several pods a ready one speaks, else the newest version, else what is left; one that is ending comes last.
//! 3. What the plan would do and nobody has done yet (create, replace) is said as something that is still to come: on a
//!    foreign cluster another controller does it, or none.

use crate::happened::{Happened, message, reason};
use crate::obstacles;
use crate::pod::{self, Standing, standing};
use crate::reason::{Finding, Reason};
use crate::report::{self, Line, PodRef, State, Version};
use crate::{Known, container};
use daemonset::{Cause, Doing, Judge, Placement, Plan, Snapshot, Verdict};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use objects::node_affinity;
use objects::owner::controller_of;
use objects::pod::{hash_label, is_ready, is_terminating};
use std::collections::BTreeMap;

/// All lines, by node name.
pub(crate) fn lines(known: &Known<'_>, plan: &Plan, now: Timestamp) -> Vec<Line> {
    let seen = &known.snapshot;
    let nodes: BTreeMap<&str, &Node> =
        seen.nodes.iter().map(|node| (objects::node::name(node), *node)).collect();
    let mut pods: BTreeMap<&str, Vec<Daemon<'_>>> = BTreeMap::new();
    for (pod, updated) in daemonset::current(seen).map(|current| current.pods).unwrap_or_default() {
        if let Some(target) = pod.spec.as_ref().and_then(|spec| node_affinity::target_node(spec).ok()) {
            let version = if updated { Version::New } else { Version::Old };
            pods.entry(target).or_default().push(Daemon { pod, version });
        }
    }
    let no_spec = PodSpec::default();
    let spec = seen.daemon_set.spec.as_ref();
    let desk = Desk {
        daemon_set: seen.daemon_set,
        judge: Judge::of(spec.and_then(|spec| spec.template.spec.as_ref()).unwrap_or(&no_spec)),
        min_ready_seconds: spec.and_then(|spec| spec.min_ready_seconds).unwrap_or_default(),
        happened: Happened::new(&known.events, now),
    };
    let mut lines: Vec<Line> = match &plan.standstill {
        Some(_) => desk.remaining(seen, &nodes),
        None => {
            let gone = pods.iter().filter(|(node, _)| !nodes.contains_key(*node));
            let gone = gone.filter_map(|(node, daemons)| desk.gone(node, daemons));
            let listed = plan.nodes.iter().filter_map(|(name, verdict)| {
                let daemons = pods.get(&**name).map(Vec::as_slice).unwrap_or_default();
                Some(desk.line(name, nodes.get(&**name)?, verdict, daemons))
            });
            listed.chain(gone).collect()
        }
    };
    lines.sort_by(|a, b| a.node.cmp(&b.node));
    lines
}

/// One pod of ours.
#[derive(Debug, Clone, Copy)]
struct Daemon<'a> {
    pod: &'a Pod,
    version: Version,
}

/// What all lines are made with.
struct Desk<'a> {
    daemon_set: &'a DaemonSet,
    judge: Judge<'a>,
    min_ready_seconds: i32,
    happened: Happened<'a>,
}

impl Desk<'_> {
    fn line(&self, name: &str, node: &Node, verdict: &Verdict, daemons: &[Daemon<'_>]) -> Line {
        let speaker = speaker(daemons);
        let obstacles = match verdict.placement {
            Placement::Run => Vec::new(),
            Placement::Stay(_) | Placement::Leave(_) => obstacles::obstacles(&self.judge.obstacles(node)),
        };
        let (state, finding) = match (obstacles::finding(&obstacles), speaker) {
            (Some(finding), speaker) => (State::LeftOut, self.left_out(finding, verdict, speaker)),
            (None, None) => (State::ShouldRun, self.absent(node, verdict)),
            (None, Some(daemon)) => self.wanted(node, verdict, daemon, daemons),
        };
        let Finding { reason, message } = finding;
        Line { node: name.to_string(), state, reason, message, pod: speaker.map(Daemon::refer), obstacles }
    }

    /// A pod that is bound to a node which nobody lists.
    fn gone(&self, name: &str, daemons: &[Daemon<'_>]) -> Option<Line> {
        let daemon = speaker(daemons)?;
        let message =
            "the node does not exist any more; its pod is deleted by the garbage collector".to_string();
        Some(Line {
            node: name.to_string(),
            state: State::LeftOut,
            reason: Reason::NodeGone,
            message,
            pod: Some(daemon.refer()),
            obstacles: Vec::new(),
        })
    }

    /// Where the controller does nothing: the pods that are there. Which version they are nobody can tell then.
    fn remaining(&self, seen: &Snapshot<'_>, nodes: &BTreeMap<&str, &Node>) -> Vec<Line> {
        let uid = self.daemon_set.metadata.uid.as_deref();
        let is_ours =
            |pod: &&&Pod| controller_of(&pod.metadata).is_some_and(|owner| Some(owner.uid.as_str()) == uid);
        let mut ours: Vec<&Pod> = seen.pods.iter().filter(is_ours).copied().collect();
        ours.sort_by_key(|pod| pod.metadata.name.clone());
        let line = |pod: &Pod| {
            let name = node_affinity::target_node(pod.spec.as_ref()?).ok()?;
            let message = match standing(pod, nodes.get(name).copied(), 0, &self.happened) {
                Standing::HeldBack(finding) if finding.reason == Reason::Terminating => finding.message,
                _ => "nothing is done; the pod that is there is left as it is".to_string(),
            };
            Some(Line {
                node: name.to_string(),
                state: State::LeftOut,
                reason: Reason::Standstill,
                message,
                pod: Some(refer(pod, None)),
                obstacles: Vec::new(),
            })
        };
        ours.into_iter().filter_map(line).collect()
    }

    fn left_out(&self, finding: Finding, verdict: &Verdict, speaker: Option<Daemon<'_>>) -> Finding {
        let Some(daemon) = speaker else { return finding };
        let remark = match (&verdict.placement, &verdict.doing) {
            _ if is_terminating(daemon.pod) => "its pod is ending".to_string(),
            (Placement::Stay(_), Doing::Deleting { cause, .. }) => {
                format!("the pod that is there is to be deleted ({cause}), and none follows it")
            }
            (Placement::Stay(_), Doing::WaitingForBudget { .. }) => {
                "the pod that is there is old: it is deleted when its turn comes, and none follows it"
                    .to_string()
            }
            (Placement::Stay(_), _) => "the pod that is there may stay".to_string(),
            _ => "the pod that is there is to be deleted".to_string(),
        };
        Finding::new(finding.reason, format!("{}; {remark}", finding.message))
    }

    /// Wanted, and there is no pod.
    fn absent(&self, node: &Node, verdict: &Verdict) -> Finding {
        let uid = self.daemon_set.metadata.uid.as_deref();
        let told = |event: &_| reason(event, "FailedCreate") || reason(event, "SuccessfulCreate");
        if let Some((event, ago)) =
            self.happened.newest(uid, told).filter(|(event, _)| reason(event, "FailedCreate"))
        {
            let text = format!("no pod: {} ({ago})", container::one_line(message(event)));
            return Finding::new(Reason::CreateFailed, text);
        }
        let (seen, now) = (
            report::observed_generation(self.daemon_set),
            self.daemon_set.metadata.generation.unwrap_or_default(),
        );
        let mut text = match (seen < now, &verdict.doing) {
            (true, _) => format!("no pod yet: the controller has seen generation {seen}, and this is {now}"),
            (false, Doing::NextBurst) => {
                "no pod yet: its turn comes after those that are under way".to_string()
            }
            (false, _) => "no pod yet: the controller is to create one".to_string(),
        };
        if let Some(trouble) = pod::node_trouble(node, self.happened.now()) {
            text.push_str(&format!("; {}", trouble.message));
        }
        Finding::new(Reason::NotCreated, text)
    }

    fn wanted(
        &self,
        node: &Node,
        verdict: &Verdict,
        daemon: Daemon<'_>,
        daemons: &[Daemon<'_>],
    ) -> (State, Finding) {
        match (self.standing(daemon, node), daemon.version) {
            (Standing::Ready(finding), Version::New) => (State::Runs, finding),
            (Standing::Ready(finding), Version::Old) => {
                (State::Runs, self.outdated(finding, node, verdict, daemons))
            }
            (Standing::HeldBack(finding), _) => (State::ShouldRun, self.held_back(finding, verdict)),
        }
    }

    fn standing(&self, daemon: Daemon<'_>, node: &Node) -> Standing {
        standing(daemon.pod, Some(node), self.min_ready_seconds, &self.happened)
    }

    /// An old pod that serves: why it is still there.
    fn outdated(&self, ready: Finding, node: &Node, verdict: &Verdict, daemons: &[Daemon<'_>]) -> Finding {
        let next =
            daemons.iter().find(|daemon| daemon.version == Version::New && !is_terminating(daemon.pod));
        let (reason, why) = match (&verdict.doing, next) {
            (_, Some(next)) => {
                let name = next.pod.metadata.name.as_deref().unwrap_or_default();
                let (Standing::Ready(finding) | Standing::HeldBack(finding)) = self.standing(*next, node);
                (
                    Reason::WaitingForReplacement,
                    format!("stays until new pod {name} is available: {}", finding.message),
                )
            }
            (Doing::WaitingForBudget { .. }, None) => {
                (Reason::WaitingForTurn, "old, waits for its turn".to_string())
            }
            (Doing::Deleting { cause: Cause::Duplicate { .. }, .. }, None) => return ready,
            _ if self.replaces_on_delete() => (
                Reason::OnDelete,
                "old; updateStrategy OnDelete: replaced when somebody deletes it".to_string(),
            ),
            _ if report::is_paused(self.daemon_set) => {
                (Reason::Paused, "old; the rollout is paused".to_string())
            }
            (Doing::OnHold { why, .. }, None) => (Reason::Outdated, format!("old; {why}")),
            (Doing::Deleting { .. } | Doing::Creating, None) => {
                (Reason::Outdated, "old, and about to be replaced".to_string())
            }
            _ => (Reason::Outdated, "old; replaced when every node that wants a pod has one".to_string()),
        };
        Finding::new(reason, format!("{}; {why}", ready.message))
    }

    fn held_back(&self, finding: Finding, verdict: &Verdict) -> Finding {
        let remark = match &verdict.doing {
            Doing::BackingOff { until, .. } => format!("; the next one comes after {until}"),
            Doing::Deleting { cause: Cause::Failed | Cause::Succeeded, .. } => {
                "; it is deleted and replaced, each time later (1s up to 15m)".to_string()
            }
            Doing::Deleting { cause: Cause::OutdatedUnavailable | Cause::Outdated, .. } => {
                "; old, and about to be replaced".to_string()
            }
            Doing::OnHold { why, .. } => format!("; old, and {why}"),
            _ if finding.reason == Reason::Terminating => "; the next one comes after its end".to_string(),
            _ => String::new(),
        };
        Finding::new(finding.reason, format!("{}{remark}", finding.message))
    }

    fn replaces_on_delete(&self) -> bool {
        let strategy = self.daemon_set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
        strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete")
    }
}

fn speaker<'a>(daemons: &[Daemon<'a>]) -> Option<Daemon<'a>> {
    let rank = |daemon: &&Daemon<'a>| {
        (
            is_terminating(daemon.pod),
            !is_ready(daemon.pod),
            daemon.version == Version::Old,
            pod::created(daemon.pod),
        )
    };
    daemons.iter().min_by_key(rank).copied()
}

impl Daemon<'_> {
    fn refer(self) -> PodRef {
        refer(self.pod, Some(self.version))
    }
}

fn refer(pod: &Pod, revision: Option<Version>) -> PodRef {
    PodRef {
        name: pod.metadata.name.clone().unwrap_or_default(),
        revision,
        revision_hash: hash_label(pod).map(str::to_string),
        created: pod::created(pod),
        ready_since: pod::ready_since(pod),
    }
}
