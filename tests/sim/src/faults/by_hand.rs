//! What do users do at this very moment? They meet no faults, but of two writers in one moment nobody can say who did what, and
//! a promise about one of them says nothing then.

use super::{Call, Faults};
use crate::clock;

impl Faults {
    /// A user's call reaches the server now.
    pub(crate) fn by_hand<B>(&self, request: &http::Request<B>) {
        let call = Call { at: clock::elapsed(), ..Call::of("", request) };
        self.lock().by_hand = Some(call);
    }

    /// Whether a user's call on this object has reached the server at this very moment.
    pub(crate) fn is_by_hand(&self, plural: &str, key: &str) -> bool {
        let (inner, now) = (self.lock(), clock::elapsed());
        inner.by_hand.as_ref().is_some_and(|call| call.at == now && call.plural == plural && call.key == key)
    }
}
