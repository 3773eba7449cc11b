//! What do the fields of a kind mean? k8s-openapi's generated schemas, with every type they refer to.
//!
//! The texts live in the program once, as k8s-openapi has them, and are put together only for a document.

use crate::schema::Gvk;
use k8s_openapi::api::{
    admissionregistration::v1 as admissionregistration, apps::v1 as apps,
    authentication::v1 as authentication, authorization::v1 as authorization, autoscaling::v1 as autoscaling,
    batch::v1 as batch, certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core,
    discovery::v1 as discovery, events::v1 as events, networking::v1 as networking, node::v1 as node,
    policy::v1 as policy, rbac::v1 as rbac, scheduling::v1 as scheduling, storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, apis::meta::v1 as meta};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// Schemas of the kinds and of everything they refer to, and of what every group takes and gives, by OpenAPI name.
pub(super) fn definitions<'a>(kinds: impl Iterator<Item = Gvk<'a>>) -> Map<String, Value> {
    let settings = SchemaSettings::openapi3().with(|s| s.definitions_path = "/components/schemas".into());
    let mut generator = SchemaGenerator::new(settings);
    let _ = generator.subschema_for::<meta::DeleteOptions>();
    let _ = generator.subschema_for::<meta::ListMeta>();
    let _ = generator.subschema_for::<meta::ObjectMeta>();
    let _ = generator.subschema_for::<meta::Patch>();
    let _ = generator.subschema_for::<meta::Status>();
    let _ = generator.subschema_for::<Quantity>();
    for gvk in kinds {
        add(gvk, &mut generator);
    }
    generator.take_definitions(true)
}

/// Adds the schema of a kind; false for a kind that k8s-openapi does not have.
pub(super) fn add(gvk: Gvk<'_>, generator: &mut SchemaGenerator) -> bool {
    macro_rules! kinds {
        ($($group:literal: $package:ident { $($kind:ident)+ })+) => {
            match (gvk.group, gvk.version, gvk.kind) {
                $($(($group, "v1", stringify!($kind)) => {
                    let _ = generator.subschema_for::<$package::$kind>();
                    true
                })+)+
                _ => false,
            }
        };
    }
    kinds! {
        "": core {
            Binding ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim Pod
            PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount
        }
        "admissionregistration.k8s.io": admissionregistration {
            MutatingWebhookConfiguration ValidatingWebhookConfiguration
        }
        "apiextensions.k8s.io": apiextensions { CustomResourceDefinition }
        "apps": apps { ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet }
        "authentication.k8s.io": authentication { SelfSubjectReview TokenRequest TokenReview }
        "authorization.k8s.io": authorization {
            LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview
        }
        "autoscaling": autoscaling { HorizontalPodAutoscaler Scale }
        "batch": batch { CronJob Job }
        "certificates.k8s.io": certificates { CertificateSigningRequest }
        "coordination.k8s.io": coordination { Lease }
        "discovery.k8s.io": discovery { EndpointSlice }
        "events.k8s.io": events { Event }
        "networking.k8s.io": networking { Ingress IngressClass NetworkPolicy }
        "node.k8s.io": node { RuntimeClass }
        "policy": policy { Eviction PodDisruptionBudget }
        "rbac.authorization.k8s.io": rbac { ClusterRole ClusterRoleBinding Role RoleBinding }
        "scheduling.k8s.io": scheduling { PriorityClass }
        "storage.k8s.io": storage { CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment }
    }
}
