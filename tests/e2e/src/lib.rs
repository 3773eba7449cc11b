//! What the end-to-end tests stand on: the binary, a real kubectl, a machine that is clean afterwards.
//!
//! The tests know nothing of our crates. They start [`Cluster`] as a user does, speak through [`Kubectl`], and
//! wait for a state with [`eventually`]; nothing here sleeps for a fixed time and hopes.

mod agent;
mod beside;
mod cluster;
mod collector;
mod disk;
mod door;
mod etcd;
mod http;
mod image;
mod kubectl;
mod machine;
mod part;
mod program;
mod recorder;
mod registry;
mod server;
mod testimony;
mod wait;
mod witness;

pub use agent::Agent;
pub use cluster::{Cluster, binary};
pub use collector::{Collector, Span};
pub use disk::SmallDisk;
pub use door::{Calls, Door, Trouble, Watches, Writes};
pub use etcd::Etcd;
pub use image::{Image, example_program};
pub use kubectl::{Kubectl, Running, kubectls, newest_and_oldest};
pub use machine::{assert_clean, import_image, kill_in_nodes, outer_address};
pub use part::Part;
pub use program::{Answer, assert_says, run_to_end};
pub use recorder::Recorder;
pub use registry::{Login, Registry};
pub use server::Server;
pub use wait::{eventually, eventually_equal};
pub use witness::Witness;
