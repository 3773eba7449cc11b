//! `everynode controller`: the DaemonSet loop alone, beside a control plane of anybody.

use crate::telemetry::LogFormat;
use crate::telemetry::collector;
use crate::{compose, config, durations};
use anyhow::{Result, ensure};
use clap::{ArgAction, Args};
use controllers::Scope;
use controllers::calls::Pace;
use controllers::leader::Times;
use objects::selector::Selector;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Flags of `everynode controller`.
#[derive(Debug, Args)]
pub struct Flags {
    /// The cluster [default: as kubectl finds it, or from inside a pod].
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Write nothing; print what would be done, with reasons, line by line as the cluster changes.
    #[arg(long)]
    dry_run: bool,
    /// Only DaemonSets of these namespaces; nothing in others is read or touched.
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = namespace)]
    namespaces: Vec<String>,
    /// Only DaemonSets whose labels match; others are not touched.
    #[arg(short = 'l', long, value_parser = Selector::parse)]
    selector: Option<Selector>,
    /// How many DaemonSets are looked at and acted on at a time.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    concurrent_syncs: u16,
    /// Requests a second; events may be as many again. 0: no limit.
    #[arg(long, value_name = "N", default_value_t = Pace::POLITE.qps, value_parser = qps)]
    kube_api_qps: f64,
    /// Requests at once, after a rest.
    #[arg(long, value_name = "N", default_value_t = Pace::POLITE.burst, value_parser = clap::value_parser!(u32).range(1..))]
    kube_api_burst: u32,
    #[command(flatten)]
    leader: Leader,
    /// Where to serve /metrics, /healthz and /readyz, without TLS [default: nowhere].
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_bind_address: Option<SocketAddr>,
    #[command(flatten)]
    traces: collector::Flag,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Flags of leader election, upstream's.
#[derive(Debug, Args)]
struct Leader {
    /// Run only while holding a lease, so that several can stand by.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true,
        default_missing_value = "true")]
    leader_elect: bool,
    /// How long others wait for a holder that is not heard of.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = durations::positive)]
    leader_elect_lease_duration: Duration,
    /// How long the holder tries to renew before it gives up and ends.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = durations::positive)]
    leader_elect_renew_deadline: Duration,
    /// Between two attempts.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = durations::positive)]
    leader_elect_retry_period: Duration,
    /// The lease's name.
    #[arg(long, value_name = "NAME", default_value = compose::LEASE.1)]
    leader_elect_resource_name: String,
    /// The lease's namespace.
    #[arg(long, value_name = "NAMESPACE", default_value = compose::LEASE.0)]
    leader_elect_resource_namespace: String,
}

impl Flags {
    fn config(self) -> Result<config::Controller> {
        let pace = Pace { qps: self.kube_api_qps, burst: self.kube_api_burst };
        let labels = self.selector.map(|selector| selector.to_string());
        Ok(config::Controller {
            kubeconfig: self.kubeconfig,
            dry_run: self.dry_run,
            scope: Scope { namespaces: self.namespaces.into_iter().collect(), labels },
            workers: self.concurrent_syncs.into(),
            pace: (pace.qps > 0.0).then_some(pace),
            leading: self.leader.config()?,
            metrics: self.metrics_bind_address,
            collector: self.traces.config()?,
        })
    }
}

impl Leader {
    fn config(self) -> Result<Option<config::Leading>> {
        let times = Times {
            lease: self.leader_elect_lease_duration,
            renew: self.leader_elect_renew_deadline,
            retry: self.leader_elect_retry_period,
        };
        ensure!(
            times.renew < times.lease,
            "--leader-elect-renew-deadline must be shorter than --leader-elect-lease-duration, or two could lead"
        );
        ensure!(
            times.retry < times.renew,
            "--leader-elect-retry-period must be shorter than --leader-elect-renew-deadline"
        );
        ensure!(times.lease >= Duration::from_secs(1), "--leader-elect-lease-duration must be at least 1s");
        let (namespace, name) = (self.leader_elect_resource_namespace, self.leader_elect_resource_name);
        Ok(self.leader_elect.then_some(config::Leading { namespace, name, times }))
    }
}

/// Runs until SIGINT or SIGTERM.
pub async fn run(flags: Flags) -> Result<()> {
    compose::controller(flags.config()?, super::asked_to_end()?).await
}

fn namespace(text: &str) -> Result<String, String> {
    objects::name::dns1123_label(text).map_err(|why| why.join("; "))?;
    Ok(text.to_string())
}

fn qps(text: &str) -> Result<f64, String> {
    let qps: f64 = text.parse().map_err(|_| "must be a number".to_string())?;
    match qps == 0.0 || (0.1..=100_000.0).contains(&qps) {
        true => Ok(qps),
        false => Err("must be 0, or between 0.1 and 100000".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<config::Controller, String> {
        let flags = crate::cli::parse::<Flags>(line)?;
        flags.config().map_err(|error| error.to_string())
    }

    #[test]
    fn without_flags_it_is_polite_leads_by_a_lease_and_takes_all() {
        let config = parse("").unwrap();
        assert_eq!((config.scope, config.workers, config.pace), (Scope::default(), 8, Some(Pace::POLITE)));
        let leading = config.leading.unwrap();
        assert_eq!((leading.namespace.as_str(), leading.name.as_str()), compose::LEASE);
        assert_eq!(leading.times, Times::default());
        assert!(!config.dry_run && config.metrics.is_none());
    }

    #[test]
    fn flags_become_a_configuration() {
        let config = parse(
            "--dry-run --namespaces a,b -l x=y --concurrent-syncs 2 --kube-api-qps 0 --leader-elect=false \
             --metrics-bind-address 127.0.0.1:8080 --otlp-endpoint http://c:4317",
        )
        .unwrap();
        let scope =
            Scope { namespaces: ["a".to_string(), "b".to_string()].into(), labels: Some("x=y".to_string()) };
        assert_eq!((config.scope, config.workers, config.pace), (scope, 2, None));
        assert!(config.dry_run && config.leading.is_none() && config.metrics.is_some());
        assert_eq!(config.collector.unwrap().url, "http://c:4317");
        let times = "--leader-elect-lease-duration 1m30s --leader-elect-renew-deadline 500ms --leader-elect-retry-period 0.1s";
        let expected = Times {
            lease: Duration::from_secs(90),
            renew: Duration::from_millis(500),
            retry: Duration::from_millis(100),
        };
        assert_eq!(parse(times).unwrap().leading.unwrap().times, expected);
    }

    #[test]
    fn a_bad_flag_is_named() {
        for (line, expected) in [
            ("--leader-elect-renew-deadline 15s", "or two could lead"),
            ("--leader-elect-retry-period 10s", "--leader-elect-retry-period"),
            ("--leader-elect-retry-period soon", "--leader-elect-retry-period"),
            ("--kube-api-qps=-1", "--kube-api-qps"),
            ("--namespaces A", "--namespaces"),
            ("--concurrent-syncs 0", "--concurrent-syncs"),
            ("--log-format xml", "--log-format"),
            ("--otlp-endpoint localhost:4317", "--otlp-endpoint"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
