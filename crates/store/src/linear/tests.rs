//! Small histories whose answer is known.

use super::Answer::{Conflict, Exists, Missing, Stands, Written};
use super::Ask::{Create, Delete, Get, Update};
use super::*;

type Row = (u64, u64, Ask, Answer);

fn history(rows: &[Row]) -> Vec<Call> {
    let call =
        |&(began, ended, ask, answer): &Row| Call { began, ended: Some(ended), ask, answer: Some(answer) };
    rows.iter().map(call).collect()
}

#[track_caller]
fn fits(rows: &[Row]) {
    assert_eq!(check(&history(rows)), Ok(()));
}

#[track_caller]
fn fits_not(rows: &[Row]) {
    let verdict = check(&history(rows));
    assert!(matches!(verdict, Err(Violation::NoOrder { .. })), "{verdict:?}");
}

#[test]
fn one_after_the_other_is_an_order() {
    fits(&[
        (1, 2, Get, Stands(None)),
        (3, 4, Create(7), Written(10)),
        (5, 6, Create(8), Exists),
        (7, 8, Update(9, 10), Written(11)),
        (9, 10, Update(12, 10), Conflict(11)),
        (11, 12, Delete(11), Written(13)),
        (13, 14, Delete(11), Missing),
        (15, 16, Get, Stands(None)),
    ]);
}

#[test]
fn what_overlaps_may_be_either_way_round() {
    fits(&[(1, 9, Create(7), Written(10)), (2, 3, Get, Stands(None)), (4, 5, Get, Stands(Some((7, 10))))]);
    fits(&[(1, 9, Create(7), Written(10)), (2, 8, Create(8), Exists)]);
}

#[test]
fn a_stale_read_is_found() {
    fits_not(&[(1, 2, Create(7), Written(10)), (3, 4, Get, Stands(None))]);
    fits_not(&[
        (1, 9, Create(7), Written(10)),
        (2, 3, Get, Stands(Some((7, 10)))),
        (4, 5, Get, Stands(None)),
    ]);
}

#[test]
fn a_lost_write_and_a_false_refusal_are_found() {
    fits_not(&[
        (1, 2, Create(7), Written(10)),
        (3, 4, Update(8, 10), Written(11)),
        (5, 6, Get, Stands(Some((7, 10)))),
    ]);
    fits_not(&[(1, 2, Create(7), Written(10)), (3, 4, Update(8, 10), Missing)]);
    fits_not(&[(1, 2, Create(7), Exists)]);
    // Two that both replaced the same.
    fits_not(&[
        (1, 2, Create(7), Written(10)),
        (3, 6, Update(8, 10), Written(11)),
        (4, 5, Update(9, 10), Written(12)),
    ]);
}

#[test]
fn revisions_rise() {
    fits_not(&[(1, 2, Create(7), Written(10)), (3, 4, Update(8, 10), Written(9))]);
    let twice = history(&[
        (1, 2, Create(7), Written(10)),
        (3, 4, Get, Stands(Some((7, 11)))),
        (5, 6, Get, Stands(None)),
    ]);
    assert_eq!(check(&twice), Err(Violation::TwoRevisions(7, 10, 11)));
    assert_eq!(check(&history(&[(1, 2, Get, Stands(Some((7, 3))))])), Err(Violation::Invented(7)));
}

#[test]
fn a_lost_answer_may_have_happened_at_any_time_or_never() {
    let lost = |began, ask| Call { began, ended: None, ask, answer: None };
    let with = |lost: Call, rows: &[Row]| check(&[vec![lost], history(rows)].concat());
    let created = (1, 2, Create(7), Written(10));
    let seen_late = [created, (6, 7, Get, Stands(Some((7, 10)))), (8, 9, Get, Stands(Some((8, 12))))];
    assert_eq!(with(lost(3, Update(8, 10)), &seen_late), Ok(()));
    assert_eq!(with(lost(3, Update(8, 10)), &[created, (6, 7, Get, Stands(Some((7, 10))))]), Ok(()));
    assert_eq!(with(lost(3, Delete(10)), &[created, (6, 7, Get, Stands(None))]), Ok(()));
    // Not before it began, and not twice.
    let early = [created, (3, 4, Get, Stands(Some((8, 12)))), (8, 9, Get, Stands(Some((8, 12))))];
    assert!(with(lost(5, Update(8, 10)), &early).is_err());
    let twice = [
        created,
        (6, 7, Get, Stands(Some((8, 12)))),
        (8, 9, Update(9, 12), Written(13)),
        (10, 11, Get, Stands(Some((8, 12)))),
    ];
    assert!(with(lost(3, Update(8, 10)), &twice).is_err());
}

#[test]
fn a_revision_may_be_named_by_a_refusal_before_anybody_reads_its_value() {
    let lost = Call { began: 3, ended: None, ask: Update(8, 10), answer: None };
    let with = |rows: &[Row]| check(&[vec![lost.clone()], history(rows)].concat());
    let (created, refused) = ((1, 2, Create(7), Written(10)), (6, 7, Update(9, 10), Conflict(12)));
    assert_eq!(with(&[created, refused, (8, 9, Update(11, 12), Written(13))]), Ok(()));
    assert_eq!(
        with(&[created, refused, (8, 9, Delete(12), Written(13)), (10, 11, Get, Stands(None))]),
        Ok(())
    );
    // Two names for it, or one after it is gone.
    assert!(with(&[created, refused, (8, 9, Update(11, 10), Conflict(13))]).is_err());
    let gone = (8, 9, Delete(12), Written(13));
    assert!(with(&[created, refused, gone, (10, 11, Update(9, 10), Conflict(12))]).is_err());
}

#[test]
fn a_long_history_of_many_overlaps_is_decided() {
    let mut rows = vec![(0, 1, Create(1), Written(1))];
    for round in 0..400 {
        let (at, revision) = (10 + round * 10, round + 1);
        rows.push((at, at + 8, Update(round + 2, revision), Written(revision + 1)));
        for reader in 1..6 {
            let seen = if reader % 2 == 0 { (round + 1, revision) } else { (round + 2, revision + 1) };
            rows.push((at + reader % 3, at + 9, Get, Stands(Some(seen))));
        }
    }
    fits(&rows);
    rows.push((9_000, 9_001, Get, Stands(Some((3, 3)))));
    fits_not(&rows);
}
