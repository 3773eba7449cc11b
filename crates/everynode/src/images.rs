//! The images that every cluster has: made from the program `hello`, which this binary carries in itself.
//!
//! One OCI image layout in one tar, for `ctr images import`: one layer with one file, shared by four images that differ
//! in the argument of their entry point. The bytes are the same on every run, so importing again changes nothing.
//! Nothing of it is ever pulled: tagged images are only pulled where they are absent (`imagePullPolicy: IfNotPresent`).

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The sandbox process of every pod.
pub const PAUSE: &str = "everynode.dev/pause:1";

/// The image of this binary; deploy/ runs it.
pub const OWN: &str = concat!("everynode.dev/everynode:", env!("CARGO_PKG_VERSION"));

/// User and group that own nothing.
const NOBODY: &str = "65534:65534";

/// The program, linked statically.
const HELLO: &[u8] = include_bytes!(env!("HELLO_PROGRAM"));

/// Name of an image and its entry point.
const IMAGES: [(&str, &[&str]); 4] = [
    ("everynode.dev/hello:1", &["/hello", "1"]),
    ("everynode.dev/hello:2", &["/hello", "2"]),
    ("everynode.dev/hello:broken", &["/hello", "broken"]),
    (PAUSE, &["/hello", "pause"]),
];

/// Media types: OCI image specification, media-types.md.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The archive with all images.
pub fn archive() -> std::io::Result<Vec<u8>> {
    let images = IMAGES.map(|(name, entry_point)| {
        (name, json!({"Entrypoint": entry_point, "Env": ["PATH=/"], "WorkingDir": "/"}))
    });
    of_layer(tar([("hello", HELLO, 0o755)])?, &images)
}

/// The image of this binary itself, for `everynode controller` in a pod: it runs as nobody, and nothing else is in it. A
/// static binary is alone; another brings the libraries that it runs with, and its loader.
pub fn own() -> std::io::Result<Vec<u8>> {
    let program = std::fs::read("/proc/self/exe")?;
    let mut files = vec![("everynode".to_string(), program.clone())];
    let mut libraries = libraries(&std::fs::read_to_string("/proc/self/maps")?);
    libraries.extend(loader(&program));
    for library in libraries {
        files.push((library.trim_start_matches('/').to_string(), std::fs::read(&library)?));
    }
    let layer = tar(files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice(), 0o755)))?;
    let config = json!({"Entrypoint": ["/everynode"], "Env": ["PATH=/"], "WorkingDir": "/", "User": NOBODY});
    of_layer(layer, &[(OWN, config)])
}

/// The files of shared libraries in /proc/self/maps.
fn libraries(maps: &str) -> BTreeSet<String> {
    let paths = maps.lines().filter_map(|line| Some(&line[line.find('/')?..]));
    paths.filter(|path| path.contains(".so")).map(str::to_string).collect()
}

/// The loader that a dynamic program names (ELF: PT_INTERP, near its beginning).
fn loader(program: &[u8]) -> Option<String> {
    let head = &program[..program.len().min(4096)];
    let start = head.windows(4).position(|window| window == b"/lib")?;
    let name = head[start..].split(|byte| *byte == 0).next()?;
    String::from_utf8(name.to_vec()).ok().filter(|name| name.contains("/ld-"))
}

/// An archive of images that share a layer: names, and what they run.
fn of_layer(layer: Vec<u8>, images: &[(&str, Value)]) -> std::io::Result<Vec<u8>> {
    let mut blobs = Blobs::default();
    let diff_id = digest(&layer);
    let layer = blobs.add(LAYER, layer);
    let mut manifests = Vec::new();
    for (name, run) in images {
        let config = blobs.add_json(CONFIG, &config(run, &diff_id));
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let mut descriptor = blobs.add_json(MANIFEST, &manifest);
        // containerd takes the name from here as it stands.
        descriptor["annotations"] = json!({"io.containerd.image.name": name});
        manifests.push(descriptor);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
    let layout = json!({"imageLayoutVersion": "1.0.0"}).to_string();
    let mut files =
        vec![("oci-layout", layout.as_bytes(), 0o644u32), ("index.json", index.as_bytes(), 0o644)];
    files.extend(blobs.0.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice(), 0o644)));
    tar(files)
}

