//! The image of one container: found on the node, or pulled with what the pod's secrets offer.
//!
//! Whether to pull decides [`crate::images`], with which credentials [`crate::credentials`]. Events carry kubelet's words.
//! A pull secret that is missing is told and does not stop the pull: the image may be public.
//!
//! Kubernetes: pkg/kubelet/images/image_manager.go, pkg/kubelet/kuberuntime/kuberuntime_image.go.

use super::{Scene, tell};
use crate::credentials::credentials;
use crate::events::Kind;
use crate::image_name::ImageName;
use crate::images::{self, Failure, PullPolicy};
use crate::restart::go_duration;
use crate::runtime::Image;
use crate::runtime::cri::messages as m;
use crate::sources::{Data, Source};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Container;
use std::collections::BTreeSet;
use std::time::Instant;

/// Sees to it that the image of a container is on the node.
pub(super) async fn image(
    scene: &Scene,
    container: &Container,
    sandbox: &m::PodSandboxConfig,
) -> Result<Image, Failure> {
    let wanted = container.image.clone().unwrap_or_default();
    let name = parse(scene, container, &wanted)?;
    let policy = images::policy(container);
    let present = look(scene, container, &wanted).await?;
    match (policy, present) {
        (PullPolicy::IfNotPresent | PullPolicy::Never, Some(image)) => {
            let message = format!("Container image {wanted:?} already present on machine");
            scene.event(Some(&container.name), Kind::Normal, "Pulled", &message);
            Ok(image)
        }
        (PullPolicy::Never, None) => {
            let message = format!("Container image {wanted:?} is not present with pull policy of Never");
            Err(refuse(scene, container, "ErrImageNeverPull", "ErrImageNeverPull", message))
        }
        _ => pull(scene, container, &name, sandbox).await,
    }
}

/// The runtime is not asked: containerd takes a name that is none for the id of an image that it does not have.
fn parse(scene: &Scene, container: &Container, image: &str) -> Result<ImageName, Failure> {
    ImageName::parse(image).map_err(|error| {
        let tried = format!("Failed to apply default image tag {image:?}");
        let message = format!("{tried}: couldn't parse image name {image:?}: {error}");
        refuse(scene, container, "InspectFailed", "InvalidImageName", message)
    })
}

async fn look(scene: &Scene, container: &Container, image: &str) -> Result<Option<Image>, Failure> {
    scene.runtime().image_status(image).await.map_err(|error| {
        let message = format!("Failed to inspect image {image:?}: {error}");
        refuse(scene, container, "InspectFailed", "ImageInspectError", message)
    })
}

/// Says twice, as kubelet does, why no pull was tried.
fn refuse(scene: &Scene, container: &Container, event: &str, reason: &str, message: String) -> Failure {
    scene.event(Some(&container.name), Kind::Warning, event, &message);
    tell(scene, &container.name, reason);
    Failure { reason: reason.into(), message, is_pull: false }
}

async fn pull(
    scene: &Scene,
    container: &Container,
    image_name: &ImageName,
    sandbox: &m::PodSandboxConfig,
) -> Result<Image, Failure> {
    let name = container.name.as_str();
    let image = container.image.as_deref().unwrap_or_default();
    scene.event(Some(name), Kind::Normal, "Pulling", &format!("Pulling image {image:?}"));
    let began = Instant::now();
    let pulled = match pull_with_credentials(scene, image, image_name, sandbox).await {
        Ok(()) => look(scene, container, image)
            .await?
            .ok_or_else(|| "the image is missing after its pull".to_string()),
        Err(message) => Err(message),
    };
    match pulled {
        Ok(found) => {
            let time = go_duration(SignedDuration::try_from(began.elapsed()).unwrap_or(SignedDuration::MAX));
            let message = format!(
                "Successfully pulled image {image:?} in {time} ({time} including waiting). Image size: {} bytes.",
                found.size
            );
            scene.event(Some(name), Kind::Normal, "Pulled", &message);
            Ok(found)
        }
        Err(message) => {
            let text = format!("Failed to pull image {image:?}: {message}");
            scene.event(Some(name), Kind::Warning, "Failed", &text);
            tell(scene, name, "ErrImagePull");
            Err(Failure { reason: "ErrImagePull".into(), message, is_pull: true })
        }
    }
}

/// With each fitting credential in turn; without any, anonymously.
async fn pull_with_credentials(
    scene: &Scene,
    image: &str,
    image_name: &ImageName,
    sandbox: &m::PodSandboxConfig,
) -> Result<(), String> {
    let secrets = pull_secrets(scene).await;
    let found = credentials(image_name, &secrets).map_err(|error| error.to_string())?;
    let attempts = if found.is_empty() { vec![None] } else { found.iter().map(Some).collect() };
    let mut errors = Vec::new();
    for auth in attempts {
        match scene.runtime().pull_image(image, auth, sandbox).await {
            Ok(_) => return Ok(()),
            Err(error) => errors.push(error.to_string()),
        }
    }
    Err(all_of(errors))
}

/// The pod's pull secrets that exist, in its order.
async fn pull_secrets(scene: &Scene) -> Vec<(String, Data)> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for secret in scene.spec().image_pull_secrets.unwrap_or_default() {
        // Old objects may hold an empty name; it means nothing.
        if secret.name.is_empty() {
            continue;
        }
        let source = Source::Secret(secret.name.clone());
        let wanted = BTreeSet::from([source.clone()]);
        match scene.shared.sources.read(&scene.key().namespace, &wanted).await {
            Ok(mut contents) => match contents.remove(&source) {
                Some(data) => found.push((secret.name, data)),
                None => missing.push(secret.name),
            },
            Err(error) => {
                tracing::debug!(%error, secret = secret.name, "image pull secret not read");
                missing.push(secret.name);
            }
        }
    }
    if !missing.is_empty() {
        let message = format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            missing.join(", ")
        );
        scene.event(None, Kind::Warning, "FailedToRetrieveImagePullSecret", &message);
    }
    found
}

/// Several errors as Kubernetes prints them, each once. Kubernetes: apimachinery util/errors `NewAggregate`.
fn all_of(errors: Vec<String>) -> String {
    let mut different: Vec<String> = Vec::new();
    for error in errors {
        if !different.contains(&error) {
            different.push(error);
        }
    }
    match different.as_slice() {
        [one] => one.clone(),
        all => format!("[{}]", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_several_credentials_are_listed_once() {
        let check = |errors: &[&str], expected: &str| {
            assert_eq!(all_of(errors.iter().map(ToString::to_string).collect()), expected);
        };
        check(&["a"], "a");
        check(&["a", "a"], "a");
        check(&["a", "b", "a"], "[a, b]");
    }
}
