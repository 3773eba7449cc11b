//! What holds a container back: waiting with which reason, ended with which code, or not passing which probe.
//!
//! Of several containers the one in the worst state speaks. Its name is said only where there are others. Init
//! containers come first, one at a time; a side car counts as done when it has started.
//! Kubernetes: `kubelet/images`, `kubelet/kuberuntime` (waiting reasons), `kubelet/prober` (event texts).

use crate::happened::{Happened, is_warning, message, reason, since};
use crate::reason::{Finding, Reason};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod, Probe,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use objects::pod::is_side_car;

/// Waiting reasons before a container is made.
const CREATING: &[&str] = &["ContainerCreating", "PodInitializing"];

/// One container: as the pod wants it, and as kubelet reports it.
#[derive(Debug, Clone, Copy)]
struct Part<'a> {
    wanted: &'a Container,
    status: &'a ContainerStatus,
    is_init: bool,
    is_alone: bool,
}

/// What holds the pod's containers back; `None` if kubelet reports none, or all are ready.
pub(crate) fn finding(pod: &Pod, happened: &Happened<'_>) -> Option<Finding> {
    let parts = parts(pod)?;
    let worst = match parts.iter().find(|part| part.is_init && !part.is_done()) {
        Some(init) => init,
        None => {
            parts.iter().filter(|part| !part.is_init && !part.status.ready).min_by_key(|part| part.rank())?
        }
    };
    let uid = pod.metadata.uid.as_deref();
    let Finding { reason, message } = worst.finding(uid, happened);
    Some(Finding { reason, message: format!("{}{message}", worst.prefix()) })
}

fn parts(pod: &Pod) -> Option<Vec<Part<'_>>> {
    let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let is_alone = inits.len() + spec.containers.len() == 1;
    let inits = pairs(inits, status.init_container_statuses.as_ref());
    let rest = pairs(&spec.containers, status.container_statuses.as_ref());
    let part = |(wanted, status), is_init| Part { wanted, status, is_init, is_alone };
    Some(inits.map(|pair| part(pair, true)).chain(rest.map(|pair| part(pair, false))).collect())
}

fn pairs<'a>(
    wanted: &'a [Container],
    statuses: Option<&'a Vec<ContainerStatus>>,
) -> impl Iterator<Item = (&'a Container, &'a ContainerStatus)> {
    let find = move |wanted: &Container| statuses?.iter().find(|status| status.name == wanted.name);
    wanted.iter().filter_map(move |wanted| Some((wanted, find(wanted)?)))
}

