//! Which stream does a request want, and in which way can it be had from the runtime?
//!
//! PURE: kubelet's paths and query parameters (wire A.9) and the headers of the upgrade become values, or a refusal in
//! kubelet's words. Kubernetes: pkg/kubelet/server/server.go, `cri-streaming/pkg/streaming/{remotecommand,portforward}`.

use super::super::Refusal;
use super::{channels, tunnel};
use http::header::{CONNECTION, HeaderMap, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderName, StatusCode};

/// Which pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A new process in a container.
    Exec {
        /// The pod.
        pod: PodName,
        /// Its container.
        container: String,
        /// Program and arguments.
        command: Vec<String>,
        /// What of it is connected.
        redirect: Redirect,
    },
    /// A container's own process.
    Attach {
        /// The pod.
        pod: PodName,
        /// Its container.
        container: String,
        /// What of it is connected.
        redirect: Redirect,
    },
    /// Ports of a pod.
    PortForward {
        /// The pod.
        pod: PodName,
        /// Only WebSocket clients of the old kind name them here.
        ports: Vec<i32>,
    },
}

/// What of a process is connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Redirect {
    /// Its input.
    pub stdin: bool,
    /// Its output.
    pub stdout: bool,
    /// Its errors; with a terminal they come on its output.
    pub stderr: bool,
    /// Whether it has a terminal.
    pub tty: bool,
}

/// How a client's protocol and the runtime's come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The runtime speaks it itself.
    Verbatim,
    /// WebSocket v5 becomes SPDY: [`channels`].
    Channels,
    /// SPDY is taken out of WebSocket messages: [`tunnel`].
    Tunnel,
}

impl Wanted {
    /// What a path asks for; none if it is no stream's.
    pub fn parse(path: &[&str], query: &[(String, String)]) -> Option<Result<Self, Refusal>> {
        let pod = |namespace: &str, name: &str| PodName { namespace: namespace.into(), name: name.into() };
        Some(match *path {
            ["exec", namespace, name, container] => redirect(query).map(|redirect| Self::Exec {
                pod: pod(namespace, name),
                container: container.into(),
                command: all(query, "command").map(str::to_string).collect(),
                redirect,
            }),
            ["attach", namespace, name, container] => redirect(query).map(|redirect| Self::Attach {
                pod: pod(namespace, name),
                container: container.into(),
                redirect,
            }),
            ["portForward", namespace, name] => {
                ports(query).map(|ports| Self::PortForward { pod: pod(namespace, name), ports })
            }
            _ => return None,
        })
    }

    /// How this client can have it.
    pub fn way(&self, headers: &HeaderMap) -> Result<Way, Refusal> {
        let bad = |text: &str| Refusal::new(StatusCode::BAD_REQUEST, text);
        if !words(headers, CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade")) {
            return Err(bad("Upgrade request required"));
        }
        if !words(headers, UPGRADE).any(|word| word.eq_ignore_ascii_case("websocket")) {
            return Ok(Way::Verbatim);
        }
        // The client's order counts; what is not ours is the runtime's to choose from.
        let mut offered = words(headers, SEC_WEBSOCKET_PROTOCOL);
        Ok(match self {
            Self::PortForward { .. } if offered.any(|word| word == tunnel::PROTOCOL) => Way::Tunnel,
            Self::PortForward { ports, .. } if ports.is_empty() => {
                return Err(bad("query parameter \"port\" is required"));
            }
            Self::PortForward { .. } => Way::Verbatim,
            _ if offered.next() == Some(channels::PROTOCOL) => Way::Channels,
            _ => Way::Verbatim,
        })
    }

    /// The pod.
    pub fn pod(&self) -> &PodName {
        match self {
            Self::Exec { pod, .. } | Self::Attach { pod, .. } | Self::PortForward { pod, .. } => pod,
        }
    }
}

fn all<'a>(query: &'a [(String, String)], name: &str) -> impl Iterator<Item = &'a str> {
    query.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn redirect(query: &[(String, String)]) -> Result<Redirect, Refusal> {
    let is = |name| all(query, name).next() == Some("1");
    let tty = is("tty");
    let redirect = Redirect { stdin: is("input"), stdout: is("output"), stderr: is("error") && !tty, tty };
    if !(redirect.stdin || redirect.stdout || redirect.stderr) {
        let text = "you must specify at least 1 of stdin, stdout, stderr";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
    }
    Ok(redirect)
}

