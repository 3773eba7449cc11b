//! A registry with a password: pull secrets.

use crate::{Daemon, Place};
use e2e::Login;

const WRONG_PASSWORD: &str = "open-barley-0815";

/// The passwords, and both as `auth` of a docker configuration holds them.
pub fn never_told() -> Vec<String> {
    let Login { password, .. } = Login::PULLER;
    // base64 of `puller:<password>`, without the last letters, which depend on the padding.
    let encoded = ["cHVsbGVyOm9wZW4tc2VzYW1lLTQ3", "cHVsbGVyOm9wZW4tYmFybGV5LTA4"];
    [password, WRONG_PASSWORD].into_iter().chain(encoded).map(String::from).collect()
}

pub fn a_secret_in_the_template_opens_a_closed_registry(place: &Place) {
    let (image, id) = place.push(place.closed, "1", "secret");
    place.apply(&Daemon::new("app", &image));
    place.waits("app", &["ErrImagePull", "ImagePullBackOff"]);
    is_refused(place, "app", &image);
    create_secret(place, "login", Login::PULLER.password);
    place.apply(&Daemon::new("app", &image).secrets(&["login"]));
    place.rolled_out("app");
    assert_eq!(place.pods("app", ".status.containerStatuses[0].imageID"), [id.as_str(); 3]);
}

/// Also in the older form of a secret.
pub fn a_secret_of_the_account_opens_it_too(place: &Place) {
    let (image, id) = place.push(place.closed, "1", "secret");
    let Login { user, password, .. } = Login::PULLER;
    let auths = serde_json::json!({place.closed.name(): {"username": user, "password": password}});
    let secret = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "old"},
        "type": "kubernetes.io/dockercfg",
        "stringData": {".dockercfg": auths.to_string()},
    });
    place.kubectl.ok_with(&place.here(&["apply", "-f", "-"]), &secret.to_string());
    place.ok(&["patch", "serviceaccount", "default", "-p", r#"{"imagePullSecrets": [{"name": "old"}]}"#]);
    place.apply(&Daemon::new("app", &image).on("n1"));
    place.rolled_out("app");
    assert_eq!(place.pods("app", ".spec.imagePullSecrets[*].name"), ["old"]);
    assert_eq!(place.pods("app", ".status.containerStatuses[0].imageID"), [id]);
}

pub fn a_wrong_password_is_refused_and_the_next_secret_tried(place: &Place) {
    let (image, id) = place.push(place.closed, "1", "secret");
    create_secret(place, "wrong", WRONG_PASSWORD);
    create_secret(place, "right", Login::PULLER.password);
    place.apply(&Daemon::new("app", &image).on("n3").secrets(&["wrong", "absent"]));
    place.waits("app", &["ErrImagePull", "ImagePullBackOff"]);
    is_refused(place, "app", &image);
    let absent = "FailedToRetrieveImagePullSecret Unable to retrieve some image pull secrets (absent); \
                  attempting to pull the image may not succeed.";
    place.events(&[&|event| event == absent]);
    place.apply(&Daemon::new("app", &image).on("n3").secrets(&["wrong", "right"]));
    place.rolled_out("app");
    assert_eq!(place.pods("app", ".status.containerStatuses[0].imageID"), [id]);
}

#[track_caller]
fn create_secret(place: &Place, name: &str, password: &str) {
    let server = format!("--docker-server={}", place.closed.name());
    let (user, password) =
        (format!("--docker-username={}", Login::PULLER.user), format!("--docker-password={password}"));
    place.ok(&["create", "secret", "docker-registry", name, &server, &user, &password]);
}

/// The registry's answer stands where people look for it.
#[track_caller]
fn is_refused(place: &Place, daemon: &str, image: &str) {
    let failed = format!("Failed Failed to pull image {image:?}: ");
    place.events(&[&|event| event.starts_with(&failed)]);
    let described = place.describe(daemon);
    let says = |text: &str| described.contains(text);
    assert!(says("401 Unauthorized") || says("authorization failed"), "{described}");
}
