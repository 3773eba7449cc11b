//! The five articles that this project grew from, word for word: every command and manifest on three real nodes, with an
//! unmodified kubectl, and outputs that are equal in columns and meaning. `docs/seeds.md` is the table of all of them.
//!
//! Commands stand here as the articles have them; only names of nodes are ours. Images keep their names: a registry on
//! this machine holds stand-ins for them ([`images`]), and the nodes' containerd takes it for every registry.
//! Each kubectl has a cluster of its own, and both go through all articles at the same time. Every article leaves the
//! cluster as it was. `EVERYNODE_SEEDS=httpd,master` chooses.

mod filebeat;
mod httpd;
mod images;
mod master;
mod revisions;
mod static_pod;
mod tolerations;
mod world;

use e2e::newest_and_oldest;
use std::path::Path;
use world::World;

type Seed = fn(&World);

/// Name, article, what it does.
const SEEDS: &[(&str, &str, Seed)] = &[
    ("filebeat", "kubernetes - day15, 2020", filebeat::seed),
    ("httpd", "DaemonSet in k8s, Container Cloud Practice", httpd::seed),
    ("revisions", "notes on DaemonSet, how the controller works", revisions::seed),
    ("master", "notes on a beginner's course, day 7", master::seed),
    ("static-pod", "the same, static pods", static_pod::seed),
    ("tolerations", "Kubernetes - DaemonSets, 2021", tolerations::seed),
];

/// One for each kubectl: nodes must know the registry's address before there are any.
const BRIDGES: [(&str, &str); 2] = [("10.95.8.0/24", "10.95.8.1"), ("10.95.9.0/24", "10.95.9.1")];

#[test]
fn the_articles_hold_word_for_word_with_the_newest_and_the_oldest_kubectl() {
    let chosen = std::env::var("EVERYNODE_SEEDS").unwrap_or_default();
    let seeds: Vec<_> = SEEDS
        .iter()
        .filter(|(name, ..)| chosen.is_empty() || chosen.split(',').any(|c| c == *name))
        .collect();
    assert!(!seeds.is_empty(), "there is no seed {chosen:?}");
    let kubectls = newest_and_oldest().unwrap();
    let docker = Path::new("/var/lib/docker").exists();
    let folders = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for ((minor, path), bridge) in kubectls.iter().zip(BRIDGES) {
            let seeds = &seeds;
            let thread = std::thread::Builder::new().name(format!("kubectl 1.{minor}"));
            let work = move || {
                let world = World::start(path, bridge);
                for (name, article, seed) in seeds {
                    let began = std::time::Instant::now();
                    seed(&world);
                    eprintln!("1.{minor} {name} ({article}): {:.1}s", began.elapsed().as_secs_f64());
                }
                world.data_dir()
            };
            threads.push(thread.spawn_scoped(scope, work).unwrap());
        }
        threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    for folder in folders {
        e2e::assert_clean(&folder.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    }
    // Their fluentd mounts a folder of it.
    assert_eq!(Path::new("/var/lib/docker").exists(), docker, "/var/lib/docker was made on this machine");
}
