//! `imagePullPolicy`.

use crate::{Daemon, Place};

const IMAGE_ID: &str = ".status.containerStatuses[0].imageID";

pub fn always_asks_the_registry_and_the_others_do_not(place: &Place) {
    let (image, first) = place.push(place.open, "moving", "first");
    place.apply(&Daemon::new("always", &image).on("n1").policy("Always"));
    place.apply(&Daemon::new("present", &image).on("n2").policy("IfNotPresent"));
    for daemon in ["always", "present"] {
        place.rolled_out(daemon);
        assert_eq!(place.pods(daemon, IMAGE_ID), [first.as_str()], "{daemon}");
    }
    let (_, second) = place.push(place.open, "moving", "second");
    assert_ne!(first, second);
    place.ok(&["rollout", "restart", "ds"]);
    for (daemon, expected) in [("always", &second), ("present", &first)] {
        place.rolled_out(daemon);
        assert_eq!(place.pods(daemon, IMAGE_ID), [expected.as_str()], "{daemon}");
    }
    // No policy at all is Always for `latest` and for nothing.
    let (latest, _) = place.push(place.open, "latest", "latest");
    let without = latest.trim_end_matches(":latest");
    place.apply(&Daemon::new("latest", without).on("n3"));
    place.rolled_out("latest");
    assert_eq!(place.pods("latest", ".spec.containers[0].imagePullPolicy"), ["Always"]);
}

pub fn never_waits_until_the_image_is_there(place: &Place) {
    let (image, id) = place.push(place.open, "1", "first");
    place.apply(&Daemon::new("never", &image).on("n2").policy("Never"));
    place.waits("never", &["ErrImageNeverPull"]);
    let message = format!("Container image {image:?} is not present with pull policy of Never");
    place.events(&[&|event| event == format!("ErrImageNeverPull {message}"), &|event| {
        event == "Failed Error: ErrImageNeverPull"
    }]);
    assert_eq!(place.pods("never", ".status.containerStatuses[0].state.waiting.message"), [message]);
    // Somebody else's pull brings it.
    place.apply(&Daemon::new("puller", &image).on("n2"));
    place.rolled_out("puller");
    place.rolled_out("never");
    assert_eq!(place.pods("never", IMAGE_ID), [id]);
    place.apply(&Daemon::new("unnameable", "UPPER/Case:1").on("n2"));
    place.waits("unnameable", &["InvalidImageName"]);
    place.events(&[
        &|event| event.starts_with("InspectFailed Failed to apply default image tag \"UPPER/Case:1\": "),
        &|event| event == "Failed Error: InvalidImageName",
    ]);
}
