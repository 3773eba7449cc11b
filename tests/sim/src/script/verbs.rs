//! The commands of a script.
//!
//! | command | does |
//! |---|---|
//! | `node n1 [disk=ssd …] [start=2s] [stop=5s] [taint=k=v:NoSchedule]` | buys a machine |
//! | `die n1`, `return n1`, `hang n1`, `go on n1`, `remove n1` | what becomes of it |
//! | `create {…}`, `patch <kind>/<name> {…}`, `merge …`, `status <kind>/<name> {…}` | any object, as JSON |
//! | `apply a hello:1 [{…}]` | a DaemonSet with this image, and the fields given as a merge |
//! | `image a hello:2`, `undo a`, `delete <kind>/<name> [Background]`, `delete all daemonsets` | as kubectl does |
//! | `label n1 disk=ssd`, `taint n1 k=v:NoExecute …`, `taint n1`, `cordon n1`, `uncordon n1` | nodes |
//! | `crash daemonsets`, `hold daemonsets pods`, `release daemonsets pods [1]` | processes and their watches; one event alone |
//! | `fault <client> <verb> <plural> <what> [after n] [times m]`, `heal` | the next calls go wrong |
//! | `two leaders`, `apart`, `without <loop> …` | in the beginning: how the loops run |
//! | `clock Loops 90` | that party's clock is so many seconds fast |
//! | `wait 10s`, `rest` | time passes; until the cluster wants nothing more |
//! | `twin a`, `take a-v1` | a second revision like the newest; one of that name that holds something else |
//! | `sets`, `pods`, `revisions`, `nodes`, `events a`, `field daemonsets/a /status` | shows |
//!
//! A pod is named as it was shown: `pods/a-1`; what is in another namespace as `daemonsets/team/a`.

use super::{Player, shown};
use crate::clock::{self, Party};
use crate::faults::{Asked, Moment, What};
use crate::hands::{NODES, Outcome, PODS, REVISIONS, SETS};
use crate::machines::{Make, client_of};
use crate::rest;
use agent::runtime::simulated::Stages;
use anyhow::{Context as _, Result, bail};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Taint;
use serde_json::{Value, json};
use std::time::Duration;

/// The longest that a script waits for rest, and how often it looks.
const REST_WITHIN: Duration = Duration::from_secs(1800);
const REST_LOOK: Duration = Duration::from_millis(500);
/// So many looks in a row must find nothing to do and nothing done: longer than any machine needs for a daemon.
const REST_LOOKS: usize = 60;
/// Work that follows from a command at once is done within this.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Does what the command says; what it answers is shown below the trace.
pub(super) async fn perform(player: &mut Player, command: &str) -> Result<Vec<String>> {
    let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
    let answer = match verb {
        "two" | "apart" | "without" => Ok(Vec::new()),
        "wait" => pass(player, duration(rest)?).await.map(|()| Vec::new()),
        "rest" => come_to_rest(player).await,
        "sets" | "pods" | "revisions" | "nodes" | "events" => show(player, verb, rest).await,
        "field" => field(player, rest).await,
        "node" | "die" | "return" | "hang" | "go" | "remove" => machine(player, verb, rest).await,
        "crash" | "hold" | "release" | "fault" | "heal" | "clock" => trouble(player, verb, rest),
        _ => Ok(said(user(player, verb, rest).await?)),
    };
    pass(player, AT_ONCE).await?;
    answer
}

/// Lets time pass, and everything that happens in it.
pub(super) async fn pass(player: &mut Player, time: Duration) -> Result<()> {
    tokio::time::sleep(time).await;
    player.world.observed().await?;
    match player.world.trace.first_broken() {
        None => Ok(()),
        Some(broken) => bail!("{broken}"),
    }
}

