//! From a join token to a client and a serving certificate.

use crate::world::World;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestStatus};
use kube::Client;
use kube::api::{Api, PostParams};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use serde_json::json;

async fn ask(client: Client, name: &str, signer: &str, usage: &str, names: &[SanType]) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, "system:node:n1");
    params.subject_alt_names = names.to_vec();
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let request = json!({"metadata": {"name": name}, "spec": {"request": ByteString(pem.into_bytes()),
        "signerName": signer, "usages": ["digital signature", usage]}});
    let api = Api::<CertificateSigningRequest>::all(client);
    api.create(&PostParams::default(), &serde_json::from_value(request).unwrap()).await.unwrap();
}

async fn status(world: &World, name: &str) -> CertificateSigningRequestStatus {
    let api = Api::<CertificateSigningRequest>::all(world.client.clone());
    api.get(name).await.unwrap().status.unwrap_or_default()
}

fn conditions(status: &CertificateSigningRequestStatus) -> Vec<(String, String)> {
    let conditions = status.conditions.iter().flatten();
    conditions.map(|c| (c.type_.clone(), c.message.clone().unwrap_or_default())).collect()
}

const CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING: &str = "kubernetes.io/kubelet-serving";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joining_node_gets_its_certificates() {
    let world = World::with_nodes(0).await;
    let joining = world.client_of("system:bootstrap:abcdef", "system:bootstrappers");
    ask(joining.clone(), "first", CLIENT, "client auth", &[]).await;
    let signed = |status: &CertificateSigningRequestStatus| status.certificate.is_some();
    let first = world.eventually("the client certificate", || status(&world, "first"), signed).await;
    let approved = |text: &str| vec![("Approved".to_string(), text.to_string())];
    assert_eq!(
        conditions(&first),
        approved("Auto approving kubelet client certificate after SubjectAccessReview.")
    );

    let node = world.client_of("system:node:n1", "system:nodes");
    ask(node.clone(), "renewal", CLIENT, "client auth", &[]).await;
    let renewal = world.eventually("the renewed certificate", || status(&world, "renewal"), signed).await;
    assert_eq!(
        conditions(&renewal),
        approved("Auto approving self kubelet client certificate after SubjectAccessReview.")
    );

    let names = [SanType::DnsName("n1".try_into().unwrap()), SanType::IpAddress([10, 0, 0, 1].into())];
    ask(node.clone(), "serving", SERVING, "server auth", &names).await;
    let serving = world.eventually("the serving certificate", || status(&world, "serving"), signed).await;
    let ByteString(pem) = serving.certificate.unwrap();
    assert!(pem.starts_with(b"-----BEGIN CERTIFICATE-----"));

    // Approved by a person, but not in its signer's form.
    ask(world.client.clone(), "bad", CLIENT, "server auth", &[]).await;
    let api = Api::<CertificateSigningRequest>::all(world.client.clone());
    let approval = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "Me", "message": "ok"}]}});
    let patch = kube::api::Patch::Merge(approval);
    api.patch_subresource("approval", "bad", &Default::default(), &patch).await.unwrap();
    let failed = |status: &CertificateSigningRequestStatus| {
        conditions(status).iter().any(|(type_, _)| type_ == "Failed")
    };
    let bad = world.eventually("the failure", || status(&world, "bad"), failed).await;
    assert_eq!(conditions(&bad)[1].1, "usages did not match: digital signature, server auth");
    assert_eq!(bad.certificate, None);

    // Not approved: a stranger, and another node's name.
    ask(joining, "stranger-serving", SERVING, "server auth", &names).await;
    ask(node, "foreign", SERVING, "server auth", &[SanType::DnsName("n2".try_into().unwrap())]).await;
    ask(world.client_of("system:node:n1", "system:nodes"), "last", CLIENT, "client auth", &[]).await;
    world.eventually("a later request", || status(&world, "last"), signed).await;
    for name in ["stranger-serving", "foreign"] {
        assert_eq!(conditions(&status(&world, name).await), [], "{name}");
    }
}
