//! What the certificate authority promises.

use super::kubeconfig;
use super::tokens::Tokens;
use super::*;

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn server_at(addresses: &[&str]) -> Leaf {
    Leaf {
        common_name: "everynode".into(),
        organization: None,
        usage: Usage::Server {
            names: BTreeSet::from(["localhost".to_string()]),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        },
    }
}

fn admin() -> Leaf {
    let (user, group) = ("everynode-admin", "system:masters");
    Leaf { common_name: user.into(), organization: Some(group.into()), usage: Usage::Client }
}

#[test]
fn the_authority_is_made_once_and_only_its_owner_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("pki");
    let made = Authority::open(&dir, now()).unwrap();
    let read = Authority::open(&dir, now()).unwrap();
    assert_eq!(made.certificate_pem(), read.certificate_pem());
    assert_eq!(made.fingerprint(), hex(&Sha256::digest(made.certificate())));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("ca.key"))), (0o700, 0o600));
}

#[test]
fn half_an_authority_is_refused_and_nothing_is_made_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    Authority::open(dir.path(), now()).unwrap();
    std::fs::remove_file(dir.path().join("ca.key")).unwrap();
    let error = Authority::open(dir.path(), now()).err().unwrap().to_string();
    assert!(error.contains("ca.key is missing while"), "{error}");
    assert!(!dir.path().join("ca.key").exists());
}

#[test]
fn a_broken_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    Authority::open(dir.path(), now()).unwrap();
    std::fs::write(dir.path().join("ca.crt"), "nonsense").unwrap();
    let error = Authority::open(dir.path(), now()).err().unwrap().to_string();
    assert!(error.contains("ca.crt: is not what it should be"), "{error}");
}

/// What is asked for, and when, after a certificate for 127.0.0.1 was made now.
#[track_caller]
fn check_reuse(leaf: &Leaf, days: i64, kept: bool) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path(), now()).unwrap();
    let first = authority.current(dir.path(), "server", &server_at(&["127.0.0.1"]), now()).unwrap();
    let later = now() + SignedDuration::from_hours(24 * days);
    let second = authority.current(dir.path(), "server", leaf, later).unwrap();
    assert_eq!(first.certificate_pem == second.certificate_pem, kept);
    assert!(authority.fits(&second.certificate_pem, &second.key_pem, leaf, later));
}

#[test]
fn a_certificate_is_kept_while_it_fits_and_is_fresh() {
    check_reuse(&server_at(&["127.0.0.1"]), 0, true);
    check_reuse(&server_at(&["127.0.0.1"]), 280, true);
    check_reuse(&server_at(&["127.0.0.1"]), 300, false);
    check_reuse(&server_at(&["127.0.0.1", "10.88.0.1"]), 0, false);
    check_reuse(&server_at(&["::1"]), 0, false);
    check_reuse(&admin(), 0, false);
}

#[test]
fn a_certificate_of_another_authority_or_another_key_does_not_fit() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = Authority::open(one.path(), now()).unwrap();
    let two = Authority::open(two.path(), now()).unwrap();
    let (issued, other) = (one.issue(&admin(), now()).unwrap(), one.issue(&admin(), now()).unwrap());
    assert!(one.fits(&issued.certificate_pem, &issued.key_pem, &admin(), now()));
    assert!(!two.fits(&issued.certificate_pem, &issued.key_pem, &admin(), now()));
    assert!(!one.fits(&issued.certificate_pem, &other.key_pem, &admin(), now()));
}

#[test]
fn a_join_token_is_good_once_made_and_only_with_its_secret_and_in_its_life() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path(), now()).unwrap();
    let tokens = Tokens::new(dir.path());
    let life = SignedDuration::from_hours(1);
    let text = tokens.create(&authority, now(), life).unwrap();
    let (fingerprint, bearer) = text.split_once(':').unwrap();
    assert_eq!(fingerprint, authority.fingerprint());
    let (id, secret) = bearer.split_once('.').unwrap();
    assert_eq!((id.len(), secret.len()), (6, 16));

    assert_eq!(tokens.check(bearer, now()).unwrap().as_deref(), Some(id));
    assert_eq!(tokens.check(bearer, now() + life + life).unwrap(), None);
    for wrong in [format!("{id}.0123456789abcdef"), format!("abcdef.{secret}"), id.into(), String::new()] {
        assert_eq!(tokens.check(&wrong, now()).unwrap(), None, "{wrong}");
    }
    let kept = std::fs::read_to_string(dir.path().join("join-tokens")).unwrap();
    assert!(!kept.contains(secret), "the secret itself is on the disk");
}

