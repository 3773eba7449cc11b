//! `everynode server`: the control plane, on the embedded store or on etcd.
//!
//! Everything lies in the data folder: `server/store.db`, `pki/`, `kubeconfig`; all of it for its owner only. With
//! `--store` the objects lie in etcd instead, and several servers may share them (docs/store.md).

use crate::telemetry::collector;
use crate::{compose, config};
use anyhow::Result;
use clap::Args;
use controllers::Loop;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Flags of `everynode server`.
#[derive(Debug, Args)]
pub struct Flags {
    /// Where everything is kept [default: /var/lib/everynode for root, else ~/.local/share/everynode].
    #[arg(long, env = "EVERYNODE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Address and port to listen on; may be given several times. The first stands in the kubeconfig, the last is told
    /// to pods.
    #[arg(long, env = "EVERYNODE_LISTEN", value_delimiter = ',', default_value = "127.0.0.1:6443")]
    listen: Vec<SocketAddr>,
    /// A further name or address for the server's certificate; may be given several times.
    #[arg(long = "san", value_name = "NAME|ADDRESS")]
    names: Vec<String>,
    /// The issuer that tokens of service accounts name, an https URL where others may check them
    /// [default: https://kubernetes.default.svc.cluster.local].
    #[arg(long, env = "EVERYNODE_SERVICE_ACCOUNT_ISSUER", value_name = "URL", value_parser = config::issuer)]
    service_account_issuer: Option<String>,
    /// Leave out a loop, for example `daemonsets` where `everynode controller` runs it; may be given several times.
    #[arg(long, value_name = "LOOP", value_parser = config::a_loop)]
    without_loop: Vec<Loop>,
    /// Seconds after which a silent node is no longer Ready [default: 40]. With less than 40, nodes need Leases as short:
    /// `everynode agent --node-lease-duration`.
    #[arg(long, env = "EVERYNODE_NODE_GRACE", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    node_grace: Option<u64>,
    /// For how long the certificates of agents are good; agents renew them in time by themselves.
    #[arg(long, env = "EVERYNODE_CLUSTER_SIGNING_DURATION", value_name = "DURATION", default_value = "8760h", value_parser = config::signing)]
    cluster_signing_duration: Duration,
    #[command(flatten)]
    store: super::store::StoreFlags,
    /// The folder with what all servers of one cluster have in common: ca.crt, ca.key, the service-account keys and
    /// the join tokens [default: `pki` in the data folder].
    #[arg(long, env = "EVERYNODE_PKI_DIR", value_name = "FOLDER")]
    pki_dir: Option<PathBuf>,
    /// Where to record who did what: a file, - for standard output, or off [default: audit.log in the data folder].
    #[arg(long, env = "EVERYNODE_AUDIT_LOG", value_name = "PATH|-|off", value_parser = config::audit_log)]
    audit_log: Option<config::AuditLog>,
    #[command(flatten)]
    traces: collector::Flag,
    /// End when standard input ends: the tie to `everynode up`.
    #[arg(long, hide = true)]
    tied: bool,
}

impl Flags {
    fn config(self) -> Result<config::Server> {
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for name in self.names {
            match name.parse::<IpAddr>() {
                Ok(address) => _ = addresses.insert(address),
                Err(_) => _ = names.insert(name),
            }
        }
        Ok(config::Server {
            data_dir: self.data_dir.unwrap_or_else(config::default_data_dir),
            listen: self.listen,
            names,
            addresses,
            issuer: self.service_account_issuer,
            loops: Loop::ALL.into_iter().filter(|which| !self.without_loop.contains(which)).collect(),
            node_grace: self.node_grace,
            signing: self.cluster_signing_duration,
            store: self.store.config(),
            pki_dir: self.pki_dir,
            audit_log: self.audit_log.unwrap_or(config::AuditLog::Default),
            collector: self.traces.config()?,
        })
    }
}

/// Serves until SIGINT or SIGTERM, or until the store, the server or a loop fails.
pub async fn run(flags: Flags) -> Result<()> {
    let end = super::asked_or_left(flags.tied)?;
    let config = flags.config()?;
    let kubeconfig = config.data_dir.join("kubeconfig");
    let ready = |address: SocketAddr| {
        println!("ready https://{address}");
        eprintln!("everynode server is ready on https://{address}");
        eprintln!("  kubectl --kubeconfig {} get namespaces", kubeconfig.display());
    };
    compose::server(config, ready, end).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<config::Server, String> {
        crate::cli::parse::<Flags>(line)?.config().map_err(|error| error.to_string())
    }

    #[test]
    fn without_flags_it_listens_on_loopback_with_all_loops() {
        let config = parse("").unwrap();
        assert_eq!(config.listen, ["127.0.0.1:6443".parse().unwrap()]);
        assert_eq!(config.loops, Loop::ALL.into());
    }

    #[test]
    fn names_and_addresses_of_the_certificate_are_told_apart() {
        let config =
            parse("--san api.example.org --san 192.0.2.7 --listen 127.0.0.1:1 --listen [::1]:2").unwrap();
        assert_eq!(config.names, BTreeSet::from(["api.example.org".to_string()]));
        assert_eq!(config.addresses, BTreeSet::from(["192.0.2.7".parse().unwrap()]));
        assert_eq!(config.listen.len(), 2);
    }

    #[test]
    fn the_audit_log_is_on_and_can_be_moved_or_left_out() {
        let to = |line: &str| parse(line).unwrap().audit_log;
        assert_eq!(to(""), config::AuditLog::Default);
        assert_eq!(to("--audit-log -"), config::AuditLog::Standard);
        assert_eq!(to("--audit-log off"), config::AuditLog::Off);
        assert_eq!(to("--audit-log /a/b"), config::AuditLog::File("/a/b".into()));
    }

    #[test]
    fn loops_can_be_left_out_and_bad_flags_are_named() {
        let config = parse("--without-loop daemonsets --without-loop pod-gc").unwrap();
        assert_eq!(config.loops.len(), Loop::ALL.len() - 2);
        assert!(parse("--without-loop nothing").unwrap_err().contains("--without-loop"));
        assert!(parse("--listen 6443").unwrap_err().contains("--listen"));
        assert!(parse("--service-account-issuer me").unwrap_err().contains("https://"));
        assert_eq!(parse("").unwrap().signing, Duration::from_secs(365 * 24 * 3600));
        assert_eq!(parse("--cluster-signing-duration 30d").unwrap().signing.as_secs(), 30 * 24 * 3600);
        assert!(parse("--cluster-signing-duration 9s").unwrap_err().contains("at least 10s"));
        assert!(parse("--node-grace 0").unwrap_err().contains("--node-grace"));
    }
}
