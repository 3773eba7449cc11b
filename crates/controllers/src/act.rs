//! A plan's actions become API calls: how many at once, what counts as done, what is told.
//!
//! 1. Creates start slowly: 1, 2, 4, … at a time, and stop after a batch with an error, so that a full quota costs one
//!    refused request and not hundreds (MG-20).
//! 2. Deletes go all at once, up to [`PARALLEL_CALLS`] in flight (MG-21).
//! 3. Nothing is decided here: a failed barrier ends the plan, any other failure is collected (see [`daemonset::plan`]).
//!
//! Kubernetes: `controller_utils.go`, `daemon_controller.go` (`syncNodes`, `storeDaemonSetStatus`).

mod answers;

pub(crate) use answers::of_uid;

use crate::Shared;
use crate::caches::Whole;
use crate::daemonsets::doubts::is_doubtful;
use crate::daemonsets::ledgers::Ledgers;
use crate::events;
use crate::expectations::Expectations;
use crate::tolerate;
use crate::traces::calls::Acting;
use answers::{Made, MadeMeta, as_seen, text, word};
use daemonset::{Action, Change, Event, conditions};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{PartialObjectMeta, Status};
use kube::{Api, Resource as _};
use objects::key::ObjectKey;
use serde_json::{Value, json};

/// Requests of one plan in flight. Enough to keep a server on two cores busy; a remote server's fair queue admits about
/// as many of one user.
pub const PARALLEL_CALLS: usize = 64;

/// Why a plan could not be carried out in full.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// A step that all others depend on has failed.
    #[error("cannot {action}")]
    Barrier {
        /// What was to be done.
        action: String,
        /// Why not.
        #[source]
        source: CallError,
    },
    /// Some of many independent steps have failed; this is the first.
    #[error("{failed} of the steps failed, the first: cannot {action}")]
    Some {
        /// How many.
        failed: usize,
        /// What was to be done.
        action: String,
        /// Why not.
        #[source]
        source: CallError,
    },
}

/// Why one call did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server did not do it.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// The live DaemonSet is another one, or ends (OW-7).
    #[error("the DaemonSet is being deleted or has been replaced")]
    NotAlive,
    /// Nothing more can be created in this namespace.
    #[error("the namespace is being deleted")]
    NamespaceEnds,
}

/// Whether the server refuses to create because the namespace ends (MG-21).
pub fn is_namespace_terminating(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Carries out the actions for one DaemonSet.
pub(crate) struct Actor<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) expectations: &'a Expectations,
    pub(crate) ledgers: &'a Ledgers,
    pub(crate) subject: &'a Whole<DaemonSet>,
    pub(crate) acting: &'a Acting,
}

