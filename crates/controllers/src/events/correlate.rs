//! PURE. Is an occurrence a new Event, a higher count on one that exists, or too much?
//!
//! 1. The same occurrence again raises the count of the Event that told of it first.
//! 2. From the tenth different message of one reason about one object within ten minutes on, they share one Event,
//!    `(combined from similar events): …`.
//! 3. One source may tell 25 things about one object at once, then one each five minutes; the rest is dropped.
//! 4. What is remembered is bounded ([`REMEMBERED`]); what was told of longest ago is forgotten first.
//!
//! Kubernetes: `client-go/tools/record/events_cache.go` (`EventCorrelator`).

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Entries that each of the three memories holds. Kubernetes: `maxLruCacheEntries`.
const REMEMBERED: usize = 4096;
/// Different messages of one reason about one object before they are combined. Kubernetes: `defaultAggregateMaxEvents`.
const SIMILAR_MAX: usize = 10;
/// How long such messages belong together. Kubernetes: `defaultAggregateIntervalInSeconds`.
const SIMILAR_FOR: SignedDuration = SignedDuration::from_secs(600);
/// What one source may tell about one object at once. Kubernetes: `defaultSpamBurst`.
const BURST: f64 = 25.0;
/// How many of these come back per second. Kubernetes: `defaultSpamQPS`.
const REFILL_PER_SECOND: f64 = 1.0 / 300.0;

/// Something that happened to an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Occurrence {
    /// What it happened to.
    pub about: ObjectReference,
    /// Who tells of it, `daemonset-controller`.
    pub component: &'static str,
    /// `Normal` or `Warning`.
    pub severity: &'static str,
    /// `SuccessfulCreate`.
    pub reason: String,
    /// `Created pod: x`.
    pub message: String,
}

/// What to write.
#[derive(Debug, Clone, PartialEq)]
pub enum Post {
    /// This Event is new.
    Create(Box<Event>),
    /// The Event exists; raise its count. If it has gone meanwhile, create it as given.
    Count(Box<Event>),
    /// Nothing: the source talks too much.
    Drop,
}

/// Remembers what was told.
#[derive(Debug, Default)]
pub struct Correlator {
    similar: Recent<Similar>,
    told: Recent<Told>,
    budgets: Recent<Budget>,
    last_stamp: i128,
}

#[derive(Debug)]
struct Similar {
    /// Different ones, sorted.
    messages: Vec<Box<str>>,
    last: Timestamp,
}

#[derive(Debug, Clone)]
struct Told {
    name: Box<str>,
    first: Timestamp,
    count: i32,
}

#[derive(Debug)]
struct Budget {
    left: f64,
    at: Timestamp,
}

impl Correlator {
    /// Takes an occurrence in and says what to write.
    pub fn observe(&mut self, occurrence: &Occurrence, now: Timestamp) -> Post {
        let (message, key) = self.combined(occurrence, now);
        let told = self.count(occurrence, key, now);
        if !self.within_budget(occurrence, now) {
            return Post::Drop;
        }
        let event = Box::new(event(occurrence, message, &told, now));
        if told.count > 1 { Post::Count(event) } else { Post::Create(event) }
    }

    /// The message to show, and under which key its Event is remembered.
    fn combined(&mut self, occurrence: &Occurrence, now: Timestamp) -> (String, String) {
        let reason_key = similar_key(occurrence);
        let similar = self.similar.entry(&reason_key, || Similar { messages: Vec::new(), last: now });
        if now.duration_since(similar.last) > SIMILAR_FOR {
            similar.messages.clear();
        }
        similar.last = now;
        let message = occurrence.message.as_str();
        if let Err(at) = similar.messages.binary_search_by(|known| known.as_ref().cmp(message)) {
            similar.messages.insert(at, message.into());
        }
        if similar.messages.len() < SIMILAR_MAX {
            return (occurrence.message.clone(), joined(&reason_key, [message]));
        }
        similar.messages.remove(0);
        (format!("(combined from similar events): {}", occurrence.message), reason_key)
    }

    fn count(&mut self, occurrence: &Occurrence, key: String, now: Timestamp) -> Told {
        // Two Events of one moment must not share a name.
        self.last_stamp = now.as_nanosecond().max(self.last_stamp + 1);
        let name = format!("{}.{:x}", occurrence.about.name.as_deref().unwrap_or_default(), self.last_stamp);
        let told = self.told.entry(&key, || Told { name: name.into(), first: now, count: 0 });
        told.count = told.count.saturating_add(1);
        told.clone()
    }

    fn within_budget(&mut self, occurrence: &Occurrence, now: Timestamp) -> bool {
        let budget = self.budgets.entry(&object_key(occurrence), || Budget { left: BURST, at: now });
        let seconds = now.duration_since(budget.at).as_secs_f64().max(0.0);
        budget.left = (budget.left + seconds * REFILL_PER_SECOND).min(BURST);
        budget.at = now;
        if budget.left < 1.0 {
            return false;
        }
        budget.left -= 1.0;
        true
    }
}

