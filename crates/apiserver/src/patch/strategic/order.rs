//! In which order do the items of a merged list stand?
//!
//! Items that the patch names follow the patch's order; the others keep the order they had. The two rows are woven
//! together so that an item that stood before another still does where that is possible. The patch's items win.

use serde_json::Value;
use std::collections::BTreeMap;

/// Are these the same item? By merge key, or by value where there is none.
pub(super) fn same(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        None => a == b,
        Some(key) => matches!((a.get(key), b.get(key)), (Some(a), Some(b)) if a == b),
    }
}

/// Where the items of a list stand, by merge key, or by value where there is none. Of two that are the same, the first.
/// Built once: a patch may have a hundred thousand items.
pub(super) struct Places<'k> {
    key: Option<&'k str>,
    known: BTreeMap<String, usize>,
}

impl<'k> Places<'k> {
    /// Of this list.
    pub(super) fn of(list: &[Value], key: Option<&'k str>) -> Self {
        let mut places = Self { key, known: BTreeMap::new() };
        list.iter().enumerate().for_each(|(at, item)| places.put(item, at));
        places
    }

    /// Where an item that is the same stands.
    pub(super) fn find(&self, item: &Value) -> Option<usize> {
        self.known.get(&self.name(item)?).copied()
    }

    /// An item stands here.
    pub(super) fn put(&mut self, item: &Value, at: usize) {
        if let Some(name) = self.name(item) {
            self.known.entry(name).or_insert(at);
        }
    }

    /// An item is not what it was any more.
    pub(super) fn forget(&mut self, item: &Value) {
        if let Some(name) = self.name(item) {
            self.known.remove(&name);
        }
    }

    /// Equal values have one text: keys are sorted.
    fn name(&self, item: &Value) -> Option<String> {
        match self.key {
            None => Some(item.to_string()),
            Some(key) => item.get(key).map(Value::to_string),
        }
    }
}

/// Orders `merged` by `named` (the patch's list or `$setElementOrder`) and by `before` (the list as it was).
pub(super) fn arrange(
    merged: Vec<Value>,
    named: &[Value],
    before: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let (named, before) = (Places::of(named, key), Places::of(before, key));
    let placed = merged.into_iter().map(|item| (named.find(&item), before.find(&item), item));
    let (mut theirs, mut others): (Vec<_>, Vec<_>) = placed.partition(|(named, ..)| named.is_some());
    theirs.sort_by_key(|(named, ..)| *named);
    others.sort_by_key(|(_, before, _)| before.unwrap_or(usize::MAX));

    let mut arranged = Vec::with_capacity(theirs.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, here, item) in theirs {
        let stood_before = |(_, other, _): &(_, Option<usize>, _)| matches!((other, here), (Some(other), Some(here)) if *other < here);
        while let Some((.., other)) = others.next_if(stood_before) {
            arranged.push(other);
        }
        arranged.push(item);
    }
    arranged.extend(others.map(|(.., other)| other));
    arranged
}
