//! A cluster in one thread: server, loops, machines, and somebody who looks at every write.

use crate::beginning::{self, Beginning};
use crate::chance::{self, Chance};
use crate::clock;
use crate::faults::{Dials, Faults};
use crate::hands::Hands;
use crate::invariants::{Invariants, OTHERS};
use crate::machines::Machines;
use crate::observer::Observer;
use crate::processes::{Around, Place, Process};
use crate::trace::Trace;
use anyhow::{Context as _, Result};
use apiserver::{ApiServer, User};
use controllers::{Loop, Loops};
use std::collections::BTreeSet;
use std::sync::Arc;
use store::Store;
use store::memory::MemoryStore;
use tokio::task::JoinSet;

/// Everything that runs. Dropping it ends it.
pub(crate) struct World {
    pub(crate) hands: Hands,
    pub(crate) machines: Machines,
    pub(crate) faults: Faults,
    pub(crate) trace: Trace,
    pub(crate) observer: Observer,
    /// The names of the processes that run loops.
    pub(crate) processes: Vec<String>,
    /// [`Plan::is_apart`].
    pub(crate) is_apart: bool,
    server: ApiServer,
    store: Arc<dyn Store>,
    _tasks: JoinSet<()>,
}

/// What kind of world it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) dials: Dials,
    /// Two processes take turns with the loop `daemonsets`.
    pub(crate) two_leaders: bool,
    /// The loop `daemonsets` runs as `everynode controller` does.
    pub(crate) is_apart: bool,
    /// What the store holds.
    pub(crate) beginning: Beginning,
    /// These loops do not run.
    pub(crate) without: BTreeSet<Loop>,
}

impl World {
    /// A world without machines. Call it in the runtime in which it shall run, after [`clock::begin`].
    pub(crate) async fn begin(chance: &Chance, plan: Plan, trace: Trace) -> Result<Self> {
        chance::give_server(chance.branch("server"));
        let held = plan.beginning.listing()?;
        let store: Arc<dyn Store> = Arc::new(MemoryStore::copy_of(held.clone()));
        let faults = Faults::new(chance.branch("faults"), plan.dials);
        let observer = Observer::new(trace.clone(), held);
        let mut tasks = JoinSet::new();
        let ours = match plan.two_leaders {
            true => vec!["daemonsets-a".to_string(), "daemonsets-b".to_string()],
            false => vec!["daemonsets".to_string()],
        };
        if plan.is_apart {
            clock::set_apart();
            trace.met("apart", "runs");
        }
        let looks = observer.clone().watch(
            store.clone(),
            faults.clone(),
            Invariants::of(ours.clone(), plan.is_apart),
        );
        tasks.spawn(looks);
        let server = beginning::open(store.clone()).await?;
        let around = Around { server: server.clone(), faults: faults.clone(), trace: trace.clone() };
        for name in ours.clone() {
            let loops = Loops::of([Loop::DaemonSets]);
            let chance = chance.branch(&name);
            let place = match plan {
                Plan { is_apart: true, .. } => Place::Apart,
                Plan { two_leaders: true, .. } => Place::InTurns,
                _ => Place::Alone,
            };
            let process = Process { name, loops, place, chance, starts: 0 };
            tasks.spawn(process.keep(around.clone()));
        }
        tasks.spawn(others(chance, &plan.without).keep(around.clone()));
        let admin = server.as_user(User::authenticated("admin", ["system:masters".to_string()]));
        let hands = Hands::new(kube::Client::new(admin, "default"), faults.clone());
        let machines = Machines::new(around);
        let processes = [ours, vec![OTHERS.to_string()]].concat();
        let is_apart = plan.is_apart;
        Ok(Self {
            hands,
            machines,
            faults,
            trace,
            observer,
            processes,
            is_apart,
            server,
            store,
            _tasks: tasks,
        })
    }

    /// The processes that run the loop `daemonsets`.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &String> {
        self.processes.iter().filter(|name| *name != OTHERS)
    }

    /// Waits until every write so far has been looked at.
    pub(crate) async fn observed(&self) -> Result<()> {
        let revision = self.store.current().await.context("the store's revision")?;
        self.observer.reach(revision).await;
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.close();
    }
}

fn others(chance: &Chance, without: &BTreeSet<Loop>) -> Process {
    let is_other = |which: &Loop| !matches!(which, Loop::DaemonSets | Loop::Certificates);
    let loops = Loop::ALL.into_iter().filter(is_other).filter(|which| !without.contains(which));
    Process {
        name: OTHERS.to_string(),
        loops: Loops::of(loops),
        place: Place::Alone,
        chance: chance.branch(OTHERS),
        starts: 0,
    }
}
