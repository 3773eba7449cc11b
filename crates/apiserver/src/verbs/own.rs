//! Calls that the server makes itself: what every cluster has from the start, and what its own loops keep true.
//!
//! They go through the verbs like everybody's, so that defaults, rules and watches see them; no URL and no right is asked for.

use super::Call;
use crate::Inner;
use crate::authn::{MASTERS, User};
use crate::error::ApiError;
use crate::request::{Request, Target};
use crate::resources::Kind;
use http::{HeaderMap, Method};

/// Does `work` with a call of the server on the object `name`; `namespace` is empty for a kind that has none.
pub async fn as_server<T>(
    server: &Inner,
    kind: &Kind,
    (namespace, name): (&str, &str),
    work: impl AsyncFnOnce(&Call<'_>) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let target = Target {
        group: kind.group.into(),
        version: kind.version.into(),
        plural: kind.plural.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Target::default()
    };
    let user = User::authenticated("system:apiserver", [MASTERS.to_string()]);
    let (request, headers) = (Request::parse(&Method::PUT, "/", ""), HeaderMap::new());
    let call = Call {
        server,
        kind,
        target: &target,
        request: &request,
        headers: &headers,
        user: &user,
        upgrade: None,
    };
    work(&call).await
}
