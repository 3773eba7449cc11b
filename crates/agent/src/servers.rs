//! Which of the API servers is asked: one, until it fails; then the next.
//!
//! 1. Whoever fails is left by everybody at once: requests that follow go to the next server, and what the old one is
//!    still sending, such as watches, is cut, because a machine that is gone never says that it is gone.
//! 2. Nobody goes back by themselves: a server that has come back is as good as any other.
//! 3. Addresses that were given are kept; those that the cluster tells come and go with what it tells.
//!
//! Kubernetes has one address and leaves this to a load balancer; k3s and others put one into the agent, as here.

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// More servers than any cluster has; what is told beyond them is not remembered.
const MOST: usize = 16;
/// A server that answers that it cannot serve is left, but not sooner than this after it was chosen: when none of them
/// can, nothing is won by changing.
const PATIENCE: Duration = Duration::from_secs(10);

/// The servers of a cluster. Clones of the [`Arc`] share the choice.
#[derive(Debug)]
pub struct Servers {
    /// What the user named; never empty.
    given: Vec<Server>,
    choice: Mutex<Choice>,
}

#[derive(Debug)]
struct Choice {
    /// Given ones first; never empty.
    all: Vec<Server>,
    current: Turn,
}

/// The server that is asked now.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) server: Server,
    /// Cancelled when it is left.
    pub(crate) over: CancellationToken,
    since: Instant,
}

/// Why a server is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It takes no connection.
    NoConnection,
    /// It has taken a request and does not answer.
    Silent,
    /// It says that it cannot serve.
    Unready,
}

/// The address of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    scheme: Scheme,
    authority: Authority,
    /// What stands before every path; mostly nothing.
    prefix: String,
}

/// An address that is none.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the address of a server, such as https://10.0.0.1:6443")]
pub struct AddressError(String);

impl Servers {
    /// The servers at these addresses (`https://host:port`), the first of them first.
    pub fn new<T: AsRef<str>>(urls: impl IntoIterator<Item = T>) -> Result<Arc<Self>, AddressError> {
        let given: Vec<Server> =
            urls.into_iter().map(|url| Server::parse(url.as_ref())).collect::<Result<_, _>>()?;
        let first = given.first().cloned().ok_or_else(|| AddressError(String::new()))?;
        let choice = Choice { all: given.clone(), current: Turn::of(first) };
        Ok(Arc::new(Self { given, choice: Mutex::new(choice) }))
    }

    /// Takes over what the cluster says of its servers; answers whether that was new. Addresses that are none are left out.
    pub fn learn<T: AsRef<str>>(&self, told: impl IntoIterator<Item = T>) -> bool {
        let told = told.into_iter().filter_map(|url| Server::parse(url.as_ref()).ok());
        let mut choice = self.choice();
        let all = merged(&self.given, told);
        let is_new = all != choice.all;
        choice.all = all;
        is_new
    }

    /// All addresses, the given ones first.
    pub fn urls(&self) -> Vec<String> {
        self.choice().all.iter().map(Server::url).collect()
    }

    /// The address that is asked now.
    pub fn current(&self) -> String {
        self.turn().server.url()
    }

    pub(crate) fn turn(&self) -> Turn {
        self.choice().current.clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.choice().all.len()
    }

    /// Goes over to the next server, unless somebody else has done so meanwhile.
    pub(crate) fn leave(&self, turn: &Turn, why: Why) {
        let mut choice = self.choice();
        let spared = why == Why::Unready && turn.since.elapsed() < PATIENCE;
        if turn.over.is_cancelled() || spared {
            return;
        }
        let next = next(&choice.all, &turn.server);
        if next != turn.server {
            tracing::warn!(server = turn.server.url(), next = next.url(), ?why, "the server is left");
        }
        choice.current = Turn::of(next);
        drop(choice);
        turn.over.cancel();
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    fn of(server: Server) -> Self {
        Self { server, over: CancellationToken::new(), since: Instant::now() }
    }
}

impl Server {
    fn parse(url: &str) -> Result<Self, AddressError> {
        let bad = || AddressError(url.to_string());
        let parts = url.trim().parse::<Uri>().map_err(|_| bad())?.into_parts();
        let scheme = parts.scheme.filter(|s| [Scheme::HTTP, Scheme::HTTPS].contains(s)).ok_or_else(bad)?;
        let authority = parts.authority.filter(|a| !a.host().is_empty()).ok_or_else(bad)?;
        let prefix =
            parts.path_and_query.map_or(String::new(), |path| path.path().trim_end_matches('/').into());
        Ok(Self { scheme, authority, prefix })
    }

    fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.prefix)
    }

    /// Where a request for `path` goes.
    pub(crate) fn uri(&self, path: &Uri) -> Result<Uri, http::Error> {
        let asked = path.path_and_query().map_or("/", PathAndQuery::as_str);
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(format!("{}{asked}", self.prefix))
            .build()
    }
}

fn merged(given: &[Server], told: impl Iterator<Item = Server>) -> Vec<Server> {
    let mut all = given.to_vec();
    for server in told {
        if all.len() < MOST && !all.contains(&server) {
            all.push(server);
        }
    }
    all
}

/// The one after it; the first after the last, and after one that is no longer among them.
fn next(all: &[Server], left: &Server) -> Server {
    let after = all.iter().position(|server| server == left).map_or(0, |place| place + 1);
    all.get(after).or(all.first()).unwrap_or(left).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_fails_is_left_once_and_the_order_is_a_circle() {
        let servers = Servers::new(["https://a:1", "https://b:2/"]).unwrap();
        let first = servers.turn();
        servers.leave(&first, Why::Unready);
        assert_eq!(servers.current(), "https://a:1", "it may become ready in a moment");
        servers.leave(&first, Why::NoConnection);
        servers.leave(&first, Why::Silent);
        assert!(first.over.is_cancelled());
        assert_eq!(servers.current(), "https://b:2");
        servers.leave(&servers.turn(), Why::Silent);
        assert_eq!(servers.current(), "https://a:1");
    }

    #[tokio::test]
    async fn what_the_cluster_tells_comes_and_goes_and_what_was_given_stays() {
        let servers = Servers::new(["https://a:1"]).unwrap();
        assert!(servers.learn(["https://b:2", "https://a:1", "no address"]));
        assert!(!servers.learn(["https://b:2"]));
        servers.leave(&servers.turn(), Why::Silent);
        assert_eq!(servers.current(), "https://b:2");
        assert!(servers.learn(["https://c:3"]));
        assert_eq!(servers.urls(), ["https://a:1", "https://c:3"]);
        assert_eq!(servers.current(), "https://b:2", "until it fails");
        servers.leave(&servers.turn(), Why::Silent);
        assert_eq!(servers.current(), "https://a:1");
    }

    #[tokio::test]
    async fn the_only_server_is_left_for_itself_and_what_it_sends_is_cut() {
        let servers = Servers::new(["https://a:1"]).unwrap();
        let turn = servers.turn();
        servers.leave(&turn, Why::NoConnection);
        assert!(turn.over.is_cancelled() && !servers.turn().over.is_cancelled());
    }

    #[test]
    fn an_address_has_a_scheme_and_a_host_and_perhaps_a_path() {
        let check = |url: &str, expected: Option<&str>| {
            let asked = "/api/v1?limit=1".parse().unwrap();
            let uri = Server::parse(url).ok().map(|server| server.uri(&asked).unwrap().to_string());
            assert_eq!(uri.as_deref(), expected, "{url}");
        };
        check("https://10.0.0.1:6443", Some("https://10.0.0.1:6443/api/v1?limit=1"));
        check("https://[fd00::1]:6443/", Some("https://[fd00::1]:6443/api/v1?limit=1"));
        check("https://proxy/k8s/c1", Some("https://proxy/k8s/c1/api/v1?limit=1"));
        ["", "10.0.0.1:6443", "ftp://a", "https://", "x"].iter().for_each(|wrong| check(wrong, None));
        assert!(Servers::new(Vec::<String>::new()).is_err());
    }
}