impl Actor<'_> {
    /// Carries out all actions, in their order.
    pub(crate) async fn carry_out(&self, actions: &[Action]) -> Result<(), ActError> {
        let mut failures = Failures::default();
        for group in actions.chunk_by(|a, b| std::mem::discriminant(a) == std::mem::discriminant(b)) {
            let outcome = match group {
                [Action::CreatePod { .. }, ..] => self.in_slow_start(group).await,
                group => self.all_at_once(group).await,
            };
            match outcome.first {
                Some((action, source)) if action.is_barrier() => {
                    return Err(ActError::Barrier { action: action.to_string(), source });
                }
                first => failures.add(first, outcome.failed),
            }
        }
        failures.into_result()
    }

    /// MG-20: batches of 1, 2, 4, …; a batch with an error is the last.
    async fn in_slow_start<'g>(&self, group: &'g [Action]) -> Outcome<'g> {
        let (mut rest, mut batch) = (group, 1);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(batch.min(rest.len()));
            let outcome = self.all_at_once(now).await;
            if outcome.failed > 0 {
                return outcome;
            }
            (rest, batch) = (later, batch * 2);
        }
        Outcome::default()
    }

    async fn all_at_once<'g>(&self, group: &'g [Action]) -> Outcome<'g> {
        let calls = group.iter().map(|action| self.named_call(action).boxed()).collect();
        let mut outcome = Outcome::default();
        for (action, end) in in_parallel(calls).await {
            if let Err(error) = end {
                outcome.failed += 1;
                outcome.first.get_or_insert((action, error));
            }
        }
        outcome
    }

    async fn named_call<'g>(&self, action: &'g Action) -> (&'g Action, Result<(), CallError>) {
        (action, self.call(action).await)
    }

    async fn call(&self, action: &Action) -> Result<(), CallError> {
        match action {
            Action::ConfirmAlive => self.confirm_alive().await,
            Action::ClaimPod { name, claim, patch } => {
                claim_by_patch(&self.pods(), name, *claim, patch).await
            }
            Action::ClaimRevision { name, claim, patch } => {
                claim_by_patch(&self.revisions(), name, *claim, patch).await
            }
            Action::CreateRevision(new) => {
                self.post::<ControllerRevision>(action, new.body().into_bytes()).await?;
                Ok(())
            }
            Action::LabelRevision { name, hash } => {
                self.patch_revision(name, json!({"metadata": {"labels": {objects::pod::HASH_LABEL: hash}}}))
                    .await
            }
            Action::NumberRevision { name, revision } => {
                self.patch_revision(name, json!({ "revision": revision })).await
            }
            Action::RelabelPod { name, uid, hash } => {
                let labels = json!({objects::pod::HASH_LABEL: hash});
                let patch = Patch::Merge(json!({"metadata": {"uid": uid, "labels": labels}}));
                self.pods().patch(name, &PatchParams::default(), &patch).await?;
                Ok(())
            }
            Action::DeleteRevision { name, uid, .. } => {
                let outcome = self.revisions().delete(name, &of_uid(uid)).await;
                Ok(tolerate(outcome, Status::is_not_found).map(drop)?)
            }
            Action::RaiseCollisionCount { to } => self.raise_collision_count(*to).await,
            Action::CreatePod { node, pod } => self.create_pod(action, node, pod).await,
            Action::DeletePod { name, uid, resource_version: seen, .. } => {
                self.delete_pod(action, name, uid, seen).await
            }
            Action::WriteStatus(status) => self.write_status(status).await,
        }
    }

    /// OW-7: read from the server, not from the cache.
    async fn confirm_alive(&self) -> Result<(), CallError> {
        let live = tolerate(self.daemonsets().get_metadata(self.name()).await, Status::is_not_found)?;
        let is_alive = live.is_some_and(|live| {
            live.metadata.uid == self.subject.object.metadata.uid
                && live.metadata.deletion_timestamp.is_none()
        });
        if is_alive { Ok(()) } else { Err(CallError::NotAlive) }
    }

    async fn patch_revision(&self, name: &str, patch: Value) -> Result<(), CallError> {
        self.revisions().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// RV-14.
    async fn raise_collision_count(&self, to: i32) -> Result<(), CallError> {
        let mut object = self.body();
        object["status"]["collisionCount"] = to.into();
        self.daemonsets().replace_subresource("status", self.name(), &PostParams::default(), &object).await?;
        Ok(())
    }

    async fn create_pod(&self, action: &Action, node: &str, pod: &Value) -> Result<(), CallError> {
        match self.post::<Pod>(action, pod.to_string().into_bytes()).await {
            Ok(Made { metadata: MadeMeta { namespace, name, uid } }) => {
                let key = ObjectKey { namespace, name };
                self.note(&key.name);
                self.expectations.created(self.uid(), node, &key, &uid, self.shared.now());
                self.tell(action.succeeded(&key.name));
                Ok(())
            }
            // Nobody's failure, but no reason to go on (MG-21).
            Err(kube::Error::Api(status)) if is_namespace_terminating(&status) => {
                Err(CallError::NamespaceEnds)
            }
            Err(error) => {
                if is_doubtful(&error) {
                    self.expectations.in_doubt(self.uid(), node, self.shared.now());
                }
                self.expectations.refused(self.uid(), word(&error), self.shared.now());
                self.tell(action.failed(&text(&error)));
                Err(error.into())
            }
        }
    }

    /// Creates from text, so that what our types do not know gets there, and revisions byte for byte.
    async fn post<K>(&self, action: &Action, body: Vec<u8>) -> kube::Result<Made>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        let request = kube::core::Request::new(K::url_path(&(), Some(self.namespace())));
        let mut request = request.create(&PostParams::default(), body).map_err(kube::Error::BuildRequest)?;
        self.acting.because(&mut request, action);
        self.acting.client().request(request).await
    }

    async fn delete_pod(&self, action: &Action, name: &str, uid: &str, seen: &str) -> Result<(), CallError> {
        // 409: it has changed, or another pod has its name. Either brings an event, and that another look.
        let is_settled = |status: &Status| status.is_not_found() || status.is_conflict();
        // What is left of the pod is not read: the watch tells it.
        let request = kube::core::Request::new(Pod::url_path(&(), Some(self.namespace())));
        let mut request = request.delete(name, &as_seen(uid, seen)).map_err(kube::Error::BuildRequest)?;
        self.acting.because(&mut request, action);
        match tolerate(self.acting.client().request_text(request).await, is_settled) {
            Ok(Some(_)) => {
                self.note(name);
                let (key, now) = (ObjectKey::new(self.namespace(), name), self.shared.now());
                self.expectations.deleted(self.uid(), &key, uid, now);
                self.tell(action.succeeded(name));
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => {
                self.tell(action.failed(&text(&error)));
                Err(error.into())
            }
        }
    }

    /// ST-14: from the cached object first; on any error once more from the live one. The rest of the object stays as
    /// it was sent, with what our types do not know.
    async fn write_status(&self, status: &DaemonSetStatus) -> Result<(), CallError> {
        let mut object = self.body();
        object["status"] = json!(status);
        let api = self.daemonsets();
        if api.replace_subresource("status", self.name(), &PostParams::default(), &object).await.is_ok() {
            return Ok(());
        }
        let Some(mut live) = tolerate(api.get(self.name()).await, Status::is_not_found)? else {
            return Ok(());
        };
        if live.metadata.uid != self.subject.object.metadata.uid {
            return Ok(());
        }
        let there = live.status.take().unwrap_or_default();
        live.status = Some(DaemonSetStatus {
            // ST-9, ST-10: what is not ours stays as it is now.
            collision_count: there.collision_count.max(status.collision_count),
            conditions: Some(conditions::merged(
                there.conditions.as_deref().unwrap_or_default(),
                status.conditions.as_deref().unwrap_or_default(),
            )),
            ..status.clone()
        });
        api.replace_subresource("status", self.name(), &PostParams::default(), &live).await?;
        Ok(())
    }

    /// The DaemonSet as it was sent; items of a list come without their kind.
    fn body(&self) -> Value {
        let mut object = self.subject.json.clone();
        object["apiVersion"] = "apps/v1".into();
        object["kind"] = "DaemonSet".into();
        object
    }

    /// The next plan reads this pod again, whatever the watch says and when.
    fn note(&self, pod: &str) {
        self.ledgers.pod_changed([&ObjectKey::of(&self.subject.object.metadata)], pod);
    }

    /// Tells of something on the DaemonSet.
    pub(crate) fn tell(&self, event: Option<Event>) {
        if let Some(event) = event {
            let about = events::reference(&self.subject.object);
            self.shared.recorder.tell(about, event.kind.as_str(), event.reason, event.message);
        }
    }

    fn name(&self) -> &str {
        self.subject.object.metadata.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.subject.object.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.subject.object.metadata.uid.as_deref().unwrap_or_default()
    }

    fn daemonsets(&self) -> Api<DaemonSet> {
        Api::namespaced(self.acting.client().clone(), self.namespace())
    }

    fn pods(&self) -> Api<PartialObjectMeta<Pod>> {
        Api::namespaced(self.acting.client().clone(), self.namespace())
    }

    fn revisions(&self) -> Api<ControllerRevision> {
        Api::namespaced(self.acting.client().clone(), self.namespace())
    }
}

