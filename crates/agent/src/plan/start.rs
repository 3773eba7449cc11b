//! PURE. How a pod that should run gets there and stays there.

use super::{Action, Plan, Seen, Stage, Trouble, Volumes, Work, definition, ending, is_sidecar, policy};
use crate::probe::Kind;
use crate::restart::{self, Policy, Restart};
use crate::runtime::{Container, Sandbox, State, annotation};
use crate::{debugging, sandbox};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Spec, PodSpec};

/// The next steps of a pod that should run.
pub(super) fn keep_up(seen: &Seen<'_>, spec: &PodSpec, now: Timestamp, plan: &mut Plan) {
    plan.stage = Stage::Alive;
    wait_for_the_first_run(seen, spec, plan);
    if !volumes_are_ready(seen, now, plan) {
        return;
    }
    let Some(sandbox) = seen.sandbox() else {
        make_sandbox(seen, now, plan);
        return;
    };
    let mut turn = Turn { seen, spec, sandbox, now, starting: is_starting(seen) };
    turn.debug(plan);
    if !turn.init(plan) {
        return;
    }
    for container in &spec.containers {
        turn.step(container, policy(spec), plan);
    }
}

/// Until something more exact is known, a container that never ran waits for the rest of the pod.
fn wait_for_the_first_run(seen: &Seen<'_>, spec: &PodSpec, plan: &mut Plan) {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let reason = if inits.is_empty() { "ContainerCreating" } else { "PodInitializing" };
    for container in sandbox::every_container(spec) {
        if seen.newest(&container.name).is_none() {
            plan.wait(&container.name, reason, "");
        }
    }
}

fn volumes_are_ready(seen: &Seen<'_>, now: Timestamp, plan: &mut Plan) -> bool {
    match &seen.memory.volumes {
        Volumes::Ready => true,
        Volumes::Failed { retry_at } if now < *retry_at => {
            plan.wake(*retry_at);
            false
        }
        Volumes::Unprepared | Volumes::Failed { .. } => {
            plan.actions.push(Action::PrepareVolumes);
            false
        }
    }
}

fn make_sandbox(seen: &Seen<'_>, now: Timestamp, plan: &mut Plan) {
    if let Some(trouble) = seen.memory.sandbox.as_ref().filter(|trouble| now < trouble.retry_at) {
        plan.wake(trouble.retry_at);
        return;
    }
    let attempt = seen.sandboxes.iter().map(|sandbox| sandbox.attempt).max();
    plan.actions.push(Action::CreateSandbox {
        attempt: attempt.map_or(0, |attempt| attempt.saturating_add(1)),
        stop: seen.sandboxes.iter().map(|sandbox| sandbox.id.clone()).collect(),
    });
}

fn is_starting(seen: &Seen<'_>) -> bool {
    seen.memory.busy.iter().any(|work| matches!(work, Work::Start(_) | Work::Sandbox))
}

/// One look at every container of a pod whose sandbox is ready.
struct Turn<'a> {
    seen: &'a Seen<'a>,
    spec: &'a PodSpec,
    sandbox: &'a Sandbox,
    now: Timestamp,
    /// One container starts at a time, in the order of the spec.
    starting: bool,
}

/// Where one container is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Running,
    Pending,
    Done,
    Failed,
}

