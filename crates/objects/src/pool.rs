//! One copy of what many objects have alike: the pods of a template differ in little more than their names.
//!
//! What is given in is compared as a whole, so that what comes out is equal to it, whatever an object claims to be made
//! from. A value is kept for as long as somebody has it, and a little longer.
//! Kubernetes has nothing like it: each object of an informer is one of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Fewer values are not worth a look at who still has them.
const FEW: usize = 64;

/// Values of which equal ones are the same.
#[derive(Debug, Clone)]
pub struct Pool<T> {
    known: BTreeSet<Arc<T>>,
    /// With how many of them those that nobody has are forgotten.
    full: usize,
}

impl<T: Ord> Pool<T> {
    /// The one copy of this value.
    pub fn share(&mut self, value: T) -> Arc<T> {
        if let Some(known) = self.known.get(&value) {
            return known.clone();
        }
        if self.known.len() >= self.full {
            self.known.retain(|value| Arc::strong_count(value) > 1);
            // Twice as many as are in use: so a look at all of them costs each newcomer two.
            self.full = FEW.max(self.known.len() * 2);
        }
        let value = Arc::new(value);
        self.known.insert(value.clone());
        value
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { known: BTreeSet::new(), full: FEW }
    }
}

/// What is known besides says nothing about who uses it.
impl<T> PartialEq for Pool<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_others_are_not() {
        let mut pool = Pool::default();
        let (a, b) = (pool.share("a".to_string()), pool.share("b".to_string()));
        assert!(Arc::ptr_eq(&a, &pool.share("a".to_string())) && !Arc::ptr_eq(&a, &b));
        assert_eq!((a.as_str(), b.as_str()), ("a", "b"));
    }

    #[test]
    fn what_nobody_has_is_forgotten_and_what_somebody_has_is_not() {
        let mut pool = Pool::default();
        let held = pool.share(0);
        (1..10_000).for_each(|number| drop(pool.share(number)));
        assert!(pool.known.len() <= FEW, "{}", pool.known.len());
        assert!(Arc::ptr_eq(&held, &pool.share(0)));
    }
}
