//! Random but legal users: what people do to DaemonSets, pods and nodes in a busy quarter of an hour.
//!
//! A move is drawn, said, and made; that it may be refused (the object is gone, the name is taken) is part of the game.

mod moves;
mod sets;

use crate::chance::Chance;
use crate::clock::{self, Party};
use crate::hands::{Outcome, path, quotas};
use crate::seed::Size;
use crate::world::World;
use daemonset::takeover::AGREED_ANNOTATION;
use jiff::SignedDuration;
use moves::Move;
use serde_json::{Value, json};
use std::time::Duration;

/// The longest time between two moves,
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// but for a night now and then: longer than any deadline of the loops.
const NIGHT: Duration = Duration::from_secs(11 * 60);

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
        let night = if chance.per_mille(8) { NIGHT } else { Duration::ZERO };
        tokio::time::sleep(night + chance.within(pause)).await;
        if world.trace.first_broken().is_some() {
            return;
        }
        let next = Move::draw(world, size, &mut chance);
        world.trace.say(format_args!("user: {next}"));
        let name = next.name();
        match next.make(world).await {
            Ok(_) => world.trace.met("user", name),
            Err(why) => {
                world.trace.met("user", "refused");
                world.trace.say(format_args!("user: refused: {why}"));
            }
        }
    }
}

/// Everybody goes home: clocks are right again, what is dead is switched on again, what hangs goes on, pods may be made
/// again, and what another controller has left is agreed to.
pub(crate) async fn leave(world: &mut World) {
    for namespace in ["default", sets::TEAM] {
        // Most often there is none.
        let _ = world.hands.delete(&format!("{}/{}", quotas(namespace), moves::QUOTA), "Background").await;
    }
    for name in sets::NAMES.iter().filter(|_| world.trace.has_met("user", moves::PRECEDE)) {
        let agreed = json!({"metadata": {"annotations": {AGREED_ANNOTATION: "true"}}});
        let set = format!("{}/{name}", path(sets::namespace(name), "daemonsets"));
        // It may be gone.
        let _ = world.hands.merge(&set, &agreed).await;
    }
    for party in Party::all(world.is_apart) {
        clock::jump(*party, SignedDuration::ZERO);
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
    let [sets, revisions] =
        ["daemonsets", "controllerrevisions"].map(|plural| path(sets::namespace(name), plural));
    let list = world.hands.get(&format!("{revisions}?labelSelector=app%3D{name}")).await?;
    let mut items: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
    items.sort_by_key(|item| item["revision"].as_i64());
    let Some(before) = items.iter().rev().nth(1) else {
        return Err("no last revision to roll back to".to_string());
    };
    world.hands.patch(&format!("{sets}/{name}"), &before["data"]).await
}
