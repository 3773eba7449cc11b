//! Pod rules against AP-40…AP-45: each case is a spec and its whole list of errors. Two properties hold for any JSON.

use super::*;
use crate::encode::parts;
use proptest::prelude::*;
use serde_json::json;

/// A spec with one good container, changed in one place.
fn with(field: &str, value: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
    spec[field] = value;
    spec
}

/// A spec whose container has one more field.
fn container(field: &str, value: Value) -> Value {
    let mut spec = with("dnsPolicy", json!(""));
    spec["containers"][0][field] = value;
    spec
}

fn errors_of(mut spec: Value, place: Place) -> Vec<String> {
    let mut template = json!({"spec": spec.take()});
    default_template(&mut template);
    let mut errors = Vec::new();
    validate_spec(&mut errors, Subject { spec: &template["spec"], path: "spec", place });
    errors.iter().map(|e| format!("{}: {}", e.field, e.text())).collect()
}

fn check(spec: Value, expected: &[&str]) {
    let shown = spec.to_string();
    assert_eq!(errors_of(spec, Place::Template), expected, "{shown}");
}

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
'[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

const KEY: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

#[test]
fn containers_have_names_and_images() {
    // AP-40.
    check(with("containers", json!([{"name": "c", "image": "i"}])), &[]);
    check(with("containers", json!([])), &["spec.containers: Required value"]);
    check(
        with("containers", json!([{}])),
        &["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"],
    );
    check(
        with("containers", json!([{"name": "A", "image": "i"}])),
        &[&format!("spec.containers[0].name: Invalid value: \"A\": {LABEL}")],
    );
    check(
        with("containers", json!([{"name": "c", "image": "i"}, {"name": "c", "image": "i"}])),
        &["spec.containers[1].name: Duplicate value: \"c\""],
    );
    check(
        container("imagePullPolicy", json!("Sometimes")),
        &[
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ],
    );
    check(
        container("terminationMessagePolicy", json!("Log")),
        &[
            "spec.containers[0].terminationMessagePolicy: Unsupported value: \"Log\": supported values: \"File\", \"FallbackToLogsOnError\"",
        ],
    );
    check(
        container("restartPolicy", json!("Always")),
        &["spec.containers[0].restartPolicy: Forbidden: may not be set for non-init containers"],
    );
    assert_eq!(
        errors_of(container("image", json!(" i")), Place::Pod),
        ["spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace",]
    );
    check(container("image", json!(" i")), &[]);
}