impl Turn<'_> {
    /// What people added to look at the pod starts once, whatever became of the others.
    fn debug(&mut self, plan: &mut Plan) {
        for debugger in debugging::containers(self.spec) {
            let newest = self.seen.newest(&debugger.name);
            if newest.is_none_or(|newest| newest.state == State::Created) {
                self.start(&debugger, None, plan);
            }
        }
    }

    /// Whether the main containers may start.
    fn init(&mut self, plan: &mut Plan) -> bool {
        let inits = self.spec.init_containers.as_deref().unwrap_or_default();
        let began = self.spec.containers.iter().any(|c| self.seen.newest_in(self.sandbox, &c.name).is_some());
        for init in inits {
            if is_sidecar(init) {
                let progress = self.step(init, Policy::Always, plan);
                let is_up = progress == Progress::Running && self.is_started(init);
                if !began && !is_up {
                    return false;
                }
                continue;
            }
            // Once a main container was made, the init containers have done their work in this sandbox.
            if began {
                continue;
            }
            // An init container restarts under Always and OnFailure, and not once it has succeeded.
            let policy = if policy(self.spec) == Policy::Never { Policy::Never } else { Policy::OnFailure };
            if self.step(init, policy, plan) != Progress::Done {
                return false;
            }
        }
        true
    }

    fn is_started(&self, container: &Spec) -> bool {
        let newest = self.seen.newest_in(self.sandbox, &container.name);
        newest.is_some_and(|newest| self.seen.health(&newest.id).is_started(container))
    }

    fn step(&mut self, container: &Spec, policy: Policy, plan: &mut Plan) -> Progress {
        let Some(newest) = self.seen.newest_in(self.sandbox, &container.name) else {
            return self.start(container, None, plan);
        };
        match &newest.state {
            State::Running { .. } => self.look_after(container, newest, plan),
            State::Exited(exit) => {
                let memory = self.seen.memory.crash_loops.get(&container.name);
                match restart::decide(policy, exit.code, exit.finished_at, memory, self.now) {
                    Restart::Never if exit.code == 0 => Progress::Done,
                    Restart::Never => Progress::Failed,
                    Restart::Now(next) => self.start(container, Some(next), plan),
                    Restart::Later { at, delay } => {
                        self.wait_after_crash(container, at, delay, plan);
                        Progress::Pending
                    }
                }
            }
            // An agent that died between making and starting it left this; it has not run.
            State::Created | State::Unknown => self.start(container, None, plan),
        }
    }

    fn look_after(&self, container: &Spec, newest: &Container, plan: &mut Plan) -> Progress {
        let name = &container.name;
        let changed = newest.annotations.get(annotation::HASH).is_some_and(|h| *h != definition(container));
        let failed = self.seen.health(&newest.id).failed(container);
        let (message, grace) = if changed {
            (format!("Container {name} definition changed, will be restarted"), None)
        } else if let Some(kind) = failed {
            let word = if kind == Kind::Startup { "startup" } else { "liveness" };
            let own = crate::probe::of(container, kind).and_then(|p| p.termination_grace_period_seconds);
            (format!("Container {name} failed {word} probe, will be restarted"), own)
        } else {
            return Progress::Running;
        };
        plan.actions.push(Action::Stop {
            id: newest.id.clone(),
            container: name.clone(),
            grace: grace.map_or_else(|| ending::own_grace(self.spec), ending::at_least_minimum),
            message,
        });
        Progress::Running
    }

    fn wait_after_crash(
        &self,
        container: &Spec,
        at: Timestamp,
        delay: jiff::SignedDuration,
        plan: &mut Plan,
    ) {
        let pod = super::ending::full_name(self.seen.pod);
        let delay = restart::go_duration(delay);
        let message = format!("back-off {delay} restarting failed container={} pod={pod}", container.name);
        plan.wait(&container.name, "CrashLoopBackOff", &message);
        plan.wake(at);
    }

    fn start(
        &mut self,
        container: &Spec,
        crash_loop: Option<restart::CrashLoop>,
        plan: &mut Plan,
    ) -> Progress {
        if let Some(trouble) = self.seen.memory.troubles.get(&container.name) {
            explain(trouble, &container.name, self.now, plan);
            if self.now < trouble.retry_at {
                return Progress::Pending;
            }
        }
        if !self.starting {
            self.starting = true;
            plan.actions.push(Action::Start {
                container: container.name.clone(),
                attempt: self.seen.next_attempt(&container.name),
                sandbox_id: self.sandbox.id.clone(),
                crash_loop,
            });
        }
        Progress::Pending
    }
}

fn explain(trouble: &Trouble, container: &str, now: Timestamp, plan: &mut Plan) {
    match trouble.then.as_ref() {
        Some(then) if now >= then.at => plan.wait(container, &then.reason, &then.message),
        Some(then) => {
            plan.wait(container, &trouble.reason, &trouble.message);
            plan.wake(then.at);
        }
        None => plan.wait(container, &trouble.reason, &trouble.message),
    }
    if now < trouble.retry_at {
        plan.wake(trouble.retry_at);
    }
}
