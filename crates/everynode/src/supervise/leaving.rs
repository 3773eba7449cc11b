//! How a node leaves for good: its agent ends, its containers end within their grace period, then what is known of it goes.
//!
//! 1. Nobody waits for a node that leaves but who asked for it: its end comes as an event.
//! 2. It is in the record until everything of it is gone; asking again goes on where it stopped.
//! 3. Its Node object goes before its pods, so that no loop puts others in their place; the pods go without grace, because
//!    what ran of them has ended.
//!
//! Differs: `kubectl delete node` leaves the pods to pod garbage collection, after its quarantine of 40 s. Here it is known
//! that nothing of the node runs any more.

use super::control::Reply;
use super::{Nodes, Up, names_of, say};
use crate::compose;
use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, Client};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Kubernetes: `terminationGracePeriodSeconds`, where a pod says nothing or nobody answers.
const GRACE: Duration = Duration::from_secs(30);
/// Whoever needs longer deletes such pods first.
const LONGEST_GRACE: Duration = Duration::from_secs(120);
/// A node that has not ended this long after its patience is killed.
const INSIST_AFTER: Duration = Duration::from_secs(10);
/// How long the server may take for one step; other nodes wait meanwhile.
const SERVER_LIMIT: Duration = Duration::from_secs(20);
/// A loop that had not seen the Node's end may make a pod once more.
const LOOKS: u32 = 3;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A node that leaves, and who waits for it.
pub struct Leaving {
    reply: oneshot::Sender<Reply>,
    until: Instant,
}

impl Up {
    /// Begins; the reply comes when the node is gone.
    pub(super) async fn leave(&mut self, number: u32, reply: oneshot::Sender<Reply>) {
        match self.begin_to_leave(number).await {
            Ok(until) => {
                self.leaving.insert(number, Leaving { reply, until });
                self.go_on_leaving(number).await;
            }
            Err(error) => _ = reply.send(Err(format!("{error:#}"))),
        }
    }

    async fn begin_to_leave(&mut self, number: u32) -> Result<Instant> {
        ensure!(
            self.record.nodes.contains(&number),
            "there is no n{number}; there are {}",
            names_of(&self.record.nodes)
        );
        ensure!(!self.leaving.contains_key(&number), "n{number} is being removed already");
        say(format!("n{number}: is removed"));
        let patience = self.patience(number).await;
        match &mut self.nodes {
            Nodes::Hosts(hosts) => hosts.leave(number, patience).await?,
            _ => {
                self.record.stopped.insert(number);
                self.set_fleets().await?;
            }
        }
        Ok(Instant::now() + patience + INSIST_AFTER)
    }

    /// Ends the leaving of a node of which nothing runs any more; otherwise its end is still to come.
    pub(super) async fn go_on_leaving(&mut self, number: u32) {
        if matches!(&self.nodes, Nodes::Hosts(hosts) if hosts.is_there(number)) {
            return;
        }
        if let Some(leaving) = self.leaving.remove(&number) {
            let done = self.clear_away(number).await;
            let _ = leaving.reply.send(done.map_err(|error| format!("{error:#}")));
        }
    }

    /// Kills nodes whose patience is over; their ends are events again.
    pub(super) fn insist_on_leaving(&mut self) {
        let Nodes::Hosts(hosts) = &mut self.nodes else { return };
        let now = Instant::now();
        for (number, _) in self.leaving.iter().filter(|(_, leaving)| leaving.until < now) {
            hosts.kill(*number);
        }
    }

    /// Removes a node that does not run: on this machine, in the record, and for the server.
    pub(super) async fn clear_away(&mut self, number: u32) -> Result<String> {
        if let Nodes::Hosts(hosts) = &mut self.nodes {
            hosts.remove(number)?;
        }
        self.finish_waiting(number, &Err(format!("n{number} is removed")));
        self.record.nodes.remove(&number);
        self.record.stopped.remove(&number);
        self.write_record()?;
        let pods = self.forget(number).await?;
        let pods = if pods == 1 { "1 pod".to_string() } else { format!("{pods} pods") };
        Ok(format!("n{number} is gone; its Node object and {pods} are deleted"))
    }

