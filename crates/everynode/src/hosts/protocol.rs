//! What `up` and the first process of a node say to each other over its standard input and output: JSON, one a line.
//!
//! The first line to the node is its [`Spec`], each further one a [`Command`]. When the input ends without
//! [`Command::End`], `up` is dead and the node ends at once.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Longest line; a spec has a few hundred letters.
pub const MAX_LINE: usize = 64 * 1024;

/// A node, as its first process must know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Its name, and its host name.
    pub node: String,
    /// Its own folder; what lies in it is mounted over the machine's folders.
    pub folder: PathBuf,
    /// Its pods' addresses.
    pub pods: String,
    /// The folder of the CNI plugins.
    pub plugins: PathBuf,
    /// How registries are reached: containerd's `certs.d`.
    pub registries: PathBuf,
    /// Parent of the cgroups of its pods.
    pub cgroup: String,
    /// Arguments of the agent.
    pub agent: Vec<String>,
}

/// What a node shall do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Start the agent, unless it runs.
    StartAgent {
        /// A join token, for an agent without an identity.
        token: String,
    },
    /// Stop the agent; containers go on.
    StopAgent,
    /// End everything.
    End {
        /// Seconds that containers have for it.
        patience: u64,
    },
}

/// What has happened in a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The runtime answers and has the images.
    RuntimeReady,
    /// The agent runs.
    AgentStarted,
    /// The agent has ended.
    AgentEnded {
        /// Its exit status, in words.
        how: String,
        /// Whether it was asked to.
        asked: bool,
    },
    /// The runtime has ended and is started again.
    RuntimeEnded {
        /// Its exit status, in words.
        how: String,
    },
    /// The node cannot be.
    Failed {
        /// Why.
        why: String,
    },
}
