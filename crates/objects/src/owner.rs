//! Who controls an object, and what a controller does about one that it meets: ignore, own, release or adopt.
//!
//! 1. Control is decided by the uid of the one reference with `controller: true`, never by name or kind.
//! 2. A terminating owner adopts and releases nothing (OW-3, OW-4); it keeps what it has.
//! 3. A terminating object is never adopted (OW-4).
//!
//! Kubernetes: `controller_ref_manager.go` (`ClaimObject`), `apis/meta/v1/controller_ref.go`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// What a controller does about an object of its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// Not ours and not to be.
    Ignore,
    /// Ours already.
    Own,
    /// Ours, but it no longer matches: take our reference off.
    Release,
    /// An orphan that matches: put our reference on.
    Adopt,
}

/// The reference with `controller: true`; the first one, as upstream.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether the object's controller has this uid.
pub fn is_controlled_by(meta: &ObjectMeta, owner_uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == owner_uid)
}

/// Whether a claimed object is ignored, owned, released or adopted (OW-1…OW-5). The caller lists one namespace, so
/// that it is the owner's needs no check here.
pub fn claim(meta: &ObjectMeta, owner_uid: &str, owner_terminating: bool, selector_matches: bool) -> Claim {
    match (controller_of(meta), selector_matches) {
        (Some(owner), _) if owner.uid != owner_uid => Claim::Ignore,
        (Some(_), true) => Claim::Own,
        (Some(_), false) if owner_terminating => Claim::Ignore,
        (Some(_), false) => Claim::Release,
        (None, false) => Claim::Ignore,
        (None, true) if owner_terminating || meta.deletion_timestamp.is_some() => Claim::Ignore,
        (None, true) => Claim::Adopt,
    }
}

/// The reference that a controller puts on what it creates or adopts (OW-7, OW-14).
pub fn controller_reference(api_version: &str, kind: &str, name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: api_version.to_string(),
        kind: kind.to_string(),
        name: name.to_string(),
        uid: uid.to_string(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn object(controller: Option<&str>, terminating: bool) -> ObjectMeta {
        ObjectMeta {
            owner_references: controller
                .map(|uid| vec![controller_reference("apps/v1", "DaemonSet", "d", uid)]),
            deletion_timestamp: terminating.then(Time::default_time),
            ..ObjectMeta::default()
        }
    }

    trait DefaultTime {
        fn default_time() -> Self;
    }

    impl DefaultTime for Time {
        fn default_time() -> Self {
            Self(jiff::Timestamp::UNIX_EPOCH)
        }
    }

    #[test]
    fn claiming_follows_the_table_of_ow_1_to_ow_5() {
        use Claim::{Adopt, Ignore, Own, Release};
        let cases = [
            // rule, controller, object terminating, owner terminating, matches
            ("OW-1", Some("other"), false, false, true, Ignore),
            ("OW-1", Some("other"), false, false, false, Ignore),
            ("OW-2", Some("ours"), false, false, true, Own),
            ("OW-2 owner terminating", Some("ours"), false, true, true, Own),
            ("OW-2 object terminating", Some("ours"), true, false, true, Own),
            ("OW-3", Some("ours"), false, false, false, Release),
            ("OW-3 owner terminating", Some("ours"), false, true, false, Ignore),
            ("OW-4", None, false, false, true, Adopt),
            ("OW-4 owner terminating", None, false, true, true, Ignore),
            ("OW-4 object terminating", None, true, false, true, Ignore),
            ("OW-5", None, false, false, false, Ignore),
        ];
        for (rule, controller, terminating, owner_terminating, matches, expected) in cases {
            let answer = claim(&object(controller, terminating), "ours", owner_terminating, matches);
            assert_eq!(answer, expected, "{rule}");
        }
    }

    #[test]
    fn a_reference_that_is_no_controller_does_not_control() {
        let mut meta = object(Some("ours"), false);
        meta.owner_references.as_mut().unwrap()[0].controller = None;
        assert!(!is_controlled_by(&meta, "ours"));
        assert_eq!(claim(&meta, "ours", false, true), Claim::Adopt);
    }
}
