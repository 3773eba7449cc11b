//! The steps, in the order in which they are played, and what each waits for.

use crate::Config;
use crate::goal::Goal;
use std::fmt;

/// One of so many nodes falls silent in [`Step::Kill`].
const KILLED_OF: u32 = 20;

/// One thing that happens to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The nodes register.
    Nodes,
    /// The DaemonSets are applied.
    Create,
    /// Each gets a new image.
    Rollout,
    /// Every node gets a label that no DaemonSet asks for.
    Relabel,
    /// Some nodes more.
    Join,
    /// One node of twenty falls silent, without a word.
    Kill,
    /// The silent ones are back.
    Return,
    /// The DaemonSets are deleted.
    Delete,
}

impl Step {
    /// All, in their order.
    pub const ALL: [Step; 8] = [
        Step::Nodes,
        Step::Create,
        Step::Rollout,
        Step::Relabel,
        Step::Join,
        Step::Kill,
        Step::Return,
        Step::Delete,
    ];
    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Step::Nodes => "nodes",
            Step::Create => "create",
            Step::Rollout => "rollout",
            Step::Relabel => "relabel",
            Step::Join => "join",
            Step::Kill => "kill",
            Step::Return => "return",
            Step::Delete => "delete",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the cluster looks like when a step begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// How many nodes there are from the start.
    pub nodes: u32,
    /// How many come in [`Step::Join`].
    pub joining: u32,
    /// How many DaemonSets.
    pub daemonsets: u32,
    /// Whether the joining nodes are there.
    pub joined: bool,
    /// Which image every template has.
    pub image: u32,
    /// Which generation every DaemonSet has.
    pub generation: i64,
}

impl Stage {
    /// Before the first step.
    pub fn new(nodes: u32, joining: u32, daemonsets: u32) -> Self {
        Self { nodes, joining, daemonsets, joined: false, image: 1, generation: 1 }
    }

    /// All nodes that there are now.
    pub fn all(&self) -> u32 {
        self.nodes + if self.joined { self.joining } else { 0 }
    }

    /// How many nodes are killed: of those from the start, at least one.
    pub fn killed(&self) -> u32 {
        (self.nodes / KILLED_OF).max(1)
    }

    /// Numbers of the nodes that are killed: the last of those from the start.
    pub fn victims(&self) -> std::ops::Range<u32> {
        self.nodes + 1 - self.killed()..self.nodes + 1
    }

    /// The stage that a step leads to.
    pub fn after(self, step: Step) -> Self {
        match step {
            Step::Rollout => Self { image: self.image + 1, generation: self.generation + 1, ..self },
            Step::Relabel => Self { generation: self.generation + 1, ..self },
            Step::Join => Self { joined: true, ..self },
            _ => self,
        }
    }

    /// What has to be seen when a step has led here.
    pub fn goals(&self, step: Step) -> Vec<Goal> {
        let Self { image, generation, .. } = *self;
        let (nodes, left) = (self.all(), self.all() - self.killed());
        let created = Goal::Created { image, nodes };
        let (ready, status) = (Goal::Ready { image, nodes }, Goal::Status { generation, nodes });
        match step {
            Step::Nodes => vec![Goal::NodesReady(nodes)],
            Step::Create | Step::Rollout => vec![created, ready, status],
            Step::Relabel => vec![Goal::Observed(generation)],
            Step::Join => vec![Goal::NodesReady(nodes), created, ready, status],
            Step::Kill => vec![Goal::NodesLeft(left), Goal::StatusReady(left)],
            Step::Return => vec![Goal::NodesReady(nodes), status],
            Step::Delete => vec![Goal::Gone],
        }
    }

    /// How many nodes a step that has led here touches.
    pub fn touched(&self, step: Step) -> u32 {
        match step {
            Step::Join => self.joining,
            Step::Kill | Step::Return => self.killed(),
            _ => self.all(),
        }
    }
}

/// The steps of one run.
pub fn of(config: &Config) -> Vec<Step> {
    let asked = |step: &Step| match step {
        // Who is not killed does not return.
        Step::Return => !config.skip.contains(&Step::Kill),
        step => !config.skip.contains(step),
    };
    Step::ALL.into_iter().filter(asked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_says_what_has_to_come_of_it() {
        let stage = Stage::new(40, 100, 2);
        assert_eq!(stage.goals(Step::Nodes), [Goal::NodesReady(40)]);
        let stage = stage.after(Step::Rollout);
        let up = |nodes| {
            [
                Goal::Created { image: 2, nodes },
                Goal::Ready { image: 2, nodes },
                Goal::Status { generation: 2, nodes },
            ]
        };
        assert_eq!(stage.goals(Step::Rollout), up(40));
        let stage = stage.after(Step::Join);
        assert_eq!((stage.all(), stage.killed(), stage.victims()), (140, 2, 39..41));
        assert_eq!(stage.goals(Step::Join), [&[Goal::NodesReady(140)], &up(140)[..]].concat());
        assert_eq!(stage.goals(Step::Kill), [Goal::NodesLeft(138), Goal::StatusReady(138)]);
        assert_eq!((stage.touched(Step::Join), stage.touched(Step::Return)), (100, 2));
    }

    #[test]
    fn one_node_is_killed_of_a_few() {
        assert_eq!(Stage::new(3, 1, 1).victims(), 3..4);
    }
}