/// OCI image specification, config.md. No time of creation: the same bytes on every run.
fn config(run: &Value, diff_id: &str) -> Value {
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created_by": "everynode"}],
    })
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Files below `blobs/sha256`, by path.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Adds a blob and answers its descriptor.
    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let size = bytes.len();
        self.0.insert(format!("blobs/{}", digest.replacen(':', "/", 1)), bytes);
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    fn add_json(&mut self, media_type: &str, value: &Value) -> Value {
        self.add(media_type, value.to_string().into_bytes())
    }
}

/// `sha256:<hex>`.
fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn tar<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8], u32)>) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_mtime(0);
        archive.append_data(&mut header, path, bytes)?;
    }
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn unpack(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(entry.path().unwrap().to_str().unwrap().to_string(), bytes);
        }
        files
    }

    fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
        let name = descriptor["digest"].as_str().unwrap();
        let bytes = &files[&format!("blobs/{}", name.replacen(':', "/", 1))];
        assert_eq!(digest(bytes), name);
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    #[test]
    fn every_image_leads_from_its_name_to_the_program() {
        let files = unpack(&archive().unwrap());
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let mut seen = Vec::new();
        for descriptor in index["manifests"].as_array().unwrap() {
            let manifest: Value = serde_json::from_slice(blob(&files, descriptor)).unwrap();
            let config: Value = serde_json::from_slice(blob(&files, &manifest["config"])).unwrap();
            let layer = blob(&files, &manifest["layers"][0]);
            assert_eq!(config["rootfs"]["diff_ids"], json!([digest(layer)]));
            assert_eq!(unpack(layer)["hello"], HELLO);
            let name = descriptor["annotations"]["io.containerd.image.name"].as_str().unwrap();
            seen.push(format!("{name} {}", config["config"]["Entrypoint"]));
        }
        assert_eq!(
            seen,
            [
                r#"everynode.dev/hello:1 ["/hello","1"]"#,
                r#"everynode.dev/hello:2 ["/hello","2"]"#,
                r#"everynode.dev/hello:broken ["/hello","broken"]"#,
                r#"everynode.dev/pause:1 ["/hello","pause"]"#,
            ]
        );
    }

    #[test]
    fn the_archive_is_the_same_every_time() {
        assert_eq!(archive().unwrap(), archive().unwrap());
    }

    #[test]
    fn our_own_image_is_what_is_deployed_and_runs_as_nobody() {
        let deployed = [
            include_str!("../../../deploy/manifests/deployment.yaml"),
            concat!("image: everynode.dev/everynode:", env!("CARGO_PKG_VERSION"), "\n"),
        ];
        assert!(deployed[0].contains(deployed[1]) && deployed[1].contains(OWN));
        let files = unpack(&own().unwrap());
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let manifest: Value = serde_json::from_slice(blob(&files, &index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(blob(&files, &manifest["config"])).unwrap();
        assert_eq!(config["config"]["User"], "65534:65534");
        let layer = unpack(blob(&files, &manifest["layers"][0]));
        assert!(layer["everynode"].starts_with(b"\x7fELF"));
        assert!(layer.keys().all(|path| path == "everynode" || path.contains(".so")), "{:?}", layer.keys());
    }

    /// A dynamic program would look for a loader that its image does not have.
    #[test]
    fn the_program_is_static() {
        assert!(HELLO.starts_with(b"\x7fELF"));
        let interpreter = b"/ld-linux";
        assert!(!HELLO.windows(interpreter.len()).any(|window| window == interpreter));
    }
}