#[test]
fn a_new_token_leaves_the_others_and_forgets_those_whose_life_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path(), now()).unwrap();
    let tokens = Tokens::new(dir.path());
    let hours = SignedDuration::from_hours;
    tokens.create(&authority, now(), hours(1)).unwrap();
    let long = tokens.create(&authority, now(), hours(9)).unwrap();
    tokens.create(&authority, now() + hours(2), hours(1)).unwrap();
    let bearer = long.split_once(':').unwrap().1;
    assert!(tokens.check(bearer, now() + hours(2)).unwrap().is_some());
    assert_eq!(std::fs::read_to_string(dir.path().join("join-tokens")).unwrap().lines().count(), 2);
}

#[test]
fn the_kubeconfig_names_the_server_and_carries_the_user() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path(), now()).unwrap();
    let user = authority.issue(&admin(), now()).unwrap();
    let text = kubeconfig::text("https://127.0.0.1:6443", authority.certificate_pem(), &user);
    let config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
    let cluster = config.clusters[0].cluster.clone().unwrap();
    assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:6443"));
    assert!(config.auth_infos[0].auth_info.clone().unwrap().client_key_data.is_some());
}

/// A server with this authority, and what becomes of one handshake with it: the error of the server's side, and of the first
/// read of the client's.
async fn handshake(authority: &Authority, client: Option<&Issued>) -> Result<(), String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let shown = authority.issue(&server_at(&["127.0.0.1"]), Timestamp::now()).unwrap();
    let server = serving::server(authority, serving::Current::new(&shown).unwrap()).unwrap();
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some(issued) => {
            let chain = vec![CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap()];
            let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let connecting = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, theirs);
    let accepting = tokio_rustls::TlsAcceptor::from(server).accept(ours);
    let (accepted, connected) = tokio::join!(
        async {
            let mut stream = accepting.await.map_err(|error| error.to_string())?;
            stream.write_all(b"x").await.map_err(|error| error.to_string())
        },
        async {
            let mut stream = connecting.await.map_err(|error| error.to_string())?;
            stream.read_u8().await.map(drop).map_err(|error| error.to_string())
        }
    );
    accepted.and(connected)
}

#[tokio::test]
async fn a_client_certificate_is_of_this_authority_for_clients_and_alive_or_the_handshake_ends() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (at, long_ago) = (Timestamp::now(), Timestamp::now() - SignedDuration::from_hours(3 * 365 * 24));
    let (own, other) =
        (Authority::open(here.path(), at).unwrap(), Authority::open(there.path(), at).unwrap());
    let check = async |issued: Option<&Issued>, expected: &str| {
        let found = handshake(&own, issued).await.err().unwrap_or_default();
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{expected}: {found}");
    };
    check(None, "").await;
    check(Some(&own.issue(&admin(), at).unwrap()), "").await;
    check(Some(&own.issue(&admin(), long_ago).unwrap()), "certificate expired").await;
    check(Some(&other.issue(&admin(), at).unwrap()), "BadSignature").await;
    check(Some(&own.issue(&server_at(&["127.0.0.1"]), at).unwrap()), "extended key usage for client").await;
}

#[tokio::test]
async fn tls_before_1_2_is_refused() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path(), Timestamp::now()).unwrap();
    let shown = authority.issue(&server_at(&["127.0.0.1"]), Timestamp::now()).unwrap();
    let server = serving::server(&authority, serving::Current::new(&shown).unwrap()).unwrap();
    // The only difference between these hellos is their version. A ServerHello is a handshake record (22), a refusal is the fatal
    // alert protocol_version (70).
    for (minor, name, expected) in [(1, "1.0", None), (2, "1.1", None), (3, "1.2", Some(22))] {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, secp256r1, ecdsa_secp256r1_sha256, uncompressed points.
        let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3, 0, 11, 0, 2, 1, 0, 0, 23, 0, 0];
        let mut hello = vec![3, minor];
        hello.extend([7; 32]);
        hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0, 0, extensions.len() as u8]);
        hello.extend(extensions);
        let mut message = vec![22, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
        message.extend(hello);
        theirs.write_all(&message).await.unwrap();
        let accepting = tokio_rustls::TlsAcceptor::from(server.clone()).accept(ours);
        let mut head = [0; 7];
        let (accepted, read) = tokio::join!(
            tokio::time::timeout(std::time::Duration::from_millis(500), accepting),
            theirs.read_exact(&mut head)
        );
        read.unwrap();
        assert!(!matches!(accepted, Ok(Ok(_))), "TLS {name}: the hello is only a beginning");
        match expected {
            Some(kind) => assert_eq!(head[0], kind, "TLS {name}: {head:?}"),
            None => assert_eq!((head[0], &head[5..]), (21, &[2, 70][..]), "TLS {name}: {head:?}"),
        }
    }
}
