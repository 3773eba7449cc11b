//! How soon may a cache ask for its objects again?
//!
//! kube's watcher asks again at once when a watch has ended without an error. Before a server, or a load balancer, that ends
//! watches as soon as they begin, that is a hot loop. So the requests of a cache go through [`unhurried`]:
//!
//! 1. A watch that begins where the one before has begun has brought nothing: each of these in a row waits longer.
//! 2. Everything anew ([`Asks::All`]) waits longer each time, until that was not necessary for [`CALM`].
//! 3. What is asked anew is asked of no state in particular (`resourceVersion=0`) by kube's streaming list; then a server that
//!    lags behind may show a state from before our own writes. We ask for the newest.
//!
//! Kubernetes: `client-go/tools/cache/reflector.go` (`watchHandler` on a very short watch, `backoffManager`); Differs from it
//! in 3: there the first list may be old.

use http::{Request, Uri};
use kube::Client;
use kube::client::Body;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Wait after the first request that was in vain; each further one in a row doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest wait: a server that is well again is noticed within this.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// After so long without a list, one is nothing unusual.
const CALM: Duration = Duration::from_secs(60);

/// A client for caches, whose requests keep a rhythm, for each path and selection its own.
pub fn unhurried(client: &Client) -> Client {
    let rhythms = Arc::<Mutex<BTreeMap<String, Rhythm>>>::default();
    let (namespace, client) = (client.default_namespace().to_string(), client.clone());
    let service = tower::service_fn(move |mut request: Request<Body>| {
        let (client, asked) = (client.clone(), Asked::of(request.uri()));
        let wait = {
            let mut all = rhythms.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(asked.of).or_default().next(&asked.what, Instant::now())
        };
        if let Some(newest) = asked.newest {
            *request.uri_mut() = newest;
        }
        async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            client.send(request).await
        }
    });
    Client::new(service, namespace)
}

/// What a cache asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asks {
    /// Everything, from the beginning.
    All,
    /// The next page of it.
    Page,
    /// What has come after this version.
    After(String),
}

struct Asked {
    what: Asks,
    /// Path and selection.
    of: String,
    /// The same request for the newest state, if it was for any.
    newest: Option<Uri>,
}

impl Asked {
    fn of(uri: &Uri) -> Self {
        let pairs: Vec<&str> = uri.query().unwrap_or_default().split('&').collect();
        let value = |name: &str| pairs.iter().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let version = value("resourceVersion").unwrap_or_default();
        let streams = value("sendInitialEvents") == Some("true");
        let what = match value("watch") {
            Some("true") if !streams => Asks::After(version.to_string()),
            None if value("continue").is_some() => Asks::Page,
            _ => Asks::All,
        };
        let selection = pairs.iter().filter(|pair| pair.contains("Selector="));
        let of = [uri.path()].into_iter().chain(selection.copied()).collect();
        let newest = (streams && version == "0").then(|| {
            let kept: Vec<&str> =
                pairs.iter().filter(|pair| **pair != "resourceVersion=0").copied().collect();
            format!("{}?{}", uri.path(), kept.join("&")).parse().ok()
        });
        Self { what, of, newest: newest.flatten() }
    }
}

/// When one cache asked, and how often in vain.
#[derive(Debug, Default)]
struct Rhythm {
    all: Streak,
    after: Streak,
    version: String,
}

#[derive(Debug, Default)]
struct Streak {
    last: Option<Instant>,
    length: u32,
}

impl Rhythm {
    /// How long this waits from now on.
    fn next(&mut self, asks: &Asks, now: Instant) -> Duration {
        match asks {
            Asks::Page => Duration::ZERO,
            Asks::All => self.all.next(CALM, now),
            Asks::After(version) => {
                if self.version != *version {
                    (self.version, self.after) = (version.clone(), Streak::default());
                }
                self.after.next(LONGEST_WAIT, now)
            }
        }
    }
}

impl Streak {
    fn next(&mut self, calm: Duration, now: Instant) -> Duration {
        let since = self.last.map(|last| now.saturating_duration_since(last));
        let wait = match since {
            Some(since) if since <= calm => {
                self.length = self.length.saturating_add(1);
                delay(self.length).saturating_sub(since)
            }
            _ => {
                self.length = 0;
                Duration::ZERO
            }
        };
        self.last = Some(now + wait);
        wait
    }
}

/// The wait after so many attempts in a row that were in vain, at least one.
pub(super) fn delay(length: u32) -> Duration {
    FIRST_WAIT.saturating_mul(2u32.saturating_pow(length.saturating_sub(1))).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds that each of these waits, which comes so many milliseconds after the one before went out.
    fn check(asked: &[(u64, Asks)], expected: &[u64]) {
        let (mut rhythm, mut now) = (Rhythm::default(), Instant::now());
        let waits = asked.iter().map(|(after, asks)| {
            now += Duration::from_millis(*after);
            let wait = rhythm.next(asks, now);
            now += wait;
            wait.as_millis() as u64
        });
        assert_eq!(waits.collect::<Vec<_>>(), expected, "{asked:?}");
    }

    fn after(version: &str) -> Asks {
        Asks::After(version.to_string())
    }

    #[test]
    fn who_asked_in_vain_waits_and_whoever_has_heard_something_does_not() {
        check(
            &[
                (0, Asks::All),
                (0, after("1")),
                (0, after("1")),
                (0, after("1")),
                (0, after("2")),
                (0, after("2")),
            ],
            &[0, 0, 100, 200, 0, 100],
        );
        // As long as watches last at most: nothing new for a long time is no failure.
        check(
            &[(0, after("1")), (290_000, after("1")), (0, after("1")), (50, after("1"))],
            &[0, 0, 100, 150],
        );
        let vain: Vec<_> = (0..9).map(|_| (0, after("1"))).collect();
        check(&vain, &[0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn everything_anew_waits_longer_each_time_and_pages_never_do() {
        check(
            &[
                (0, Asks::All),
                (0, Asks::Page),
                (0, after("1")),
                (0, Asks::All),
                (0, after("2")),
                (150, Asks::All),
            ],
            &[0, 0, 0, 100, 0, 50],
        );
        check(&[(0, Asks::All), (60_001, Asks::All), (1, Asks::All)], &[0, 0, 99]);
    }

    #[test]
    fn any_state_becomes_the_newest() {
        let check = |target: &str, what: Asks, of: &str, newest: Option<&str>| {
            let asked = Asked::of(&target.parse().unwrap());
            let newest = newest.map(|uri| uri.parse().unwrap());
            assert_eq!((asked.what, asked.of.as_str(), asked.newest), (what, of, newest), "{target}");
        };
        check("/api/v1/pods", Asks::All, "/api/v1/pods", None);
        check("/api/v1/pods?limit=500&continue=abc", Asks::Page, "/api/v1/pods", None);
        check(
            "/api/v1/pods?watch=true&labelSelector=a%3Db&sendInitialEvents=true&resourceVersion=0",
            Asks::All,
            "/api/v1/podslabelSelector=a%3Db",
            Some("/api/v1/pods?watch=true&labelSelector=a%3Db&sendInitialEvents=true"),
        );
        check("/api/v1/pods?watch=true&resourceVersion=17", after("17"), "/api/v1/pods", None);
    }
}
