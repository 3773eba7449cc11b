//! The window and the draft, without a backend.

use super::*;
use proptest::prelude::*;

fn write(key: &str, intent: Intent) -> Write {
    Write { key: key.into(), intent }
}

fn put(history: &mut History, key: &str, value: &'static str, now: Instant) -> Vec<Change> {
    let intent = match history.get(key) {
        Some(entry) => Intent::Update(value.into(), entry.revision),
        None => Intent::Create(value.into()),
    };
    take(history, key, intent, now)
}

fn take(history: &mut History, key: &str, intent: Intent, now: Instant) -> Vec<Change> {
    let mut draft = Draft::new(history);
    draft.decide(&write(key, intent)).unwrap();
    let changes = draft.into_changes();
    history.apply(changes, now)
}

fn limits() -> Limits {
    Limits { events: 8, events_kept: 3, age: Duration::from_secs(10), bytes: 1 << 20, bytes_read: 1 << 20 }
}

#[test]
fn of_two_updates_in_one_batch_the_second_conflicts() {
    let now = Instant::now();
    let mut history = History::new(Limits::default());
    put(&mut history, "a", "0", now);
    let mut draft = Draft::new(&history);
    assert_eq!(draft.decide(&write("a", Intent::Update("1".into(), 2))), Ok(3));
    let second = draft.decide(&write("a", Intent::Update("2".into(), 2)));
    assert_eq!(second, Err(Error::Conflict { key: "a".into(), expected: 2, actual: 3 }));
    assert_eq!(
        draft.decide(&write("b", Intent::Create("x".into()))),
        Ok(4),
        "a refused write takes no revision"
    );
    let changes = draft.into_changes();
    assert_eq!(history.get("b"), None, "nothing is visible before apply");
    history.apply(changes, now);
    assert_eq!(history.get("a").map(|e| e.value), Some(Bytes::from("1")));
    assert_eq!(history.current(), 4);
}

#[test]
fn a_batch_may_create_update_delete_and_create_again() {
    let mut history = History::new(Limits::default());
    let mut draft = Draft::new(&history);
    assert_eq!(draft.decide(&write("a", Intent::Create("1".into()))), Ok(2));
    assert_eq!(draft.decide(&write("a", Intent::Update("2".into(), 2))), Ok(3));
    assert_eq!(draft.decide(&write("a", Intent::Delete(3))), Ok(4));
    assert_eq!(draft.decide(&write("a", Intent::Delete(3))), Err(Error::Missing { key: "a".into() }));
    assert_eq!(draft.decide(&write("a", Intent::Create("3".into()))), Ok(5));
    let changes = draft.into_changes();
    history.apply(changes, Instant::now());
    let (events, up_to) = history.events_after("", 1, 100).unwrap();
    let kinds: Vec<_> = events.into_iter().map(|e| (e.revision, e.kind, e.previous)).collect();
    let created = |value: &'static str, created| EventKind::Put { value: value.into(), created };
    assert_eq!(
        kinds,
        [
            (2, created("1", true), None),
            (3, created("2", false), Some("1".into())),
            (4, EventKind::Delete, Some("2".into())),
            (5, created("3", true), None),
        ]
    );
    assert_eq!(up_to, 5);
    assert_eq!(history.get("a").map(|e| (e.revision, e.created)), Some((5, 5)));
}

#[test]
fn the_window_forgets_by_count_then_by_age_and_keeps_the_promised_few() {
    let start = Instant::now();
    let mut history = History::new(limits());
    for _ in 0..9 {
        put(&mut history, "a", "v", start);
    }
    assert_eq!(history.floor(), 2, "nine changes, eight fit: the first, revision 2, is forgotten");
    let left = put(&mut history, "a", "v", start + Duration::from_secs(11));
    assert_eq!(left.len(), 6, "nine old ones would be dropped, three are promised");
    assert_eq!(history.floor(), 8);
    assert_eq!(history.events_after("", 7, 10), Err(Error::Compacted { oldest: 8 }));
    assert_eq!(history.events_after("", 8, 10).unwrap().0.len(), 3);
}

#[test]
fn the_window_forgets_when_it_holds_too_many_bytes() {
    let now = Instant::now();
    let mut history = History::new(Limits { bytes: 4 * (CHANGE_OVERHEAD + 5), ..limits() });
    for _ in 0..6 {
        put(&mut history, "a", "12345", now);
    }
    assert_eq!(history.window.len(), 4);
}

#[test]
fn what_everybody_has_read_is_kept_for_less() {
    let (now, change) = (Instant::now(), CHANGE_OVERHEAD + 5);
    let mut history = History::new(Limits { bytes: 6 * change, bytes_read: 2 * change, ..limits() });
    let kept = |history: &mut History, read: Revision| {
        history.note_read(read);
        put(history, "a", "12345", now);
        history.window.len()
    };
    // Revision 2 is the first.
    let reader_stands = [1, 1, 1, 1, 1].map(|read| kept(&mut history, read));
    assert_eq!(reader_stands, [1, 2, 3, 4, 5]);
    assert_eq!(kept(&mut history, 3), 4, "what it has read is too much");
    assert_eq!(kept(&mut history, Revision::MAX), 2, "nobody is left");
    let reader_stands = [8, 8, 8, 8, 8].map(|read| kept(&mut history, read));
    assert_eq!(reader_stands, [2, 2, 3, 4, 5]);
    assert_eq!(
        [8, 8].map(|read| kept(&mut history, read)),
        [6, 6],
        "whoever stays away for too long loses some"
    );
}

