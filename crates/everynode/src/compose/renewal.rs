//! The certificate of an agent is renewed while it runs: a whole server, an agent's identity near its end, and what follows.

use crate::config;
use crate::pki::tokens::Tokens;
use crate::pki::{Authority, Leaf, Usage};
use agent::Shutdown;
use agent::join::{Identity, join};
use agent::servers::Servers;
use controllers::Loop;
use jiff::{SignedDuration, Timestamp};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

fn config(dir: &Path) -> config::Server {
    config::Server {
        collector: None,
        data_dir: dir.join("data"),
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        names: Default::default(),
        addresses: Default::default(),
        loops: Loop::ALL.into(),
        node_grace: None,
        signing: Duration::from_secs(365 * 24 * 3600),
        audit_log: config::AuditLog::Default,
        store: config::Store::Embedded,
        pki_dir: None,
        issuer: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agents_certificate_is_renewed_before_it_ends_and_the_server_takes_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let (ready, address) = tokio::sync::oneshot::channel();
    let serving =
        super::server(config(dir.path()), |address| ready.send(address).unwrap(), std::future::pending());
    let work = async {
        let servers = Servers::new([format!("https://{}", address.await.unwrap())]).unwrap();
        let (now, pki, node) = (Timestamp::now(), dir.path().join("data/pki"), dir.path().join("node"));
        let authority = Authority::open(&pki, now).unwrap();
        let token = Tokens::new(&pki).create(&authority, now, SignedDuration::from_hours(1)).unwrap();
        join(&servers, &token, "n1", &node).await.unwrap();
        let leaf = Leaf {
            common_name: "system:node:n1".into(),
            organization: Some("system:nodes".into()),
            usage: Usage::Client,
        };
        // A year long, and 330 days of it are over.
        let old = authority.issue(&leaf, now - SignedDuration::from_hours(330 * 24)).unwrap();
        let (file, old) = (node.join("client.pem"), format!("{}{}", old.certificate_pem, old.key_pem));
        std::fs::write(&file, &old).unwrap();
        let identity = Identity::load(&servers, "n1", &node).unwrap();
        let changed = async {
            while std::fs::read_to_string(&file).unwrap() == old {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = identity.keep_fresh(Shutdown::new()) => unreachable!(),
            changed = tokio::time::timeout(PATIENCE, changed) => changed.expect("it is renewed"),
        }
        let identity = Identity::load(&servers, "n1", &node).unwrap();
        let review = identity.client().unwrap().list_api_groups().await.unwrap();
        assert!(!review.groups.is_empty());
    };
    tokio::select! {
        ended = serving => panic!("the server ended: {ended:?}"),
        () = work => {}
    }
}
