//! Bridge, network namespaces, links, routes and packet rules of a cluster.
//!
//! Pods and nodes reach each other with their own addresses: a node has a route to the pods of every other node, and this
//! machine to those of all. What leaves for elsewhere takes this machine's address. From elsewhere only answers come in.
//! Everything has a name of its own ([`Names`]); [`remove_all`] finds it by these names, whoever made it.

use super::addresses::{Network, Range};
use super::names::Names;
use super::program::{ProgramError, run};
use serde_json::Value;
use std::net::Ipv4Addr;

/// The device of a node, seen from inside.
const INSIDE: &str = "eth0";

/// Everything of this machine that a new range must not overlap.
pub fn taken() -> Result<Vec<Range>, ProgramError> {
    let routes: Value = parse(&run("ip", &["-json", "-4", "route", "show", "table", "all"])?);
    let texts = routes.as_array().into_iter().flatten().filter_map(|route| route["dst"].as_str());
    // "default" is no range, and a route to everything takes nothing.
    Ok(texts.filter_map(|text| text.parse().ok()).filter(|range: &Range| !range.is_everything()).collect())
}

/// Makes the bridge and the rules that lead out.
pub fn make_bridge(names: &Names, network: &Network) -> Result<(), ProgramError> {
    let bridge = names.bridge();
    ip(&format!("link add {bridge} type bridge"))?;
    ip(&format!("addr add {}/{} dev {bridge}", network.gateway(), network.bridge.prefix()))?;
    ip(&format!("link set {bridge} up"))?;
    for rule in rules(names, network) {
        iptables(&rule.arguments("-I"))?;
    }
    Ok(())
}

/// Makes the network of a node, with routes to and from `others`.
pub fn add_node(names: &Names, network: &Network, number: u32, others: &[u32]) -> Result<(), ProgramError> {
    let (netns, link) = (names.netns(&format!("n{number}")), names.link(number));
    ip(&format!("netns add {netns}"))?;
    ip(&format!("link add {link} type veth peer name {INSIDE} netns {netns}"))?;
    ip(&format!("link set {link} master {} up", names.bridge()))?;
    let prefix = network.bridge.prefix();
    ip(&format!("-n {netns} addr add {}/{prefix} dev {INSIDE}", network.node(number)))?;
    ip(&format!("-n {netns} link set lo up"))?;
    ip(&format!("-n {netns} link set {INSIDE} up"))?;
    ip(&format!("-n {netns} route add default via {}", network.gateway()))?;
    ip(&format!("route replace {}", pods_route(network, number)))?;
    for other in others.iter().filter(|other| **other != number) {
        ip(&format!("-n {netns} route replace {}", pods_route(network, *other)))?;
        let others_netns = names.netns(&format!("n{other}"));
        ip(&format!("-n {others_netns} route replace {}", pods_route(network, number)))?;
    }
    Ok(())
}

/// Removes the network of a node; its link and the routes over it go with it, those of the `others` to its pods are
/// taken out.
pub fn remove_node(
    names: &Names,
    network: &Network,
    number: u32,
    others: &[u32],
) -> Result<(), ProgramError> {
    for other in others.iter().filter(|other| **other != number) {
        let others_netns = names.netns(&format!("n{other}"));
        // The route is gone already where the other node ends at the same time.
        let _ = ip(&format!("-n {others_netns} route del {}", pods_route(network, number)));
    }
    let _ = ip(&format!("route del {}", pods_route(network, number)));
    ip(&format!("link del {}", names.link(number)))?;
    ip(&format!("netns del {}", names.netns(&format!("n{number}"))))
}

/// Removes whatever of this cluster is there. Answers what it removed; a failure does not stop the rest.
pub fn remove_all(names: &Names) -> (Vec<String>, Vec<ProgramError>) {
    let (mut removed, mut errors) = (Vec::new(), Vec::new());
    let mut take = |what: String, result: Result<(), ProgramError>| match result {
        Ok(()) => removed.push(what),
        Err(error) => errors.push(error),
    };
    for link in our_links(names) {
        take(format!("link {link}"), ip(&format!("link del {link}")));
    }
    for netns in our_netns(names) {
        take(format!("network namespace {netns}"), ip(&format!("netns del {netns}")));
    }
    for (table, arguments) in our_rules(names) {
        let mut all = vec!["-w".to_string(), "-t".into(), table.into(), "-D".into()];
        all.extend(arguments);
        take(format!("packet rule in {table}"), iptables(&all));
    }
    (removed, errors)
}