async fn come_to_rest(player: &mut Player) -> Result<Vec<String>> {
    let end = tokio::time::Instant::now() + REST_WITHIN;
    let mut quiet = 0;
    loop {
        pass(player, REST_LOOK).await?;
        let complaints = rest::complaints(&player.world.observer.truth());
        let is_quiet = complaints.is_empty() && !player.record();
        quiet = if is_quiet { quiet + 1 } else { 0 };
        if quiet >= REST_LOOKS {
            return Ok(Vec::new());
        }
        if tokio::time::Instant::now() > end {
            return Ok(complaints.iter().map(|complaint| format!("no rest: {complaint}")).collect());
        }
    }
}

async fn show(player: &mut Player, what: &str, rest: &str) -> Result<Vec<String>> {
    player.world.observed().await?;
    if what == "events" {
        return events(player, rest).await;
    }
    let truth = player.world.observer.truth();
    Ok(match what {
        "sets" => shown::sets(&truth),
        "pods" => shown::pods(&truth),
        "nodes" => shown::nodes(&truth),
        _ => shown::revisions(&truth),
    })
}

/// What was told of an object, as `kubectl describe` prints it.
async fn events(player: &Player, name: &str) -> Result<Vec<String>> {
    let path = format!("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3D{name}");
    let list = player.world.hands.get(&path).await.map_err(anyhow::Error::msg)?;
    let mut items: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
    items.sort_by_key(|item| item["firstTimestamp"].to_string());
    let text = |item: &Value, field: &str| item[field].as_str().unwrap_or_default().to_string();
    let line = |item: &&Value| {
        let times = item["count"].as_i64().filter(|count| *count > 1).map(|count| format!(" (x{count})"));
        let (kind, reason, message) = (text(item, "type"), text(item, "reason"), text(item, "message"));
        format!(
            "{kind} {reason}{} {}",
            times.unwrap_or_default(),
            message.replace("Created pod: ", "Created pod ")
        )
    };
    Ok(items.iter().map(line).collect())
}

async fn field(player: &Player, rest: &str) -> Result<Vec<String>> {
    let (object, pointer) = rest.split_once(' ').context("a pointer")?;
    let object = player.world.hands.get(&path(player, object)?).await.map_err(anyhow::Error::msg)?;
    Ok(vec![object.pointer(pointer).unwrap_or(&Value::Null).to_string()])
}

fn said(outcome: Outcome) -> Vec<String> {
    match outcome {
        Ok(_) => Vec::new(),
        Err(why) => vec![format!("refused: {why}")],
    }
}

async fn machine(player: &mut Player, verb: &str, rest: &str) -> Result<Vec<String>> {
    let mut words = rest.split_whitespace();
    let name = words.clone().last().unwrap_or_default();
    let world = &mut player.world;
    match verb {
        "node" => {
            let name = words.next().unwrap_or_default();
            let number =
                name.trim_start_matches('n').parse().with_context(|| format!("a number in {name}"))?;
            world.machines.buy(number, make(words)?);
        }
        "die" => world.machines.switch_off(name),
        "return" => world.machines.switch_on(name),
        "hang" => world.faults.hang(&client_of(name), true),
        "go" => world.faults.hang(&client_of(name), false),
        _ => {
            world.machines.sell(name);
            return Ok(said(world.hands.delete(&format!("{NODES}/{name}"), "Background").await));
        }
    }
    Ok(Vec::new())
}

fn make<'a>(words: impl Iterator<Item = &'a str>) -> Result<Make> {
    let mut make = Make::default();
    for word in words {
        let (key, value) = word.split_once('=').with_context(|| format!("{word} is no key=value"))?;
        match key {
            "start" => make.stages.get_or_insert(Stages::INSTANT).start = duration(value)?,
            "stop" => make.stages.get_or_insert(Stages::INSTANT).stop = duration(value)?,
            "taint" => make.taints.push(taint(value)?),
            _ => {
                make.labels.insert(key.to_string(), value.to_string());
            }
        }
    }
    Ok(make)
}

