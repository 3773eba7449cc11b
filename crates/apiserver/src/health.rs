//! Is the server well? `/healthz`, `/livez`, `/readyz` with their checks (wire 1.6.1), and a few figures in `/metrics`.
//!
//! Live: the process answers. Ready: the store answers too, and the cache has caught up with it.

use crate::Inner;
use crate::reply::{self, Reply};
use crate::request::Request;
use std::fmt::Write as _;

/// Checks of `/livez`; `/healthz` and `/readyz` have all.
const LIVE: &[&str] = &["ping"];
const READY: &[&str] = &["ping", "store", "cache"];

/// Answers a health request.
pub async fn answer(server: &Inner, endpoint: &str, check: Option<&str>, request: &Request) -> Reply {
    let checks = if endpoint == "livez" { LIVE } else { READY };
    if let Some(name) = check {
        return match checks.contains(&name) {
            true if is_well(server, name).await => reply::text(200, "ok"),
            true => reply::text(500, format!("internal server error: {name} failed\n")),
            false => reply::text(404, "404 page not found\n"),
        };
    }
    let excluded: Vec<&str> = request.query.all("exclude").collect();
    let mut report = String::new();
    let mut failed = Vec::new();
    for name in checks {
        if excluded.contains(name) {
            // Writing to a String cannot fail.
            let _ = writeln!(report, "[+]{name} excluded: ok");
        } else if is_well(server, name).await {
            let _ = writeln!(report, "[+]{name} ok");
        } else {
            let _ = writeln!(report, "[-]{name} failed: reason withheld");
            failed.push(*name);
        }
    }
    if !failed.is_empty() {
        tracing::warn!(endpoint, checks = failed.join(","), "a health check failed");
        return reply::text(500, format!("{report}{endpoint} check failed\n"));
    }
    match request.query.has("verbose") {
        true => reply::text(200, format!("{report}{endpoint} check passed\n")),
        false => reply::text(200, "ok"),
    }
}

async fn is_well(server: &Inner, check: &str) -> bool {
    match check {
        "store" => server.store.current().await.is_ok(),
        "cache" => !server.closing.is_cancelled() && server.cache.consistent().await.is_ok(),
        _ => true,
    }
}

/// `/metrics`, Prometheus text.
pub fn metrics(server: &Inner) -> Reply {
    let mut out = String::from("# TYPE apiserver_storage_objects gauge\n");
    for collection in server.cache.collections() {
        let kind = &collection.kind;
        let resource = crate::error::ResourceName { group: kind.group, plural: kind.plural };
        let _ = writeln!(out, "apiserver_storage_objects{{resource=\"{resource}\"}} {}", collection.count());
    }
    let watches = crate::WATCHES - server.watches.available_permits();
    let _ =
        writeln!(out, "# TYPE apiserver_registered_watchers gauge\napiserver_registered_watchers {watches}");
    let _ =
        writeln!(out, "# TYPE everynode_revision counter\neverynode_revision {}", server.cache.revision());
    let _ = writeln!(out, "# TYPE apiserver_current_inflight_requests gauge");
    for (sort, hold, held, _) in server.limits.figures() {
        let _ = writeln!(
            out,
            "apiserver_current_inflight_requests{{priority_level=\"{sort}\",request_kind=\"{hold}\"}} {held}"
        );
    }
    let _ = writeln!(out, "# TYPE apiserver_flowcontrol_rejected_requests_total counter");
    for (sort, hold, _, refused) in server.limits.figures() {
        let _ = writeln!(
            out,
            "apiserver_flowcontrol_rejected_requests_total{{priority_level=\"{sort}\",request_kind=\"{hold}\"}} {refused}"
        );
    }
    if let Some(audit) = &server.config.audit {
        let lost = audit.lost();
        let _ =
            writeln!(out, "# TYPE apiserver_audit_error_total counter\napiserver_audit_error_total {lost}");
    }
    reply::with_type(200, "text/plain; version=0.0.4", out)
}
