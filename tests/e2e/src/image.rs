//! Images that a test makes itself: one layer with the example program and a mark, so that no two are the same and
//! nothing of them is on a node before it was pulled.
//!
//! OCI image specification: manifest.md, config.md, layer.md.

use crate::binary;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::Read as _;
use std::process::Command;

/// Media types: OCI image specification, media-types.md.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image, ready to be pushed.
pub struct Image {
    /// Layer and configuration.
    pub blobs: Vec<Vec<u8>>,
    /// What names them.
    pub manifest: Vec<u8>,
}

impl Image {
    /// The example program, which serves `version`, with a file that makes the image unlike all others.
    pub fn new(program: &[u8], version: &str, mark: &str) -> Result<Self> {
        let files = [("hello", program, 0o755), ("mark", mark.as_bytes(), 0o644)];
        Self::of(&files, &["/hello", version])
    }

    /// Debian's static busybox with a script of its shell as entry point. All of these share their layer.
    pub fn of_script(script: &str) -> Result<Self> {
        let busybox =
            std::fs::read("/bin/busybox").context("/bin/busybox: install Debian's busybox-static")?;
        Self::of(&[("bin/busybox", &busybox, 0o755)], &["/bin/busybox", "sh", "-c", script])
    }

    fn of(files: &[(&str, &[u8], u32)], entry_point: &[&str]) -> Result<Self> {
        let layer = tar(files)?;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"Entrypoint": entry_point, "Env": ["PATH=/:/bin"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [descriptor(LAYER, &layer)],
        });
        Ok(Self { blobs: vec![layer, config], manifest: manifest.to_string().into_bytes() })
    }
}

/// The example program, taken out of the images that the binary makes.
pub fn example_program() -> Result<Vec<u8>> {
    let output = Command::new(binary()).arg("images").output()?;
    ensure!(output.status.success(), "everynode images: {}", String::from_utf8_lossy(&output.stderr));
    let read = |digest: &Value| {
        let digest = digest.as_str().context("no digest")?;
        file(&output.stdout, &format!("blobs/{}", digest.replacen(':', "/", 1)))
    };
    let index: Value = serde_json::from_slice(&file(&output.stdout, "index.json")?)?;
    let manifest: Value = serde_json::from_slice(&read(&index["manifests"][0]["digest"])?)?;
    file(&read(&manifest["layers"][0]["digest"])?, "hello")
}

/// `sha256:<hex>`.
pub fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn tar(files: &[(&str, &[u8], u32)]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        archive.append_data(&mut header, path, *bytes)?;
    }
    Ok(archive.into_inner()?)
}

fn file(archive: &[u8], path: &str) -> Result<Vec<u8>> {
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        if entry.path()?.to_str() == Some(path) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
    }
    anyhow::bail!("no {path} in the archive")
}