/// `key=value:Effect` or `key:Effect`.
fn taint(text: &str) -> Result<Taint> {
    let (name, effect) = text.rsplit_once(':').with_context(|| format!("{text} has no effect"))?;
    let (key, value) = name.split_once('=').unwrap_or((name, ""));
    let value = (!value.is_empty()).then(|| value.to_string());
    Ok(Taint { key: key.to_string(), value, effect: effect.to_string(), time_added: None })
}

fn trouble(player: &mut Player, verb: &str, rest: &str) -> Result<Vec<String>> {
    let faults = &player.world.faults;
    let words: Vec<&str> = rest.split_whitespace().collect();
    match (verb, words.as_slice()) {
        ("crash", [process]) => faults.crash(process),
        ("hold", [client, plural]) => faults.hold(client, plural, true),
        ("release", [client, plural]) => faults.hold(client, plural, false),
        ("release", [client, plural, lines]) => faults.let_through(client, plural, lines.parse()?),
        ("heal", []) => faults.heal(),
        ("clock", [party, seconds]) => {
            let party = match *party {
                "Server" => Party::Server,
                "Loops" => Party::Loops,
                "Controller" => Party::Controller,
                _ => Party::Nodes,
            };
            clock::jump(party, SignedDuration::from_secs(seconds.parse()?));
        }
        ("fault", [client, verb, plural, what, rest @ ..]) => {
            let number = |name: &str| {
                let at = rest.iter().position(|word| *word == name)?;
                rest.get(at + 1)?.parse::<u64>().ok()
            };
            faults.ask(Asked {
                client: (*client).to_string(),
                verb: (*verb).to_string(),
                plural: (*plural).to_string(),
                what: fault(what)?,
                pass: number("after").unwrap_or_default(),
                times: number("times").unwrap_or(1),
            });
        }
        _ => bail!("this trouble is not known"),
    }
    Ok(Vec::new())
}

fn fault(name: &str) -> Result<What> {
    Ok(match name {
        "lost-before" => What::LostBefore,
        "lost-after" => What::LostAfter,
        "timeout-after" => What::TimeoutAfter,
        "crash-before" => What::Crash(Moment::Before),
        "crash-after" => What::Crash(Moment::After),
        code => What::Refused(code.parse().with_context(|| format!("{code} is no fault"))?),
    })
}

async fn user(player: &Player, verb: &str, rest: &str) -> Result<Outcome> {
    let hands = player.world.hands.clone();
    let (first, tail) = rest.split_once(' ').unwrap_or((rest, ""));
    Ok(match verb {
        "apply" => {
            let (image, patch) = tail.split_once(' ').unwrap_or((tail, "{}"));
            hands.create(SETS, &set(first, image, &serde_json::from_str(patch)?)).await
        }
        "create" => {
            let object: Value = serde_json::from_str(rest)?;
            let plural = format!("{}s", object["kind"].as_str().unwrap_or_default().to_lowercase());
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
            hands.create(&place(namespace, &plural)?, &object).await
        }
        "image" => {
            let containers = json!([{"name": "c", "image": tail}]);
            let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
            hands.patch(&format!("{SETS}/{first}"), &patch).await
        }
        "patch" => hands.patch(&path(player, first)?, &serde_json::from_str(tail)?).await,
        "merge" => hands.merge(&path(player, first)?, &serde_json::from_str(tail)?).await,
        "status" => {
            let status = json!({"status": serde_json::from_str::<Value>(tail)?});
            hands.merge(&format!("{}/status", path(player, first)?), &status).await
        }
        "delete" if first == "all" => hands.delete(collection_of(tail)?, "Background").await,
        "delete" => {
            let propagation = if tail.is_empty() { "Background" } else { tail };
            hands.delete(&path(player, first)?, propagation).await
        }
        "twin" => twin(player, first).await?,
        "take" => {
            let name = player.names.real_revision(first).context("no such revision")?;
            let data = json!({"spec": {"template": {"metadata": {"labels": {"app": "other"}}}}});
            hands.create(REVISIONS, &revision(&name, Value::Null, data)).await
        }
        "undo" => crate::users::undo(&player.world, first).await,
        "label" => {
            let (key, value) = tail.split_once('=').unwrap_or((tail.trim_end_matches('-'), ""));
            let value = if value.is_empty() { Value::Null } else { value.into() };
            hands.merge(&format!("{NODES}/{first}"), &json!({"metadata": {"labels": {key: value}}})).await
        }
        "taint" => {
            let taints: Result<Vec<Taint>> = tail.split_whitespace().map(taint).collect();
            hands.merge(&format!("{NODES}/{first}"), &json!({"spec": {"taints": taints?}})).await
        }
        "cordon" | "uncordon" => {
            let patch = json!({"spec": {"unschedulable": verb == "cordon"}});
            hands.merge(&format!("{NODES}/{first}"), &patch).await
        }
        _ => bail!("no such command"),
    })
}

