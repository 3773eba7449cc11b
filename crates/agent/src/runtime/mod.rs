//! What the agent needs from a container runtime: a dozen verbs in CRI's words.
//!
//! [`cri::Cri`] speaks to containerd or CRI-O, [`simulated::Simulated`] runs nothing and is a product mode. Both
//! pass the same suite (`tests/conformance.rs`). What is asked is said in CRI's own messages ([`cri::messages`]);
//! what is answered is parsed at the edge into the plain values below, which the pure modules read.
//!
//! Kubernetes: pkg/kubelet/container/runtime.go, cri-api/pkg/apis/runtime/v1/api.proto.

pub mod cri;
pub mod simulated;

use cri::messages::{AttachRequest, AuthConfig, ContainerConfig, ExecRequest};
use cri::messages::{PodSandboxConfig, PortForwardRequest};
use futures::future::BoxFuture;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Labels by which sandboxes and containers of ours are found again. Kubernetes: kubelet/types/labels.go.
pub mod label {
    /// Pod name.
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    /// Pod namespace.
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// Pod uid.
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    /// Container name.
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
}

/// Annotations on our containers. Kubernetes: kuberuntime/labels.go.
pub mod annotation {
    /// Hash of the part of the container's spec whose change asks for a new container.
    pub const HASH: &str = "io.kubernetes.container.hash";
    /// Path of the termination message on the node.
    pub const MESSAGE_FILE: &str = "io.everynode.container.terminationMessageFile";
}

/// The answer to one question to the runtime.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, RuntimeError>>;

/// A container runtime, as the agent sees it.
pub trait Runtime: Send + Sync + 'static {
    /// Name and version, for `nodeInfo.containerRuntimeVersion`.
    fn version(&self) -> Answer<'_, Version>;
    /// Whether runtime and pod network are ready.
    fn status(&self) -> Answer<'_, RuntimeStatus>;

    /// Makes a pod's sandbox with its network and answers its id.
    fn run_pod_sandbox<'a>(&'a self, config: &'a PodSandboxConfig, handler: &'a str) -> Answer<'a, String>;
    /// Stops everything in a sandbox and gives its address back. Succeeds when it is stopped or unknown already.
    fn stop_pod_sandbox<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;
    /// Removes a sandbox with its containers. Succeeds when it is unknown already.
    fn remove_pod_sandbox<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;
    /// Sandboxes, newest first; of one pod if its uid is given. Addresses are empty here.
    fn list_pod_sandbox<'a>(&'a self, pod_uid: Option<&'a str>) -> Answer<'a, Vec<Sandbox>>;
    /// One sandbox with its addresses.
    fn pod_sandbox_status<'a>(&'a self, id: &'a str) -> Answer<'a, Sandbox>;

    /// Makes a container and answers its id.
    fn create_container<'a>(
        &'a self,
        sandbox_id: &'a str,
        config: &'a ContainerConfig,
        sandbox: &'a PodSandboxConfig,
    ) -> Answer<'a, String>;
    /// Starts a created container.
    fn start_container<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;
    /// Asks a container to stop, and kills it after `grace`. Succeeds when it is stopped or unknown already.
    fn stop_container<'a>(&'a self, id: &'a str, grace: Duration) -> Answer<'a, ()>;
    /// Removes a container. Succeeds when it is unknown already.
    fn remove_container<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;
    /// Containers, newest first; of one pod if its uid is given. Only what CRI's list answers: no exit codes.
    fn list_containers<'a>(&'a self, pod_uid: Option<&'a str>) -> Answer<'a, Vec<Container>>;
    /// One container with exit code and times.
    fn container_status<'a>(&'a self, id: &'a str) -> Answer<'a, Container>;
    /// Runs a command in a container and waits for its end.
    fn exec_sync<'a>(&'a self, id: &'a str, command: &'a [String], limit: Duration)
    -> Answer<'a, ExecResult>;
    /// Prepares a stream and answers the `http` address at which the runtime serves it, once, with SPDY/3.1 and
    /// WebSocket up to v4.
    fn open_stream(&self, what: Streaming) -> Answer<'_, String>;
    /// Lets the runtime open the container's log file anew after a rotation.
    fn reopen_container_log<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;

    /// The image, if it is present.
    fn image_status<'a>(&'a self, image: &'a str) -> Answer<'a, Option<Image>>;
    /// Fetches an image and answers its reference.
    fn pull_image<'a>(
        &'a self,
        image: &'a str,
        auth: Option<&'a AuthConfig>,
        sandbox: &'a PodSandboxConfig,
    ) -> Answer<'a, String>;
    /// Every image that is present.
    fn list_images(&self) -> Answer<'_, Vec<Image>>;
}

