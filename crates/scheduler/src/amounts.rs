//! How much of each resource, as whole numbers, so that sums are exact: thousandths for `cpu`, bytes or pieces for the
//! others.
//!
//! A node and a pod have two to five resources, and there are many of both: a sorted list takes a fifth of a tree's memory.
//! What is zero is absent, so that sums compare equal however they came about.

use objects::quantity::Amount;

/// Resource name → amount; absent is zero.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Amounts(Vec<(Box<str>, i128)>);

impl Amounts {
    /// Exact amounts as whole numbers, rounded up.
    pub fn read(exact: impl IntoIterator<Item = (String, Amount)>) -> Self {
        let whole = |name: &str, amount: &Amount| if name == "cpu" { amount.milli() } else { amount.value() };
        let numbers = exact.into_iter().map(|(name, amount)| {
            let number = whole(&name, &amount);
            (name.into_boxed_str(), number)
        });
        let mut amounts: Vec<_> = numbers.filter(|(_, number)| *number != 0).collect();
        amounts.sort();
        amounts.shrink_to_fit();
        Self(amounts)
    }

    /// Of one resource.
    pub fn of(&self, resource: &str) -> i128 {
        self.find(resource).ok().and_then(|at| self.0.get(at)).map_or(0, |(_, amount)| *amount)
    }

    /// All that there is, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i128)> {
        self.0.iter().map(|(name, amount)| (name.as_ref(), *amount))
    }

    /// Only what is of these resources.
    pub(crate) fn only(mut self, wanted: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|(name, _)| wanted(name));
        self
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn add(&mut self, more: &Self) {
        more.iter().for_each(|(name, amount)| self.change(name, amount));
    }

    pub(crate) fn subtract(&mut self, less: &Self) {
        less.iter().for_each(|(name, amount)| self.change(name, -amount));
    }

    fn change(&mut self, resource: &str, by: i128) {
        let at = match self.find(resource) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (resource.into(), 0));
                at
            }
        };
        if let Some((_, amount)) = self.0.get_mut(at) {
            *amount += by;
            if *amount == 0 {
                self.0.remove(at);
            }
        }
    }

    fn find(&self, resource: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(name, _)| name.as_ref().cmp(resource))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(all: &[(&str, &str)]) -> Amounts {
        Amounts::read(all.iter().map(|(name, amount)| (name.to_string(), Amount::parse(amount).unwrap())))
    }

    #[test]
    fn sums_are_the_same_however_they_came_about() {
        let (a, b) = (
            amounts(&[("memory", "1Ki"), ("cpu", "100m"), ("x/y", "0")]),
            amounts(&[("cpu", "1"), ("a/b", "2")]),
        );
        assert_eq!(a.iter().collect::<Vec<_>>(), [("cpu", 100), ("memory", 1024)]);
        let mut sum = a.clone();
        sum.add(&b);
        assert_eq!(sum.iter().collect::<Vec<_>>(), [("a/b", 2), ("cpu", 1100), ("memory", 1024)]);
        assert_eq!((sum.of("cpu"), sum.of("pods")), (1100, 0));
        sum.subtract(&a);
        assert_eq!(sum, b);
        sum.subtract(&b);
        assert_eq!(sum, Amounts::default());
    }
}
