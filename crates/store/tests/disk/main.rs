//! The embedded store on a real disk: restarts, kills, damage, refusals. One binary, so that its tests can start
//! it again as the process that gets killed.

mod copies;
mod crash;
mod damage;
mod points;
mod power;
mod refusal;
mod restart;
mod sealed;
mod shared_keys;

use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use store::{Revision, Store};

/// Every key with its value and revision.
type State = BTreeMap<String, (Bytes, Revision)>;

async fn state(store: &dyn Store) -> State {
    let listing = store.list("").await.unwrap();
    let pairs = listing.entries.into_iter();
    pairs.map(|entry| (entry.key.to_string(), (entry.value, entry.revision))).collect()
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", file.display()))
}

/// This binary again, running one of its ignored tests as a process of its own.
fn child_command(test: &str, file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"]).env("STORE_FILE", file);
    command
}

/// The file a child works on; none when somebody ran the ignored tests by hand.
fn child_file() -> Option<PathBuf> {
    std::env::var_os("STORE_FILE").map(PathBuf::from)
}

/// Numbers that look random and come again with the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