    /// Deletes the Node object and its pods; answers how many.
    pub(super) async fn forget(&self, number: u32) -> Result<usize> {
        let name = format!("n{number}");
        match timeout(SERVER_LIMIT, forget(&self.kubeconfig(), &name)).await {
            Ok(done) => {
                done.with_context(|| format!("{name} has ended, but not all of its objects are deleted"))
            }
            Err(_) => bail!("{name} has ended, but the server does not answer: kubectl delete node {name}"),
        }
    }

    async fn patience(&self, number: u32) -> Duration {
        let (kubeconfig, node) = (self.kubeconfig(), format!("n{number}"));
        let asked = async {
            let client = compose::client(&kubeconfig).await?;
            anyhow::Ok(longest_grace(&pods_of(&client, &node).await?))
        };
        timeout(SERVER_LIMIT, asked).await.ok().and_then(Result::ok).unwrap_or(GRACE)
    }
}

async fn forget(kubeconfig: &Path, node: &str) -> Result<usize> {
    let client = compose::client(kubeconfig).await?;
    let deleted = Api::<Node>::all(client.clone()).delete(node, &DeleteParams::default()).await;
    unless_gone(deleted.map(drop))?;
    let mut count = 0;
    for _ in 0..LOOKS {
        let pods = pods_of(&client, node).await?;
        if pods.is_empty() {
            break;
        }
        for pod in &pods {
            delete_at_once(&client, pod).await?;
        }
        count += pods.len();
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(count)
}

async fn pods_of(client: &Client, node: &str) -> kube::Result<Vec<Pod>> {
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    Ok(Api::<Pod>::all(client.clone()).list(&on_node).await?.items)
}

async fn delete_at_once(client: &Client, pod: &Pod) -> kube::Result<()> {
    let meta = &pod.metadata;
    let (namespace, name) =
        (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let preconditions = Some(Preconditions { uid: meta.uid.clone(), resource_version: None });
    let params = DeleteParams { grace_period_seconds: Some(0), preconditions, ..DeleteParams::default() };
    let deleted = Api::<Pod>::namespaced(client.clone(), namespace).delete(name, &params).await;
    unless_gone(deleted.map(drop))
}

/// Not there, or another one of that name by now: what was wished for.
fn unless_gone(deleted: kube::Result<()>) -> kube::Result<()> {
    match deleted {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other,
    }
}

/// What the most patient of the pods that run asks for.
fn longest_grace(pods: &[Pod]) -> Duration {
    let runs = |pod: &&Pod| !objects::pod::is_terminal(pod);
    let grace = |pod: &Pod| {
        let seconds = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        seconds.map_or(GRACE, |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
    };
    pods.iter().filter(runs).map(grace).max().unwrap_or_default().min(LONGEST_GRACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_have_the_longest_grace_of_those_that_run() {
        let pod = |phase: &str, grace: Option<i64>| -> Pod {
            serde_json::from_value(json!({
                "spec": {"containers": [], "terminationGracePeriodSeconds": grace}, "status": {"phase": phase}
            }))
            .unwrap()
        };
        let seconds = |pods: &[Pod]| longest_grace(pods).as_secs();
        assert_eq!(seconds(&[]), 0);
        assert_eq!(seconds(&[pod("Running", Some(2)), pod("Pending", Some(5))]), 5);
        assert_eq!(seconds(&[pod("Running", Some(2)), pod("Succeeded", Some(50))]), 2);
        assert_eq!(seconds(&[pod("Running", None)]), 30);
        assert_eq!(seconds(&[pod("Running", Some(3600))]), 120);
        assert_eq!(seconds(&[pod("Running", Some(-1))]), 0);
    }
}
