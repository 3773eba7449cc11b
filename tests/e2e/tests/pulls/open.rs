//! A registry that asks nobody who he is.

use crate::{Daemon, LIMIT, Place};
use e2e::eventually;
use std::process::Command;

pub fn a_public_image_runs_on_every_node(place: &Place) {
    let (image, id) = place.push(place.open, "1", "first");
    place.apply(&Daemon::new("app", &image));
    place.rolled_out("app");
    let ids = place.pods(
        "app",
        ".spec.nodeName} {.status.containerStatuses[0].image} {.status.containerStatuses[0].imageID",
    );
    assert_eq!(ids, ["n1", "n2", "n3"].map(|node| format!("{node} {image} {id}")));
    for ip in place.pods("app", ".status.podIP") {
        answers(&ip, "hello:first");
    }
    let pulled = format!("Pulled Successfully pulled image {image:?} in ");
    place.events(&[
        &|event| event == format!("Pulling Pulling image {image:?}"),
        &|event| event.strip_prefix(&pulled).is_some_and(is_time_and_size),
        &|event| event == "Created Created container: app",
    ]);
    let gone = &place.pods("app", ".metadata.name")[0];
    place.ok(&["delete", "pod", gone]);
    place.rolled_out("app");
    place.events(&[&|event| event == format!("Pulled Container image {image:?} already present on machine")]);
}

pub fn a_missing_tag_waits_and_recovers_when_it_is_pushed(place: &Place) {
    let image = place.name(place.open, "later");
    place.apply(&Daemon::new("app", &image).on("n1"));
    place.waits("app", &["ErrImagePull", "ImagePullBackOff"]);
    let listed = place.ok(&["get", "pods"]);
    assert!(listed.contains("ImagePullBackOff"), "{listed}");
    let failed = format!("Failed Failed to pull image {image:?}: rpc error: code = NotFound desc = ");
    place.events(&[
        &|event| event.starts_with(&failed) && event.ends_with(": not found"),
        &|event| event == "Failed Error: ErrImagePull",
        &|event| event == format!("BackOff Back-off pulling image {image:?}"),
        &|event| event == "Failed Error: ImagePullBackOff",
    ]);
    let expected = format!("Back-off pulling image {image:?}: ErrImagePull: rpc error: code = NotFound");
    eventually("why it waits", LIMIT, || {
        let message = place.pods("app", ".status.containerStatuses[0].state.waiting.message").concat();
        anyhow::ensure!(message.starts_with(&expected), "{message}");
        Ok(())
    });
    let (_, id) = place.push(place.open, "later", "late");
    place.rolled_out("app");
    assert_eq!(place.pods("app", ".status.containerStatuses[0].imageID"), [id]);
    assert_eq!(place.pods("app", ".status.containerStatuses[0].restartCount"), ["0"]);
}

/// `1.2s (1.2s including waiting). Image size: 1234 bytes.`
fn is_time_and_size(text: &str) -> bool {
    let Some((time, rest)) = text.split_once(' ') else { return false };
    let Some(size) = rest.strip_prefix(&format!("({time} including waiting). Image size: ")) else {
        return false;
    };
    let Some(bytes) = size.strip_suffix(" bytes.") else { return false };
    time.starts_with(|first: char| first.is_ascii_digit())
        && time.ends_with('s')
        && bytes.parse().is_ok_and(|bytes: u64| bytes > 0)
}

/// Waits until a pod serves this text: a container without a probe is ready before its program listens.
#[track_caller]
fn answers(ip: &str, text: &str) {
    eventually(&format!("{ip} serves {text}"), LIMIT, || {
        let output = Command::new("curl").args(["-sS", "-m", "5", &format!("http://{ip}:8080/")]).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(said.contains(text), "{said}{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    });
}