#[test]
fn what_stands_for_long_is_short_and_is_read_as_it_was_written() {
    let words: Vec<String> = (0..200).map(|word| format!("word-{word}")).collect();
    let value = |number: usize| Bytes::from(format!("{{\"name\":\"p{number:04}\",\"words\":{words:?}}}"));
    let mut history = History::new(limits());
    for number in 0..FEW + 10 {
        take(&mut history, &format!("pods/p{number}"), Intent::Create(value(number)), Instant::now());
    }
    // Eight stay in the window, one is seen and one is the pattern.
    let short = |history: &History| history.entries.values().filter(|v| v.value.kept() < 40).count();
    assert!(short(&history) >= FEW, "{}", short(&history));
    let entries: BTreeMap<_, _> =
        history.entries().map(|(key, version)| (key.clone(), version.clone())).collect();
    let again = History::restored(limits(), history.current(), entries.clone(), history.floor());
    assert!(short(&again) >= FEW);
    for number in 0..FEW + 10 {
        let read = [&history, &again].map(|history| history.get(&format!("pods/p{number}")).map(|e| e.value));
        assert_eq!(read, [Some(value(number)), Some(value(number))]);
    }
    // A write upon it is decided and told as ever.
    let stands = history.get("pods/p7").map(|entry| entry.revision).unwrap();
    take(&mut history, "pods/p7", Intent::Delete(stands), Instant::now());
    let (events, _) = history.events_after("", history.current() - 1, 10).unwrap();
    assert_eq!(events.first().and_then(|event| event.previous.clone()), Some(value(7)));
}

#[test]
fn compaction_in_the_future_keeps_the_last_change() {
    let mut history = History::new(Limits::default());
    for _ in 0..3 {
        put(&mut history, "a", "v", Instant::now());
    }
    assert_eq!(history.compact(1_000).len(), 2);
    assert_eq!((history.floor(), history.current()), (3, 4));
    assert_eq!(history.events_after("", 3, 10).unwrap().0.len(), 1);
    assert_eq!(history.compact(2), vec![], "never back");
    assert_eq!(history.floor(), 3);
}

#[test]
fn a_limited_read_says_how_far_it_came() {
    let now = Instant::now();
    let mut history = History::new(Limits::default());
    for key in ["a/1", "b/1", "a/2", "a/3", "b/2"] {
        put(&mut history, key, "v", now);
    }
    let (events, up_to) = history.events_after("a/", 1, 2).unwrap();
    assert_eq!((events.len(), up_to), (2, 4));
    let (events, up_to) = history.events_after("a/", up_to, 2).unwrap();
    assert_eq!((events.len(), up_to), (1, 6), "nothing more below a/ up to now");
    assert_eq!(history.events_after("a/", 50, 2).unwrap(), (vec![], 50), "the future is empty");
}

proptest! {
    /// Replaying the events of a watch over the list it started from gives the list of the end.
    #[test]
    fn events_replayed_over_a_list_give_the_later_list(
        steps in prop::collection::vec((0..5u8, 0..4u8), 1..60),
        start in 0..60usize,
    ) {
        let mut history = History::new(Limits::default());
        let mut from = None;
        for (number, (key, action)) in steps.iter().enumerate() {
            if number == start.min(steps.len() - 1) {
                from = Some(history.list("k"));
            }
            let key = format!("k{key}");
            let intent = match history.get(&key) {
                None => Intent::Create(vec![number as u8].into()),
                Some(entry) if *action == 0 => Intent::Delete(entry.revision),
                Some(entry) => Intent::Update(vec![number as u8].into(), entry.revision),
            };
            let mut draft = Draft::new(&history);
            draft.decide(&write(&key, intent)).unwrap();
            let changes = draft.into_changes();
            history.apply(changes, Instant::now());
        }
        let from = from.unwrap();
        let mut replayed: BTreeMap<Arc<str>, Bytes> =
            from.entries.into_iter().map(|e| (e.key, e.value)).collect();
        for event in history.events_after("k", from.revision, usize::MAX).unwrap().0 {
            prop_assert_eq!(replayed.get(&event.key), event.previous.as_ref());
            match event.kind {
                EventKind::Put { value, .. } => { replayed.insert(event.key, value); }
                EventKind::Delete => { replayed.remove(&event.key); }
            }
        }
        let end: BTreeMap<Arc<str>, Bytes> =
            history.list("k").entries.into_iter().map(|e| (e.key, e.value)).collect();
        prop_assert_eq!(replayed, end);
    }
}
