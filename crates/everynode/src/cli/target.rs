//! Which DaemonSet of which cluster: the flags that kubectl has for it, read as kubectl reads them.
//!
//! 1. `--kubeconfig`, else the files in `KUBECONFIG`, else `~/.kube/config`, else the identity of the pod we run in.
//! 2. The namespace is `-n`, else that of the context, else `default`.
//! 3. The DaemonSet is `ds/NAME` or `ds NAME`, with any name that kubectl has for the kind.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use std::path::PathBuf;

/// What kubectl calls the kind.
const KINDS: &[&str] = &[
    "ds",
    "daemonset",
    "daemonsets",
    "ds.apps",
    "daemonset.apps",
    "daemonsets.apps",
    "daemonset.v1.apps",
    "daemonsets.v1.apps",
];

/// Flags that name a DaemonSet.
#[derive(Debug, Args)]
pub struct Target {
    /// The DaemonSet.
    #[arg(value_name = "ds/NAME", required = true, num_args = 1..=2)]
    name: Vec<String>,
    /// Its namespace [default: that of the context].
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: Cluster,
}

/// Flags that name a cluster.
#[derive(Debug, Args)]
pub struct Cluster {
    /// The cluster [default: as kubectl finds it, or from inside a pod].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig [default: the current one].
    #[arg(long)]
    context: Option<String>,
}

/// A DaemonSet that can be asked about.
pub struct Opened {
    /// Its cluster.
    pub client: kube::Client,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Target {
    /// Finds the cluster; nothing is asked yet.
    pub async fn open(self) -> Result<Opened> {
        let name = name(&self.name)?;
        let config = self.cluster.config().await?;
        let namespace = self.namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = kube::Client::try_from(config).context("the kubeconfig cannot be used")?;
        Ok(Opened { client, namespace, name })
    }
}

impl Cluster {
    /// How to speak to it.
    pub async fn config(&self) -> Result<Config> {
        let options = KubeConfigOptions { context: self.context.clone(), ..Default::default() };
        if let Some(path) = &self.kubeconfig {
            let named = || format!("{}: cannot be used as a kubeconfig", path.display());
            let file = Kubeconfig::read_from(path).with_context(named)?;
            return Config::from_custom_kubeconfig(file, &options).await.with_context(named);
        }
        match Kubeconfig::read() {
            Ok(file) => {
                Config::from_custom_kubeconfig(file, &options).await.context("the kubeconfig cannot be used")
            }
            // A pod has no kubeconfig; a context names one that must be there.
            Err(missing) if self.context.is_none() => Config::incluster()
                .map_err(|_| missing)
                .context("no cluster: name a kubeconfig with --kubeconfig or KUBECONFIG"),
            Err(error) => Err(error).context("no cluster: name a kubeconfig with --kubeconfig or KUBECONFIG"),
        }
    }
}

fn name(words: &[String]) -> Result<String> {
    let (kind, name) = match words {
        [one] => one.split_once('/').with_context(|| format!("{one:?}: say ds/NAME"))?,
        [kind, name] => (kind.as_str(), name.as_str()),
        _ => bail!("say ds/NAME"),
    };
    if !KINDS.contains(&kind.to_ascii_lowercase().as_str()) {
        bail!("{kind:?}: only a DaemonSet can be asked about; say ds/NAME");
    }
    if let Err(why) = objects::name::dns1123_subdomain(name) {
        bail!("{name:?} cannot be the name of a DaemonSet: {}", why.join("; "));
    }
    Ok(name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &str, expected: Result<&str, &str>) {
        let words: Vec<String> = words.split_whitespace().map(str::to_string).collect();
        match (name(&words), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (found, expected) => panic!("{words:?}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_daemonset_is_named_as_for_kubectl() {
        check("ds/hello", Ok("hello"));
        check("DaemonSet/hello", Ok("hello"));
        check("daemonsets.apps hello", Ok("hello"));
        check("ds hello", Ok("hello"));
        check("hello", Err("say ds/NAME"));
        check("deploy/hello", Err("only a DaemonSet"));
        check("ds/", Err("cannot be the name"));
        check("ds/Hello", Err("cannot be the name"));
    }

    #[test]
    fn flags_are_kubectls() {
        let target: Target = crate::cli::parse("ds/x -n a --kubeconfig /k --context c").unwrap();
        assert_eq!(target.namespace.as_deref(), Some("a"));
        let Cluster { kubeconfig, context } = target.cluster;
        assert_eq!((kubeconfig, context), (Some("/k".into()), Some("c".into())));
        assert!(crate::cli::parse::<Target>("").unwrap_err().contains("ds/NAME"));
    }

    const KUBECONFIG: &str = r#"
apiVersion: v1
kind: Config
current-context: here
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts:
- {name: here, context: {cluster: c, user: u}}
- {name: there, context: {cluster: c, user: u, namespace: b}}
"#;

    #[tokio::test]
    async fn the_namespace_is_the_flags_else_the_contexts_else_default() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, KUBECONFIG).unwrap();
        let cases = [("", "default"), ("--context there", "b"), ("--context there -n a", "a"), ("-n a", "a")];
        for (flags, expected) in cases {
            let line = format!("ds/x --kubeconfig {} {flags}", path.display());
            let opened = crate::cli::parse::<Target>(&line).unwrap().open().await.unwrap();
            assert_eq!((opened.namespace.as_str(), opened.name.as_str()), (expected, "x"), "{flags}");
        }
        let line = format!("ds/x --kubeconfig {} --context nowhere", path.display());
        let error = crate::cli::parse::<Target>(&line).unwrap().open().await.err().unwrap();
        assert!(format!("{error:#}").contains("nowhere"), "{error:#}");
    }
}
