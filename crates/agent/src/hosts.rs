//! PURE. The text of a pod's `/etc/hosts`. Kubernetes: kubelet_pods.go `managedHostsFileContent`.

use k8s_openapi::api::core::v1::PodSpec;

/// The file of a pod with its own network; a pod on the node's network has the node's file.
#[must_use]
pub fn text(spec: &PodSpec, ips: &[String], hostname: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost \
         ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        text.push_str(&format!("{ip}\t{hostname}\n"));
    }
    let aliases = spec.host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        text.push_str(&format!(
            "{}\t{}\n",
            alias.ip,
            alias.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::HostAlias;

    #[test]
    fn aliases_follow_the_pods_own_name() {
        let alias = HostAlias { ip: "192.0.2.9".into(), hostnames: Some(vec!["a".into(), "b".into()]) };
        let spec = PodSpec { host_aliases: Some(vec![alias]), ..PodSpec::default() };
        let text = text(&spec, &["10.0.0.2".into()], "web");
        let end = "10.0.0.2\tweb\n\n# Entries added by HostAliases.\n192.0.2.9\ta\tb\n";
        assert!(text.ends_with(end), "{text}");
    }
}