impl Part<'_> {
    /// For init containers.
    fn is_done(&self) -> bool {
        let ended = self.state().and_then(|state| state.terminated.as_ref());
        match is_side_car(self.wanted) {
            true => self.status.started == Some(true),
            false => ended.is_some_and(|ended| ended.exit_code == 0),
        }
    }

    /// The lower, the more it has to say.
    fn rank(&self) -> u8 {
        let Some(state) = self.state() else { return 4 };
        let waits = state.waiting.as_ref().map(|waiting| !CREATING.contains(&word(waiting)));
        match (waits, &state.terminated, &state.running) {
            (Some(true), _, _) => 0,
            (None, Some(_), _) => 1,
            (None, None, Some(_)) => 2,
            _ => 3,
        }
    }

    fn state(&self) -> Option<&ContainerState> {
        self.status.state.as_ref()
    }

    fn prefix(&self) -> String {
        match (self.is_init, self.is_alone) {
            (true, _) => format!("init container {}: ", self.wanted.name),
            (false, false) => format!("container {}: ", self.wanted.name),
            (false, true) => String::new(),
        }
    }

    fn finding(&self, uid: Option<&str>, happened: &Happened<'_>) -> Finding {
        let state = self.state().cloned().unwrap_or_default();
        if let Some(waiting) = &state.waiting {
            return self.waiting(waiting, uid, happened);
        }
        if let Some(ended) = &state.terminated {
            return Finding::new(Reason::ContainerEnded, self.ended(ended, happened.now()));
        }
        if self.is_init {
            let started = state.running.and_then(|running| running.started_at).map(|time| time.0);
            let text = format!("has been running for {}", since(started, happened.now()));
            return Finding::new(Reason::Starting, text);
        }
        self.unready(uid, happened)
    }

    fn waiting(
        &self,
        waiting: &ContainerStateWaiting,
        uid: Option<&str>,
        happened: &Happened<'_>,
    ) -> Finding {
        let word = word(waiting);
        if CREATING.contains(&word) || word.is_empty() {
            return creating(word, uid, happened);
        }
        let said = waiting.message.as_deref().unwrap_or_default().trim();
        let text = match word {
            "CrashLoopBackOff" => format!("{word}: {}", self.crash_loop(said, happened.now())),
            "ImagePullBackOff" => format!("{word}: {}", self.pull(said, uid, happened)),
            _ if said.is_empty() => word.to_string(),
            _ => format!("{word}: {said}"),
        };
        Finding::new(Reason::Waiting(word.to_string()), one_line(&text))
    }

    fn crash_loop(&self, said: &str, now: Timestamp) -> String {
        let last = self.status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let Some(ended) = last else { return said.to_string() };
        let next = ended.finished_at.as_ref().and_then(|end| end.0.checked_add(back_off(said)?).ok());
        let next = match next {
            Some(next) if next > now => format!(", next try in {}", since(Some(now), next)),
            _ => String::new(),
        };
        format!("{}{next}", self.ended(ended, now))
    }

    /// `exited with code 1 (Error) 12s ago, restarted 4 times`
    fn ended(&self, ended: &ContainerStateTerminated, now: Timestamp) -> String {
        let why = match ended.reason.as_deref() {
            None | Some("") => String::new(),
            Some(reason) => format!(" ({reason})"),
        };
        let when = ended.finished_at.as_ref().map(|time| time.0);
        let said = match ended.message.as_deref().map(one_line) {
            Some(message) if !message.is_empty() => format!(": {message}"),
            _ => String::new(),
        };
        let times = match self.status.restart_count {
            0 => String::new(),
            1 => ", restarted once".to_string(),
            count => format!(", restarted {count} times"),
        };
        format!("exited with code {}{why} {} ago{times}{said}", ended.exit_code, since(when, now))
    }

    /// Newer kubelets say in the status why the last pull failed, older ones only in an event.
    fn pull(&self, said: &str, uid: Option<&str>, happened: &Happened<'_>) -> String {
        let failed =
            |event: &_| reason(event, "Failed") && message(event).starts_with("Failed to pull image");
        match happened.newest(uid, failed) {
            Some((event, ago)) if !said.contains("ErrImagePull") => {
                format!("{said}; {} ({ago})", message(event))
            }
            _ => said.to_string(),
        }
    }

    fn unready(&self, uid: Option<&str>, happened: &Happened<'_>) -> Finding {
        let starts = self.status.started != Some(true);
        let startup = self.wanted.startup_probe.as_ref().filter(|_| starts).map(|probe| ("Startup", probe));
        let readiness = self.wanted.readiness_probe.as_ref().map(|probe| ("Readiness", probe));
        let Some((kind, probe)) = startup.or(readiness) else {
            return Finding::new(Reason::Starting, "runs, and is not reported ready yet");
        };
        let mine = format!("{{{}}}", self.wanted.name);
        let failed = |event: &_| {
            let place = field_path(event);
            reason(event, "Unhealthy")
                && message(event).starts_with(kind)
                && place.is_none_or(|place| place.ends_with(&mine))
        };
        let said = match happened.newest(uid, failed) {
            Some((event, ago)) => {
                let said = one_line(message(event));
                let said = said.strip_prefix(&format!("{kind} probe failed: ")).unwrap_or(&said);
                format!("fails: {said} ({ago})")
            }
            None => "has not succeeded yet".to_string(),
        };
        Finding::new(Reason::NotReady, format!("{} probe {} {said}", kind.to_lowercase(), target(probe)))
    }
}

/// A container that is not made yet: events say how far it is.
pub(crate) fn creating(word: &str, uid: Option<&str>, happened: &Happened<'_>) -> Finding {
    let word = if word.is_empty() { "ContainerCreating" } else { word };
    match happened
        .newest(uid, |event| is_warning(event) || reason(event, "Pulling") || reason(event, "Pulled"))
    {
        Some((event, ago)) if is_warning(event) => {
            let happening = event.reason.clone().unwrap_or_default();
            let text = format!("{word}: {happening}: {} ({ago})", one_line(message(event)));
            Finding::new(Reason::Waiting(happening), text)
        }
        Some((event, ago)) if reason(event, "Pulling") => {
            Finding::new(Reason::Pulling, format!("{} ({ago})", one_line(message(event))))
        }
        _ => Finding::new(Reason::Waiting(word.to_string()), word),
    }
}

fn field_path(event: &k8s_openapi::api::core::v1::Event) -> Option<&str> {
    event.involved_object.field_path.as_deref()
}

fn word(waiting: &ContainerStateWaiting) -> &str {
    waiting.reason.as_deref().unwrap_or_default()
}

/// The delay in `back-off 1m20s restarting failed container=…`.
fn back_off(said: &str) -> Option<SignedDuration> {
    let text = said.strip_prefix("back-off ")?.split_whitespace().next()?;
    text.parse().ok()
}

/// What a probe asks, as `kubectl describe` names it.
fn target(probe: &Probe) -> String {
    let port = |port: &IntOrString| match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    };
    if let Some(http) = &probe.http_get {
        return format!("http-get :{}{}", port(&http.port), http.path.as_deref().unwrap_or("/"));
    }
    if let Some(tcp) = &probe.tcp_socket {
        return format!("tcp-socket :{}", port(&tcp.port));
    }
    if let Some(grpc) = &probe.grpc {
        return format!("grpc :{}", grpc.port);
    }
    match probe.exec.as_ref().and_then(|exec| exec.command.as_ref()) {
        Some(command) => one_line(&format!("exec {command:?}")),
        None => "without an action".to_string(),
    }
}

/// A sentence fits a line of a table.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
