//! Which member is asked, for how long, and what its failure means.
//!
//! 1. All requests go to one member until it fails or is slow; then all go to the next.
//! 2. A read is tried at the next member at once. A write only when it is certain that the member did nothing with
//!    it: no connection, or a refusal that etcd gives before it decides. Everything else is [`Failure::Unknown`], and
//!    the caller must not say that the write did or did not happen.
//! 3. A member that is cut off from the others refuses what needs a leader; one that hangs is noticed by the clock.
//!
//! Kubernetes: etcd/client/v3 (retry_interceptor.go has the same two classes).

use super::messages as m;
use super::options::{Login, Options};
use http::uri::PathAndQuery;
use prost::Message;
use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

/// A read that no member answered within this has failed.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// etcd gives a write up after 5 s and twice its election timeout, and says so; a little more than that.
const WRITE_LIMIT: Duration = Duration::from_secs(8);
/// A member that has not answered by now is slow: the next requests go to another.
const SLOW: Duration = Duration::from_secs(1);
/// Between two rounds through all members: an election takes a second.
const PAUSE: Duration = Duration::from_millis(100);
/// A member that takes no connection within this is down.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How often a quiet connection is tried. etcd closes connections that are tried more often than every 5 s.
const PING_EVERY: Duration = Duration::from_secs(6);
/// A connection that does not answer a try within this is dead.
const PING_LIMIT: Duration = Duration::from_secs(3);
/// A page of the largest values: [`super::PAGE`] times etcd's own limit.
const MESSAGE_LIMIT: usize = 512 << 20;
/// What one connection and one answer may have on the way: large lists should not wait for the window.
const WINDOW: u32 = 4 << 20;

/// What a call does when it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: it may be repeated.
    Read,
    /// It may change something: it must not be repeated unless it certainly did not arrive.
    Write,
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// etcd has read it and does not do it.
    Refused(Status),
    /// No member took it; nothing was done.
    Unavailable(String),
    /// It was sent and nobody knows what became of it.
    Unknown(String),
}

/// The members of one etcd cluster.
pub(super) struct Members {
    members: Vec<Member>,
    /// Counts on for ever; the remainder says who is asked.
    preferred: AtomicUsize,
    login: Option<Login>,
    token: RwLock<Option<MetadataValue<Ascii>>>,
}

struct Member {
    url: String,
    channel: Channel,
}

