//! A runtime behind CRI v1 on a unix socket: containerd or CRI-O.
//!
//! Every verb is one unary call with a limit in time. Names and numbers come from [`messages`]; answers are parsed
//! into the plain values of [`super`] here and nowhere else. The channel connects lazily and again after the
//! runtime's restart; what could not be delivered is [`RuntimeError::Down`].
//!
//! containerd 1.6 has no `GetContainerEvents`: changes are found by listing (see `relist.rs`).
//! Kubernetes: cri-client/pkg/remote_runtime.go, remote_image.go.

pub mod messages;
mod parse;

use super::{
    Answer, Container, ExecResult, Image, Readiness, Runtime, RuntimeError, RuntimeStatus, Sandbox,
    Streaming, Version, label,
};
use futures::FutureExt as _;
use http::uri::PathAndQuery;
use messages as m;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// An ordinary verb ends within this. Kubernetes: kubelet's `runtimeRequestTimeout`.
const VERB_LIMIT: Duration = Duration::from_secs(120);
/// Without progress a pull is given up by the runtime itself; this is the last resort.
const PULL_LIMIT: Duration = Duration::from_secs(3600);
/// Images and containers of a large node fit. Kubernetes: `maxMsgSize` of cri-client.
const MESSAGE_LIMIT: usize = 16 << 20;

const RUNTIME_SERVICE: &str = "/runtime.v1.RuntimeService/";
const IMAGE_SERVICE: &str = "/runtime.v1.ImageService/";

/// A client for one runtime.
#[derive(Clone)]
pub struct Cri {
    channel: Channel,
    /// For errors.
    socket: Arc<str>,
}

impl Cri {
    /// Connects to the socket, for example `/run/containerd/containerd.sock`, and asks for the version, so that a
    /// missing or foreign socket is found here.
    pub async fn connect(socket: &Path) -> Result<Self, ConnectError> {
        let cri = Self::lazy(socket)?;
        match cri.version().await {
            Ok(_) => Ok(cri),
            Err(source) => Err(ConnectError::NoAnswer { socket: socket.display().to_string(), source }),
        }
    }

    /// The same without asking: for a runtime that may start later than the agent.
    pub fn lazy(socket: &Path) -> Result<Self, ConnectError> {
        let socket = socket.display().to_string();
        match Endpoint::try_from(format!("unix://{socket}")) {
            Ok(endpoint) => Ok(Self { channel: endpoint.connect_lazy(), socket: socket.into() }),
            Err(_) => Err(ConnectError::BadPath { socket }),
        }
    }

    async fn runtime<Q, A>(&self, verb: &'static str, request: Q, limit: Duration) -> Result<A, RuntimeError>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.call(RUNTIME_SERVICE, verb, request, limit).await
    }

    async fn image<Q, A>(&self, verb: &'static str, request: Q, limit: Duration) -> Result<A, RuntimeError>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.call(IMAGE_SERVICE, verb, request, limit).await
    }

    async fn call<Q, A>(
        &self,
        service: &str,
        verb: &'static str,
        request: Q,
        limit: Duration,
    ) -> Result<A, RuntimeError>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc =
            tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT);
        let path = PathAndQuery::try_from(format!("{service}{verb}"))
            .map_err(|error| RuntimeError::Down { message: error.to_string() })?;
        let answer = async {
            grpc.ready().await.map_err(|error| self.down(&error))?;
            let codec = tonic_prost::ProstCodec::<Q, A>::default();
            grpc.unary(tonic::Request::new(request), path, codec)
                .await
                .map_err(|status| self.refused(&status))
        };
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(RuntimeError::Refused {
                code: "DeadlineExceeded".into(),
                message: format!("{verb} did not end within {} seconds", limit.as_secs()),
            }),
        }
    }

    /// Names the socket and what the system says of it; the layers between say nothing more.
    fn down(&self, error: &dyn std::error::Error) -> RuntimeError {
        let mut cause = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        RuntimeError::Down { message: format!("{}: {cause}", self.socket) }
    }

    fn refused(&self, status: &tonic::Status) -> RuntimeError {
        use std::error::Error as _;
        let message = status.message().to_string();
        match (status.code(), status.source()) {
            (tonic::Code::NotFound, _) => RuntimeError::NotFound { message },
            (tonic::Code::Unavailable, Some(source)) => self.down(source),
            (tonic::Code::Unavailable, None) => {
                RuntimeError::Down { message: format!("{}: {message}", self.socket) }
            }
            (code, _) => RuntimeError::Refused { code: format!("{code:?}"), message },
        }
    }
}