/// A verb of CRI that answers with an address to stream at.
#[derive(Clone, Debug, PartialEq)]
pub enum Streaming {
    /// A new process in a running container.
    Exec(ExecRequest),
    /// The process of a running container.
    Attach(AttachRequest),
    /// Ports of a sandbox.
    PortForward(PortForwardRequest),
}

/// Who the runtime is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// For example `containerd`.
    pub name: String,
    /// For example `1.6.20`.
    pub version: String,
}

/// Whether the runtime can take pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeStatus {
    /// CRI's `RuntimeReady`; `None` when it was not reported.
    pub runtime: Option<Readiness>,
    /// CRI's `NetworkReady`; `None` when it was not reported.
    pub network: Option<Readiness>,
}

/// One of CRI's runtime conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is ready.
    Ready,
    /// It is not, with reason and message of the runtime.
    NotReady {
        /// For example `NetworkPluginNotReady`.
        reason: String,
        /// For example `Network plugin returns error: cni plugin not initialized`.
        message: String,
    },
}

/// One sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// Which pod it belongs to.
    pub pod: PodKey,
    /// Counts the sandboxes of this pod from 0.
    pub attempt: u32,
    /// Whether it runs.
    pub ready: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Addresses, the first is the pod's. Empty for host network, and in lists.
    pub ips: Vec<String>,
}

/// Which pod something in the runtime belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The runtime's id.
    pub id: String,
    /// The sandbox it lives in.
    pub sandbox_id: String,
    /// The pod's uid.
    pub pod_uid: String,
    /// The name in the pod's spec.
    pub name: String,
    /// Counts the containers of this name from 0: the restart count.
    pub attempt: u32,
    /// What it does.
    pub state: State,
    /// When it was made.
    pub created_at: Timestamp,
    /// The image as the pod names it.
    pub image: String,
    /// The image as the runtime resolved it.
    pub image_ref: String,
    /// Our annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its log file on the node; empty in lists.
    pub log_path: String,
}

/// What a container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Made, never started.
    Created,
    /// Running since then.
    Running {
        /// Since when; in lists it is the time of creation.
        started_at: Timestamp,
    },
    /// Ended.
    Exited(Exit),
    /// The runtime does not know.
    Unknown,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// When it had started; `None` if it never did.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// 128 + signal for a killed process.
    pub code: i32,
    /// The runtime's word: `Completed`, `Error`, `OOMKilled`, `StartError`; may be empty.
    pub reason: String,
    /// The runtime's message; may be empty.
    pub message: String,
}

/// What a command in a container answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecResult {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Exit code.
    pub exit_code: i32,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The runtime's id, usually `sha256:…`.
    pub id: String,
    /// Names with tag.
    pub tags: Vec<String>,
    /// Names with digest.
    pub digests: Vec<String>,
    /// Bytes.
    pub size: u64,
    /// The numeric user it wants to run as.
    pub uid: Option<i64>,
    /// The named user it wants to run as; may be empty.
    pub username: String,
}

/// Why the runtime did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No answer: the socket is missing, refused or broken.
    #[error("container runtime is down: {message}")]
    Down {
        /// What happened to the connection.
        message: String,
    },
    /// The thing does not exist.
    #[error("rpc error: code = NotFound desc = {message}")]
    NotFound {
        /// The runtime's text.
        message: String,
    },
    /// The runtime refused or failed.
    #[error("rpc error: code = {code} desc = {message}")]
    Refused {
        /// gRPC's word, for example `Unknown`.
        code: String,
        /// The runtime's text.
        message: String,
    },
    /// The runtime's answer lacks something it must have.
    #[error("{verb}: the runtime's answer has no {missing}")]
    Incomplete {
        /// CRI's verb.
        verb: &'static str,
        /// The field.
        missing: &'static str,
    },
}
