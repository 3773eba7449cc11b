//! The other servers of the cluster: what it tells of them, and what is remembered.
//!
//! The endpoints of the service `default/kubernetes` are the servers that live. A node may read them
//! (Kubernetes: node_authorizer.go). They are kept in `servers` beside the identity, an address a line, so that an
//! agent that starts while the server that it was told is away finds another.

use super::{Identity, JoinError, write_private};
use crate::Shutdown;
use k8s_openapi::api::core::v1::Endpoints;
use kube::api::Api;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// The file.
const FILE: &str = "servers";
/// How often they are asked for: servers come and go with their machines.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A server that does not answer within this is asked later.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The addresses that an agent with its identity in `dir` has used; none, if there is no such agent.
pub fn remembered(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join(FILE)).unwrap_or_default();
    text.lines().filter(|line| !line.is_empty()).map(String::from).collect()
}

impl Identity {
    /// Keeps the list of servers as the cluster tells it, until `shutdown`.
    pub async fn follow_servers(&self, shutdown: Shutdown) {
        loop {
            match tokio::time::timeout(ANSWER_LIMIT, self.ask_for_servers()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the other servers are not known"),
                Err(_) => tracing::debug!("the other servers are not known: no answer"),
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
                return;
            }
        }
    }

    async fn ask_for_servers(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let api: Api<Endpoints> = Api::namespaced(self.client()?, "default");
        let told = addresses(&api.get("kubernetes").await?);
        // A list without anybody tells nothing: somebody has just answered.
        if !told.is_empty() && self.servers.learn(&told) {
            tracing::info!(servers = self.servers.urls().join(" "), "the servers of this cluster");
            self.remember_servers()?;
        }
        Ok(())
    }

    pub(super) fn remember_servers(&self) -> Result<(), JoinError> {
        write_private(&self.dir, FILE, &(self.servers.urls().join("\n") + "\n"))
    }
}

/// `https://` addresses of all ready endpoints.
fn addresses(endpoints: &Endpoints) -> Vec<String> {
    let mut found = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports = subset.ports.iter().flatten().filter(|port| port.name.as_deref() == Some("https"));
        for port in ports.map(|port| port.port) {
            let ready = subset.addresses.iter().flatten();
            found.extend(ready.filter_map(|address| address.ip.parse().ok()).map(|ip| match ip {
                IpAddr::V4(ip) => format!("https://{ip}:{port}"),
                IpAddr::V6(ip) => format!("https://[{ip}]:{port}"),
            }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn servers_are_the_ready_https_endpoints() {
        let endpoints = serde_json::from_value(json!({"subsets": [
            {"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "x"}],
                "ports": [{"name": "https", "port": 6443}, {"name": "metrics", "port": 1}]},
            {"notReadyAddresses": [{"ip": "10.0.0.2"}], "ports": [{"name": "https", "port": 6443}]},
            {"addresses": [{"ip": "10.0.0.3"}], "ports": [{"name": "https", "port": 7443}]}]}));
        let expected = ["https://10.0.0.1:6443", "https://[fd00::1]:6443", "https://10.0.0.3:7443"];
        assert_eq!(addresses(&endpoints.unwrap()), expected);
        assert_eq!(addresses(&Endpoints::default()), Vec::<String>::new());
    }
}