/// Why there is no connection to a runtime.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The path cannot be written as an address.
    #[error("{socket} is not a path of a socket")]
    BadPath {
        /// The path.
        socket: String,
    },
    /// Nobody answers there.
    #[error("no container runtime answers at {socket}: start containerd, or name its socket")]
    NoAnswer {
        /// The path.
        socket: String,
        /// What happened.
        #[source]
        source: RuntimeError,
    },
}

fn gone_is_fine(answer: Result<m::Empty, RuntimeError>) -> Result<(), RuntimeError> {
    match answer {
        Ok(_) | Err(RuntimeError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn of_pod(uid: Option<&str>) -> BTreeMap<String, String> {
    uid.map(|uid| (label::POD_UID.to_string(), uid.to_string())).into_iter().collect()
}

fn container_id(id: &str) -> m::ContainerId {
    m::ContainerId { container_id: id.into() }
}

fn sandbox_id(id: &str) -> m::PodSandboxId {
    m::PodSandboxId { pod_sandbox_id: id.into() }
}

fn image_spec(image: &str) -> Option<m::ImageSpec> {
    Some(m::ImageSpec { image: image.into(), annotations: BTreeMap::new() })
}

fn readiness(conditions: &[m::RuntimeCondition], name: &str) -> Option<Readiness> {
    let condition = conditions.iter().find(|condition| condition.r#type == name)?;
    if condition.status {
        return Some(Readiness::Ready);
    }
    Some(Readiness::NotReady { reason: condition.reason.clone(), message: condition.message.clone() })
}

impl Runtime for Cri {
    fn version(&self) -> Answer<'_, Version> {
        async {
            let request = m::VersionRequest { version: "0.1.0".into() };
            let answer: m::VersionResponse = self.runtime("Version", request, VERB_LIMIT).await?;
            Ok(Version { name: answer.runtime_name, version: answer.runtime_version })
        }
        .boxed()
    }

    fn status(&self) -> Answer<'_, RuntimeStatus> {
        async {
            let answer: m::StatusResponse =
                self.runtime("Status", m::StatusRequest { verbose: false }, VERB_LIMIT).await?;
            let conditions = answer.status.unwrap_or_default().conditions;
            Ok(RuntimeStatus {
                runtime: readiness(&conditions, "RuntimeReady"),
                network: readiness(&conditions, "NetworkReady"),
            })
        }
        .boxed()
    }

    fn run_pod_sandbox<'a>(
        &'a self,
        config: &'a m::PodSandboxConfig,
        handler: &'a str,
    ) -> Answer<'a, String> {
        async move {
            let request =
                m::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.into() };
            let answer: m::PodSandboxId = self.runtime("RunPodSandbox", request, 2 * VERB_LIMIT).await?;
            Ok(answer.pod_sandbox_id)
        }
        .boxed()
    }

    fn stop_pod_sandbox<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        async move { gone_is_fine(self.runtime("StopPodSandbox", sandbox_id(id), VERB_LIMIT).await) }.boxed()
    }

    fn remove_pod_sandbox<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        async move { gone_is_fine(self.runtime("RemovePodSandbox", sandbox_id(id), VERB_LIMIT).await) }
            .boxed()
    }

    fn list_pod_sandbox<'a>(&'a self, pod_uid: Option<&'a str>) -> Answer<'a, Vec<Sandbox>> {
        async move {
            let filter = m::PodSandboxFilter { id: String::new(), label_selector: of_pod(pod_uid) };
            let request = m::ListPodSandboxRequest { filter: Some(filter) };
            let answer: m::ListPodSandboxResponse =
                self.runtime("ListPodSandbox", request, VERB_LIMIT).await?;
            Ok(parse::sandboxes(answer.items))
        }
        .boxed()
    }

    fn pod_sandbox_status<'a>(&'a self, id: &'a str) -> Answer<'a, Sandbox> {
        async move {
            let answer: m::PodSandboxStatusResponse =
                self.runtime("PodSandboxStatus", sandbox_id(id), VERB_LIMIT).await?;
            parse::sandbox_status(answer)
        }
        .boxed()
    }

    fn create_container<'a>(
        &'a self,
        id: &'a str,
        config: &'a m::ContainerConfig,
        sandbox: &'a m::PodSandboxConfig,
    ) -> Answer<'a, String> {
        async move {
            let request = m::CreateContainerRequest {
                pod_sandbox_id: id.into(),
                config: Some(config.clone()),
                sandbox_config: Some(sandbox.clone()),
            };
            let answer: m::ContainerId = self.runtime("CreateContainer", request, VERB_LIMIT).await?;
            Ok(answer.container_id)
        }
        .boxed()
    }

    fn start_container<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        async move {
            let _: m::Empty = self.runtime("StartContainer", container_id(id), VERB_LIMIT).await?;
            Ok(())
        }
        .boxed()
    }

    fn stop_container<'a>(&'a self, id: &'a str, grace: Duration) -> Answer<'a, ()> {
        async move {
            let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
            let request = m::StopContainerRequest { container_id: id.into(), timeout };
            gone_is_fine(self.runtime("StopContainer", request, grace.saturating_add(VERB_LIMIT)).await)
        }
        .boxed()
    }

    fn remove_container<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        async move { gone_is_fine(self.runtime("RemoveContainer", container_id(id), VERB_LIMIT).await) }
            .boxed()
    }

    fn list_containers<'a>(&'a self, pod_uid: Option<&'a str>) -> Answer<'a, Vec<Container>> {
        async move {
            let filter = m::ContainerFilter { id: String::new(), label_selector: of_pod(pod_uid) };
            let request = m::ListContainersRequest { filter: Some(filter) };
            let answer: m::ListContainersResponse =
                self.runtime("ListContainers", request, VERB_LIMIT).await?;
            Ok(parse::containers(answer.containers))
        }
        .boxed()
    }

    fn container_status<'a>(&'a self, id: &'a str) -> Answer<'a, Container> {
        async move {
            let answer: m::ContainerStatusResponse =
                self.runtime("ContainerStatus", container_id(id), VERB_LIMIT).await?;
            parse::container_status(answer)
        }
        .boxed()
    }

    fn exec_sync<'a>(
        &'a self,
        id: &'a str,
        command: &'a [String],
        limit: Duration,
    ) -> Answer<'a, ExecResult> {
        async move {
            let timeout = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
            let request = m::ExecSyncRequest { container_id: id.into(), cmd: command.to_vec(), timeout };
            let answer: m::ExecSyncResponse =
                self.runtime("ExecSync", request, limit.saturating_add(VERB_LIMIT)).await?;
            Ok(ExecResult { stdout: answer.stdout, stderr: answer.stderr, exit_code: answer.exit_code })
        }
        .boxed()
    }

    fn open_stream(&self, what: Streaming) -> Answer<'_, String> {
        async move {
            let answer: m::StreamAddress = match what {
                Streaming::Exec(exec) => self.runtime("Exec", exec, VERB_LIMIT).await?,
                Streaming::Attach(attach) => self.runtime("Attach", attach, VERB_LIMIT).await?,
                Streaming::PortForward(ports) => self.runtime("PortForward", ports, VERB_LIMIT).await?,
            };
            Ok(answer.url)
        }
        .boxed()
    }

    fn reopen_container_log<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        async move {
            let _: m::Empty = self.runtime("ReopenContainerLog", container_id(id), VERB_LIMIT).await?;
            Ok(())
        }
        .boxed()
    }

    fn image_status<'a>(&'a self, image: &'a str) -> Answer<'a, Option<Image>> {
        async move {
            let request = m::ImageRequest { image: image_spec(image) };
            let answer: m::ImageStatusResponse = self.image("ImageStatus", request, VERB_LIMIT).await?;
            Ok(answer.image.map(parse::image))
        }
        .boxed()
    }

    fn pull_image<'a>(
        &'a self,
        image: &'a str,
        auth: Option<&'a m::AuthConfig>,
        sandbox: &'a m::PodSandboxConfig,
    ) -> Answer<'a, String> {
        async move {
            let request = m::PullImageRequest {
                image: image_spec(image),
                auth: auth.cloned(),
                sandbox_config: Some(sandbox.clone()),
            };
            let answer: m::PullImageResponse = self.image("PullImage", request, PULL_LIMIT).await?;
            Ok(answer.image_ref)
        }
        .boxed()
    }

    fn list_images(&self) -> Answer<'_, Vec<Image>> {
        async {
            let request = m::ImageRequest { image: None };
            let answer: m::ListImagesResponse = self.image("ListImages", request, VERB_LIMIT).await?;
            Ok(answer.images.into_iter().map(parse::image).collect())
        }
        .boxed()
    }
}