impl Members {
    /// Channels that connect when they are first used.
    pub(super) fn new(options: &Options) -> Result<Self, tonic::transport::Error> {
        let member = |url: &String| {
            let mut endpoint = Endpoint::from_shared(url.clone())?
                .connect_timeout(CONNECT_LIMIT)
                .http2_keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_LIMIT)
                .keep_alive_while_idle(true)
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .tcp_nodelay(true);
            if let Some(tls) = options.tls_config() {
                endpoint = endpoint.tls_config(tls)?;
            }
            Ok(Member { url: url.clone(), channel: endpoint.connect_lazy() })
        };
        let members = options.endpoints.iter().map(member).collect::<Result<_, _>>()?;
        let (preferred, login, token) = (AtomicUsize::new(0), options.login.clone(), RwLock::default());
        Ok(Self { members, preferred, login, token })
    }

    /// Asks until there is an answer, or the time for such a call is over.
    pub(super) async fn call<Q, A>(
        &self,
        verb: &'static str,
        request: &Q,
        effect: Effect,
    ) -> Result<A, Failure>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let end = Instant::now() + if effect == Effect::Read { READ_LIMIT } else { WRITE_LIMIT };
        let mut tries = 0;
        loop {
            let turn = self.turn();
            let attempt = self.attempt::<Q, A>(turn, verb, request.clone(), effect, end).await;
            let reason = match attempt {
                Ok(answer) => return Ok(answer),
                Err(Attempt::Refused(status)) => return Err(Failure::Refused(status)),
                Err(Attempt::Unclear(reason)) if effect == Effect::Write => {
                    self.pass_on(turn);
                    return Err(Failure::Unknown(reason));
                }
                Err(Attempt::NotDone(reason) | Attempt::Unclear(reason)) => reason,
            };
            self.pass_on(turn);
            tries += 1;
            if tries % self.members.len() == 0 {
                sleep(PAUSE).await;
            }
            if Instant::now() >= end {
                return Err(Failure::Unavailable(reason));
            }
        }
    }

    async fn attempt<Q, A>(
        &self,
        turn: usize,
        verb: &str,
        request: Q,
        effect: Effect,
        end: Instant,
    ) -> Result<A, Attempt>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let work = self.with_token(turn, verb, request);
        tokio::pin!(work);
        let alone = self.members.len() == 1;
        match timeout_at(if alone { end } else { end.min(Instant::now() + SLOW) }, &mut work).await {
            Ok(answer) => return answer,
            Err(_) if alone || effect == Effect::Read => {}
            Err(_) => {
                self.pass_on(turn);
                if let Ok(answer) = timeout_at(end, work).await {
                    return answer;
                }
            }
        }
        Err(Attempt::Unclear(format!("{}: no answer in time", self.member(turn).url)))
    }

    /// One try, and a second one with a new token where etcd does not know ours any more.
    async fn with_token<Q, A>(&self, turn: usize, verb: &str, request: Q) -> Result<A, Attempt>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        if self.login.is_some() && self.token().is_none() {
            self.log_in(turn).await?;
        }
        match self.once(turn, verb, self.request(request.clone())).await {
            Err(Attempt::Refused(status)) if self.login.is_some() && is_stale_token(&status) => {
                self.log_in(turn).await?;
                self.once(turn, verb, self.request(request)).await
            }
            answer => answer,
        }
    }

    async fn log_in(&self, turn: usize) -> Result<(), Attempt> {
        let Some(Login { user, password }) = self.login.clone() else { return Ok(()) };
        let request = m::AuthenticateRequest { name: user, password };
        let request = tonic::Request::new(request);
        let answer: m::AuthenticateResponse =
            self.once(turn, "/etcdserverpb.Auth/Authenticate", request).await.map_err(|failure| {
                match failure {
                    // Whatever became of the login, the request itself was not sent.
                    Attempt::Unclear(reason) => Attempt::NotDone(reason),
                    other => other,
                }
            })?;
        let token = MetadataValue::try_from(answer.token)
            .map_err(|_| Attempt::NotDone("etcd's token cannot stand in a header".into()))?;
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(())
    }

    async fn once<Q, A>(&self, turn: usize, verb: &str, request: tonic::Request<Q>) -> Result<A, Attempt>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let (mut grpc, path) = self.grpc(turn, verb).await?;
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let answer = grpc.unary(request, path, codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.judge(turn, status))
    }

    /// Opens a watch at the member whose turn it is; answers the stream and the turn.
    pub(super) async fn watch(
        &self,
        create: m::WatchCreate,
    ) -> Result<(Streaming<m::WatchResponse>, usize), String> {
        let turn = self.turn();
        let opened = timeout(CONNECT_LIMIT, self.open_watch(turn, create)).await;
        let reason = match opened {
            Ok(Ok(stream)) => return Ok((stream, turn)),
            Ok(Err(Attempt::Refused(status))) => {
                // A stream may not be the first to notice that its token is over.
                if is_stale_token(&status) {
                    *self.token.write().unwrap_or_else(PoisonError::into_inner) = None;
                }
                format!("{}: {}", self.member(turn).url, status.message())
            }
            Ok(Err(Attempt::NotDone(reason) | Attempt::Unclear(reason))) => reason,
            Err(_) => format!("{}: no answer in time", self.member(turn).url),
        };
        self.pass_on(turn);
        Err(reason)
    }

    async fn open_watch(
        &self,
        turn: usize,
        create: m::WatchCreate,
    ) -> Result<Streaming<m::WatchResponse>, Attempt> {
        if self.login.is_some() && self.token().is_none() {
            self.log_in(turn).await?;
        }
        let create = m::WatchRequest { create: Some(create) };
        // The request stays open: its end would end the watch.
        let asked = futures::StreamExt::chain(futures::stream::iter([create]), futures::stream::pending());
        let mut request = self.request(asked);
        // Without it a member that lost the others would keep us waiting in silence.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let (mut grpc, path) = self.grpc(turn, "/etcdserverpb.Watch/Watch").await?;
        let codec = tonic_prost::ProstCodec::<m::WatchRequest, m::WatchResponse>::default();
        let answer = grpc.streaming(request, path, codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.judge(turn, status))
    }

    /// The next requests go to the next member, unless they do already.
    pub(super) fn pass_on(&self, turn: usize) {
        let next = turn.wrapping_add(1);
        let _ = self.preferred.compare_exchange(turn, next, Ordering::AcqRel, Ordering::Acquire);
    }

    fn turn(&self) -> usize {
        self.preferred.load(Ordering::Acquire)
    }

    fn member(&self, turn: usize) -> &Member {
        // Never empty: the options were checked.
        &self.members[turn % self.members.len()]
    }

    fn token(&self) -> Option<MetadataValue<Ascii>> {
        self.token.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(token) = self.token() {
            request.metadata_mut().insert("token", token);
        }
        request
    }

    async fn grpc(
        &self,
        turn: usize,
        verb: &str,
    ) -> Result<(tonic::client::Grpc<Channel>, PathAndQuery), Attempt> {
        let member = self.member(turn);
        let not_done = |reason: String| Attempt::NotDone(format!("{}: {reason}", member.url));
        let mut grpc = tonic::client::Grpc::new(member.channel.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
        let path = PathAndQuery::try_from(verb).map_err(|error| not_done(error.to_string()))?;
        grpc.ready().await.map_err(|error| not_done(root_cause(&error)))?;
        Ok((grpc, path))
    }

    /// What a failed call means for what it asked.
    fn judge(&self, turn: usize, status: Status) -> Attempt {
        let url = &self.member(turn).url;
        if let Some(source) = status.source() {
            let reason = format!("{url}: {}", root_cause(source));
            return match has_connected(source) {
                true => Attempt::Unclear(reason),
                false => Attempt::NotDone(reason),
            };
        }
        let reason = format!("{url}: {}", status.message());
        match status.code() {
            Code::Unavailable | Code::ResourceExhausted if is_before_deciding(status.message()) => {
                Attempt::NotDone(reason)
            }
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
            | Code::Aborted => Attempt::Unclear(reason),
            _ => Attempt::Refused(status),
        }
    }
}

/// Why one try has no answer.
enum Attempt {
    Refused(Status),
    NotDone(String),
    Unclear(String),
}

/// Refusals that etcd gives before a write is proposed to the others.
fn is_before_deciding(message: &str) -> bool {
    ["etcdserver: no leader", "etcdserver: too many requests"].contains(&message)
}

fn is_stale_token(status: &Status) -> bool {
    status.code() == Code::Unauthenticated || status.message() == "etcdserver: revision of auth store is old"
}

/// Whether there was a connection on which a request could have left.
fn has_connected(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut chain = std::iter::successors(Some(error), |error| (*error).source());
    !chain.any(|error| error.is::<tonic::ConnectError>())
}

/// What the system says; the layers above say nothing more.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let last = std::iter::successors(Some(error), |error| (*error).source()).last();
    last.map(ToString::to_string).unwrap_or_default()
}
