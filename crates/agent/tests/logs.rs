//! The log server over TLS: who may ask, and what is answered. And how a machine joins.

mod support;

use agent::join::{Identity, JoinError, join};
use agent::runtime::simulated::{Simulated, Stages};
use agent::servers::Servers;
use agent::{Config, LogServer, Shutdown, connection};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use support::api::Api;
use support::eventually;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SECRET: &str = "abcdef.0123456789abcdef";

/// A certificate authority for one test.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test-ca");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn hash(&self) -> String {
        use sha2::Digest as _;
        let der = CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap();
        sha2::Sha256::digest(&der).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Certificate and key for a name in an organization, valid for 127.0.0.1.
    fn issue(&self, name: &str, organization: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_string()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if !organization.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn sign(&self, request_pem: &str) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(request_pem).unwrap();
        request.params.not_after = rcgen::date_time_ymd(2036, 1, 1);
        request.signed_by(&self.issuer).unwrap().pem()
    }

    fn client_as(&self, url: &str, identity: Option<(String, String)>) -> kube::Client {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let tls = match identity {
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        connection::client(&Servers::new([url]).unwrap(), Arc::new(tls), None, connection::never()).unwrap()
    }
}

/// An API server over TLS that signs what it is asked to sign, for the right token or a certificate.
async fn server(authority: Arc<Authority>, api: Api) -> String {
    let listener = tokio::net::TcpListener::bind((HERE, 0)).await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (certificate, key) = authority.issue("server", "everynode");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, authority, api) = (acceptor.clone(), authority.clone(), api.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let known = stream.get_ref().1.peer_certificates().is_some();
                let service = hyper::service::service_fn(move |request| {
                    answer(authority.clone(), api.clone(), known, request)
                });
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    url
}