/// OW-6, OW-7: an object that is gone needs neither; one that is not the same any more (422) needs no release.
async fn claim_by_patch<K>(api: &Api<K>, name: &str, claim: Change, patch: &Value) -> Result<(), CallError>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug + kube::Resource,
{
    let outcome = api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await;
    let is_fine = |status: &Status| status.is_not_found() || (claim == Change::Release && status.code == 422);
    tolerate(outcome, is_fine)?;
    Ok(())
}

/// What became of a group of actions.
#[derive(Default)]
struct Outcome<'a> {
    failed: usize,
    first: Option<(&'a Action, CallError)>,
}

/// All of these, at most [`PARALLEL_CALLS`] at a time; the answers come in the order of their ends.
pub(crate) async fn in_parallel<T>(calls: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    futures::stream::iter(calls).buffer_unordered(PARALLEL_CALLS).collect().await
}

#[derive(Default)]
struct Failures {
    failed: usize,
    first: Option<(String, CallError)>,
}

impl Failures {
    fn add(&mut self, first: Option<(&Action, CallError)>, failed: usize) {
        if matches!(first, Some((_, CallError::NamespaceEnds))) {
            return;
        }
        self.failed += failed;
        if let (None, Some((action, error))) = (&self.first, first) {
            self.first = Some((action.to_string(), error));
        }
    }

    fn into_result(self) -> Result<(), ActError> {
        match self.first {
            None => Ok(()),
            Some((action, source)) => Err(ActError::Some { failed: self.failed, action, source }),
        }
    }
}
