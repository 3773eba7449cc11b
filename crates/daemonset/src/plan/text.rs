//! How a plan reads as text: the same words in golden cases, messages and `everynode why`.

use super::{Action, Cause, Change, Doing, Event, Obsolete, Plan};
use std::fmt;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(standstill) = &self.standstill {
            writeln!(f, "standstill: {standstill}")?;
        }
        self.actions.iter().try_for_each(|action| writeln!(f, "do: {action}"))?;
        self.events.iter().try_for_each(|event| writeln!(f, "event: {event}"))?;
        self.news.iter().try_for_each(|event| writeln!(f, "news: {event}"))?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "problem: {problem}"))?;
        for (node, verdict) in &self.nodes {
            writeln!(f, "node {node}: {}: {}", verdict.placement, verdict.doing)?;
        }
        if let Some(wake_at) = self.wake_at {
            writeln!(f, "wake at {wake_at}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.kind.as_str(), self.reason, self.message)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfirmAlive => f.write_str("confirm that the DaemonSet is alive"),
            Self::ClaimPod { name, claim, .. } => write!(f, "{claim} pod {name}"),
            Self::ClaimRevision { name, claim, .. } => write!(f, "{claim} revision {name}"),
            Self::CreateRevision(new) => write!(f, "create {new}"),
            Self::LabelRevision { name, hash } => write!(f, "label revision {name} with hash {hash}"),
            Self::NumberRevision { name, revision } => write!(f, "number revision {name} as {revision}"),
            Self::RelabelPod { name, hash, .. } => write!(f, "label pod {name} with hash {hash}"),
            Self::DeleteRevision { name, cause, .. } => write!(f, "delete revision {name}: {cause}"),
            Self::RaiseCollisionCount { to } => write!(f, "raise collisionCount to {to}"),
            Self::CreatePod { node, .. } => write!(f, "create pod on {node}"),
            Self::DeletePod { name, node, cause, .. } => write!(f, "delete pod {name} on {node}: {cause}"),
            Self::WriteStatus(status) => {
                let number = |n: Option<i32>| n.unwrap_or_default();
                write!(
                    f,
                    "write status: desired {} current {} misscheduled {} ready {} updated {} available {} \
                     unavailable {} observed {}",
                    status.desired_number_scheduled,
                    status.current_number_scheduled,
                    status.number_misscheduled,
                    status.number_ready,
                    number(status.updated_number_scheduled),
                    number(status.number_available),
                    number(status.number_unavailable),
                    status.observed_generation.unwrap_or_default(),
                )
            }
        }
    }
}

impl fmt::Display for Obsolete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Duplicate => "another one says the same",
            Self::History => "the history limit keeps it no longer",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Adopt => "adopt",
            Self::Release => "release",
        })
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no pod"),
            Self::Serving { pod } => write!(f, "pod {pod}"),
            Self::Creating => f.write_str("creating a pod"),
            Self::Coming => f.write_str("a pod has been created and is not seen yet"),
            // The verdict has just said why the node does not want it.
            Self::Deleting { pod, cause: Cause::NotWanted(_) } => write!(f, "deleting pod {pod}"),
            Self::Deleting { pod, cause } => write!(f, "deleting pod {pod}: {cause}"),
            Self::WaitingForEnd { pod } => write!(f, "waiting for the end of pod {pod}"),
            Self::BackingOff { pod, until } => {
                write!(f, "pod {pod} has ended; the next one comes after {until}")
            }
            Self::WaitingForBudget { pod } => {
                write!(f, "pod {pod} is outdated and waits until enough others are available")
            }
            Self::WaitingForNew { old } => {
                write!(f, "old pod {old} stays until its replacement is available")
            }
            Self::OnHold { pod, why } => write!(f, "pod {pod} is outdated; {why}"),
            Self::NextBurst => f.write_str("its turn comes after those that are under way"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWanted(reason) => write!(f, "not wanted here: {reason}"),
            Self::Failed => f.write_str("it has failed"),
            Self::Succeeded => f.write_str("it has ended by itself"),
            Self::Duplicate { kept } => write!(f, "pod {kept} is kept on this node"),
            Self::NodeGone => f.write_str("its node is gone"),
            Self::OutdatedUnavailable => f.write_str("outdated and not available"),
            Self::Outdated => f.write_str("outdated"),
            Self::Superseded => f.write_str("its replacement takes over"),
            Self::Surplus => f.write_str("outdated, and more are available than needed"),
        }
    }
}
