//! `everynode token create|list|delete`: texts with which machines may join.
//!
//! They are Kubernetes' bootstrap tokens, Secrets of the cluster: every server knows them, and kubeadm's and kubectl's users
//! find what they expect. The text that is printed has the hash of the authority before the token, so that a machine
//! knows whom to believe. Kubernetes: `kubeadm token`.

use crate::config::default_data_dir;
use crate::durations;
use crate::join_secrets::{self, Token, Wishes};
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::time::Duration;
use why::table::aligned;

/// Blanks between columns, as kubectl has.
const GAP: usize = 3;

/// Flags of `everynode token`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Flags {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    create: Create,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token and print it; also without the word.
    Create(Create),
    /// Show all tokens.
    List(Cluster),
    /// Take tokens away: their ids, or the whole tokens.
    Delete(Delete),
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    cluster: Cluster,
    /// For how long it is good: 30m, 24h, 7d; 0: until it is deleted.
    #[arg(long, default_value = "24h", value_parser = durations::any)]
    ttl: Duration,
    /// The same in hours.
    #[arg(long, conflicts_with = "ttl", value_parser = clap::value_parser!(u16).range(1..=8760))]
    hours: Option<u16>,
    /// What people read in the list.
    #[arg(long, default_value = "")]
    description: String,
    /// Further groups of whoever shows it, with commas: system:bootstrappers:…
    #[arg(long, value_delimiter = ',')]
    groups: Vec<String>,
    /// Print the whole command for the new machine.
    #[arg(long)]
    print_join_command: bool,
}

#[derive(Debug, Args)]
struct Delete {
    /// Which.
    #[arg(required = true)]
    tokens: Vec<String>,
    #[command(flatten)]
    cluster: Cluster,
}

/// Where the cluster is.
#[derive(Debug, Args)]
struct Cluster {
    /// The data folder of the server, whose kubeconfig is used.
    #[arg(long, env = "EVERYNODE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Another kubeconfig of an administrator.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

impl Cluster {
    fn path(&self) -> PathBuf {
        let folder = || self.data_dir.clone().unwrap_or_else(default_data_dir).join("kubeconfig");
        self.kubeconfig.clone().unwrap_or_else(folder)
    }
}

/// Does what was asked for.
pub async fn run(flags: Flags) -> Result<()> {
    match flags.action.unwrap_or(Action::Create(flags.create)) {
        Action::Create(create) => {
            let path = create.cluster.path();
            let life = create.hours.map_or(create.ttl, |hours| Duration::from_secs(u64::from(hours) * 3600));
            let now = Timestamp::now();
            let end = (!life.is_zero()).then_some(now + life);
            let groups = create.groups;
            let wishes = Wishes { end, description: create.description, groups };
            let authority = authority(&path)?;
            let made = join_secrets::create(&client(&path).await?, &wishes).await?;
            let whole = format!("{}:{made}", authority.hash);
            match create.print_join_command {
                true => println!("everynode agent --server {} --token {whole}", authority.server),
                false => println!("{whole}"),
            }
        }
        Action::List(cluster) => {
            let tokens = join_secrets::list(&client(&cluster.path()).await?).await?;
            print!("{}", table(&tokens, Timestamp::now()));
        }
        Action::Delete(delete) => {
            let client = client(&delete.cluster.path()).await?;
            for token in &delete.tokens {
                // Whole tokens have the authority's hash before them, and their secret behind.
                let bare = token.rsplit(':').next().unwrap_or(token);
                let id = bare.split('.').next().unwrap_or(bare);
                join_secrets::delete(&client, id).await?;
                println!("bootstrap token {id:?} deleted");
            }
        }
    }
    Ok(())
}

async fn client(path: &Path) -> Result<kube::Client> {
    if !path.exists() {
        bail!("{}: is not there; start a server first, or name a --kubeconfig", path.display());
    }
    crate::compose::client(path).await
}

struct Authority {
    hash: String,
    server: String,
}

/// Of the cluster in a kubeconfig.
fn authority(path: &Path) -> Result<Authority> {
    let named = || format!("{}: cannot be used as a kubeconfig", path.display());
    let file = kube::config::Kubeconfig::read_from(path).with_context(named)?;
    let cluster = file.clusters.into_iter().next().and_then(|named| named.cluster);
    let cluster = cluster.with_context(|| format!("{}: names no cluster", path.display()))?;
    let pem = match (&cluster.certificate_authority_data, &cluster.certificate_authority) {
        (Some(data), _) => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(data.trim()).with_context(named)?
        }
        (None, Some(file)) => std::fs::read(file).with_context(|| format!("{file}: cannot be read"))?,
        (None, None) => bail!("{}: names no certificate authority", path.display()),
    };
    let hash = crate::pki::fingerprint(&pem).with_context(|| format!("{}: its authority", path.display()))?;
    Ok(Authority { hash, server: cluster.server.unwrap_or_default() })
}

/// As kubeadm shows it.
fn table(tokens: &[Token], now: Timestamp) -> String {
    let head = ["TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS"].map(String::from);
    let none = |text: String| if text.is_empty() { "<none>".to_string() } else { text };
    let row = |token: &Token| {
        let left = token.end.map(|end| end.duration_since(now).as_secs());
        let left = left.map_or("<forever>".into(), |left| match left > 0 {
            true => objects::human::duration(left),
            false => "<invalid>".into(),
        });
        let end = token.end.map_or("<never>".into(), |end| end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let text = format!("{}.{}", token.id, token.secret);
        [
            text,
            left,
            end,
            none(token.usages.join(",")),
            none(token.description.clone()),
            none(token.groups.join(",")),
        ]
    };
    let rows: Vec<[String; 6]> = [head].into_iter().chain(tokens.iter().map(row)).collect();
    aligned(&rows, GAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_word_a_token_is_made() {
        let flags: Flags = crate::cli::parse("--data-dir /d --hours 2").unwrap();
        assert!(flags.action.is_none());
        assert_eq!((flags.create.hours, flags.create.cluster.path()), (Some(2), "/d/kubeconfig".into()));
        let flags: Flags = crate::cli::parse("create --ttl 30m --kubeconfig /k").unwrap();
        let Some(Action::Create(create)) = flags.action else { panic!("create") };
        assert_eq!((create.ttl.as_secs(), create.cluster.path()), (1800, "/k".into()));
        assert!(crate::cli::parse::<Flags>("delete").is_err());
        assert!(crate::cli::parse::<Flags>("--ttl 1h --hours 2").is_err());
    }

    #[test]
    fn the_list_is_kubeadms() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let token = |end: Option<&str>, description: &str| Token {
            id: "abcdef".into(),
            secret: "0123456789abcdef".into(),
            end: end.map(|end| end.parse().unwrap()),
            usages: vec!["authentication".into()],
            description: description.into(),
            groups: Vec::new(),
        };
        let tokens = [
            token(Some("2026-11-22T11:00:00Z"), "rack 4"),
            token(None, ""),
            token(Some("2026-11-21T11:00:00Z"), ""),
        ];
        let expected = "\
TOKEN                     TTL         EXPIRES                USAGES           DESCRIPTION   EXTRA GROUPS
abcdef.0123456789abcdef   23h         2026-11-22T11:00:00Z   authentication   rack 4        <none>
abcdef.0123456789abcdef   <forever>   <never>                authentication   <none>        <none>
abcdef.0123456789abcdef   <invalid>   2026-11-21T11:00:00Z   authentication   <none>        <none>
";
        assert_eq!(table(&tokens, now), expected);
    }
}
