//! Scenes in one line each: a spec, what runs, and what the plan says to it.

use super::*;
use crate::probe::{Kind, Verdict};
use crate::runtime::{Exit, PodKey};
use std::collections::BTreeMap;

const NOW: i64 = 1000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pod(spec: &str) -> Pod {
    let text = format!(r#"{{"metadata":{{"name":"p","namespace":"n","uid":"u"}},"spec":{spec}}}"#);
    serde_json::from_str(&text).unwrap()
}

fn sandbox(attempt: u32, ready: bool) -> Sandbox {
    let pod = PodKey { namespace: "n".into(), name: "p".into(), uid: "u".into() };
    let created_at = at(i64::from(attempt));
    Sandbox { id: format!("s{attempt}"), pod, attempt, ready, created_at, ips: vec!["10.0.0.2".into()] }
}

/// `a/0+` runs, `a/0-1` exited with 1, `a/0?` was only created; all in sandbox `s0`.
fn container(text: &str) -> Container {
    let (name, rest) = text.split_once('/').unwrap();
    let sign = rest.find(['+', '-', '?']).unwrap();
    let (attempt, state) = rest.split_at(sign);
    let attempt: u32 = attempt.parse().unwrap();
    let state = match state.split_at(1) {
        ("+", _) => State::Running { started_at: at(1) },
        ("-", code) => State::Exited(Exit {
            started_at: Some(at(1)),
            finished_at: at(NOW),
            code: code.parse().unwrap(),
            reason: String::new(),
            message: String::new(),
        }),
        _ => State::Created,
    };
    Container {
        id: format!("{name}{attempt}"),
        sandbox_id: "s0".into(),
        pod_uid: "u".into(),
        name: name.into(),
        attempt,
        state,
        created_at: at(i64::from(attempt)),
        image: "i".into(),
        image_ref: "i".into(),
        annotations: BTreeMap::new(),
        log_path: String::new(),
    }
}

struct Scene {
    pod: Pod,
    bound: Bound,
    sandboxes: Vec<Sandbox>,
    containers: Vec<Container>,
    memory: Memory,
}

impl Scene {
    fn new(spec: &str, containers: &str) -> Self {
        let mut containers: Vec<_> = containers.split_whitespace().map(container).collect();
        containers.reverse();
        Self {
            pod: pod(spec),
            bound: Bound::Here,
            sandboxes: vec![sandbox(0, true)],
            containers,
            memory: Memory { volumes: Volumes::Ready, ..Memory::default() },
        }
    }

    fn plan(&self) -> Plan {
        let Self { pod, bound, sandboxes, containers, memory } = self;
        plan(&Seen { pod, bound: *bound, sandboxes, containers, memory }, at(NOW))
    }

    /// The actions in short.
    fn actions(&self) -> String {
        let short = |action: &Action| match action {
            Action::PrepareVolumes => "volumes".to_string(),
            Action::CreateSandbox { attempt, stop } => format!("sandbox/{attempt}{}", stop.join(",")),
            Action::Start { container, attempt, .. } => format!("start {container}/{attempt}"),
            Action::Stop { id, grace, .. } => format!("stop {id} {}", grace.as_secs()),
            Action::StopSandbox { id } => format!("stop {id}"),
            Action::Remove { id } => format!("remove {id}"),
            Action::CleanUp => "clean up".into(),
            Action::Delete => "delete".into(),
        };
        self.plan().actions.iter().map(short).collect::<Vec<_>>().join("; ")
    }

    fn deleted(mut self, grace: i64) -> Self {
        let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(NOW));
        self.pod.metadata.deletion_timestamp = Some(time);
        self.pod.metadata.deletion_grace_period_seconds = Some(grace);
        self
    }
}

const ONE: &str = r#"{"containers":[{"name":"a"}]}"#;
const TWO: &str = r#"{"containers":[{"name":"a"},{"name":"b"}]}"#;
const INIT: &str = r#"{"initContainers":[{"name":"i"},{"name":"j"}],"containers":[{"name":"a"}]}"#;
const SIDE: &str =
    r#"{"initContainers":[{"name":"s","restartPolicy":"Always"},{"name":"i"}],"containers":[{"name":"a"}]}"#;

fn check(spec: &str, containers: &str, expected: &str) {
    assert_eq!(Scene::new(spec, containers).actions(), expected, "{spec} {containers}");
}

#[test]
fn a_pod_gets_volumes_then_a_sandbox_then_its_containers() {
    let mut scene = Scene::new(TWO, "");
    scene.sandboxes.clear();
    scene.memory.volumes = Volumes::Unprepared;
    assert_eq!(scene.actions(), "volumes");
    scene.memory.volumes = Volumes::Ready;
    assert_eq!(scene.actions(), "sandbox/0");
    check(TWO, "", "start a/0");
    check(TWO, "a/0+", "start b/0");
    check(TWO, "a/0+ b/0+", "");
}

