//! Which of the runtime's handlers does a pod run by?
//!
//! A pod names a RuntimeClass, the runtime knows handlers; the class says which one. Each sandbox asks the server; what it
//! answered last is kept, so that a pod can start again while the server is down. Without a class the runtime has its own
//! choice. Kubernetes: `kubelet/runtimeclass`.

use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::Api;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A server that does not answer within this is down: the last known handler is used.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Why nobody knows the handler.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// There is no such class.
    #[error("RuntimeClass {0:?} not found")]
    Missing(String),
    /// The server refused; its own sentence.
    #[error("failed to read RuntimeClass {name:?}: {message}")]
    Refused {
        /// The class.
        name: String,
        /// The server's words.
        message: String,
    },
    /// The server does not answer, and was not asked before.
    #[error("failed to read RuntimeClass {0:?}: the API server does not answer")]
    NoAnswer(String),
}

/// Reads classes, and remembers their handlers.
pub struct RuntimeClasses {
    client: kube::Client,
    known: Mutex<BTreeMap<String, String>>,
}

impl RuntimeClasses {
    pub fn new(client: kube::Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// The handler of a class; empty without one.
    pub async fn handler(&self, class: Option<&str>) -> Result<String, HandlerError> {
        let Some(name) = class.filter(|name| !name.is_empty()) else { return Ok(String::new()) };
        let api = Api::<RuntimeClass>::all(self.client.clone());
        match tokio::time::timeout(ANSWER_LIMIT, api.get_opt(name)).await {
            Ok(Ok(Some(class))) => {
                self.known().insert(name.to_string(), class.handler.clone());
                Ok(class.handler)
            }
            Ok(Ok(None)) => {
                self.known().remove(name);
                Err(HandlerError::Missing(name.to_string()))
            }
            Ok(Err(kube::Error::Api(status))) => {
                Err(HandlerError::Refused { name: name.to_string(), message: status.message.clone() })
            }
            _ => {
                let known = self.known().get(name).cloned();
                known.ok_or_else(|| HandlerError::NoAnswer(name.to_string()))
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube::client::Body;
    use std::sync::Arc;

    /// A server that answers with these; an empty text is no answer at all.
    fn classes(answers: &[(u16, &'static str)]) -> RuntimeClasses {
        let left = Arc::new(Mutex::new(answers.to_vec()));
        let service = tower::service_fn(move |_: Request<Body>| {
            let (code, text) = left.lock().unwrap().remove(0);
            async move {
                match text {
                    "" => Err(std::io::Error::other("away")),
                    text => Ok(Response::builder()
                        .status(code)
                        .body(Body::from(text.as_bytes().to_vec()))
                        .unwrap()),
                }
            }
        });
        RuntimeClasses::new(kube::Client::new(service, "default"))
    }

    const FOUND: &str = r#"{"metadata": {"name": "c"}, "handler": "runsc"}"#;
    const MISSING: &str =
        r#"{"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "no"}"#;
    const REFUSED: &str =
        r#"{"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "no"}"#;

    async fn check(answers: &[(u16, &'static str)], expected: &[Result<&str, &str>]) {
        let classes = classes(answers);
        for expected in expected {
            let found = classes.handler(Some("c")).await.map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), *expected);
        }
    }

    #[tokio::test]
    async fn the_class_says_the_handler() {
        check(&[(200, FOUND)], &[Ok("runsc")]).await;
        check(&[(404, MISSING)], &[Err("RuntimeClass \"c\" not found")]).await;
        check(&[(403, REFUSED)], &[Err("failed to read RuntimeClass \"c\": no")]).await;
        assert_eq!(classes(&[]).handler(None).await.unwrap(), "");
    }

    #[tokio::test]
    async fn while_the_server_is_away_the_last_answer_counts() {
        let away = Err("failed to read RuntimeClass \"c\": the API server does not answer");
        check(&[(0, "")], &[away]).await;
        check(&[(200, FOUND), (0, "")], &[Ok("runsc"), Ok("runsc")]).await;
        let missing = Err("RuntimeClass \"c\" not found");
        check(&[(200, FOUND), (404, MISSING), (0, "")], &[Ok("runsc"), missing, away]).await;
    }
}
