//! PURE. Where the API server is, in the variables by which every client library finds it from within a pod.
//!
//! Differs: it is the address that the agent itself uses, which is reachable from its node, and not the address of the service
//! `kubernetes`: nothing routes services yet. Kubernetes: kubelet_pods.go `getServiceEnvVarMap`, pkg/kubelet/envvars.

/// Host and port of the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiAddress {
    host: String,
    port: u16,
}

impl ApiAddress {
    /// A name or an address, with or without the brackets of IPv6.
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.trim_start_matches('[').trim_end_matches(']').to_string(), port }
    }

    /// Name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The variables of the service `kubernetes` with its one port, `https`.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let Self { host, port } = self;
        let whole = if host.contains(':') {
            format!("tcp://[{host}]:{port}")
        } else {
            format!("tcp://{host}:{port}")
        };
        let of_port = format!("KUBERNETES_PORT_{port}_TCP");
        [
            ("KUBERNETES_SERVICE_HOST".to_string(), host.clone()),
            ("KUBERNETES_SERVICE_PORT".to_string(), port.to_string()),
            ("KUBERNETES_SERVICE_PORT_HTTPS".to_string(), port.to_string()),
            ("KUBERNETES_PORT".to_string(), whole.clone()),
            (of_port.clone(), whole),
            (format!("{of_port}_PROTO"), "tcp".to_string()),
            (format!("{of_port}_PORT"), port.to_string()),
            (format!("{of_port}_ADDR"), host.clone()),
        ]
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_where_the_server_is() {
        let check = |host: &str, expected: &str| {
            let list: Vec<String> = ApiAddress::new(host, 6443)
                .variables()
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            assert_eq!(list.join(" "), expected);
        };
        check(
            "10.88.0.1",
            "KUBERNETES_SERVICE_HOST=10.88.0.1 KUBERNETES_SERVICE_PORT=6443 KUBERNETES_SERVICE_PORT_HTTPS=6443 \
             KUBERNETES_PORT=tcp://10.88.0.1:6443 KUBERNETES_PORT_6443_TCP=tcp://10.88.0.1:6443 \
             KUBERNETES_PORT_6443_TCP_PROTO=tcp KUBERNETES_PORT_6443_TCP_PORT=6443 \
             KUBERNETES_PORT_6443_TCP_ADDR=10.88.0.1",
        );
        let six = ApiAddress::new("[fd00::1]", 6443).variables();
        assert_eq!(six[0].1, "fd00::1");
        assert_eq!(six[3].1, "tcp://[fd00::1]:6443");
    }
}
