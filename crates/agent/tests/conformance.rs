//! One suite for every runtime: what the trait promises must hold for containerd and for the simulated one.

mod support;

use agent::runtime::cri::{Cri, messages as m};
use agent::runtime::simulated::{Simulated, Stages};
use agent::runtime::{Readiness, Runtime, State, annotation, label};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;
use support::containerd::{self, Containerd, IMAGE};
use support::eventually;

#[tokio::test]
async fn the_simulated_runtime_keeps_the_promises() {
    let logs = tempfile::tempdir().unwrap();
    let runtime = Simulated::new(Stages::INSTANT, Ipv4Addr::new(10, 9, 0, 0));
    let config = sandbox_config(logs.path(), "/test");
    runtime.pull_image(IMAGE, None, &config).await.unwrap();
    suite(&runtime, &config).await;
}

#[tokio::test]
async fn containerd_keeps_the_promises() {
    if let Some(reason) = containerd::missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let containerd = Containerd::start();
    let logs = tempfile::tempdir().unwrap();
    let runtime = Cri::connect(&containerd.socket()).await.unwrap();
    suite(&runtime, &sandbox_config(logs.path(), &containerd.cgroup)).await;
    let error = runtime.pull_image("registry.invalid/none:1", None, &m::PodSandboxConfig::default()).await;
    assert!(error.unwrap_err().to_string().contains("registry.invalid"));
}

#[tokio::test]
async fn a_missing_socket_is_named() {
    let error = Cri::connect(Path::new("/nonexistent/containerd.sock")).await.err().unwrap();
    assert!(error.to_string().contains("/nonexistent/containerd.sock"), "{error}");
}

async fn suite(runtime: &dyn Runtime, config: &m::PodSandboxConfig) {
    assert!(!runtime.version().await.unwrap().name.is_empty());
    let status = runtime.status().await.unwrap();
    assert_eq!((status.runtime, status.network), (Some(Readiness::Ready), Some(Readiness::Ready)));
    assert_eq!(runtime.image_status("nothing.example/none:1").await.unwrap(), None);
    assert!(runtime.image_status(IMAGE).await.unwrap().is_some());
    assert!(runtime.list_images().await.unwrap().iter().any(|image| image.tags.iter().any(|t| t == IMAGE)));

    let sandbox = runtime.run_pod_sandbox(config, "").await.unwrap();
    let seen = runtime.pod_sandbox_status(&sandbox).await.unwrap();
    assert!(seen.ready && seen.ips.len() == 1, "{seen:?}");
    assert_eq!((seen.pod.name.as_str(), seen.pod.uid.as_str()), ("p", "u-1"));
    let listed = runtime.list_pod_sandbox(Some("u-1")).await.unwrap();
    assert_eq!(listed.iter().map(|sandbox| sandbox.id.as_str()).collect::<Vec<_>>(), [sandbox.as_str()]);
    assert_eq!(runtime.list_pod_sandbox(Some("other")).await.unwrap(), []);

    let container = container_config();
    let id = runtime.create_container(&sandbox, &container, config).await.unwrap();
    assert_eq!(runtime.container_status(&id).await.unwrap().state, State::Created);
    runtime.start_container(&id).await.unwrap();
    let running = runtime.container_status(&id).await.unwrap();
    assert!(matches!(running.state, State::Running { .. }), "{running:?}");
    assert_eq!((running.name.as_str(), running.attempt, running.pod_uid.as_str()), ("c", 3, "u-1"));
    assert_eq!(running.annotations.get(annotation::HASH).map(String::as_str), Some("abc"));
    assert!(running.log_path.ends_with("c/3.log"), "{}", running.log_path);
    let command = ["/bin/true".to_string()];
    assert_eq!(runtime.exec_sync(&id, &command, Duration::from_secs(10)).await.unwrap().exit_code, 0);
    eventually("a line in the log", || async {
        std::fs::read_to_string(&running.log_path).ok().filter(|log| log.contains("stdout F"))
    })
    .await;
    runtime.reopen_container_log(&id).await.unwrap();

    runtime.stop_container(&id, Duration::from_secs(10)).await.unwrap();
    let State::Exited(exit) = runtime.container_status(&id).await.unwrap().state else { panic!("not ended") };
    assert_eq!(exit.code, 0, "it obeyed SIGTERM: {exit:?}");
    assert!(exit.started_at.is_some_and(|started| started <= exit.finished_at));
    runtime.stop_container(&id, Duration::from_secs(1)).await.unwrap();
    runtime.remove_container(&id).await.unwrap();
    runtime.remove_container(&id).await.unwrap();
    assert_eq!(runtime.list_containers(Some("u-1")).await.unwrap(), []);
    assert!(runtime.container_status(&id).await.is_err());

    let second = runtime.create_container(&sandbox, &container, config).await.unwrap();
    runtime.start_container(&second).await.unwrap();
    runtime.stop_pod_sandbox(&sandbox).await.unwrap();
    assert!(!runtime.list_pod_sandbox(None).await.unwrap()[0].ready);
    assert!(matches!(runtime.container_status(&second).await.unwrap().state, State::Exited(_)));
    runtime.stop_pod_sandbox(&sandbox).await.unwrap();
    runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    assert_eq!(runtime.list_pod_sandbox(None).await.unwrap(), []);
    assert_eq!(runtime.list_containers(None).await.unwrap(), []);
}

fn labels() -> BTreeMap<String, String> {
    [(label::POD_NAME, "p"), (label::POD_NAMESPACE, "n"), (label::POD_UID, "u-1")]
        .map(|(name, value)| (name.into(), value.into()))
        .into()
}

fn sandbox_config(logs: &Path, cgroup: &str) -> m::PodSandboxConfig {
    m::PodSandboxConfig {
        metadata: Some(m::PodSandboxMetadata {
            name: "p".into(),
            uid: "u-1".into(),
            namespace: "n".into(),
            attempt: 0,
        }),
        hostname: "p".into(),
        log_directory: logs.to_string_lossy().into_owned(),
        labels: labels(),
        linux: Some(m::LinuxPodSandboxConfig { cgroup_parent: cgroup.into(), ..Default::default() }),
        ..Default::default()
    }
}

fn container_config() -> m::ContainerConfig {
    let script = "trap 'exit 0' TERM; echo hello; while true; do sleep 0.1; done";
    m::ContainerConfig {
        metadata: Some(m::ContainerMetadata { name: "c".into(), attempt: 3 }),
        image: Some(m::ImageSpec { image: IMAGE.into(), ..Default::default() }),
        command: vec!["/bin/sh".into(), "-c".into(), script.into()],
        labels: labels(),
        annotations: BTreeMap::from([(annotation::HASH.to_string(), "abc".to_string())]),
        log_path: "c/3.log".into(),
        linux: Some(m::LinuxContainerConfig::default()),
        ..Default::default()
    }
}
