//! One watch of one kind, poured into its [`Mirror`] for ever.
//!
//! A watch error never ends a loop: it is said, waited out (without chance), and the list is read again where needed.
//! Starts with a streaming list; a server that does not know it (400, 422), or cannot bring it to an end, gets an ordinary
//! list and a watch. How soon it is asked again is [`super::rhythm`]'s.
//! Kubernetes: `client-go/tools/cache/reflector.go`.

use super::mirror::{Kept, Mirror};
use super::rhythm;
use futures::StreamExt as _;
use kube::Api;
use kube::runtime::watcher::{self, Event};
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

/// Errors in a row of which each is a warning; further ones are noted at debug level.
const LOUD_ERRORS: u32 = 3;

/// Streaming lists in a row that may break off. Pages of a list are shorter, and each is an answer of its own.
const BROKEN_OFF: u32 = 2;

/// Keeps `mirror` up to date. `trim` takes off what no loop reads, before anything is stored: of what is sent, `W`, it makes
/// what is kept.
pub(super) async fn feed<W, K>(
    api: Api<W>,
    selection: watcher::Config,
    trim: impl Fn(W) -> K + Send,
    mirror: Arc<Mirror<K>>,
) -> Infallible
where
    W: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K: Kept,
{
    feed_of(None, api, selection, trim, mirror).await
}

/// The same for one namespace of several, each of which has its own watch.
pub(super) async fn feed_of<W, K>(
    namespace: Option<String>,
    api: Api<W>,
    selection: watcher::Config,
    trim: impl Fn(W) -> K + Send,
    mirror: Arc<Mirror<K>>,
) -> Infallible
where
    W: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K: Kept,
{
    let mirror = Fed(mirror);
    let what = api.resource_url().to_string();
    let mut config = selection.streaming_lists();
    let (mut failures, mut begun) = (0, 0);
    loop {
        let mut events = pin!(watcher::watcher(api.clone(), config.clone()));
        let mut incoming = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) if config.initial_list_strategy == STREAMING && begun == BROKEN_OFF => {
                    tracing::info!(%what, "streaming lists break off here");
                    config.initial_list_strategy = watcher::InitialListStrategy::ListWatch;
                    break;
                }
                Ok(event) => {
                    failures = 0;
                    match event {
                        Event::Init => begun += 1,
                        Event::InitDone => begun = 0,
                        _ => {}
                    }
                    take(event, &trim, &mut incoming, &mirror.0, namespace.as_deref());
                }
                Err(error) if config.initial_list_strategy == STREAMING && is_refused(&error) => {
                    tracing::info!(%what, %error, "no streaming lists here");
                    config.initial_list_strategy = watcher::InitialListStrategy::ListWatch;
                    break;
                }
                Err(error) => pause(&what, &error, &mut failures).await,
            }
        }
    }
}

/// A mirror as long as it is fed. Listeners hold loops, and loops hold mirrors: without an end to it, a loop whose lease is lost
/// would stay in memory with all that it knows.
struct Fed<K: Kept>(Arc<Mirror<K>>);

impl<K: Kept> Drop for Fed<K> {
    fn drop(&mut self) {
        self.0.forget_listeners();
    }
}

const STREAMING: watcher::InitialListStrategy = watcher::InitialListStrategy::StreamingList;

fn take<W, K>(
    event: Event<W>,
    trim: impl Fn(W) -> K,
    incoming: &mut Vec<K>,
    mirror: &Mirror<K>,
    namespace: Option<&str>,
) where
    K: Kept,
{
    match event {
        Event::Init => incoming.clear(),
        Event::InitApply(object) => incoming.push(trim(object)),
        Event::InitDone => mirror.replace_in(namespace, std::mem::take(incoming)),
        Event::Apply(object) => mirror.apply(trim(object)),
        Event::Delete(object) => mirror.remove(trim(object)),
    }
}

/// Whether the server does not understand what was asked.
fn is_refused(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => matches!(status.code, 400 | 422),
        _ => false,
    }
}

async fn pause(what: &str, error: &watcher::Error, failures: &mut u32) {
    *failures = failures.saturating_add(1);
    let wait = rhythm::delay(*failures);
    match *failures <= LOUD_ERRORS {
        true => tracing::warn!(%what, %error, ?wait, "watch interrupted"),
        false => tracing::debug!(%what, %error, ?wait, "watch interrupted"),
    }
    tokio::time::sleep(wait).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use k8s_openapi::api::core::v1::Node;
    use kube::Client;
    use kube::client::Body;
    use std::convert::Infallible;

    /// A server whose streaming lists end in the middle.
    async fn answer(request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let node = r#"{"kind":"Node","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"1"}}"#;
        let query = request.uri().query().unwrap_or_default().to_string();
        let text = match query.contains("watch=true") {
            true if query.contains("sendInitialEvents=true") => {
                format!(r#"{{"type":"ADDED","object":{node}}}"#)
            }
            true => std::future::pending().await,
            false => format!(
                r#"{{"kind":"NodeList","apiVersion":"v1","metadata":{{"resourceVersion":"2"}},"items":[{node}]}}"#
            ),
        };
        Ok(Response::new(Body::from(text.into_bytes())))
    }

    #[tokio::test(start_paused = true)]
    async fn lists_that_break_off_become_pages() {
        let mirror = Arc::new(Mirror::<Node>::new(&[]));
        let api = Api::all(Client::new(tower::service_fn(answer), "default"));
        tokio::select! {
            never = feed(api, watcher::Config::default(), |node| node, mirror.clone()) => match never {},
            () = mirror.synced() => {}
        }
        assert_eq!(mirror.all().len(), 1);
    }
}