#[test]
fn init_containers_end_before_others_start() {
    // AP-40.
    let init = |fields: Value| {
        let mut one = json!({"name": "i", "image": "i:1"});
        one.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        with("initContainers", json!([one]))
    };
    check(init(json!({})), &[]);
    check(init(json!({"name": "c"})), &["spec.initContainers[0].name: Duplicate value: \"c\""]);
    check(
        init(json!({"readinessProbe": {"exec": {"command": ["x"]}}})),
        &[
            "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
    check(init(json!({"restartPolicy": "Always", "readinessProbe": {"exec": {"command": ["x"]}}})), &[]);
    check(
        init(json!({"restartPolicy": "Never"})),
        &["spec.initContainers[0].restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
    );
}

#[test]
fn ephemeral_containers_have_little() {
    let debug =
        json!([{"name": "d", "image": "i:1", "targetContainerName": "x", "ports": [{"containerPort": 1}]}]);
    check(
        with("ephemeralContainers", debug),
        &[
            "spec.ephemeralContainers[0].targetContainerName: Not found: \"x\"",
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
        ],
    );
    check(
        with("ephemeralContainers", json!([{"name": "d", "image": "i:1", "targetContainerName": "c"}])),
        &[],
    );
}

#[test]
fn ports_are_numbers_and_do_not_meet() {
    // AP-41.
    check(container("ports", json!([{"containerPort": 80, "hostPort": 80, "name": "web"}])), &[]);
    check(container("ports", json!([{}])), &["spec.containers[0].ports[0].containerPort: Required value"]);
    check(
        container("ports", json!([{"containerPort": 65536, "hostPort": -1, "protocol": "ICMP"}])),
        &[
            "spec.containers[0].ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive",
            "spec.containers[0].ports[0].hostPort: Invalid value: -1: must be between 1 and 65535, inclusive",
            "spec.containers[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ],
    );
    check(
        container("ports", json!([{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}])),
        &["spec.containers[0].ports[1].name: Duplicate value: \"a\""],
    );
    check(
        container("ports", json!([{"containerPort": 1, "name": "a--b"}])),
        &["spec.containers[0].ports[0].name: Invalid value: \"a--b\": must not contain consecutive hyphens"],
    );
    let twice = json!([{"name": "c", "image": "i", "ports": [{"containerPort": 1, "hostPort": 9}]},
        {"name": "d", "image": "i", "ports": [{"containerPort": 2, "hostPort": 9}, {"containerPort": 2, "hostPort": 9, "protocol": "UDP"}]}]);
    check(with("containers", twice), &["spec.containers[1].ports[0].hostPort: Duplicate value: \"TCP//9\""]);
    let mut host = container("ports", json!([{"containerPort": 1, "hostPort": 2}, {"containerPort": 3}]));
    host["hostNetwork"] = json!(true);
    const MUST_MATCH: &str = "must match `containerPort` when `hostNetwork` is true";
    check(host.clone(), &[&format!("spec.containers[0].ports[0].hostPort: Invalid value: 2: {MUST_MATCH}")]);
    assert_eq!(errors_of(host, Place::Pod).len(), 2);
}

#[test]
fn tolerations_can_be_met() {
    // AP-42.
    let one = |toleration: Value| with("tolerations", json!([toleration]));
    check(one(json!({"operator": "Exists"})), &[]);
    check(one(json!({"key": "a", "value": "b", "effect": "NoSchedule"})), &[]);
    check(
        one(json!({})),
        &[
            "spec.tolerations[0].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ],
    );
    check(
        one(json!({"key": "a b", "operator": "Exists"})),
        &[&format!("spec.tolerations[0].key: Invalid value: \"a b\": {KEY}")],
    );
    check(
        one(json!({"key": "a", "operator": "Exists", "value": "b"})),
        &[
            "spec.tolerations[0].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
        ],
    );
    check(
        one(json!({"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 1})),
        &[
            "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set",
        ],
    );
    check(
        one(json!({"key": "a", "operator": "Gt", "effect": "Never"})),
        &[
            "spec.tolerations[0].operator: Unsupported value: \"Gt\": supported values: \"Equal\", \"Exists\"",
            "spec.tolerations[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
        ],
    );
}

#[test]
fn affinity_can_be_evaluated() {
    // AP-43.
    const PATH: &str =
        "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let check_terms = |terms: Value, expected: &[&str]| {
        let required = json!({"nodeSelectorTerms": terms});
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
        let full: Vec<String> = expected.iter().map(|rest| format!("{PATH}{rest}")).collect();
        check(with("affinity", affinity), &full.iter().map(String::as_str).collect::<Vec<_>>());
    };
    check_terms(json!([]), &[": Required value: must have at least one node selector term"]);
    check_terms(json!([{}]), &[]);
    let expression = |operator: &str, values: Value| json!([{"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}]);
    check_terms(expression("In", json!(["b"])), &[]);
    check_terms(
        expression("In", json!([])),
        &[
            "[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ],
    );
    check_terms(
        expression("Exists", json!(["b"])),
        &[
            "[0].matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ],
    );
    check_terms(
        expression("Gt", json!(["1", "2"])),
        &[
            "[0].matchExpressions[0].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'",
        ],
    );
    check_terms(
        expression("Near", json!([])),
        &["[0].matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator"],
    );
    let field = |key: &str, operator: &str, values: Value| json!([{"matchFields": [{"key": key, "operator": operator, "values": values}]}]);
    check_terms(field("metadata.name", "In", json!(["n1"])), &[]);
    check_terms(
        field("metadata.name", "In", json!(["n1", "n2"])),
        &[
            "[0].matchFields[0].values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        ],
    );
    check_terms(
        field("metadata.uid", "Exists", json!([])),
        &[
            "[0].matchFields[0].operator: Invalid value: \"Exists\": not a valid selector operator",
            "[0].matchFields[0].key: Invalid value: \"metadata.uid\": not a valid field selector key",
        ],
    );
    let preferred = json!([{"weight": 101, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}}]);
    check(
        with(
            "affinity",
            json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}),
        ),
        &[
            "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: must be in the range 1-100",
        ],
    );
}

#[test]
fn volumes_have_one_source_and_mounts_have_a_volume() {
    // AP-44.
    let volume = |source: Value| {
        let mut one = json!({"name": "v"});
        one.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        with("volumes", json!([one]))
    };
    check(volume(json!({})), &[]);
    check(volume(json!({"hostPath": {"path": "/var/log"}})), &[]);
    check(
        volume(json!({"hostPath": {"path": "/a/../b"}})),
        &["spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
    );
    check(volume(json!({"hostPath": {}})), &["spec.volumes[0].hostPath.path: Required value"]);
    check(
        volume(json!({"emptyDir": {}, "secret": {"secretName": "s"}})),
        &["spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type"],
    );
    check(
        volume(
            json!({"configMap": {"name": "m", "items": [{"key": "k", "path": "/x"}], "defaultMode": 512}}),
        ),
        &[
            "spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"/x\": must be a relative path",
        ],
    );
    check(
        volume(
            json!({"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "spec.nodeName"}}]}}),
        ),
        &[
            "spec.volumes[0].downwardAPI.fieldRef.fieldPath: Unsupported value: \"spec.nodeName\": supported values: \
         \"metadata.annotations\", \"metadata.labels\", \"metadata.name\", \"metadata.namespace\", \"metadata.uid\"",
        ],
    );
    check(
        with("volumes", json!([{"name": "v"}, {"name": "v"}])),
        &["spec.volumes[1].name: Duplicate value: \"v\""],
    );
    let mounted = |mounts: Value| {
        let mut spec = container("volumeMounts", mounts);
        spec["volumes"] = json!([{"name": "v"}]);
        spec
    };
    check(mounted(json!([{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}])), &[]);
    check(
        mounted(json!([{"name": "w", "mountPath": "/a"}])),
        &["spec.containers[0].volumeMounts[0].name: Not found: \"w\""],
    );
    check(
        mounted(json!([{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}])),
        &["spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique"],
    );
    check(
        mounted(json!([{"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"}])),
        &[
            "spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
        ],
    );
}

#[test]
fn amounts_exist_and_requests_stay_below_limits() {
    // AP-44.
    let resources = |resources: Value| container("resources", resources);
    check(resources(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}})), &[]);
    check(
        resources(json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}})),
        &[
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ],
    );
    check(
        resources(json!({"limits": {"cpu": "-1"}})),
        &[
            "spec.containers[0].resources.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
        ],
    );
    check(
        resources(json!({"limits": {"cpu": "lots"}})),
        &[
            "spec.containers[0].resources.limits[cpu]: Invalid value: \"lots\": quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ],
    );
    check(
        resources(json!({"limits": {"gpu": "1"}})),
        &[
            "spec.containers[0].resources.limits[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully qualified",
            "spec.containers[0].resources.limits[gpu]: Invalid value: \"gpu\": must be a standard resource for containers",
        ],
    );
    check(
        resources(json!({"limits": {"example.com/gpu": 2}, "requests": {"example.com/gpu": 1}})),
        &[
            "spec.containers[0].resources.requests: Invalid value: \"1\": must be equal to example.com/gpu limit of 2",
        ],
    );
    check(
        resources(json!({"limits": {"example.com/gpu": "500m"}})),
        &[
            "spec.containers[0].resources.limits[example.com/gpu]: Invalid value: \"500m\": must be an integer",
        ],
    );
    check(
        resources(json!({"requests": {"example.com/gpu": "1"}})),
        &[
            "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
        ],
    );
    check(
        resources(json!({"limits": {"hugepages-2Mi": "4Mi"}})),
        &["spec.containers[0].resources: Forbidden: HugePages require cpu or memory"],
    );
}

#[test]
fn environments_have_names_and_one_source() {
    // AP-44.
    check(container("env", json!([{"name": "A", "value": "1"}, {"name": "a.b-c d", "value": "2"}])), &[]);
    check(container("env", json!([{"name": ""}])), &["spec.containers[0].env[0].name: Required value"]);
    check(
        container("env", json!([{"name": "A=B"}])),
        &[
            "spec.containers[0].env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='",
        ],
    );
    check(
        container("env", json!([{"name": "A", "valueFrom": {}}])),
        &[
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        ],
    );
    let field = |path: &str| json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": path}}}]);
    check(container("env", field("spec.nodeName")), &[]);
    check(container("env", field("metadata.labels['app']")), &[]);
    check(
        container("env", field("status.phase")),
        &[
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"status.phase\": supported values: \
         \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \
         \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
        ],
    );
    check(
        container("env", field("spec.foo")),
        &[
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.foo\": error converting fieldPath: field label not supported: spec.foo",
        ],
    );
    check(
        container(
            "env",
            json!([{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
        ),
        &[
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
        ],
    );
    check(
        container("envFrom", json!([{}])),
        &[
            "spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
        ],
    );
}

#[test]
fn probes_ask_in_one_way() {
    let probe = |kind: &str, probe: Value| container(kind, probe);
    check(probe("livenessProbe", json!({"httpGet": {"port": "web"}})), &[]);
    check(
        probe("livenessProbe", json!({})),
        &["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
    );
    check(
        probe("livenessProbe", json!({"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}})),
        &["spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"],
    );
    check(
        probe("livenessProbe", json!({"tcpSocket": {"port": 0}, "successThreshold": 2, "periodSeconds": -1})),
        &[
            "spec.containers[0].livenessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    );
    check(
        probe(
            "readinessProbe",
            json!({"exec": {}, "successThreshold": 2, "terminationGracePeriodSeconds": 1}),
        ),
        &[
            "spec.containers[0].readinessProbe.exec.command: Required value",
            "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes",
        ],
    );
    check(
        probe("lifecycle", json!({"preStop": {"sleep": {"seconds": 31}}})),
        &[
            "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
        ],
    );
}

#[test]
fn rights_do_not_contradict() {
    // AP-45.
    check(container("securityContext", json!({"privileged": true, "runAsUser": 0})), &[]);
    check(
        container("securityContext", json!({"runAsUser": -1})),
        &[
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ],
    );
    let contradiction = json!({"privileged": true, "allowPrivilegeEscalation": false});
    check(
        container("securityContext", contradiction),
        &[
            "spec.containers[0].securityContext: Invalid value: {\"allowPrivilegeEscalation\":false,\"privileged\":true}: \
         cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ],
    );
    check(
        with(
            "securityContext",
            json!({"seccompProfile": {"type": "Localhost"}, "sysctls": [{"name": "net.a"}, {"name": "A"}]}),
        ),
        &[
            "spec.securityContext.sysctls[1].name: Invalid value: \"A\": must have at most 253 characters and match regex \
         ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
        ],
    );
    let mut host = with("hostNetwork", json!(true));
    host["hostUsers"] = json!(false);
    check(host, &["spec.hostNetwork: Forbidden: when `pod.Spec.HostUsers` is false"]);
    check(
        with("os", json!({"name": "plan9"})),
        &["spec.os: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\""],
    );
}

#[test]
fn names_of_other_objects_are_names() {
    // AP-44, AP-45.
    check(with("hostname", json!("a.b")), &["spec.hostname: Invalid value: \"a.b\": must not contain dots"]);
    check(with("subdomain", json!("A")), &[&format!("spec.subdomain: Invalid value: \"A\": {LABEL}")]);
    for field in ["nodeName", "serviceAccountName", "priorityClassName", "runtimeClassName"] {
        let errors = errors_of(with(field, json!("A_b")), Place::Template);
        assert_eq!(errors.len(), 1, "{field}");
        assert!(
            errors[0].starts_with(&format!(
                "spec.{field}: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain"
            ))
        );
    }
    check(
        with("restartPolicy", json!("Maybe")),
        &[
            "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ],
    );
    check(
        with("dnsPolicy", json!("None")),
        &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
    );
    check(
        with("hostAliases", json!([{"ip": "x", "hostnames": ["a"]}])),
        &[
            "spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ],
    );
    check(
        with("activeDeadlineSeconds", json!(0)),
        &["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
    );
    let spread = json!([{"maxSkew": 0, "whenUnsatisfiable": "Never"}]);
    check(
        with("topologySpreadConstraints", spread),
        &[
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
            "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
            "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Never\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
        ],
    );
    check(
        with("nodeSelector", json!({"a": "b c"})).clone(),
        &[
            "spec.nodeSelector: Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
         and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
         '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ],
    );
}

#[test]
fn servers_and_gates_are_named() {
    // AP-45.
    check(
        with(
            "dnsConfig",
            json!({"nameservers": ["1.2.3.4", "x"], "searches": ["a b"], "options": [{"value": "1"}]}),
        ),
        &[
            "spec.dnsConfig.nameservers[1]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            &format!("spec.dnsConfig.searches[0]: Invalid value: \"a b\": {SUBDOMAIN}"),
            "spec.dnsConfig.options[0]: Required value: must not be empty",
        ],
    );
    check(with("readinessGates", json!([{"conditionType": "example.com/ready"}])), &[]);
    check(
        with("readinessGates", json!([{"conditionType": "a b"}])),
        &[&format!("spec.readinessGates[0].conditionType: Invalid value: \"a b\": {KEY}")],
    );
    check(
        with("schedulingGates", json!([{"name": "a"}, {"name": "a"}, {"name": "b c"}])),
        &[
            "spec.schedulingGates[1]: Duplicate value: \"a\"",
            &format!("spec.schedulingGates[2]: Invalid value: \"b c\": {KEY}"),
        ],
    );
}

#[test]
fn paths_of_template_metadata_lack_metadata() {
    let mut errors = Vec::new();
    let template = json!({"metadata": {"labels": {"a b": "c"}, "annotations": {"d e": "f"}}});
    validate_template(&mut errors, &template, "spec.template");
    let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).take(2).collect();
    assert_eq!(fields, ["spec.template.labels", "spec.template.annotations"]);
}

/// Names of fields that rules look for.
const WORDS: &[&str] = &[
    "name",
    "image",
    "containers",
    "initContainers",
    "ports",
    "containerPort",
    "hostPort",
    "env",
    "valueFrom",
    "fieldRef",
    "volumes",
    "hostPath",
    "projected",
    "sources",
    "resources",
    "limits",
    "cpu",
    "tolerations",
    "key",
    "operator",
    "affinity",
    "nodeAffinity",
    "securityContext",
    "sysctls",
    "livenessProbe",
    "httpGet",
    "port",
    "items",
    "downwardAPI",
    "volumeMounts",
    "dnsConfig",
    "searches",
    "template",
    "spec",
    "metadata",
    "labels",
    "requiredDuringSchedulingIgnoredDuringExecution",
    "nodeSelectorTerms",
    "matchFields",
    "values",
    "lifecycle",
    "topologySpreadConstraints",
    "labelSelector",
    "matchExpressions",
    "ephemeralContainers",
    "rollingUpdate",
    "updateStrategy",
    "selector",
    "status",
    "annotations",
    "hugepages-2Mi",
    "matchLabels",
    "schedulingGates",
];

/// Any JSON, with the words of pods in it so that every rule is reached.
fn any_json() -> impl Strategy<Value = Value> {
    let word = || proptest::sample::select(WORDS).prop_map(String::from);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        proptest::sample::select(
            &["1", "-1", "101%", "Always", "Localhost", "..", "../x", "2020-01-01T00:00:00Z", "1e999"][..]
        )
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 96, 6, move |inner| {
        let named = proptest::collection::vec((word(), inner.clone()), 0..6);
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(Value::from),
            named.prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// The same, with the outermost shape of a pod or DaemonSet.
fn any_object() -> impl Strategy<Value = Value> {
    (any_json(), any_json(), any_json(), any_json()).prop_map(|(containers, spec, metadata, status)| {
        let mut pod = json!({"containers": containers, "volumes": spec["volumes"]});
        if let (Some(fields), Some(more)) = (pod.as_object_mut(), spec.as_object()) {
            fields.extend(more.clone());
        }
        json!({"metadata": metadata, "spec": {"template": {"metadata": metadata, "spec": pod}, "containers": containers,
            "selector": metadata, "updateStrategy": spec, "data": spec, "roleRef": spec}, "status": status, "data": spec,
            "subsets": containers, "rules": containers, "subjects": containers, "endpoints": containers})
    })
}

proptest! {
    #[test]
    fn filling_in_twice_changes_nothing(object in any_object()) {
        for kind in crate::resources::KINDS {
            let mut once = object.clone();
            kind.rules.default(&mut once);
            let mut twice = once.clone();
            kind.rules.default(&mut twice);
            prop_assert_eq!(&twice, &once, "{}", kind.kind);
        }
    }

    #[test]
    fn no_json_makes_a_rule_panic(object in any_object(), other in any_json()) {
        for kind in crate::resources::KINDS {
            for (new, old) in [(&object, &other), (&other, &object), (&other, &other)] {
                exercise(kind, new, old);
            }
        }
    }
}

fn exercise(kind: &crate::resources::Kind, new: &Value, old: &Value) {
    let rules = &kind.rules;
    let mut object = new.clone();
    rules.default(&mut object);
    rules.prepare_create(&mut object);
    rules.prepare_update(&mut object, old);
    rules.prepare_status(&mut object, old);
    rules.validate_create(&object);
    rules.validate_update(new, old);
    rules.validate_status(new, old);
    rules.warnings(&object, Some(old));
    for field in rules.selectable_fields() {
        rules.field(new, field);
    }
    let row = rules.row(new, jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(row.cells.len(), rules.columns().len(), "{}", kind.kind);
    check_parts(kind, &object);
}

/// What is not decoded is not looked at: neither for a row, nor for what the cache keeps.
fn check_parts(kind: &crate::resources::Kind, object: &Value) {
    let (rules, text) = (&kind.rules, object.to_string());
    // Whatever is no object is not stored.
    let Ok(shown) = parts::read(text.as_bytes(), rules.shown()) else { return };
    let now = jiff::Timestamp::UNIX_EPOCH;
    assert_eq!(rules.row(&shown, now), rules.row(object, now), "{}: {text}", kind.kind);
    let indexed = parts::read(text.as_bytes(), rules.indexed()).unwrap();
    for field in rules.selectable_fields() {
        assert_eq!(rules.field(&indexed, field), rules.field(object, field), "{} {field}: {text}", kind.kind);
    }
    let links = |object: &Value| crate::graph::links(kind, object);
    assert_eq!(links(&indexed), links(object), "{}: {text}", kind.kind);
}
