//! With what the store of a new world begins: empty, or with what every cluster has.
//!
//! A server writes some hundred objects into an empty store, the same ones each time. To have them written anew for every
//! seed would be most of what a small seed does; so a thread has it done once, and most seeds begin with a copy, as a
//! server that starts again. It is made on a runtime of its own, so that the first seed of a thread is like all others.

use crate::chance::{self, Chance};
use crate::clock;
use anyhow::{Context as _, Result};
use apiserver::{ApiServer, Sources};
use std::cell::RefCell;
use std::sync::Arc;
use store::memory::MemoryStore;
use store::{EMPTY, Listing, Store};

/// What the store holds in the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Beginning {
    /// Nothing: the server has it all to write.
    #[default]
    Empty,
    /// What a server has written, and nobody else.
    Furnished,
}

thread_local! {
    static FURNISHED: RefCell<Option<Listing>> = const { RefCell::new(None) };
}

impl Beginning {
    /// Makes on this thread what [`Beginning::listing`] gives. Call it outside of any runtime.
    pub(crate) fn prepare() -> Result<()> {
        if FURNISHED.with_borrow(Option::is_some) {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let listing = runtime.context("the runtime")?.block_on(furnish())?;
        FURNISHED.set(Some(listing));
        Ok(())
    }

    /// What the store holds.
    pub(crate) fn listing(self) -> Result<Listing> {
        match self {
            Self::Empty => Ok(Listing { revision: EMPTY, entries: Vec::new() }),
            Self::Furnished => FURNISHED.with_borrow(Clone::clone).context("nothing was prepared"),
        }
    }
}

async fn furnish() -> Result<Listing> {
    clock::begin();
    chance::give_server(Chance::of_seed(0));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let server = open(store.clone()).await?;
    let listing = store.list("").await.context("what the server has written");
    server.close();
    listing
}

/// A server on this store, with the clock and the chance of the simulation.
pub(crate) async fn open(store: Arc<dyn Store>) -> Result<ApiServer> {
    let config = apiserver::Config {
        advertise: ([127, 0, 0, 1], 6443).into(),
        token_user: Arc::new(|_| None),
        agent_tls: None,
        ca_pem: String::new(),
        issuer: None,
        audit: None,
        tracer: None,
        sources: Sources { now: clock::of_server, chance: chance::of_server },
    };
    ApiServer::open(store, config).await.context("the API server")
}