/// Links of ours that exist.
fn our_links(names: &Names) -> Vec<String> {
    let links = parse(&run("ip", &["-json", "link", "show"]).unwrap_or_default());
    let all = links.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str());
    all.filter(|name| names.is_our_link(name)).map(str::to_string).collect()
}

fn our_netns(names: &Names) -> Vec<String> {
    let text = run("ip", &["netns", "list"]).unwrap_or_default();
    let all = text.lines().filter_map(|line| line.split_whitespace().next());
    all.filter(|name| names.is_our_netns(name)).map(str::to_string).collect()
}

/// Rules that carry our comment, as arguments of a deletion.
fn our_rules(names: &Names) -> Vec<(&'static str, Vec<String>)> {
    let mut found = Vec::new();
    for table in ["nat", "filter"] {
        let text = run("iptables", &["-w", "-t", table, "-S"]).unwrap_or_default();
        found.extend(
            text.lines().filter_map(|line| deletion(line, names.cluster())).map(|rule| (table, rule)),
        );
    }
    found
}

/// `-A CHAIN …` with our comment → `CHAIN …`.
fn deletion(line: &str, comment: &str) -> Option<Vec<String>> {
    let words: Vec<String> =
        line.strip_prefix("-A ")?.split_whitespace().map(|word| word.trim_matches('"').to_string()).collect();
    let at = words.iter().position(|word| word == "--comment")?;
    (words.get(at + 1).map(String::as_str) == Some(comment)).then_some(words)
}

struct Rule {
    table: &'static str,
    chain: &'static str,
    matches: String,
    target: &'static str,
    comment: String,
}

impl Rule {
    fn arguments(&self, verb: &str) -> Vec<String> {
        let Self { table, chain, matches, target, comment } = self;
        let text =
            format!("-w -t {table} {verb} {chain} {matches} -m comment --comment {comment} -j {target}");
        text.split_whitespace().map(str::to_string).collect()
    }
}

fn rules(names: &Names, network: &Network) -> Vec<Rule> {
    let bridge = names.bridge();
    let rule = |table, chain, matches: String, target| Rule {
        table,
        chain,
        matches,
        target,
        comment: names.cluster().to_string(),
    };
    vec![
        rule("nat", "POSTROUTING", format!("-s {} ! -o {bridge}", network.bridge), "MASQUERADE"),
        rule("nat", "POSTROUTING", format!("-s {} ! -o {bridge}", network.pods), "MASQUERADE"),
        // Where another program has closed forwarding (Docker does), ours stays open.
        rule("filter", "FORWARD", format!("-i {bridge}"), "ACCEPT"),
        rule(
            "filter",
            "FORWARD",
            format!("-o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED"),
            "ACCEPT",
        ),
    ]
}

fn pods_route(network: &Network, number: u32) -> String {
    let address: Ipv4Addr = network.node(number);
    format!("{} via {address}", network.pods_of(number))
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

fn ip(arguments: &str) -> Result<(), ProgramError> {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    run("ip", &words).map(drop)
}

fn iptables(arguments: &[String]) -> Result<(), ProgramError> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run("iptables", &words).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rules_with_our_comment_are_deleted() {
        let ours = "-A FORWARD -i everynode0 -m comment --comment everynode -j ACCEPT";
        let expected = "FORWARD -i everynode0 -m comment --comment everynode -j ACCEPT";
        assert_eq!(deletion(ours, "everynode").map(|words| words.join(" ")).as_deref(), Some(expected));
        let quoted = "-A FORWARD -i x -m comment --comment \"everynode\" -j ACCEPT";
        assert!(deletion(quoted, "everynode").is_some());
        for other in [
            "-P FORWARD ACCEPT",
            "-A FORWARD -i everynode0 -j ACCEPT",
            "-A FORWARD -m comment --comment everynode-1a2b3c -j ACCEPT",
            "-A FORWARD -m comment --comment",
        ] {
            assert_eq!(deletion(other, "everynode"), None, "{other}");
        }
    }
}
