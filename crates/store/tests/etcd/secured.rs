//! An etcd that asks who we are: by certificate, and by password.

use crate::cluster::{Cluster, open};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::process::Command;
use store::Store;
use store::etcd::{EtcdStore, Login, OpenError, Options, Tls};

/// An authority, and certificates that it has signed.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "etcd-ca");
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate and its key.
    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_string()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// Everything that a server does with its store.
async fn works(store: &EtcdStore) {
    let start = store.current().await.unwrap();
    let mut watch = store.watch("", start).await.unwrap();
    let created = store.create("k", "1".into()).await.unwrap();
    let updated = store.update("k", "2".into(), created).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().events[0].revision, created);
    assert_eq!(store.list("").await.unwrap().entries.len(), 1);
    store.compact(updated).await.unwrap();
    store.delete("k", updated).await.unwrap();
}

#[tokio::test]
async fn certificates_are_shown_and_checked() {
    let (authority, stranger, folder) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let (certificate, key) = authority.issue("etcd", ExtendedKeyUsagePurpose::ServerAuth);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let flags = [
        "--cert-file".into(),
        file("etcd.crt", &certificate),
        "--key-file".into(),
        file("etcd.key", &key),
        "--client-cert-auth".into(),
        "--trusted-ca-file".into(),
        file("ca.crt", &authority.pem),
    ];
    let cluster = Cluster::start_with(1, &flags);
    let ours = authority.issue("everynode", ExtendedKeyUsagePurpose::ClientAuth);
    let theirs = stranger.issue("everynode", ExtendedKeyUsagePurpose::ClientAuth);
    let with = |ca: &Authority, identity: Option<(String, String)>| Options {
        tls: Some(Tls { ca_pem: ca.pem.clone(), identity }),
        ..cluster.options(0)
    };
    works(&open(with(&authority, Some(ours.clone()))).await).await;
    for (what, options) in [
        ("no certificate", with(&authority, None)),
        ("a stranger's certificate", with(&authority, Some(theirs))),
        ("a server that we do not believe", with(&stranger, Some(ours))),
    ] {
        let refused = EtcdStore::open(options).await.err();
        assert!(matches!(refused, Some(OpenError::NoAnswer(_))), "{what}: {refused:?}");
    }
}

#[tokio::test]
async fn a_user_with_a_password_has_only_the_prefix() {
    let cluster = Cluster::start(1);
    // Also waits until it answers.
    cluster.store("/elsewhere", 0).await;
    let etcdctl = |arguments: &str| {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &cluster.endpoints(0)[0]]);
        let output = command.args(arguments.split(' ')).output().expect("etcdctl runs: install etcd-client");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    for arguments in [
        "user add root:root",
        "user grant-role root root",
        "user add everynode:secret",
        "role add everynode",
        "role grant-permission --prefix=true everynode readwrite /everynode/",
        "user grant-role everynode everynode",
        "auth enable",
    ] {
        etcdctl(arguments);
    }
    let login = |password: &str| Some(Login { user: "everynode".into(), password: password.into() });
    works(&open(Options { login: login("secret"), ..cluster.options(0) }).await).await;
    let check = async |options: Options, expected: &str| {
        let refused = EtcdStore::open(options).await.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains(expected) && !refused.contains("secret"), "{refused}");
    };
    check(Options { login: login("guess"), ..cluster.options(0) }, "authentication failed").await;
    check(cluster.options(0), "user name is empty").await;
    let elsewhere = Options { prefix: "/elsewhere".into(), login: login("secret"), ..cluster.options(0) };
    check(elsewhere, "permission denied").await;
}
