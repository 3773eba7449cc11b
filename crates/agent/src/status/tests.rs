//! What kubelet would write, for the situations a pod can be in.

use super::*;
use crate::plan::{Bound, Memory, Rejection, Volumes, plan};
use crate::runtime::{Container, Exit, PodKey, Sandbox, State};

const NOW: i64 = 1000;
const PLACE: Place<'static> = Place { host_ip: "192.0.2.1", runtime: "containerd" };

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn run(name: &str, attempt: u32, code: Option<i32>) -> Container {
    let exit = |code| Exit {
        started_at: Some(at(1)),
        finished_at: at(NOW),
        code,
        reason: String::new(),
        message: String::new(),
    };
    Container {
        id: format!("{name}{attempt}"),
        sandbox_id: "s".into(),
        pod_uid: "u".into(),
        name: name.into(),
        attempt,
        state: code.map_or(State::Running { started_at: at(1) }, |code| State::Exited(exit(code))),
        created_at: at(i64::from(attempt)),
        image: "i:1".into(),
        image_ref: "sha256:i".into(),
        annotations: BTreeMap::new(),
        log_path: String::new(),
    }
}

fn status_of(pod: &Pod, containers: &[Container], memory: &Memory) -> PodStatus {
    let key = PodKey::default();
    let sandbox = Sandbox {
        id: "s".into(),
        pod: key,
        attempt: 0,
        ready: true,
        created_at: at(0),
        ips: vec!["10.0.0.2".into()],
    };
    let sandboxes = [sandbox];
    let seen = Seen { pod, bound: Bound::Here, sandboxes: &sandboxes, containers, memory };
    pod_status(&seen, &plan(&seen, at(NOW)), PLACE, at(NOW))
}

