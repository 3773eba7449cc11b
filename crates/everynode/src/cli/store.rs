//! Where the objects are kept: flags that several commands share.

use crate::config;
use clap::Args;
use std::path::PathBuf;

/// Flags of an etcd behind the server; without `--store` it is the file in the data folder.
#[derive(Debug, Args)]
pub struct StoreFlags {
    /// Keep all objects in etcd: https://HOST:PORT of its members; several with commas. Plain http only for an etcd on
    /// this machine [default: a file in the data folder].
    #[arg(long = "store", env = "EVERYNODE_STORE", value_name = "URL", value_delimiter = ',')]
    endpoints: Vec<String>,
    /// The CA that signs etcd's certificates, PEM.
    #[arg(long = "store-ca", env = "EVERYNODE_STORE_CA", value_name = "FILE", requires = "endpoints")]
    ca: Option<PathBuf>,
    /// Our certificate for etcd, PEM.
    #[arg(long = "store-cert", env = "EVERYNODE_STORE_CERT", value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long = "store-key", env = "EVERYNODE_STORE_KEY", value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// A user of etcd.
    #[arg(
        long = "store-user",
        env = "EVERYNODE_STORE_USER",
        value_name = "NAME",
        requires = "password_file"
    )]
    user: Option<String>,
    /// A file with the user's password: on a command line everybody could read it.
    #[arg(
        long = "store-password-file",
        env = "EVERYNODE_STORE_PASSWORD_FILE",
        value_name = "FILE",
        requires = "user"
    )]
    password_file: Option<PathBuf>,
    /// What the names of all our keys in etcd begin with.
    #[arg(long = "store-prefix", env = "EVERYNODE_STORE_PREFIX", value_name = "PREFIX", default_value = store::etcd::PREFIX)]
    prefix: String,
}

impl StoreFlags {
    /// The store as it was asked for.
    pub fn config(self) -> config::Store {
        if self.endpoints.is_empty() {
            return config::Store::Embedded;
        }
        config::Store::Etcd(config::Etcd {
            endpoints: self.endpoints,
            prefix: self.prefix,
            ca: self.ca,
            identity: self.certificate.zip(self.key),
            login: self.user.zip(self.password_file),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<config::Store, String> {
        crate::cli::parse(line).map(StoreFlags::config)
    }

    #[test]
    fn members_are_named_with_commas_and_what_belongs_together_is_asked_for_together() {
        assert_eq!(parse(""), Ok(config::Store::Embedded));
        let Ok(config::Store::Etcd(etcd)) = parse("--store https://a:1,https://b:2 --store-ca ca.crt") else {
            panic!("etcd was named")
        };
        assert_eq!(etcd.endpoints, ["https://a:1", "https://b:2"]);
        assert_eq!((etcd.prefix.as_str(), etcd.identity), ("/everynode", None));
        assert!(parse("--store https://a:1 --store-cert a.crt").unwrap_err().contains("--store-key"));
        assert!(parse("--store https://a:1 --store-user u").unwrap_err().contains("--store-password-file"));
        assert!(parse("--store-ca ca.crt").unwrap_err().contains("--store"));
    }
}