fn ports(query: &[(String, String)]) -> Result<Vec<i32>, Refusal> {
    let bad = |text: String| Refusal::new(StatusCode::BAD_REQUEST, text);
    let words = all(query, "port").flat_map(|value| value.split(','));
    let port = |word: &str| match word.parse::<u16>() {
        Ok(0) => Err(bad(format!("port {word:?} must be > 0"))),
        Ok(port) => Ok(i32::from(port)),
        Err(_) if word.is_empty() => Err(bad("query parameter \"port\" cannot be empty".into())),
        Err(_) => Err(bad(format!("unable to parse {word:?} as a port"))),
    };
    words.map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn pod() -> PodName {
        PodName { namespace: "d".into(), name: "p".into() }
    }

    #[test]
    fn kubelets_paths_are_read() {
        let check = |path: &str, query: &str, expected: Result<Wanted, &str>| {
            let path: Vec<&str> = path.split('/').collect();
            let found = Wanted::parse(&path, &crate::server::pairs(query)).unwrap();
            assert_eq!(
                found.as_ref().map_err(|refusal| refusal.text.as_str()),
                expected.as_ref().map_err(|e| *e),
                "{query}"
            );
        };
        let output = Redirect { stdout: true, ..Redirect::default() };
        let terminal = Redirect { stdin: true, tty: true, ..output };
        let (container, command) = ("c".to_string(), vec!["sh".to_string(), "a b".to_string()]);
        let exec = Wanted::Exec { pod: pod(), container: container.clone(), command, redirect: output };
        check("exec/d/p/c", "command=sh&command=a+b&output=1", Ok(exec));
        let attach = Wanted::Attach { pod: pod(), container, redirect: terminal };
        check("attach/d/p/c", "input=1&output=1&error=1&tty=1", Ok(attach));
        check(
            "exec/d/p/c",
            "command=sh&tty=1&error=1",
            Err("you must specify at least 1 of stdin, stdout, stderr"),
        );
        check("portForward/d/p", "", Ok(Wanted::PortForward { pod: pod(), ports: vec![] }));
        check(
            "portForward/d/p",
            "port=80,81&port=82",
            Ok(Wanted::PortForward { pod: pod(), ports: vec![80, 81, 82] }),
        );
        check("portForward/d/p", "port=0", Err("port \"0\" must be > 0"));
        check("portForward/d/p", "port=", Err("query parameter \"port\" cannot be empty"));
        check("portForward/d/p", "port=65536", Err("unable to parse \"65536\" as a port"));
        assert_eq!(Wanted::parse(&["pods"], &[]), None);
    }

    #[test]
    fn the_protocol_decides_what_is_translated() {
        let check = |wanted: &Wanted,
                     upgrade: &'static str,
                     protocols: &[&'static str],
                     expected: Result<Way, &str>| {
            let mut headers = HeaderMap::new();
            if !upgrade.is_empty() {
                headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
                headers.insert(UPGRADE, HeaderValue::from_static(upgrade));
            }
            for protocol in protocols {
                headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
            }
            let found = wanted.way(&headers).map_err(|refusal| refusal.text);
            assert_eq!(
                found.as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|e| *e),
                "{protocols:?}"
            );
        };
        let redirect = Redirect { stdout: true, ..Redirect::default() };
        let exec = Wanted::Attach { pod: pod(), container: "c".into(), redirect };
        check(&exec, "", &[], Err("Upgrade request required"));
        check(&exec, "SPDY/3.1", &[], Ok(Way::Verbatim));
        check(&exec, "websocket", &["v5.channel.k8s.io"], Ok(Way::Channels));
        check(&exec, "websocket", &["v5.channel.k8s.io, v4.channel.k8s.io"], Ok(Way::Channels));
        check(&exec, "websocket", &["v4.channel.k8s.io", "v5.channel.k8s.io"], Ok(Way::Verbatim));
        check(&exec, "websocket", &["base64.channel.k8s.io"], Ok(Way::Verbatim));
        let mut forward = Wanted::PortForward { pod: pod(), ports: Vec::new() };
        check(&forward, "SPDY/3.1", &[], Ok(Way::Verbatim));
        check(&forward, "websocket", &["SPDY/3.1+portforward.k8s.io"], Ok(Way::Tunnel));
        check(&forward, "websocket", &["v4.channel.k8s.io"], Err("query parameter \"port\" is required"));
        forward = Wanted::PortForward { pod: pod(), ports: vec![80] };
        check(&forward, "websocket", &["v4.channel.k8s.io"], Ok(Way::Verbatim));
    }
}
