//! What events tell about an object: the newest one with certain reasons, and how long ago.
//!
//! Events are hints. They may be missing, late or of a predecessor with the same name, so they are found by uid, and no
//! verdict depends on them: they only make a sentence say more. Kubernetes: `kubectl/pkg/describe` (event times).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use objects::human;

/// Events in the order of time.
#[derive(Debug)]
pub(crate) struct Happened<'a> {
    events: Vec<&'a Event>,
    now: Timestamp,
}

impl<'a> Happened<'a> {
    pub(crate) fn new(events: &[&'a Event], now: Timestamp) -> Self {
        let mut events = events.to_vec();
        events.sort_by_key(|event| (when(event), event.metadata.name.clone()));
        Self { events, now }
    }

    /// The newest event about this uid for which `wanted` holds, as message and when.
    pub(crate) fn newest(
        &self,
        uid: Option<&str>,
        wanted: impl Fn(&Event) -> bool,
    ) -> Option<(&'a Event, String)> {
        let uid = uid?;
        let about = |event: &&&Event| event.involved_object.uid.as_deref() == Some(uid);
        let event = self.events.iter().rev().filter(about).find(|event| wanted(event))?;
        Some((event, format!("{} ago", since(when(event), self.now))))
    }

    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }
}

/// Whether the event's reason is this one.
pub(crate) fn reason(event: &Event, reason: &str) -> bool {
    event.reason.as_deref() == Some(reason)
}

/// Whether something is wrong.
pub(crate) fn is_warning(event: &Event) -> bool {
    event.type_.as_deref() == Some("Warning")
}

/// Its text.
pub(crate) fn message(event: &Event) -> &str {
    event.message.as_deref().unwrap_or_default().trim()
}

/// How long it has been, in kubectl's words; empty if nobody knows since when.
pub(crate) fn since(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map_or_else(|| "some time".to_string(), |then| human::duration(now.duration_since(then).as_secs()))
}

fn when(event: &Event) -> Option<Timestamp> {
    let series =
        event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let micro = event.event_time.as_ref().map(|time| time.0);
    let times = [&event.last_timestamp, &event.first_timestamp, &event.metadata.creation_timestamp];
    let [last, first, created] = times.map(|time| time.as_ref().map(|time| time.0));
    series.max(last).or(micro).or(first).or(created)
}
