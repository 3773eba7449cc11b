//! `everynode rollout …`: what `kubectl rollout` does for a DaemonSet, and the pause that it refuses.
//!
//! The words are kubectl's. Pausing is an annotation on the stock object ([`why::PAUSED_ANNOTATION`]): our controller
//! replaces no pod while it stands there. kube-controller-manager does not know it, so on a cluster where nobody shows that
//! our controller runs, the command says so.

mod status;

use super::target::{Opened, Target};
use crate::compose::LEASE;
use crate::lookup::{Lookup, said};
use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use why::PAUSED_ANNOTATION;
use why::history::{History, Undo};
use why::report::is_paused;

/// A lease that has been renewed within this has a living holder.
const LEASE_LIFE: SignedDuration = SignedDuration::from_secs(60);

/// Flags of `everynode rollout`.
#[derive(Debug, Args)]
pub struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Replace no more pods. Missing pods are created, and unwanted ones deleted, as ever.
    Pause(Target),
    /// Go on replacing pods.
    Resume(Target),
    /// Tell how far it is until it is done, and which nodes hang.
    Status(status::Flags),
    /// List the revisions, or show one.
    History {
        #[command(flatten)]
        target: Target,
        /// Show this revision's pod template, as YAML.
        #[arg(long)]
        revision: Option<i64>,
    },
    /// Go back to an older revision.
    Undo {
        #[command(flatten)]
        target: Target,
        /// To this one [default: the last one before this].
        #[arg(long, default_value_t = 0, hide_default_value = true, allow_negative_numbers = true)]
        to_revision: i64,
    },
}

/// Does it, and prints what kubectl prints.
pub async fn run(flags: Flags) -> Result<()> {
    match flags.what {
        What::Pause(target) => pause(target.open().await?).await,
        What::Resume(target) => resume(target.open().await?).await,
        What::Status(flags) => status::run(flags).await,
        What::History { target, revision } => history(target.open().await?, revision).await,
        What::Undo { target, to_revision } => undo(target.open().await?, to_revision).await,
    }
}

async fn pause(Opened { client, namespace, name }: Opened) -> Result<()> {
    let api = Api::namespaced(client.clone(), &namespace);
    let daemon_set: DaemonSet = api.get(&name).await.map_err(said)?;
    ensure!(!is_paused(&daemon_set), "daemonsets.apps {name:?} is already paused");
    annotate(&api, &name, Some("true")).await?;
    println!("daemonset.apps/{name} paused");
    if !is_heeded(&client).await {
        let (lease_namespace, lease) = LEASE;
        eprintln!(
            "everynode: this is not Everynode's own server, and nobody renews the lease {lease_namespace}/{lease}: \
             the pause takes effect where `everynode controller` is the DaemonSet controller; \
             kube-controller-manager ignores it"
        );
    }
    Ok(())
}

async fn resume(Opened { client, namespace, name }: Opened) -> Result<()> {
    let api = Api::namespaced(client, &namespace);
    let daemon_set: DaemonSet = api.get(&name).await.map_err(said)?;
    ensure!(is_paused(&daemon_set), "daemonsets.apps {name:?} is not paused");
    annotate(&api, &name, None).await?;
    println!("daemonset.apps/{name} resumed");
    Ok(())
}

async fn annotate(api: &Api<DaemonSet>, name: &str, value: Option<&str>) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {PAUSED_ANNOTATION: value}}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(said)?;
    Ok(())
}

/// Whether a controller that knows the annotation shows itself: as the server's version, or as the holder of a lease.
async fn is_heeded(client: &Client) -> bool {
    if client.apiserver_version().await.is_ok_and(|version| version.git_version.contains("+everynode.")) {
        return true;
    }
    let (namespace, name) = LEASE;
    let lease: Option<Lease> = Api::namespaced(client.clone(), namespace).get(name).await.ok();
    let renewed = lease.and_then(|lease| lease.spec?.renew_time).map(|time| time.0);
    renewed.is_some_and(|renewed| Timestamp::now().duration_since(renewed) < LEASE_LIFE)
}

async fn history(Opened { client, namespace, name }: Opened, revision: Option<i64>) -> Result<()> {
    let lookup = Lookup::new(client, namespace, name.clone());
    let daemon_set = lookup.subject().await?.object;
    let revisions = lookup.revisions(&daemon_set).await?;
    let history = History::of(&daemon_set, &revisions);
    match revision {
        None => println!("daemonset.apps/{name} \n{}", history.table()),
        Some(number) => {
            let template = history.template(number).context("unable to find the specified revision")?;
            println!("daemonset.apps/{name} with revision #{number}");
            print!("{}", serde_saphyr::to_string(&json!({"template": template}))?);
        }
    }
    Ok(())
}

async fn undo(Opened { client, namespace, name }: Opened, to: i64) -> Result<()> {
    let lookup = Lookup::new(client.clone(), namespace.clone(), name.clone());
    let subject = lookup.subject().await?;
    let revisions = lookup.revisions(&subject.object).await?;
    let template = &subject.json["spec"]["template"];
    match History::of(&subject.object, &revisions).undo(to, template)? {
        Undo::Skipped { number } => {
            println!(
                "daemonset.apps/{name} skipped rollback (current template already matches revision {number})"
            );
        }
        Undo::Patch { number, body } => {
            let api: Api<DaemonSet> = Api::namespaced(client, &namespace);
            let sent = api.patch(&name, &PatchParams::default(), &Patch::Strategic(body)).await;
            if let Err(error) = sent {
                bail!("failed restoring revision {number}: {}", said(error));
            }
            println!("daemonset.apps/{name} rolled back");
            if is_paused(&subject.object) {
                eprintln!(
                    "everynode: the rollout is paused: pods are replaced after everynode rollout resume"
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::tests::server;
    use kube::api::PostParams;

    #[tokio::test]
    async fn a_controller_of_ours_is_known_by_the_server_or_by_its_lease() {
        assert!(is_heeded(&server(|_| None).await).await);
        let foreign = |path: &str| {
            (path == "/version").then(|| (200, json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0",
                "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""})))
        };
        let client = server(foreign).await;
        assert!(!is_heeded(&client).await);
        let lease = |renewed: Timestamp| -> Lease {
            let (_, name) = LEASE;
            let time = renewed.strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string();
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"renewTime": time}})).unwrap()
        };
        let api: Api<Lease> = Api::namespaced(client.clone(), LEASE.0);
        let stale = lease(Timestamp::now() - SignedDuration::from_mins(5));
        api.create(&PostParams::default(), &stale).await.unwrap();
        assert!(!is_heeded(&client).await, "a lease that nobody renews");
        let patch = Patch::Merge(json!({"spec": lease(Timestamp::now()).spec}));
        api.patch(LEASE.1, &PatchParams::default(), &patch).await.unwrap();
        assert!(is_heeded(&client).await);
    }
}