/// A second revision with the data of the newest one.
async fn twin(player: &Player, set: &str) -> Result<Outcome> {
    let list = player.world.hands.get(&format!("{REVISIONS}?labelSelector=app%3D{set}")).await;
    let list = list.map_err(anyhow::Error::msg)?;
    let items = list["items"].as_array().into_iter().flatten();
    let newest = items.max_by_key(|item| item["revision"].as_i64()).context("no revision")?;
    let labels = json!({"app": set, "controller-revision-hash": "aaaaaaaaaa"});
    let twin = revision(&format!("{set}-aaaaaaaaaa"), labels, newest["data"].clone());
    Ok(player.world.hands.create(REVISIONS, &twin).await)
}

fn revision(name: &str, labels: Value, data: Value) -> Value {
    let metadata = json!({"name": name, "namespace": "default", "labels": labels});
    json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "revision": 1, "data": data})
}

/// A DaemonSet as short as it can be, with the fields of `patch` over it.
fn set(name: &str, image: &str, patch: &Value) -> Value {
    let mut set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 5, "containers": [{"name": "c", "image": image}]}
            }
        }
    });
    merge(&mut set["spec"], patch);
    set
}

fn merge(into: &mut Value, from: &Value) {
    match (into.as_object_mut(), from.as_object()) {
        (Some(fields), Some(new)) => {
            for (name, value) in new {
                merge(fields.entry(name).or_insert(Value::Null), value);
            }
        }
        _ => *into = from.clone(),
    }
}

/// Where the objects of a kind are, in this namespace if they are in one.
fn place(namespace: &str, plural: &str) -> Result<String> {
    Ok(match namespace {
        "default" => collection_of(plural)?.to_string(),
        other => crate::hands::path(other, plural),
    })
}

fn collection_of(plural: &str) -> Result<&'static str> {
    Ok(match plural {
        "daemonsets" => SETS,
        "controllerrevisions" => REVISIONS,
        "pods" => PODS,
        "nodes" => NODES,
        "namespaces" => "/api/v1/namespaces",
        "resourcequotas" => "/api/v1/namespaces/default/resourcequotas",
        other => bail!("{other} have no place here"),
    })
}

/// `pods/a-1` and the like; `daemonsets/team/a` in another namespace.
fn path(player: &Player, object: &str) -> Result<String> {
    let (plural, name) = object.split_once('/').with_context(|| format!("{object} is no kind/name"))?;
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    let name = player.names.real(name).filter(|_| plural == "pods").unwrap_or(name);
    Ok(format!("{}/{name}", place(namespace, plural)?))
}

fn duration(text: &str) -> Result<Duration> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 = text.trim_end_matches(unit).parse().with_context(|| format!("{text} is no time"))?;
    Ok(match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number * 60),
        _ => bail!("{text} is no time"),
    })
}
