//! A controller whose server has a bad day: work goes on, no node gets a second daemon, and nobody is asked in a hot loop.
//!
//! The controller goes through a [`Door`] at which things go wrong; the [`Witness`] and kubectl go past it. How much may be
//! asked is a formula of the work, and of the controller's own clock, its lease ([`Calls::ticks`]): never of time.

use crate::world::{HELLO, LIMIT, NODES, World};
use anyhow::ensure;
use e2e::{Calls, Door, Part, Trouble, Watches, Witness, Writes, eventually};
use std::time::Duration;

/// A look at the lease each second, and a leader that no busy machine deposes: that is tried elsewhere.
pub const CLOCK: [&str; 3] = [
    "--leader-elect-lease-duration=120s",
    "--leader-elect-renew-deadline=100s",
    "--leader-elect-retry-period=1s",
];
/// Slow enough that answers and events overtake each other.
const LATE: Duration = Duration::from_millis(150);
/// What a controller may hold whatever its day, in an unoptimised build: three times what one was seen to hold after all of
/// them (52 MB).
const MEMORY: u64 = 156 << 20;
/// Calls of a roll-out that do not depend on its size: its revision, and what is asked of the DaemonSet before.
const ANYWAY: u64 = 10;
/// Calls for each node: a pod is deleted, and one is created; two events; and what becomes of them may change the status.
const EACH: u64 = 6;
/// States that the watches tell of for each node: two pods that are made, bound, started, ready, asked to end, ended, gone.
const STATES: u64 = 14;
/// Watches of a controller of DaemonSets.
const WATCHES: u64 = 4;

/// How often they are opened in vain while the lease is looked at so often: the waits between grow to three seconds within
/// six, and then take longer than from one look to the next.
fn in_vain(ticks: u64) -> u64 {
    WATCHES * (6 + ticks)
}

/// A door whose controller has served the example to all nodes.
struct Day {
    ours: Part,
    witness: Witness,
    door: Door,
    world: World,
}

impl Day {
    fn begin() -> Self {
        let world = World::start();
        let door = Door::open(&world.kubectl).unwrap();
        let witness = Witness::of(&world.kubectl, "app=hello");
        let ours = world.controller_through(&door, &CLOCK);
        world.led_by(&ours, LIMIT);
        let at_once = HELLO.replacen("maxUnavailable: 1", "maxUnavailable: 100%", 1);
        world.kubectl.ok_with(&["apply", "-f", "-"], &at_once);
        world.converges_to("1");
        Self { ours, witness, door, world }
    }

    /// Rolls out an image while this goes wrong; answers what was asked for that.
    #[track_caller]
    fn roll_out(&mut self, tag: &str, trouble: Trouble) -> Calls {
        let before = self.door.calls();
        self.door.turn(trouble);
        self.world.set_image(tag);
        self.world.converges_to(tag);
        self.door.turn(Trouble::default());
        self.ours.still_runs().unwrap();
        &self.door.calls() - &before
    }

    /// Waits until nothing is asked any more but for the lease, from one look at it to the second after it.
    #[track_caller]
    fn rests(&self) {
        rests(&self.door);
    }
}

/// Waits until nothing is asked any more but for the lease, from one look at it to the second after it.
#[track_caller]
pub fn rests(door: &Door) {
    let mut since = door.calls();
    eventually("nothing is asked any more", LIMIT, || {
        let calls = &door.calls() - &since;
        if calls.of_work() > 0 {
            since = door.calls();
        }
        ensure!(calls.of_work() == 0 && calls.ticks() >= 2, "{calls}");
        Ok(())
    });
}

#[test]
fn under_every_trouble_a_roll_out_ends_with_few_calls_and_one_daemon_on_a_node() {
    // TK-9, MG-20, MG-26.
    let mut day = Day::begin();
    let calm = Trouble::default();
    let writes = |writes| Trouble { writes, ..calm };
    let watches = |watches| Trouble { watches, ..calm };
    let troubles = [
        ("nothing", calm),
        ("late answers", Trouble { late: LATE, ..calm }),
        ("429", writes(Writes::Refused(429))),
        ("500", writes(Writes::Refused(500))),
        ("409", writes(Writes::Refused(409))),
        ("unanswered writes", writes(Writes::Unanswered)),
        ("watches that end after each event", watches(Watches::EndAfter(1))),
        ("late answers and watches that end", Trouble { late: LATE, watches: Watches::EndAfter(3), ..calm }),
    ];
    let nodes = u64::from(NODES);
    let mut pods = nodes;
    for (n, (name, trouble)) in troubles.into_iter().enumerate() {
        let calls = day.roll_out(&(n + 2).to_string(), trouble);
        println!("{name}: {calls}");
        pods += nodes;
        // Each call that is spoilt is made once more, and a doubt is a question.
        let again = if trouble.writes == Writes::Done { 1 } else { 3 };
        let work = again * (ANYWAY + EACH * nodes);
        let watches = STATES * nodes + in_vain(calls.ticks());
        let (watched, asked) = (calls.of("WATCH *"), calls.of_work());
        assert!(watched <= watches, "{name}: {watched} of {watches}: {calls}");
        assert!(asked - watched <= work, "{name}: {asked} of {work}: {calls}");
        assert_eq!(day.witness.pods() as u64, pods, "{name}: pods that were not needed");
    }
    day.rests();
    let memory = day.ours.memory().unwrap();
    println!("{} MB", memory >> 20);
    assert!(memory < MEMORY, "{} MB", memory >> 20);
}

#[test]
fn watches_that_end_at_once_are_not_opened_in_a_hot_loop() {
    let mut day = Day::begin();
    let before = day.door.calls();
    day.door.turn(Trouble { watches: Watches::EndAfter(0), ..Trouble::default() });
    // Watches that were there before end with the next event.
    day.world.set_image("2");
    day.world.kubectl.ok(&["label", "node", "n1", "any=thing"]);
    let calls = eventually("six looks at the lease", LIMIT, || {
        let calls = &day.door.calls() - &before;
        ensure!(calls.ticks() >= 6, "{calls}");
        Ok(calls)
    });
    println!("{calls}");
    let (watched, most) = (calls.of("WATCH *"), in_vain(calls.ticks()));
    assert!(watched >= WATCHES && watched <= most, "{watched} of {most}: {calls}");
    day.door.turn(Trouble::default());
    day.world.converges_to("2");
    day.rests();
    assert_eq!(day.witness.pods(), 2 * NODES as usize);
}

#[test]
fn a_new_leader_believes_no_list_that_may_be_old() {
    // WE-20, WE-23: what it does not know of, it would make again.
    let mut day = Day::begin();
    day.ours.kill().unwrap();
    let before = day.door.calls();
    day.door.turn(Trouble { watches: Watches::Stale, ..Trouble::default() });
    day.ours = day.world.controller_through(&day.door, &["--leader-elect=false"]);
    day.world.set_image("2");
    day.world.converges_to("2");
    assert_eq!(day.witness.pods(), 2 * NODES as usize);
    let calls = &day.door.calls() - &before;
    assert_eq!(calls.of_stale(), 0, "{calls}");
}
