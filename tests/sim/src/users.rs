//! Random but legal users: what people do to DaemonSets, pods and nodes in a busy quarter of an hour.
//!
//! A move is drawn, said, and made; that it may be refused (the object is gone, the name is taken) is part of the game.

mod moves;
mod sets;

use crate::chance::Chance;
use crate::clock::{self, Party};
use crate::hands::{Outcome, REVISIONS, SETS};
use crate::seed::Size;
use crate::world::World;
use jiff::SignedDuration;
use moves::Move;
use serde_json::Value;
use std::time::Duration;

/// The longest time between two moves.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Buys the first machines and makes all moves, until a promise is broken.
pub(crate) async fn play(world: &mut World, mut chance: Chance, size: Size) {
    for _ in 0..size.machines {
        let first = Move::buy(world, &mut chance);
        world.trace.say(format_args!("user: {first}"));
        // Buying is refused by nobody.
        let _ = first.make(world).await;
    }
    for _ in 0..size.moves {
        // Half of all moves come at once after another: bursts are what races are made of.
        let pause = if chance.percent(50) { Duration::from_millis(200) } else { LONGEST_PAUSE };
        let pause = chance.within(pause);
        tokio::time::sleep(pause).await;
        if world.trace.first_broken().is_some() {
            return;
        }
        let next = Move::draw(world, size, &mut chance);
        world.trace.say(format_args!("user: {next}"));
        if let Err(why) = next.make(world).await {
            world.trace.say(format_args!("user: refused: {why}"));
        }
    }
}

/// Everybody goes home: clocks are right again, what is dead is switched on again, and what hangs goes on.
pub(crate) fn leave(world: &mut World) {
    for party in [Party::Server, Party::Loops, Party::Nodes] {
        clock::jump(party, SignedDuration::ZERO);
    }
    for (name, runs) in world.machines.names() {
        world.faults.hang(&crate::machines::client_of(&name), false);
        if !runs {
            world.trace.say(format_args!("machine {name} is switched on"));
            world.machines.switch_on(&name);
        }
    }
}

/// `kubectl rollout undo`: the data of the second-newest revision, sent as it is (RV-23).
pub(crate) async fn undo(world: &World, name: &str) -> Outcome {
    let list = world.hands.get(&format!("{REVISIONS}?labelSelector=app%3D{name}")).await?;
    let mut items: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
    items.sort_by_key(|item| item["revision"].as_i64());
    let Some(before) = items.iter().rev().nth(1) else {
        return Err("no last revision to roll back to".to_string());
    };
    world.hands.patch(&format!("{SETS}/{name}"), &before["data"]).await
}
