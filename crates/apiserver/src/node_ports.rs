//! Which port of every node does a service get? The first free ones of the range (wire 2.10.6).
//!
//! Two ports of one service that differ in their protocol only share a number. Claims as in [`crate::claims`].
//! Differs: nothing forwards these ports yet; and the first free one is given, where upstream draws lots.
//! Kubernetes: `registry/core/service/storage/alloc.go`, `portallocator`.

use crate::Inner;
use crate::claims::{self, Claim};
use crate::error::{ApiError, FieldError};
use crate::resources::fields::{int, items, text};
use crate::resources::services::{KIND, has_node_ports};
use serde_json::Value;
use std::collections::BTreeSet;

/// Kubernetes: `--service-node-port-range`.
const FIRST: i64 = 30000;
const LAST: i64 = 32767;
/// Where claims lie, one key per number.
const CLAIMS: &str = "/everynode/service-node-ports/";

/// Gives the ports of a service their numbers, or refuses one that is taken. `old` is the service before, null if it is new.
/// What was claimed is to be released if the service is not stored.
pub async fn assign(
    server: &Inner,
    service: &mut Value,
    old: &Value,
    claims: &mut Vec<Claim>,
    dry_run: bool,
) -> Result<(), ApiError> {
    let (own, wanted) = (numbers(old), wanted(&service["spec"]));
    if !has_node_ports(&service["spec"]) || wanted.iter().all(|(_, number)| own.contains(number)) {
        return Ok(());
    }
    server.consistent().await?;
    let mut taken = taken(server, text(&service["metadata"], "uid"));
    let mut given = own;
    for (index, number) in wanted.iter().filter(|(_, number)| *number != 0) {
        if given.insert(*number) {
            let why = match (FIRST..=LAST).contains(number) {
                false => Some(format!(
                    "provided port is not in the valid range. The range of valid ports is {FIRST}-{LAST}"
                )),
                true => match claim(server, *number, &mut taken, claims, dry_run).await? {
                    true => None,
                    false => Some("provided port is already allocated".to_string()),
                },
            };
            why.map_or(Ok(()), |why| Err(refused(service, *index, *number, &why)))?;
        }
    }
    for (index, _) in wanted.iter().filter(|(_, number)| *number == 0) {
        let number = match shared(&service["spec"], *index) {
            Some(number) => number,
            None => loop {
                let free = (FIRST..=LAST).find(|number| !taken.contains(number) && !given.contains(number));
                let free = free.ok_or_else(|| refused(service, *index, 0, "range is full"))?;
                if claim(server, free, &mut taken, claims, dry_run).await? {
                    break free;
                }
            },
        };
        given.insert(number);
        service["spec"]["ports"][*index]["nodePort"] = number.into();
    }
    Ok(())
}

/// The keys of the claims that one state has and another one lacks.
pub fn lost(old: &Value, new: &Value) -> Vec<String> {
    numbers(old).difference(&numbers(new)).map(|number| key(*number)).collect()
}

/// False, and taken: somebody else has it.
async fn claim(
    server: &Inner,
    number: i64,
    taken: &mut BTreeSet<i64>,
    claims: &mut Vec<Claim>,
    dry_run: bool,
) -> Result<bool, ApiError> {
    if taken.contains(&number) {
        return Ok(false);
    }
    if dry_run {
        return Ok(true);
    }
    let claimed = claims::claim(server, key(number), || !self::taken(server, "").contains(&number)).await?;
    let is_ours = claimed.is_some();
    if !is_ours {
        taken.insert(number);
    }
    claims.extend(claimed);
    Ok(is_ours)
}

/// The number of a port that is the same in all but its protocol.
fn shared(spec: &Value, index: usize) -> Option<i64> {
    let ports = items(spec, "ports");
    let port = ports.get(index)?;
    let same = |other: &&Value| {
        int(other, "port") == int(port, "port") && text(other, "protocol") != text(port, "protocol")
    };
    ports.iter().filter(same).find_map(|other| int(other, "nodePort").filter(|number| *number != 0))
}

/// Each port's place and number, 0 if it has none.
fn wanted(spec: &Value) -> Vec<(usize, i64)> {
    let numbers = items(spec, "ports").iter().map(|port| int(port, "nodePort").unwrap_or_default());
    numbers.enumerate().collect()
}

fn numbers(service: &Value) -> BTreeSet<i64> {
    wanted(&service["spec"]).into_iter().map(|(_, number)| number).filter(|number| *number != 0).collect()
}

/// The numbers of all other services.
fn taken(server: &Inner, uid: &str) -> BTreeSet<i64> {
    let all = server.cached(&KIND);
    all.iter()
        .filter(|other| text(&other["metadata"], "uid") != uid || uid.is_empty())
        .flat_map(numbers)
        .collect()
}

fn key(number: i64) -> String {
    format!("{CLAIMS}{number}")
}

fn refused(service: &Value, index: usize, number: i64, why: &str) -> ApiError {
    let error = FieldError::invalid(format!("spec.ports[{index}].nodePort"), number, why);
    ApiError::invalid("", "Service", text(&service["metadata"], "name"), &[error])
}