fn event(occurrence: &Occurrence, message: String, told: &Told, now: Timestamp) -> Event {
    let about = &occurrence.about;
    let namespace = about.namespace.clone().filter(|namespace| !namespace.is_empty());
    Event {
        metadata: ObjectMeta {
            name: Some(told.name.to_string()),
            namespace: Some(namespace.unwrap_or_else(|| "default".to_string())),
            ..ObjectMeta::default()
        },
        involved_object: about.clone(),
        reason: Some(occurrence.reason.clone()),
        message: Some(message),
        type_: Some(occurrence.severity.to_string()),
        source: Some(EventSource { component: Some(occurrence.component.to_string()), host: None }),
        reporting_component: Some(occurrence.component.to_string()),
        reporting_instance: Some(String::new()),
        first_timestamp: Some(Time(told.first)),
        last_timestamp: Some(Time(now)),
        count: Some(told.count),
        ..Event::default()
    }
}

fn object_key(occurrence: &Occurrence) -> String {
    let about = &occurrence.about;
    let parts = [&about.kind, &about.namespace, &about.name, &about.uid, &about.api_version];
    joined(occurrence.component, parts.map(|part| part.as_deref().unwrap_or_default()))
}

fn similar_key(occurrence: &Occurrence) -> String {
    joined(&object_key(occurrence), [occurrence.severity, &occurrence.reason])
}

/// A key of several parts as one text: there are thousands. None of them holds the character between them, but a message may,
/// which comes last.
fn joined<const PARTS: usize>(first: &str, parts: [&str; PARTS]) -> String {
    parts.iter().fold(first.to_string(), |key, part| key + "\0" + part)
}

/// A map that forgets what was used longest ago.
#[derive(Debug)]
struct Recent<V> {
    values: BTreeMap<Arc<str>, (u64, V)>,
    by_use: BTreeMap<u64, Arc<str>>,
    uses: u64,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }
}

impl<V> Recent<V> {
    fn entry(&mut self, key: &str, new: impl FnOnce() -> V) -> &mut V {
        self.uses += 1;
        let last_use = self.values.get(key).map(|(last_use, _)| *last_use);
        let known = last_use.and_then(|last_use| self.by_use.remove(&last_use));
        if known.is_none()
            && self.values.len() >= REMEMBERED
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.values.remove(&oldest);
        }
        let key = known.unwrap_or_else(|| key.into());
        self.by_use.insert(self.uses, key.clone());
        let slot = self.values.entry(key).or_insert_with(|| (self.uses, new()));
        slot.0 = self.uses;
        &mut slot.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(name: &str) -> Occurrence {
        Occurrence {
            about: ObjectReference {
                kind: Some("DaemonSet".into()),
                namespace: Some("a".into()),
                name: Some("d".into()),
                uid: Some("u".into()),
                ..ObjectReference::default()
            },
            component: "daemonset-controller",
            severity: "Normal",
            reason: "SuccessfulCreate".into(),
            message: format!("Created pod: {name}"),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn shown(post: &Post) -> String {
        let line = |word: &str, event: &Event| {
            format!("{word} {}× {}", event.count.unwrap(), event.message.as_deref().unwrap())
        };
        match post {
            Post::Create(event) => line("create", event),
            Post::Count(event) => line("count", event),
            Post::Drop => "drop".to_string(),
        }
    }

    #[test]
    fn the_same_occurrence_raises_the_count_of_the_first_event() {
        let mut correlator = Correlator::default();
        let Post::Create(first) = correlator.observe(&created("x"), at(0)) else { panic!() };
        let Post::Count(second) = correlator.observe(&created("x"), at(5)) else { panic!() };
        assert_eq!(first.metadata, second.metadata);
        assert_eq!(first.metadata.name.as_deref(), Some("d.38d7ea4c68000"));
        assert_eq!(
            (second.count, second.first_timestamp, second.last_timestamp),
            (Some(2), Some(Time(at(0))), Some(Time(at(5))))
        );
    }

    #[test]
    fn many_similar_messages_are_combined_and_then_dropped() {
        let mut correlator = Correlator::default();
        let told: Vec<String> =
            (0..40).map(|n| shown(&correlator.observe(&created(&n.to_string()), at(0)))).collect();
        assert_eq!(told[0], "create 1× Created pod: 0");
        assert_eq!(told[8], "create 1× Created pod: 8");
        assert_eq!(told[9], "create 1× (combined from similar events): Created pod: 9");
        assert_eq!(told[24], "count 16× (combined from similar events): Created pod: 24");
        assert!(told[25..].iter().all(|line| line == "drop"), "{told:?}");
        // After five minutes there is budget for one more, after ten the messages stand alone again.
        assert_eq!(
            shown(&correlator.observe(&created("y"), at(301))),
            "count 32× (combined from similar events): Created pod: y"
        );
        assert_eq!(shown(&correlator.observe(&created("z"), at(1000))), "create 1× Created pod: z");
    }

    #[test]
    fn two_events_of_one_moment_have_two_names() {
        let mut correlator = Correlator::default();
        let name = |post| match post {
            Post::Create(event) => event.metadata.name,
            other => panic!("{other:?}"),
        };
        let first = name(correlator.observe(&created("x"), at(0)));
        assert_ne!(first, name(correlator.observe(&created("y"), at(0))));
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent = Recent::default();
        for key in 0..REMEMBERED + 5 {
            *recent.entry(&key.to_string(), || 0) += 1;
            *recent.entry("0", || 0) += 1;
        }
        assert_eq!((recent.values.len(), recent.by_use.len()), (REMEMBERED, REMEMBERED));
        assert!(recent.values.contains_key("0") && !recent.values.contains_key("1"));
    }
}
