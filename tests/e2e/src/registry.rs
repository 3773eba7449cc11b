//! Debian's docker-registry on an address of this machine, open or with a password.
//!
//! Pushing is the plain protocol of registries (OCI distribution specification, spec.md), spoken by curl.

use crate::eventually;
use crate::image::{Image, MANIFEST, digest};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// It starts within moments; a busy machine needs some.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Somebody who may pull and push.
#[derive(Debug, Clone, Copy)]
pub struct Login {
    /// Name.
    pub user: &'static str,
    /// Password.
    pub password: &'static str,
    /// The password's bcrypt hash.
    bcrypt: &'static str,
}

impl Login {
    /// The only user that a closed registry knows.
    pub const PULLER: Self = Self {
        user: "puller",
        password: "open-sesame-4711",
        bcrypt: "$2b$04$everynodeeverynodeeveev26AYdNsTYrGYO/I/CennyKGz5mgJbG",
    };
}

/// A running registry; dropping it ends it and removes what it holds.
pub struct Registry {
    process: Child,
    folder: TempDir,
    address: SocketAddr,
    login: Option<Login>,
}

impl Registry {
    /// A free port for a registry on an address that this machine may get later.
    pub fn free_port() -> Result<u16> {
        Ok(std::net::TcpListener::bind("0.0.0.0:0")?.local_addr()?.port())
    }

    /// Starts a registry; with a login nobody else gets in.
    pub fn start(ip: IpAddr, port: u16, login: Option<Login>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("everynode-registry-").tempdir()?;
        let address = SocketAddr::new(ip, port);
        let config = configure(folder.path(), address, login)?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        // Ends with the test's thread, even if that is killed.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "docker-registry", "serve"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start docker-registry: install Debian's docker-registry")?;
        let registry = Self { process, folder, address, login };
        eventually("the registry answers", START_LIMIT, || {
            registry.curl(&["--fail", &registry.url("")], b"").with_context(|| registry.log())
        });
        Ok(registry)
    }

    /// `host:port`, as names of images begin.
    pub fn name(&self) -> String {
        self.address.to_string()
    }

    /// What it has written so far; among it, one line for each request.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Pushes an image and answers its digest. `name` is `repository:tag`.
    pub fn push(&self, image: &Image, name: &str) -> Result<String> {
        let (repository, tag) = name.rsplit_once(':').context("no tag")?;
        for blob in &image.blobs {
            self.push_blob(repository, blob)?;
        }
        let url = self.url(&format!("{repository}/manifests/{tag}"));
        let kind = format!("Content-Type: {MANIFEST}");
        self.curl(&["--fail", "-X", "PUT", "-H", &kind, "--data-binary", "@-", &url], &image.manifest)?;
        Ok(digest(&image.manifest))
    }

    /// Two requests: for a place, and to it.
    fn push_blob(&self, repository: &str, blob: &[u8]) -> Result<()> {
        let begin = self.url(&format!("{repository}/blobs/uploads/"));
        let answer = self.curl(&["--fail", "-X", "POST", "-D", "-", "-o", "/dev/null", &begin], b"")?;
        let place = answer.lines().find_map(|line| line.strip_prefix("Location: "));
        let place = place.with_context(|| format!("no Location in {answer}"))?.trim();
        let put = format!("{place}&digest={}", digest(blob));
        let kind = "Content-Type: application/octet-stream";
        self.curl(&["--fail", "-X", "PUT", "-H", kind, "--data-binary", "@-", &put], blob).map(drop)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v2/{path}", self.address)
    }

    fn curl(&self, arguments: &[&str], input: &[u8]) -> Result<String> {
        let mut command = Command::new("curl");
        command.args(["-sS", "-m", "20"]).args(arguments);
        if let Some(Login { user, password, .. }) = self.login {
            command.args(["-u", &format!("{user}:{password}")]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start curl")?;
        // Curl does not read its input where it has nothing to send.
        let _ = child.stdin.take().context("curl has no input")?.write_all(input);
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "curl {}: {said}{complaint}", arguments.join(" "));
        Ok(said)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("registry {}:\n{}", self.address, self.log());
        }
    }
}

/// docker-registry: docs/configuration.md. JSON is YAML.
fn configure(folder: &Path, address: SocketAddr, login: Option<Login>) -> Result<std::path::PathBuf> {
    let mut config = json!({
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": folder.join("storage")}},
        "http": {"addr": address.to_string(), "secret": "of-a-test"},
    });
    if let Some(Login { user, bcrypt, .. }) = login {
        let file = folder.join("htpasswd");
        std::fs::write(&file, format!("{user}:{bcrypt}\n"))?;
        config["auth"] = json!({"htpasswd": {"realm": "tests", "path": file}});
    }
    let path = folder.join("config.json");
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}