async fn answer(
    authority: Arc<Authority>,
    api: Api,
    known: bool,
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<String>, std::convert::Infallible> {
    use http_body_util::BodyExt as _;
    let path = request.uri().path().to_string();
    if path == "/everynode/ca" {
        return Ok(http::Response::new(authority.pem.clone()));
    }
    let bearer = request.headers().get(http::header::AUTHORIZATION);
    if !known && bearer.is_none_or(|bearer| bearer != format!("Bearer {SECRET}").as_str()) {
        let status = json!({"kind": "Status", "status": "Failure", "message": "Unauthorized",
            "reason": "Unauthorized", "code": 401});
        return Ok(http::Response::builder().status(401).body(status.to_string()).unwrap());
    }
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    if request.method() == http::Method::GET {
        return Ok(http::Response::new(api.get(&path).unwrap().to_string()));
    }
    assert_eq!(path, requests);
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut object: Value = serde_json::from_slice(&body).unwrap();
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let pem = base64.decode(object["spec"]["request"].as_str().unwrap()).unwrap();
    let certificate = authority.sign(std::str::from_utf8(&pem).unwrap());
    let name = format!("csr-{}", api.list(requests).len());
    object["metadata"] = json!({"name": name});
    object["status"] = json!({"certificate": base64.encode(certificate)});
    api.put(&format!("{requests}/{name}"), object.clone());
    Ok(http::Response::builder().status(201).body(object.to_string()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_joins_once_and_only_the_right_cluster() {
    let authority = Arc::new(Authority::new());
    let url = server(authority.clone(), Api::default()).await;
    let servers = Servers::new([&url]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("pki");

    let other = format!("{}:{SECRET}", "ab".repeat(32));
    let error = join(&servers, &other, "n1", &dir).await.err().unwrap();
    assert!(matches!(error, JoinError::OtherCluster { .. }), "{error}");
    let wrong = format!("{}:abcdef.aaaaaaaaaaaaaaaa", authority.hash());
    let error = join(&servers, &wrong, "n1", &dir).await.err().unwrap();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("does not know the token"), "{source}");

    let token = format!("{}:{SECRET}", authority.hash());
    let identity = join(&servers, &token, "n1", &dir).await.unwrap();
    let kubeconfig = std::fs::read_to_string(identity.kubeconfig()).unwrap();
    assert!(kubeconfig.contains("client.pem") && kubeconfig.contains(&url), "{kubeconfig}");
    let read = kube::config::Kubeconfig::from_yaml(&kubeconfig).unwrap();
    assert_eq!(read.current_context.as_deref(), Some("everynode"));
    let again = join(&servers, "no token is needed", "n1", &dir).await.unwrap();
    assert_eq!(again.ca_pem(), authority.pem);
    let error = Identity::load(&servers, "n2", &dir).err().unwrap();
    assert!(error.to_string().contains("belongs to system:node:n1"), "{error}");
}

/// A simulated node with the pod `p`, and what is asked of its agent.
struct Node {
    authority: Arc<Authority>,
    url: String,
    shutdown: Shutdown,
    running: tokio::task::JoinHandle<Result<(), agent::RunError>>,
    _dir: tempfile::TempDir,
}

impl Node {
    async fn start() -> Self {
        let authority = Arc::new(Authority::new());
        let url = server(authority.clone(), Api::default()).await;
        let dir = tempfile::tempdir().unwrap();
        let token = format!("{}:{SECRET}", authority.hash());
        let servers = Servers::new([&url]).unwrap();
        let identity = join(&servers, &token, "n1", &dir.path().join("pki")).await.unwrap();
        let tls = identity.serving_tls(&[HERE]).await.unwrap();

        let api = Api::default();
        let runtime = Arc::new(Simulated::new(Stages::INSTANT, Ipv4Addr::new(10, 9, 0, 0)));
        let mut config = Config::new(api.client(), runtime, "n1", HERE);
        config.data_dir = dir.path().join("data");
        config.log_dir = dir.path().join("log");
        config.log_server = Some(LogServer { listen: (HERE, 0).into(), tls });
        let shutdown = Shutdown::new();
        let running = tokio::spawn(agent::run(config, shutdown.clone()));
        let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "hello:1"}]});
        api.put("/api/v1/namespaces/default/pods/p", json!({"spec": spec}));
        let port = eventually("a running pod", || async {
            let pod = api.get("/api/v1/namespaces/default/pods/p")?;
            pod["status"]["containerStatuses"][0]["state"]["running"].as_object()?;
            api.get("/api/v1/nodes/n1")?["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64()
        })
        .await;
        Self { authority, url: format!("https://127.0.0.1:{port}"), shutdown, running, _dir: dir }
    }

    async fn ask(
        &self,
        identity: Option<(String, String)>,
        request: http::request::Builder,
    ) -> Result<String, String> {
        let client = self.authority.client_as(&self.url, identity);
        let request = request.body(Vec::new()).unwrap();
        client.request_text(request).await.map_err(|error| format!("{error:?}"))
    }

    fn identity(&self, name: &str, group: &str) -> Option<(String, String)> {
        Some(self.authority.issue(name, group))
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_served_to_the_api_server_and_to_nobody_else() {
    let node = Node::start().await;
    let ask = async |identity: Option<(String, String)>, path: &str| {
        node.ask(identity, http::Request::get(path)).await
    };
    let server = || node.identity("everynode-apiserver", "system:masters");
    let logs = "/containerLogs/default/p/c";
    assert_eq!(ask(server(), logs).await.unwrap(), "hello:1 runs, simulated\n");
    assert_eq!(ask(server(), &format!("{logs}?limitBytes=5")).await.unwrap(), "hello");
    assert_eq!(ask(server(), "/healthz").await.unwrap(), "ok");
    let pods: Value = serde_json::from_str(&ask(server(), "/pods").await.unwrap()).unwrap();
    assert_eq!(pods["items"][0]["metadata"]["name"], "p");
    for (path, expected) in [
        (format!("{logs}?previous=true"), "previous terminated container"),
        (format!("{logs}?tailLines=x"), "tailLines: Invalid value"),
        ("/containerLogs/default/p/none".into(), "container none is not valid for pod p"),
        ("/containerLogs/default/none/c".into(), "does not exist"),
    ] {
        let error = ask(server(), &path).await.unwrap_err();
        assert!(error.contains(expected), "{path}: {error}");
    }
    for path in [logs, "/exec/default/p/c?command=sh&output=1"] {
        let other = ask(node.identity("system:node:n2", "system:nodes"), path).await.unwrap_err();
        assert!(other.contains("nodes may not read"), "{other}");
        let user = ask(node.identity("alice", "developers"), path).await.unwrap_err();
        assert!(user.contains("only the API server may ask a node"), "{user}");
        assert!(ask(None, path).await.is_err(), "no certificate, no connection");
        let stranger = Authority::new().issue("everynode-apiserver", "system:masters");
        assert!(ask(Some(stranger), path).await.is_err(), "a certificate of another authority");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_cannot_be_is_refused_in_kubelets_words() {
    let node = Node::start().await;
    // What Everynode's own server shows: a name, and no group.
    let server = || node.identity(agent::server::SERVER_NAME, "");
    let exec = "/exec/default/p/c?command=sh&output=1";
    let plain = node.ask(server(), http::Request::get(exec)).await.unwrap_err();
    assert!(plain.contains("Upgrade request required"), "{plain}");
    for (path, expected) in [
        (exec, "this node is simulated: no process runs in its containers"),
        ("/portForward/default/p", "this node is simulated"),
        ("/exec/default/p/none?output=1", r#"container not found (\"none\")"#),
        ("/exec/default/none/c?output=1", "pod does not exist"),
        ("/attach/default/p/c", "you must specify at least 1 of stdin, stdout, stderr"),
    ] {
        let request = http::Request::post(path).header("connection", "Upgrade").header("upgrade", "SPDY/3.1");
        let error = node.ask(server(), request).await.unwrap_err();
        assert!(error.contains(expected), "{path}: {error}");
    }
    node.stop().await;
}