#[test]
fn what_people_add_to_debug_starts_once_and_before_init_containers() {
    const STUCK: &str = r#"{"initContainers":[{"name":"i"}],"containers":[{"name":"a"}],
        "ephemeralContainers":[{"name":"d"},{"name":"e"}]}"#;
    check(STUCK, "", "start d/0");
    check(STUCK, "i/0-1 d/0+ e/0-1", "start i/1");
    check(STUCK, "i/0-1 d/0-1", "start e/0");
    check(STUCK, "i/0-0 a/0+ d/0-0 e/0-1", "");
    check(STUCK, "i/0-0 a/0+ d/0+ e/0?", "start e/1");
    let deleted = Scene::new(STUCK, "i/0-0 a/0+ d/0+ e/0-0").deleted(5);
    assert_eq!(deleted.actions(), "stop d0 5; stop a0 5");
}

#[test]
fn nothing_is_begun_twice() {
    let mut scene = Scene::new(TWO, "");
    scene.memory.busy.insert(Work::Start("a".into()));
    assert_eq!(scene.actions(), "");
    let mut scene = Scene::new(ONE, "");
    scene.sandboxes.clear();
    scene.memory.busy.insert(Work::Sandbox);
    assert_eq!(scene.actions(), "");
}

#[test]
fn a_new_agent_leaves_what_runs_alone() {
    let mut scene = Scene::new(TWO, "a/3+ b/0+");
    scene.memory = Memory::default();
    assert_eq!(scene.actions(), "volumes");
    scene.memory.volumes = Volumes::Ready;
    assert_eq!(scene.actions(), "");
}

#[test]
fn init_containers_run_one_after_the_other_and_once() {
    check(INIT, "", "start i/0");
    check(INIT, "i/0+", "");
    check(INIT, "i/0-0", "start j/0");
    check(INIT, "i/0-1", "start i/1");
    check(INIT, "i/0-0 j/0-0", "start a/0");
    check(INIT, "i/0-0 j/0-0 a/0-1", "start a/1");
}

#[test]
fn a_sidecar_starts_first_and_runs_on() {
    check(SIDE, "", "start s/0");
    check(SIDE, "s/0+", "start i/0");
    check(SIDE, "s/0+ i/0-0", "start a/0");
    check(SIDE, "s/0-1 i/0-0 a/0+", "start s/1");
    let ending = |containers: &str| Scene::new(SIDE, containers).deleted(30).actions();
    assert_eq!(ending("s/0+ i/0-0 a/0+"), "stop a0 30");
    assert_eq!(ending("s/0+ i/0-0 a/0-0"), "stop s0 30");
}

#[test]
fn a_crashed_container_waits_with_kubelets_sentence() {
    let mut scene = Scene::new(ONE, "a/0-1 a/1-1");
    let delay = jiff::SignedDuration::from_secs(20);
    scene.memory.crash_loops.insert("a".into(), CrashLoop { delay, since: at(NOW - 10) });
    let plan = scene.plan();
    assert_eq!(plan.actions, []);
    assert_eq!(plan.wake_at, Some(at(NOW + 20)));
    let message = "back-off 20s restarting failed container=a pod=p_n(u)".to_string();
    assert_eq!(plan.waiting["a"], Waiting { reason: "CrashLoopBackOff".into(), message });
}

#[test]
fn restart_counts_go_on_when_the_runtime_has_forgotten() {
    let mut scene = Scene::new(ONE, "");
    scene.pod.status = serde_json::from_str(
        r#"{"containerStatuses":[{"name":"a","ready":false,"image":"","imageID":"","restartCount":4,
            "containerID":"containerd://x"}]}"#,
    )
    .unwrap();
    assert_eq!(scene.actions(), "start a/5");
}

#[test]
fn a_lost_sandbox_is_made_anew_and_everything_in_it_starts_again() {
    let mut scene = Scene::new(INIT, "i/0-0 j/0-0 a/0-137");
    scene.sandboxes = vec![sandbox(0, false)];
    assert_eq!(scene.actions(), "sandbox/1s0");
    scene.sandboxes.insert(0, sandbox(1, true));
    assert_eq!(scene.actions(), "start i/1");
}

