//! A rollout in which the loop `daemonsets` dies at its `n`th call: before the server has it, or when it is done.
//!
//! Played for every call of a whole rollout, so that no place is left where a crash leaves something that a new process
//! cannot bring to its end.

use crate::chance::Chance;
use crate::clock;
use crate::faults::{Asked, Moment, What};
use crate::hands::SETS;
use crate::machines::Make;
use crate::seed::{self, Outcome};
use crate::trace::Trace;
use crate::world::{Plan, World};
use anyhow::{Context as _, Result};
use serde_json::json;
use std::time::Duration;

/// When the process dies at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Before the call reaches the server.
    Before,
    /// After it took effect.
    After,
}

/// Plays the rollout with a death at this call, counted from the beginning; none when there is no such call.
pub fn run(call: u64, death: Death) -> Result<Option<Outcome>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.context("the runtime")?.block_on(play(call, death))
}

async fn play(call: u64, death: Death) -> Result<Option<Outcome>> {
    clock::begin();
    let (chance, trace) = (Chance::of_seed(call), Trace::default());
    let mut world = World::begin(&chance, Plan::default(), trace.clone()).await?;
    let what = What::Crash(if death == Death::Before { Moment::Before } else { Moment::After });
    let any = || "*".to_string();
    let client = "daemonsets".to_string();
    world.faults.ask(Asked { client, verb: any(), plural: any(), what, pass: call, times: 1 });
    for number in 1..=3 {
        world.machines.buy(number, Make::default());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "a", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "revisionHistoryLimit": 0, "template": {
            "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "hello:1"}]}}}
    });
    world.hands.create(SETS, &set).await.map_err(anyhow::Error::msg)?;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "hello:2"}]}}}});
    world.hands.patch(&format!("{SETS}/a"), &patch).await.map_err(anyhow::Error::msg)?;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let has_died = !world.faults.is_asked();
    seed::come_to_rest(&world).await?;
    let (last, hash, steps) = trace.end();
    let outcome = Outcome {
        seed: call,
        steps,
        hash,
        broken: trace.first_broken(),
        last,
        met: trace.coverage(&world.faults.told()),
    };
    Ok(has_died.then_some(outcome))
}
