//! PURE. Thresholds and timing of liveness, readiness and startup probes.
//!
//! [`Streak`] counts equal results; a verdict falls when the streak reaches its threshold. Before the first verdict
//! a container is not ready, not started (if it has a startup probe) and alive.
//! The questions themselves are asked in `probing.rs`.
//!
//! Kubernetes: pkg/kubelet/prober/worker.go.

use k8s_openapi::api::core::v1::{Container, Probe};
use std::time::Duration;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Failing ends the container.
    Startup,
    /// Failing ends the container.
    Liveness,
    /// Failing takes the pod out of service.
    Readiness,
}

impl Kind {
    /// As events name it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// A container's probe of one kind.
#[must_use]
pub fn of(container: &Container, kind: Kind) -> Option<&Probe> {
    match kind {
        Kind::Startup => container.startup_probe.as_ref(),
        Kind::Liveness => container.liveness_probe.as_ref(),
        Kind::Readiness => container.readiness_probe.as_ref(),
    }
}

/// When and how often a probe asks, with the API's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Before the first question.
    pub initial_delay: Duration,
    /// Between questions.
    pub period: Duration,
    /// For one answer.
    pub timeout: Duration,
    /// Successes in a row that mean success.
    pub success_threshold: u32,
    /// Failures in a row that mean failure.
    pub failure_threshold: u32,
}

impl Schedule {
    /// Reads a probe; values that are missing or out of range get the defaults (0, 10, 1, 1, 3).
    #[must_use]
    pub fn of(probe: &Probe) -> Self {
        let at_least_one = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        let initial_delay =
            probe.initial_delay_seconds.and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
        Self {
            initial_delay: Duration::from_secs(initial_delay),
            period: Duration::from_secs(at_least_one(probe.period_seconds, 10).into()),
            timeout: Duration::from_secs(at_least_one(probe.timeout_seconds, 1).into()),
            success_threshold: at_least_one(probe.success_threshold, 1),
            failure_threshold: at_least_one(probe.failure_threshold, 3),
        }
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered well.
    Success,
    /// It did not, with kubelet's text.
    Failure(String),
}

/// What a streak of answers means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Passing,
    /// It fails, with the last answer's text.
    Failing(String),
}

/// Equal answers in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Streak {
    passing: bool,
    length: u32,
}

impl Streak {
    /// Takes an answer; a verdict when the threshold is reached, at every answer from then on.
    pub fn observe(&mut self, outcome: &Outcome, schedule: &Schedule) -> Option<Verdict> {
        let passing = *outcome == Outcome::Success;
        if passing != self.passing {
            self.length = 0;
        }
        self.passing = passing;
        self.length = self.length.saturating_add(1);
        match outcome {
            Outcome::Success => (self.length >= schedule.success_threshold).then_some(Verdict::Passing),
            Outcome::Failure(text) => {
                (self.length >= schedule.failure_threshold).then(|| Verdict::Failing(text.clone()))
            }
        }
    }
}

/// What the probes of one running container have said so far; nothing means there was no verdict yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The startup probe's verdict.
    pub startup: Option<Verdict>,
    /// The liveness probe's verdict.
    pub liveness: Option<Verdict>,
    /// The readiness probe's verdict.
    pub readiness: Option<Verdict>,
}

impl Health {
    /// Keeps a verdict; whether it says something new.
    pub fn keep(&mut self, kind: Kind, verdict: Verdict) -> bool {
        let place = match kind {
            Kind::Startup => &mut self.startup,
            Kind::Liveness => &mut self.liveness,
            Kind::Readiness => &mut self.readiness,
        };
        // A started container stays started: the startup probe is not asked again.
        if kind == Kind::Startup && *place == Some(Verdict::Passing) {
            return false;
        }
        let new = place.as_ref().map(is_passing) != Some(is_passing(&verdict));
        *place = Some(verdict);
        new
    }

    /// `started` of a running container.
    #[must_use]
    pub fn is_started(&self, container: &Container) -> bool {
        container.startup_probe.is_none() || self.startup == Some(Verdict::Passing)
    }

    /// `ready` of a running container.
    #[must_use]
    pub fn is_ready(&self, container: &Container) -> bool {
        let ready = container.readiness_probe.is_none() || self.readiness == Some(Verdict::Passing);
        ready && self.is_started(container)
    }

    /// The probe for which the container must end, if there is one.
    #[must_use]
    pub fn failed(&self, container: &Container) -> Option<Kind> {
        let failing = |verdict: &Option<Verdict>| matches!(verdict, Some(Verdict::Failing(_)));
        if container.startup_probe.is_some() && failing(&self.startup) {
            return Some(Kind::Startup);
        }
        (container.liveness_probe.is_some() && failing(&self.liveness)).then_some(Kind::Liveness)
    }
}

fn is_passing(verdict: &Verdict) -> bool {
    *verdict == Verdict::Passing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(answers: &str, success: i32, failure: i32) -> String {
        let probe =
            Probe { success_threshold: Some(success), failure_threshold: Some(failure), ..Probe::default() };
        let mut streak = Streak::default();
        let mut say = |answer| match streak.observe(&answer, &Schedule::of(&probe)) {
            None => '.',
            Some(Verdict::Passing) => '+',
            Some(Verdict::Failing(_)) => '-',
        };
        answers
            .chars()
            .map(|answer| say(if answer == 'y' { Outcome::Success } else { Outcome::Failure("no".into()) }))
            .collect()
    }

    #[test]
    fn a_verdict_needs_answers_in_a_row() {
        assert_eq!(verdicts("nnn", 1, 3), "..-");
        assert_eq!(verdicts("nnynnn", 1, 3), "..+..-");
        assert_eq!(verdicts("yynyy", 2, 1), ".+-.+");
    }

    #[test]
    fn a_container_with_probes_is_not_ready_before_they_say_so() {
        let container = Container {
            readiness_probe: Some(Probe::default()),
            startup_probe: Some(Probe::default()),
            ..Container::default()
        };
        let mut health = Health::default();
        assert!(!health.is_started(&container) && !health.is_ready(&container));
        health.keep(Kind::Readiness, Verdict::Passing);
        assert!(!health.is_ready(&container));
        health.keep(Kind::Startup, Verdict::Passing);
        health.keep(Kind::Startup, Verdict::Failing("late".into()));
        assert!(health.is_ready(&container));
        assert_eq!(health.failed(&container), None);
    }
}
