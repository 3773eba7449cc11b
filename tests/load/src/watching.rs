//! How many events a second reach how many watchers, how late, and what does the server hold for each of them?
//!
//! Every watcher has a connection of its own and watches all ConfigMaps of the namespace; every client changes one of these
//! again and again. A change carries the moment at which it was asked for, so what is late is the write and the event together.

use crate::figures::{Server, Table};
use crate::wire::Wire;
use crate::{CLIENTS, REST, config_map, path};
use anyhow::Result;
use futures::future::{join_all, try_join_all};
use futures::{StreamExt as _, TryStreamExt as _};
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use kube::Config;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How many watchers are told of how many changes: some seconds each.
pub const SIZES: [(usize, usize); 3] = [(1, 6_400), (100, 3_200), (1_000, 640)];
/// Who has heard nothing for so long, with events missing, will never hear them.
const PATIENCE: Duration = Duration::from_secs(60);
/// What stands before the moment in an event; `managedFields` have `"f:at"`.
const MARK: &[u8] = b"\"at\":\"";
/// Digits of a moment in microseconds.
const DIGITS: usize = 12;

/// Rows for so many watchers and so many changes.
pub async fn measure(
    config: &Config,
    clients: &mut [Wire],
    (count, changes): (usize, usize),
    server: &Server,
    table: &Table,
) -> Result<()> {
    let (path, each) = (path("configmaps"), changes / CLIENTS);
    for (index, client) in clients.iter_mut().enumerate() {
        let map = config_map(&format!("watched-{count}-{index}"), "");
        client.write(Method::POST, &path, map).await?;
    }
    let (before, zero) = (server.memory(), Instant::now());
    let watchers = (0..count).map(|_| watch(config, &path, zero, each * CLIENTS));
    let watchers: Vec<_> = futures::stream::iter(watchers).buffered(CLIENTS).try_collect().await?;
    tokio::time::sleep(REST).await;
    table.row(&format!("memory of the server for one of {count} watchers"), &server.share(before, count));

    let meter = server.meter();
    let writers = clients.iter_mut().enumerate().map(async |(index, client)| {
        let object = format!("{path}/watched-{count}-{index}");
        for _ in 0..each {
            let at = zero.elapsed().as_micros();
            let patch = format!(r#"{{"data":{{"at":"{at:0DIGITS$}"}}}}"#);
            client.write(Method::PATCH, &object, patch).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(writers).await?;
    let heard = join_all(watchers).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let last = heard.iter().filter_map(|heard| heard.last).max().unwrap_or_else(Instant::now);
    let late: Vec<Duration> = heard.into_iter().flat_map(|heard| heard.late).collect();
    let lost = each * CLIENTS * count - late.len();
    let lost = if lost > 0 { format!(", {lost} of them never heard") } else { String::new() };
    table.calls(&format!("watch events to {count} watchers{lost}"), late, &meter.until(last));
    Ok(())
}

/// What one watcher has heard.
#[derive(Default)]
struct Heard {
    late: Vec<Duration>,
    last: Option<Instant>,
}

/// Watches what happens from now on, on a connection of its own, until so many events have come.
async fn watch(config: &Config, path: &str, zero: Instant, events: usize) -> Result<JoinHandle<Heard>> {
    let mut wire = Wire::open(config).await?;
    // Without bookmarks, and without what is there already.
    let from_now = "watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    let body = wire.stream(&format!("{path}?{from_now}")).await?;
    Ok(tokio::spawn(async move {
        let heard = listen(body, zero, events).await;
        drop(wire);
        heard
    }))
}

async fn listen(mut body: Incoming, zero: Instant, events: usize) -> Heard {
    let (mut heard, mut held) = (Heard::default(), Vec::new());
    while heard.late.len() < events {
        let Ok(Some(Ok(frame))) = tokio::time::timeout(PATIENCE, body.frame()).await else { break };
        let Some(piece) = frame.data_ref() else { continue };
        held.extend_from_slice(piece);
        let now = zero.elapsed();
        while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
            if let Some(at) = moment(&held[..end]) {
                heard.late.push(now.saturating_sub(at));
            }
            held.drain(..=end);
        }
        heard.last = Some(Instant::now());
    }
    heard
}

/// When the change of an event was asked for.
fn moment(line: &[u8]) -> Option<Duration> {
    let mark = line.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let digits = std::str::from_utf8(line.get(mark..mark + DIGITS)?).ok()?;
    digits.parse().ok().map(Duration::from_micros)
}
