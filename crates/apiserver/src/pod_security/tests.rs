//! Levels and their texts.

use super::*;
use serde_json::json;

fn careful() -> Value {
    json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}, "containers": [{"name": "c",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]})
}

/// What a level says of a spec, changed at some places.
fn check(level: Level, changes: Value, expected: &str) {
    let mut spec = careful();
    json_patch::merge(&mut spec, &changes);
    let policy = Policy { level, version: "latest".to_string() };
    assert_eq!(told(&policy.broken(&json!({}), &spec)), expected, "{changes}");
}

#[test]
fn a_plain_pod_is_good_enough_for_baseline_and_not_for_restricted() {
    let spec = json!({"containers": [{"name": "nginx"}]});
    let said = |level| told(&Policy { level, version: "latest".to_string() }.broken(&json!({}), &spec));
    assert_eq!((said(Level::Privileged), said(Level::Baseline)), (String::new(), String::new()));
    assert_eq!(
        said(Level::Restricted),
        "allowPrivilegeEscalation != false (container \"nginx\" must set \
         securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"nginx\" must set \
         securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"nginx\" must set \
         securityContext.runAsNonRoot=true), seccompProfile (pod or container \"nginx\" must set \
         securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
}

#[test]
fn a_careful_pod_may_everywhere() {
    for level in [Level::Privileged, Level::Baseline, Level::Restricted] {
        check(level, json!({}), "");
    }
}

#[test]
fn baseline_names_every_way_to_the_host() {
    let container = |context: Value| json!({"containers": [{"name": "c", "securityContext": context}]});
    for (changes, expected) in [
        (json!({"hostNetwork": true, "hostPID": true}), "host namespaces (hostNetwork=true, hostPID=true)"),
        (json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}), "hostPath volumes (volume \"v\")"),
        (
            json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]}),
            "hostPort (container \"c\" uses hostPort 80)",
        ),
        (
            container(json!({"privileged": true})),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            container(json!({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}})),
            "non-default capabilities (container \"c\" must not include \"NET_ADMIN\" in \
             securityContext.capabilities.add)",
        ),
        (
            container(json!({"procMount": "Unmasked"})),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_syncookies"}]}}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            json!({"securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "u"}}}),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)",
        ),
        (
            container(json!({"appArmorProfile": {"type": "Unconfined"}})),
            "forbidden AppArmor profile (container \"c\" must not set AppArmor profile type to \"Unconfined\")",
        ),
    ] {
        check(Level::Baseline, changes, expected);
    }
}

#[test]
fn restricted_says_what_a_container_must_say_itself() {
    check(
        Level::Restricted,
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "emptyDir": {}}]}),
        "restricted volume types (volume \"v\" uses restricted volume type \"hostPath\")",
    );
    check(
        Level::Restricted,
        json!({"securityContext": {"runAsNonRoot": false, "runAsUser": 0}}),
        "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false), runAsUser=0 (pod must not set \
         runAsUser=0)",
    );
}

#[test]
fn a_namespace_says_what_it_asks_for() {
    let check = |labels: Value, mode: Mode, expected: &str| {
        let namespace = json!({"metadata": {"name": "n", "labels": labels}});
        assert_eq!(Policy::of(&namespace, mode).to_string(), expected, "{labels}");
    };
    check(json!({}), Mode::Enforce, "privileged:latest");
    check(json!({"pod-security.kubernetes.io/enforce": "baseline"}), Mode::Enforce, "baseline:latest");
    check(json!({"pod-security.kubernetes.io/enforce": "baseline"}), Mode::Warn, "privileged:latest");
    let pinned = json!({"pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/warn-version": "v1.29"});
    check(pinned, Mode::Warn, "restricted:v1.29");
    check(json!({"pod-security.kubernetes.io/enforce": "basline"}), Mode::Enforce, "restricted:latest");
}

#[test]
fn labels_that_say_nothing_known_are_refused() {
    let check = |key: &str, value: &str, expected: Option<&str>| {
        let key = format!("pod-security.kubernetes.io/{key}");
        let found = validate(&json!({"metadata": {"labels": {(key.as_str()): value}}}));
        assert_eq!(found.first().map(FieldError::text).as_deref(), expected, "{key}={value}");
    };
    check("enforce", "restricted", None);
    check("warn-version", "v1.30", None);
    check("audit", "all", Some("Invalid value: \"all\": must be one of privileged, baseline, restricted"));
    for version in ["1.30", "v1.", "v1.030", "v2.0", "v1.+3"] {
        let expected = format!("Invalid value: {version:?}: must be \"latest\" or \"v1.x\"");
        check("enforce-version", version, Some(&expected));
    }
}

#[test]
fn a_stricter_namespace_tells_of_the_pods_that_it_has() {
    let pod = |name: &str, host: bool| json!({"metadata": {"name": name}, "spec": {"hostNetwork": host, "containers": []}});
    let policy = Policy { level: Level::Baseline, version: "latest".to_string() };
    let pods = [pod("b", true), pod("a", true), pod("c", false), pod("d", true)];
    assert_eq!(
        warn_of_existing("n", &policy, &pods),
        [
            "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a (and 2 other pods): host namespaces",
        ]
    );
    assert_eq!(warn_of_existing("n", &policy, &pods[2..3]), Vec::<String>::new());
}
