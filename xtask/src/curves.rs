//! `cargo xtask curves`: what a lone server costs against nodes and against DaemonSets, as numbers and pictures.
//!
//! 1. Each point is one life of DaemonSets (`everynode bench`) on a server of its own with an empty data folder.
//! 2. A point is kept as soon as it is measured, with where and when: what is measured again replaces it, the rest stays.
//! 3. Pictures, slopes and the page are made of the kept numbers and of nothing else.

mod axis;
mod measure;
mod numbers;
mod page;
mod picture;
mod slope;

use crate::program;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use numbers::{Against, Measure, Number};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Nodes of the points if nobody names others: each about three times the one before.
const NODES: [u32; 5] = [100, 300, 1_000, 3_000, 10_000];
/// The same for DaemonSets; with a hundred the last has as many pods as the last of the nodes.
const DAEMONSETS: [u32; 5] = [1, 3, 10, 30, 100];
/// What the machine and hand has measured.
const NUMBERS: &str = "numbers.csv";

/// Flags of `cargo xtask curves`.
#[derive(Args)]
pub struct Flags {
    /// Measure with so many nodes, and one DaemonSet. Without this and --daemonsets: 100,300,1000,3000,10000.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    nodes: Vec<u32>,
    /// Measure with so many DaemonSets, on 100 nodes. Without this and --nodes: 1,3,10,30,100.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    daemonsets: Vec<u32>,
    /// The folder of numbers, pictures and their page, from the root of the repository.
    #[arg(long, default_value = "docs/curves")]
    output: PathBuf,
    /// Measure nothing; draw the kept numbers again.
    #[arg(long, conflicts_with_all = ["nodes", "daemonsets"])]
    draw_only: bool,
}

impl Flags {
    /// Nodes and DaemonSets of what is measured. One point may lie on both curves.
    fn points(&self) -> BTreeSet<(u32, u32)> {
        let (nodes, daemonsets) = match (&self.nodes[..], &self.daemonsets[..]) {
            _ if self.draw_only => (&[][..], &[][..]),
            ([], []) => (&NODES[..], &DAEMONSETS[..]),
            asked => asked,
        };
        let against_nodes = nodes.iter().map(|nodes| (*nodes, numbers::DAEMONSETS_BESIDE));
        let against_daemonsets = daemonsets.iter().map(|daemonsets| (numbers::NODES_BESIDE, *daemonsets));
        against_nodes.chain(against_daemonsets).collect()
    }
}

/// Measures what is asked for, and draws all that is kept.
pub fn curves(flags: &Flags) -> Result<()> {
    let folder = program::root().join(&flags.output);
    let file = folder.join(NUMBERS);
    let mut kept = read(&file)?;
    let points = flags.points();
    if !points.is_empty() {
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let subject = measure::Subject::build()?;
        for (nodes, daemonsets) in points {
            kept = numbers::merged(kept, subject.point(nodes, daemonsets)?);
            write(&file, &numbers::to_text(&kept))?;
        }
    }
    if kept.is_empty() {
        bail!("{}: there are no numbers to draw; measure first, without --draw-only", file.display());
    }
    draw(&folder, &kept)
}

fn draw(folder: &Path, numbers: &[Number]) -> Result<()> {
    for against in Against::ALL {
        for measure in Measure::ALL {
            let name = page::picture(against, measure);
            match picture::of(numbers, against, measure) {
                Some(picture) => write(&folder.join(name), &picture)?,
                None => eprintln!("xtask: not drawn, a curve needs two points: {name}"),
            }
        }
    }
    let page = folder.join("README.md");
    write(&page, &page::of(numbers))?;
    println!("{}", page.display());
    Ok(())
}

/// None is no error: they are to be measured.
fn read(file: &Path) -> Result<Vec<Number>> {
    match std::fs::read_to_string(file) {
        Ok(text) => numbers::parse(&text).with_context(|| file.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    #[test]
    fn a_point_on_both_curves_is_measured_once() {
        let check = |line: &str, expected: &[(u32, u32)]| {
            let words = std::iter::once("curves").chain(line.split_whitespace());
            let points = Line::try_parse_from(words).ok().unwrap().flags.points();
            assert_eq!(points.into_iter().collect::<Vec<_>>(), expected, "{line}");
        };
        let all = [
            (100, 1),
            (100, 3),
            (100, 10),
            (100, 30),
            (100, 100),
            (300, 1),
            (1_000, 1),
            (3_000, 1),
            (10_000, 1),
        ];
        check("", &all);
        check("--nodes 20,10", &[(10, 1), (20, 1)]);
        check("--daemonsets 2", &[(100, 2)]);
        check("--nodes 100,200 --daemonsets 1,2", &[(100, 1), (100, 2), (200, 1)]);
        check("--draw-only", &[]);
        assert!(Line::try_parse_from(["curves", "--nodes", "0"]).is_err());
        assert!(Line::try_parse_from(["curves", "--draw-only", "--nodes", "1"]).is_err());
    }
}
