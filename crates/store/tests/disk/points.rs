//! Death at a chosen point: the writer says by a trace event where it is, and whoever listens ends the process there.

use crate::Random;
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Where the writer can be, and how often it comes there while a child lives.
const POINTS: [(&str, u64); 6] = [
    ("decided", 60),
    ("committed", 60),
    ("visible", 60),
    ("pruning", 2),
    ("moving the log", 2),
    ("moved the log", 2),
];

/// A child that has not come to its point by now is killed where it is.
const LIMIT: Duration = Duration::from_millis(600);

/// `point=n`: the n-th time at a point.
pub fn choose(random: &mut Random) -> String {
    let (point, most) = POINTS[random.below(POINTS.len() as u64) as usize];
    format!("{point}={}", 1 + random.below(most))
}

/// Waits until the child has died, or its time is over.
pub fn wait_for_death(child: &mut Child) {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends this process at a point that [`choose`] named; an empty one never comes.
pub fn die_at(chosen: &str) {
    let Some((point, count)) = chosen.split_once('=') else { return };
    let left = AtomicU64::new(count.parse().unwrap());
    tracing::subscriber::set_global_default(Dying { point: point.to_string(), left }).unwrap();
}

struct Dying {
    point: String,
    left: AtomicU64,
}

impl Subscriber for Dying {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::TRACE && metadata.target().starts_with("store::sqlite")
    }

    fn event(&self, event: &Event<'_>) {
        let mut at = At { point: &self.point, reached: false };
        event.record(&mut at);
        if at.reached && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            // No destructor, no flush: as kill -9 does it.
            std::process::abort();
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct At<'a> {
    point: &'a str,
    reached: bool,
}

impl Visit for At<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.reached |= field.name() == "point" && value == self.point;
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