fn pod(spec: &str) -> Pod {
    let text = format!(r#"{{"metadata":{{"name":"p","namespace":"n","uid":"u"}},"spec":{spec}}}"#);
    serde_json::from_str(&text).unwrap()
}

fn ready_memory() -> Memory {
    Memory { volumes: Volumes::Ready, ..Memory::default() }
}

/// Phase, then the conditions that are not True with their reasons, then each container's state.
fn check(spec: &str, containers: &[Container], expected: &str) {
    let status = status_of(&pod(spec), containers, &ready_memory());
    let mut words = vec![status.phase.unwrap()];
    for condition in status.conditions.unwrap().iter().filter(|condition| condition.status != "True") {
        words.push(format!("!{}({})", condition.type_, condition.reason.clone().unwrap_or_default()));
    }
    for status in status.container_statuses.unwrap() {
        let state = status.state.unwrap();
        let text = if let Some(waiting) = state.waiting {
            waiting.reason.unwrap()
        } else if let Some(ended) = state.terminated {
            format!("{}({})", ended.reason.unwrap(), ended.exit_code)
        } else {
            "Running".into()
        };
        words.push(format!("{}:{text}:{}", status.name, status.restart_count));
    }
    assert_eq!(words.join(" "), expected, "{spec}");
}

const ONE: &str = r#"{"containers":[{"name":"a","image":"i:1"}]}"#;
const NEVER: &str = r#"{"restartPolicy":"Never","containers":[{"name":"a"}]}"#;
const INIT: &str = r#"{"initContainers":[{"name":"i"}],"containers":[{"name":"a"}]}"#;

#[test]
fn phase_conditions_and_states_fit_together() {
    let unready = "!Ready(ContainersNotReady) !ContainersReady(ContainersNotReady)";
    check(ONE, &[], &format!("Pending {unready} a:ContainerCreating:0"));
    check(ONE, &[run("a", 0, None)], "Running a:Running:0");
    check(ONE, &[run("a", 1, None), run("a", 0, Some(1))], "Running a:Running:1");
    check(ONE, &[run("a", 0, Some(1))], &format!("Running {unready} a:Error(1):0"));
    let done = "!Ready(PodCompleted) !ContainersReady(PodCompleted)";
    check(NEVER, &[run("a", 0, Some(0))], &format!("Succeeded {done} a:Completed(0):0"));
    let failed = "!Ready(PodFailed) !ContainersReady(PodFailed)";
    check(NEVER, &[run("a", 0, Some(3))], &format!("Failed {failed} a:Error(3):0"));
    let init = "!Initialized(ContainersNotInitialized)";
    check(INIT, &[run("i", 0, None)], &format!("Pending {init} {unready} a:PodInitializing:0"));
    let before = format!("Pending {unready} a:PodInitializing:0");
    check(INIT, &[run("i", 0, Some(0))], &before);
}

#[test]
fn the_same_observation_gives_the_same_status() {
    let mut pod = pod(ONE);
    let containers = [run("a", 0, None)];
    let first = status_of(&pod, &containers, &ready_memory());
    pod.status = Some(first.clone());
    assert_eq!(status_of(&pod, &containers, &ready_memory()), first);
    let value = serde_json::to_value(&first).unwrap();
    assert_eq!(difference(&value, &value), serde_json::json!({}));
    assert_eq!(first.pod_ip.as_deref(), Some("10.0.0.2"));
    assert_eq!(first.host_ip.as_deref(), Some("192.0.2.1"));
    let container = &first.container_statuses.unwrap()[0];
    assert_eq!(container.container_id.as_deref(), Some("containerd://a0"));
    assert_eq!(container.image_id, "sha256:i");
}

#[test]
fn a_refused_pod_failed_with_its_reason() {
    let memory = Memory {
        rejected: Some(Rejection { reason: "OutOfcpu".into(), message: "Pod was rejected".into() }),
        ..ready_memory()
    };
    let status = status_of(&pod(ONE), &[], &memory);
    let found = (status.phase.as_deref(), status.reason.as_deref(), status.message.as_deref());
    assert_eq!(found, (Some("Failed"), Some("OutOfcpu"), Some("Pod was rejected")));
}

#[test]
fn a_pod_that_is_pushed_aside_failed_and_still_shows_its_containers() {
    let memory = Memory {
        rejected: Some(Rejection { reason: "Preempting".into(), message: "for a critical one".into() }),
        ..ready_memory()
    };
    let status = status_of(&pod(ONE), &[run("a", 0, None)], &memory);
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Running"), None), "it still runs");
    let status = status_of(&pod(ONE), &[run("a", 0, Some(137))], &memory);
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Preempting")));
    assert_eq!(status.container_statuses.unwrap()[0].container_id.as_deref(), Some("containerd://a0"));
}

#[test]
fn an_evicted_pod_failed_and_says_what_the_node_was_short_of() {
    // NP-15: unlike a refused one it had containers.
    let eviction =
        Rejection { reason: "Evicted".into(), message: "The node was low on resource: memory. ".into() };
    let memory = Memory { evicted: Some(eviction), ..ready_memory() };
    let status = status_of(&pod(ONE), &[run("a", 0, Some(137))], &memory);
    let said = (status.phase.as_deref(), status.reason.as_deref(), status.message.as_deref());
    assert_eq!(said, (Some("Failed"), Some("Evicted"), Some("The node was low on resource: memory. ")));
    assert_eq!(status.container_statuses.unwrap().len(), 1);
    let conditions = status.conditions.unwrap();
    let target = conditions.iter().find(|condition| condition.type_ == "DisruptionTarget").unwrap();
    assert_eq!((target.status.as_str(), target.reason.as_deref()), ("True", Some("TerminationByKubelet")));
}

#[test]
fn a_readiness_gate_holds_the_pod_back() {
    let gated = r#"{"readinessGates":[{"conditionType":"x/y"}],"containers":[{"name":"a"}]}"#;
    check(gated, &[run("a", 0, None)], "Running !Ready(ReadinessGatesNotReady) a:Running:0");
}

#[test]
fn the_class_of_service_follows_from_requests_and_limits() {
    let class = |resources: &str| {
        let text = format!(r#"{{"containers":[{{"name":"a","resources":{resources}}}]}}"#);
        qos(&serde_json::from_str(&text).unwrap())
    };
    assert_eq!(class("{}"), "BestEffort");
    assert_eq!(class(r#"{"requests":{"cpu":"1"}}"#), "Burstable");
    assert_eq!(class(r#"{"limits":{"cpu":"1","memory":"1Mi"}}"#), "Guaranteed");
    assert_eq!(class(r#"{"limits":{"cpu":"1"},"requests":{"cpu":"1"}}"#), "Burstable");
}

#[test]
fn a_difference_says_only_what_changed() {
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let old = value(r#"{"a":1,"b":{"c":1,"d":2},"e":[1]}"#);
    let new = value(r#"{"a":1,"b":{"c":3},"e":[1,2],"f":0}"#);
    assert_eq!(difference(&old, &new), value(r#"{"b":{"c":3,"d":null},"e":[1,2],"f":0}"#));
}

#[test]
fn a_pod_that_has_failed_stays_failed_though_its_containers_stop_well() {
    let mut failed = pod(r#"{"containers":[{"name":"a"}]}"#);
    let (phase, reason) = (Some("Failed".to_string()), Some("Evicted".to_string()));
    failed.status = Some(PodStatus { phase, reason, ..PodStatus::default() });
    for containers in [[run("a", 0, None)], [run("a", 0, Some(0))]] {
        let status = status_of(&failed, &containers, &ready_memory());
        assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Evicted")));
    }
}

#[test]
fn debuggers_have_a_list_of_their_own_and_do_not_make_a_pod_unready() {
    let pod = pod(
        r#"{"containers":[{"name":"a"}],"ephemeralContainers":[{"name":"d"},{"name":"e","image":"e:1"}]}"#,
    );
    let containers = [run("d", 0, Some(3)), run("a", 0, None)];
    let status = status_of(&pod, &containers, &ready_memory());
    let debuggers = status.ephemeral_container_statuses.unwrap();
    let brief: Vec<_> = debuggers
        .iter()
        .map(|status| {
            let state = status.state.clone().unwrap();
            let code = state.terminated.map(|ended| ended.exit_code);
            (status.name.as_str(), code, state.waiting.and_then(|w| w.reason), status.ready, status.started)
        })
        .collect();
    assert_eq!(
        brief,
        [("d", Some(3), None, false, None), ("e", None, Some("ContainerCreating".into()), false, None)]
    );
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let ready = status.conditions.unwrap().into_iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(ready.status, "True");
}
