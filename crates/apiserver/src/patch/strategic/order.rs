//! In which order do the items of a merged list stand?
//!
//! Items that the patch names follow the patch's order; the others keep the order they had. The two rows are woven
//! together so that an item that stood before another still does where that is possible. The patch's items win.

use serde_json::Value;

/// Are these the same item? By merge key, or by value where there is none.
pub(super) fn same(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        None => a == b,
        Some(key) => matches!((a.get(key), b.get(key)), (Some(a), Some(b)) if a == b),
    }
}

/// Orders `merged` by `named` (the patch's list or `$setElementOrder`) and by `before` (the list as it was).
pub(super) fn arrange(
    merged: Vec<Value>,
    named: &[Value],
    before: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| list.iter().position(|other| same(other, item, key));
    let (mut theirs, mut others): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|item| place(named, item).is_some());
    theirs.sort_by_key(|item| place(named, item));
    others.sort_by_key(|item| place(before, item).unwrap_or(usize::MAX));

    let mut arranged = Vec::with_capacity(theirs.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in theirs {
        let here = place(before, &item);
        let stood_before =
            |other: &Value| matches!((place(before, other), here), (Some(other), Some(here)) if other < here);
        while let Some(other) = others.next_if(stood_before) {
            arranged.push(other);
        }
        arranged.push(item);
    }
    arranged.extend(others);
    arranged
}
