//! Asks probes and hooks: HTTP, TCP, gRPC and commands. What the answers mean is decided in [`crate::probe`].
//!
//! One task for each probe of a running container, ended with the container's run. Texts are kubelet's.
//! Kubernetes: pkg/kubelet/prober, pkg/probe/*, lifecycle/handlers.go.

mod http_get;

use crate::probe::{Kind, Outcome, Schedule, Streak, Verdict};
use crate::runtime::{Runtime, RuntimeError};
use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Output of a failing command in an event. Kubernetes: `maxProbeMessageLength`-like limits.
const OUTPUT_LIMIT: usize = 1024;
/// A gRPC health service that answers this serves.
const SERVING: i32 = 1;

/// Whom to ask.
#[derive(Clone)]
pub struct Target {
    pub runtime: Arc<dyn Runtime>,
    pub container_id: String,
    pub container: Container,
    /// The pod's address.
    pub ip: String,
}

/// One question, whichever kind.
enum Question<'a> {
    Exec(&'a ExecAction),
    Http(&'a HTTPGetAction),
    Tcp(&'a TCPSocketAction),
    Grpc(&'a GRPCAction),
    Nothing,
}

/// Asks a probe for as long as the container runs; `tell` gets every verdict and answers whether to go on.
pub async fn ask(
    target: Target,
    kind: Kind,
    probe: Probe,
    already_running: Duration,
    mut tell: impl FnMut(Verdict) -> bool,
) {
    let schedule = Schedule::of(&probe);
    tokio::time::sleep(schedule.initial_delay.saturating_sub(already_running)).await;
    let mut ticks = tokio::time::interval(schedule.period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut streak = Streak::default();
    loop {
        ticks.tick().await;
        let outcome = answer(&target, &question(&probe), schedule.timeout).await;
        if let Outcome::Failure(text) = &outcome {
            tracing::debug!(container = target.container.name, kind = kind.word(), text, "probe failed");
        }
        let Some(verdict) = streak.observe(&outcome, &schedule) else { continue };
        if !tell(verdict) {
            return;
        }
    }
}

/// Runs a postStart or preStop hook.
pub async fn hook(target: &Target, handler: &LifecycleHandler, limit: Duration) -> Result<(), String> {
    if let Some(sleep) = &handler.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(seconds).min(limit)).await;
        return Ok(());
    }
    let question = if let Some(exec) = &handler.exec {
        Question::Exec(exec)
    } else if let Some(http) = &handler.http_get {
        Question::Http(http)
    } else if let Some(tcp) = &handler.tcp_socket {
        Question::Tcp(tcp)
    } else {
        Question::Nothing
    };
    match answer(target, &question, limit).await {
        Outcome::Success => Ok(()),
        Outcome::Failure(text) => Err(text),
    }
}

fn question(probe: &Probe) -> Question<'_> {
    if let Some(exec) = &probe.exec {
        Question::Exec(exec)
    } else if let Some(http) = &probe.http_get {
        Question::Http(http)
    } else if let Some(tcp) = &probe.tcp_socket {
        Question::Tcp(tcp)
    } else if let Some(grpc) = &probe.grpc {
        Question::Grpc(grpc)
    } else {
        Question::Nothing
    }
}

async fn answer(target: &Target, question: &Question<'_>, limit: Duration) -> Outcome {
    match question {
        Question::Exec(action) => exec(target, action, limit).await,
        Question::Http(action) => {
            let Some(port) = port(&action.port, &target.container) else {
                return unknown_port(&action.port);
            };
            let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&target.ip);
            http_get::ask(host, port, action, limit).await
        }
        Question::Tcp(action) => {
            let Some(port) = port(&action.port, &target.container) else {
                return unknown_port(&action.port);
            };
            let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&target.ip);
            tcp(host, port, limit).await
        }
        Question::Grpc(action) => grpc(&target.ip, action, limit).await,
        Question::Nothing => Outcome::Success,
    }
}

