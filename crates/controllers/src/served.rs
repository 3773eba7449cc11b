//! Which kinds does the server serve, and what can be done with them?
//!
//! Asked from discovery, one preferred version per kind, sorted. Kubernetes: `client-go/discovery`
//! (`ServerPreferredResources`).

use kube::Client;
use kube::core::discovery::{ApiResource, Scope};
use kube::discovery::Discovery;

/// A served kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served {
    /// Group, version, kind and plural.
    pub(crate) resource: ApiResource,
    /// Whether its objects live in namespaces.
    pub(crate) is_namespaced: bool,
    /// `get`, `list`, …
    pub(crate) verbs: Vec<String>,
}

impl Served {
    /// Whether all of these can be done.
    pub(crate) fn can(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|served| served == verb))
    }

    /// `pods`, `daemonsets.apps`.
    pub(crate) fn name(&self) -> String {
        match self.resource.group.as_str() {
            "" => self.resource.plural.clone(),
            group => format!("{}.{group}", self.resource.plural),
        }
    }
}

/// Asks discovery; one request for the whole where the server can, else one per group.
pub(crate) async fn ask(client: &Client) -> kube::Result<Vec<Served>> {
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        Err(_) => Discovery::new(client.clone()).run().await?,
    };
    let resources = discovery.groups().flat_map(|group| group.resources_by_stability());
    let mut served: Vec<Served> = resources
        .map(|(resource, capabilities)| Served {
            resource,
            is_namespaced: capabilities.scope == Scope::Namespaced,
            verbs: capabilities.operations,
        })
        .collect();
    served.sort_by_key(|served| (served.resource.group.clone(), served.resource.plural.clone()));
    Ok(served)
}
