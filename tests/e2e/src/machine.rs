//! What a cluster may have left on the machine.

use anyhow::{Context as _, Result, ensure};
use std::io::Write as _;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

/// Fails if a process, mount, link, namespace or cgroup of the cluster on this data folder is still there.
#[track_caller]
pub fn assert_clean(data_dir: &Path) {
    let left = left_behind(data_dir);
    assert!(left.is_empty(), "left behind: {left:#?}");
}

/// Nothing else on a test machine runs an everynode, so any link or namespace of ours counts.
fn left_behind(data_dir: &Path) -> Vec<String> {
    let folder = data_dir.to_string_lossy();
    let mut left = lines_with(&read("/proc/self/mounts"), &folder);
    left.extend(processes_with(&folder));
    let cluster = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let cgroups = cluster
        .map(|tree| tree.path().join("everynode"))
        .chain([Path::new("/sys/fs/cgroup/everynode").into()]);
    left.extend(cgroups.filter(|path| path.exists()).map(|path| path.display().to_string()));
    left.extend(lines_with(&output("ip", &["netns", "list"]), "everynode-"));
    left.extend(lines_with(&output("iptables", &["-t", "nat", "-S"]), "everynode-"));
    left
}

/// Kills every process of this name that sees the data folder mounted, as the nodes' processes do; answers how many.
pub fn kill_in_nodes(data_dir: &Path, program: &str) -> usize {
    in_nodes(data_dir, program)
        .iter()
        .filter(|id| Command::new("kill").args(["-KILL", id]).status().is_ok_and(|s| s.success()))
        .count()
}

/// Process ids of a program in the nodes of this folder.
fn in_nodes(data_dir: &Path, program: &str) -> Vec<String> {
    let nodes = data_dir.join("nodes");
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_wanted = |id: &String| {
        read(&format!("/proc/{id}/comm")).trim() == program
            && read(&format!("/proc/{id}/mountinfo")).contains(&*nodes.to_string_lossy())
    };
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_wanted).collect()
}

/// Gives an image to the containerd of each of so many nodes, as `ctr images import` does.
pub fn import_image(data_dir: &Path, archive: &[u8], nodes: usize) -> Result<()> {
    let runtimes = in_nodes(data_dir, "containerd");
    ensure!(runtimes.len() == nodes, "{} of {nodes} nodes run a containerd", runtimes.len());
    for id in runtimes {
        let mut ctr = Command::new("nsenter");
        ctr.args(["--target", &id, "--mount", "--", "ctr", "--namespace", "k8s.io", "images", "import", "-"]);
        let mut ctr = ctr.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        ctr.stdin.take().context("ctr has no input")?.write_all(archive)?;
        ensure!(ctr.wait()?.success(), "ctr images import has failed");
    }
    Ok(())
}

/// This machine's address to others; none, if it has no way out. Nothing is sent.
pub fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn processes_with(text: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let commands = entries.filter_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some(format!("{id}: {}", read(&format!("/proc/{id}/cmdline")).replace('\0', " ")))
    });
    commands.filter(|command| command.contains(text)).collect()
}

fn lines_with(text: &str, wanted: &str) -> Vec<String> {
    text.lines().filter(|line| line.contains(wanted)).map(str::to_string).collect()
}

fn read(path: &str) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