async fn exec(target: &Target, action: &ExecAction, limit: Duration) -> Outcome {
    let command = action.command.clone().unwrap_or_default();
    let asked = target.runtime.exec_sync(&target.container_id, &command, limit);
    match tokio::time::timeout(limit, asked).await {
        Ok(Ok(result)) if result.exit_code == 0 => Outcome::Success,
        Ok(Ok(result)) => {
            let output = [result.stdout, result.stderr].concat();
            Outcome::Failure(String::from_utf8_lossy(&output).chars().take(OUTPUT_LIMIT).collect())
        }
        Ok(Err(RuntimeError::Refused { code, .. })) if code == "DeadlineExceeded" => {
            timed_out(&command, limit)
        }
        Ok(Err(error)) => Outcome::Failure(error.to_string()),
        Err(_) => timed_out(&command, limit),
    }
}

fn timed_out(command: &[String], limit: Duration) -> Outcome {
    Outcome::Failure(format!("command timed out: {command:?} timed out after {}s", limit.as_secs()))
}

async fn tcp(host: &str, port: u16, limit: Duration) -> Outcome {
    match tokio::time::timeout(limit, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(error)) => Outcome::Failure(dial(host, port, &error)),
        Err(_) => Outcome::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}

async fn grpc(host: &str, action: &GRPCAction, limit: Duration) -> Outcome {
    let service = action.service.clone().unwrap_or_default();
    let address = format!("http://{}:{}", bracketed(host), action.port);
    match tokio::time::timeout(limit, health(address, service)).await {
        Ok(Ok(SERVING)) => Outcome::Success,
        Ok(Ok(status)) => Outcome::Failure(format!("service unhealthy (responded with {status})")),
        Ok(Err(text)) => Outcome::Failure(text),
        Err(_) => {
            Outcome::Failure(format!("timeout: health rpc did not complete within {}s", limit.as_secs()))
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

async fn health(address: String, service: String) -> Result<i32, String> {
    let endpoint = tonic::transport::Endpoint::try_from(address).map_err(|error| error.to_string())?;
    let channel =
        endpoint.connect().await.map_err(|error| format!("timeout: failed to connect service: {error}"))?;
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| error.to_string())?;
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let answer = grpc.unary(tonic::Request::new(HealthCheckRequest { service }), path, codec).await;
    answer.map(|answer| answer.into_inner().status).map_err(|status| format!("health rpc failed: {status}"))
}

fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name));
            named.and_then(|port| u16::try_from(port.container_port).ok()).or_else(|| name.parse().ok())
        }
    }
}

fn unknown_port(port: &IntOrString) -> Outcome {
    let name = match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    };
    Outcome::Failure(format!("couldn't find port: {name}"))
}

fn dial(host: &str, port: u16, error: &std::io::Error) -> String {
    let text = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".into(),
        std::io::ErrorKind::ConnectionReset => "connection reset by peer".into(),
        _ => error.to_string(),
    };
    format!("dial tcp {}:{port}: connect: {text}", bracketed(host))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn server(answer: &'static str) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        port
    }

    fn get(port: u16) -> HTTPGetAction {
        let port = IntOrString::Int(port.into());
        HTTPGetAction { path: Some("/healthz".into()), port, ..HTTPGetAction::default() }
    }

    #[tokio::test]
    async fn an_http_probe_passes_from_200_to_399() {
        let limit = Duration::from_secs(5);
        let good = server("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(http_get::ask("127.0.0.1", good, &get(good), limit).await, Outcome::Success);
        let bad = server("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n").await;
        let failure = Outcome::Failure("HTTP probe failed with statuscode: 500".into());
        assert_eq!(http_get::ask("127.0.0.1", bad, &get(bad), limit).await, failure);
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_with_its_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let limit = Duration::from_secs(5);
        assert_eq!(tcp("127.0.0.1", port, limit).await, Outcome::Success);
        drop(listener);
        let text = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(tcp("127.0.0.1", port, limit).await, Outcome::Failure(text.clone()));
        let text = format!("Get \"http://127.0.0.1:{port}/healthz\": {text}");
        assert_eq!(http_get::ask("127.0.0.1", port, &get(port), limit).await, Outcome::Failure(text));
    }
}
