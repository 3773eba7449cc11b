//! Stand-ins for the images of the articles, under their own names. Each ends as soon as it is asked to.

use e2e::{Image, Registry};

/// Waits for its end.
const STAND_BY: &str = "trap 'exit 0' TERM; echo started; while :; do busybox sleep 1 & wait; done";

/// Serves a page and logs its start.
const HTTPD: &str = "trap 'exit 0' TERM; echo \"httpd of $HOSTNAME\"; busybox httpd -f -p 80 -h / & wait";

/// Prints every line of the containers' logs on its node, as the article's fluentd sends them on; but not its own, which
/// would have no end.
const FLUENTD: &str = r#"
trap 'exit 0' TERM
known=' '
while :; do
  for file in /var/log/containers/*.log; do
    case "$file" in *_kube-system_fluentd*) continue;; esac
    case "$known" in *" $file "*) continue;; esac
    [ -e "$file" ] || continue
    known="$known$file "
    busybox tail -n +1 -F "$file" | while read -r line; do echo "$file: $line"; done &
  done
  busybox sleep 1 & wait $!
done"#;

/// What the articles name. `docker.io` and others are left out: one registry stands for all.
const IMAGES: &[(&str, &str)] = &[
    ("beats/filebeat:7.9.1", STAND_BY),
    ("beats/filebeat:6.8.12", STAND_BY),
    ("library/httpd:latest", HTTPD),
    ("fluent/fluentd-kubernetes-daemonset:v1-debian-elasticsearch", FLUENTD),
    ("fluentd-elasticsearch:1.20", FLUENTD),
    ("fluentd-elasticsearch:v2.2.0", FLUENTD),
    ("fluentd_elasticsearch/fluentd:v2.5.2", FLUENTD),
    ("library/redis:5-alpine", STAND_BY),
];

/// Fills a registry with all of them.
pub fn push(registry: &Registry) {
    for (name, script) in IMAGES {
        let image = Image::of_script(script).unwrap();
        registry.push(&image, name).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
}
