//! PURE. CRI's answers → the plain values of [`crate::runtime`].
//!
//! Times are nanoseconds since 1970 on the wire, 0 when there is none. What carries none of our labels belongs to
//! someone else (or is malformed) and is left out of lists.

use super::messages as m;
use crate::runtime::{Container, Exit, Image, PodKey, RuntimeError, Sandbox, State, label};
use jiff::Timestamp;
use std::collections::BTreeMap;

pub(super) fn sandboxes(items: Vec<m::PodSandbox>) -> Vec<Sandbox> {
    let mut sandboxes: Vec<Sandbox> = items
        .into_iter()
        .filter_map(|item| {
            let metadata = item.metadata?;
            item.labels.contains_key(label::POD_UID).then(|| Sandbox {
                id: item.id,
                attempt: metadata.attempt,
                pod: pod_key(metadata),
                ready: item.state == m::sandbox_state::READY,
                created_at: time(item.created_at),
                ips: Vec::new(),
            })
        })
        .collect();
    sandboxes.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    sandboxes
}

pub(super) fn sandbox_status(answer: m::PodSandboxStatusResponse) -> Result<Sandbox, RuntimeError> {
    let missing = |missing| RuntimeError::Incomplete { verb: "PodSandboxStatus", missing };
    let status = answer.status.ok_or_else(|| missing("status"))?;
    let metadata = status.metadata.ok_or_else(|| missing("metadata"))?;
    let network = status.network.unwrap_or_default();
    let ips = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
    Ok(Sandbox {
        id: status.id,
        attempt: metadata.attempt,
        pod: pod_key(metadata),
        ready: status.state == m::sandbox_state::READY,
        created_at: time(status.created_at),
        ips: ips.filter(|ip| !ip.is_empty()).collect(),
    })
}

pub(super) fn containers(items: Vec<m::Container>) -> Vec<Container> {
    let mut containers: Vec<Container> = items.into_iter().filter_map(container).collect();
    containers.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    containers
}

fn container(item: m::Container) -> Option<Container> {
    let metadata = item.metadata?;
    let created_at = time(item.created_at);
    Some(Container {
        pod_uid: item.labels.get(label::POD_UID)?.clone(),
        name: metadata.name,
        attempt: metadata.attempt,
        state: state(item.state, created_at, Times::default()),
        created_at,
        image: item.image.unwrap_or_default().image,
        image_ref: item.image_ref,
        annotations: item.annotations,
        log_path: String::new(),
        id: item.id,
        sandbox_id: item.pod_sandbox_id,
    })
}

pub(super) fn container_status(answer: m::ContainerStatusResponse) -> Result<Container, RuntimeError> {
    let missing = |missing| RuntimeError::Incomplete { verb: "ContainerStatus", missing };
    let status = answer.status.ok_or_else(|| missing("status"))?;
    let metadata = status.metadata.ok_or_else(|| missing("metadata"))?;
    let times = Times {
        started: status.started_at,
        finished: status.finished_at,
        code: status.exit_code,
        reason: status.reason,
        message: status.message,
    };
    Ok(Container {
        pod_uid: text(&status.labels, label::POD_UID),
        name: metadata.name,
        attempt: metadata.attempt,
        state: state(status.state, time(status.created_at), times),
        created_at: time(status.created_at),
        image: status.image.unwrap_or_default().image,
        image_ref: status.image_ref,
        annotations: status.annotations,
        log_path: status.log_path,
        id: status.id,
        // CRI's status does not repeat it: the caller knows it from the list.
        sandbox_id: String::new(),
    })
}

#[derive(Default)]
struct Times {
    started: i64,
    finished: i64,
    code: i32,
    reason: String,
    message: String,
}

fn state(state: i32, created_at: Timestamp, times: Times) -> State {
    let started_at = (times.started != 0).then(|| time(times.started));
    match state {
        m::container_state::CREATED => State::Created,
        m::container_state::RUNNING => State::Running { started_at: started_at.unwrap_or(created_at) },
        m::container_state::EXITED => State::Exited(Exit {
            started_at,
            finished_at: if times.finished == 0 { created_at } else { time(times.finished) },
            code: times.code,
            reason: times.reason,
            message: times.message,
        }),
        _ => State::Unknown,
    }
}

pub(super) fn image(image: m::Image) -> Image {
    Image {
        id: image.id,
        tags: image.repo_tags,
        digests: image.repo_digests,
        size: image.size,
        uid: image.uid.map(|uid| uid.value),
        username: image.username,
    }
}

fn pod_key(metadata: m::PodSandboxMetadata) -> PodKey {
    PodKey { namespace: metadata.namespace, name: metadata.name, uid: metadata.uid }
}

fn text(labels: &BTreeMap<String, String>, key: &str) -> String {
    labels.get(key).cloned().unwrap_or_default()
}

fn time(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}