#[test]
fn a_failed_probe_or_a_new_image_ends_a_container() {
    let spec = r#"{"terminationGracePeriodSeconds":7,"containers":[{"name":"a","image":"i",
        "livenessProbe":{"tcpSocket":{"port":1}}}]}"#;
    let mut scene = Scene::new(spec, "a/0+");
    assert_eq!(scene.actions(), "");
    let mut health = Health::default();
    health.keep(Kind::Liveness, Verdict::Failing("no".into()));
    scene.memory.health.insert("a0".into(), health);
    assert_eq!(scene.actions(), "stop a0 7");
    let mut scene = Scene::new(spec, "a/0+");
    scene.containers[0].annotations.insert(crate::runtime::annotation::HASH.into(), "other".into());
    assert_eq!(scene.actions(), "stop a0 7");
}

#[test]
fn a_deleted_pod_is_stopped_cleaned_up_and_deleted() {
    let mut scene = Scene::new(TWO, "a/0+ b/0+").deleted(5);
    assert_eq!(scene.actions(), "stop b0 5; stop a0 5");
    scene.containers = vec![container("a/0-0"), container("b/0-137")];
    assert_eq!(scene.actions(), "stop s0");
    scene.sandboxes = vec![sandbox(0, false)];
    assert_eq!((scene.plan().stage, scene.actions().as_str()), (Stage::Ended, "clean up"));
    scene.memory.cleaned = true;
    scene.sandboxes.clear();
    scene.containers.clear();
    assert_eq!((scene.plan().stage, scene.actions().as_str()), (Stage::Gone, "delete"));
    scene.bound = Bound::Gone;
    assert_eq!((scene.plan().stage, scene.actions().as_str()), (Stage::Gone, ""));
}

#[test]
fn even_grace_zero_leaves_a_moment() {
    assert_eq!(Scene::new(ONE, "a/0+").deleted(0).actions(), "stop a0 2");
}

#[test]
fn a_pod_that_is_done_is_stopped_and_stays() {
    let never = r#"{"restartPolicy":"Never","containers":[{"name":"a"}]}"#;
    let mut scene = Scene::new(never, "a/0-1");
    assert_eq!(scene.actions(), "stop s0");
    scene.sandboxes = vec![sandbox(0, false)];
    assert_eq!((scene.plan().stage, scene.actions().as_str()), (Stage::Ended, ""));
    check(r#"{"restartPolicy":"OnFailure","containers":[{"name":"a"}]}"#, "a/0-1", "start a/1");
    check(r#"{"restartPolicy":"OnFailure","containers":[{"name":"a"}]}"#, "a/0-0", "stop s0");
    let init = r#"{"restartPolicy":"Never","initContainers":[{"name":"i"}],"containers":[{"name":"a"}]}"#;
    check(init, "i/0-1", "stop s0");
}

#[test]
fn a_refused_pod_never_starts() {
    let mut scene = Scene::new(ONE, "");
    scene.sandboxes.clear();
    let rejection = Rejection { reason: "OutOfcpu".into(), message: "no".into() };
    scene.memory.rejected = Some(rejection.clone());
    let plan = scene.plan();
    assert_eq!((plan.actions, plan.stage, plan.verdict), (vec![], Stage::Ended, Some(rejection)));
}

#[test]
fn an_evicted_pod_is_stopped_with_the_shortest_grace() {
    // NP-15.
    let mut scene = Scene::new(ONE, "a/0+");
    let eviction = Rejection { reason: "Evicted".into(), message: "no".into() };
    scene.memory.evicted = Some(eviction.clone());
    assert_eq!((scene.actions().as_str(), scene.plan().verdict), ("stop a0 2", Some(eviction)));
    assert_eq!(scene.plan().stage, Stage::Ending);
}

#[test]
fn a_failed_pull_shows_its_error_and_then_the_wait() {
    let mut scene = Scene::new(TWO, "");
    let then = Then { at: at(NOW + 2), reason: "ImagePullBackOff".into(), message: "wait".into() };
    let trouble = Trouble {
        reason: "ErrImagePull".into(),
        message: "no".into(),
        then: Some(then),
        retry_at: at(NOW + 10),
        delay: Duration::from_secs(10),
    };
    scene.memory.troubles.insert("a".into(), trouble);
    let reason = |second| {
        let Scene { pod, bound, sandboxes, containers, memory } = &scene;
        let plan = plan(&Seen { pod, bound: *bound, sandboxes, containers, memory }, at(second));
        (plan.waiting["a"].reason.clone(), plan.wake_at)
    };
    assert_eq!(reason(NOW), ("ErrImagePull".into(), Some(at(NOW + 2))));
    assert_eq!(reason(NOW + 3), ("ImagePullBackOff".into(), Some(at(NOW + 10))));
    assert_eq!(scene.actions(), "start b/0", "the others do not wait for it");
}

#[test]
fn old_runs_are_forgotten() {
    check(ONE, "a/0-1 a/1-1 a/2+", "remove a0");
}
