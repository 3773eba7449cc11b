//! Addresses of services, also of two servers on one store.

use crate::harness::{Answer, Harness, config, masters};
use apiserver::ApiServer;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use store::memory::MemoryStore;

const SERVICES: &str = "/api/v1/namespaces/default/services";

async fn pair() -> [Harness; 2] {
    let store = Arc::new(MemoryStore::new());
    let mut servers = Vec::new();
    for _ in 0..2 {
        let server = ApiServer::open(store.clone(), config()).await.unwrap();
        servers.push(Harness { server, user: masters() });
    }
    servers.try_into().unwrap_or_else(|_| unreachable!())
}

async fn post(harness: &Harness, name: &str, address: Option<&str>) -> Answer {
    let spec = json!({"clusterIP": address, "ports": [{"port": 80}]});
    harness.call(&format!("POST {SERVICES}"), json!({"metadata": {"name": name}, "spec": spec})).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_servers_on_one_store_never_give_the_same_address() {
    const EACH: usize = 40;
    let servers = pair().await;
    let mut tasks = tokio::task::JoinSet::new();
    for (number, harness) in servers.iter().enumerate() {
        for index in 0..EACH {
            let harness = harness.as_user(masters());
            tasks.spawn(async move { post(&harness, &format!("s{number}-{index}"), None).await });
        }
    }
    let answers = tasks.join_all().await;
    let address = |answer: &Answer| answer.json["spec"]["clusterIP"].as_str().unwrap().to_string();
    let different: BTreeSet<String> = answers.iter().map(address).collect();
    assert_eq!(different.len(), 2 * EACH);
}

#[tokio::test]
async fn an_address_is_free_again_with_the_end_of_its_service() {
    let [one, other] = pair().await;
    let given = Some("10.96.0.77");
    assert_eq!(post(&one, "a", given).await.code, 201);
    let taken = post(&other, "b", given).await;
    let why = "Service \"b\" is invalid: spec.clusterIPs: Invalid value: []string{\"10.96.0.77\"}: failed to allocate IP \
               10.96.0.77: provided IP is already allocated";
    assert_eq!((taken.code, taken.message()), (422, why));
    // What is refused for another reason claims nothing, nor does a dry run.
    let twice = json!([{"port": 80}, {"port": 81}]);
    let broken = json!({"metadata": {"name": "c"}, "spec": {"clusterIP": "10.96.0.78", "ports": twice}});
    assert_eq!(one.call(&format!("POST {SERVICES}"), broken).await.code, 422);
    let dry =
        json!({"metadata": {"name": "c"}, "spec": {"clusterIP": "10.96.0.78", "ports": [{"port": 80}]}});
    assert_eq!(one.call(&format!("POST {SERVICES}?dryRun=All"), dry).await.code, 201);
    assert_eq!(post(&other, "c", Some("10.96.0.78")).await.code, 201);
    // With a finalizer the end is an update.
    let held = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    assert_eq!(one.call(&format!("PATCH {SERVICES}/a"), held).await.code, 200);
    assert_eq!(other.call(&format!("DELETE {SERVICES}/a"), Value::Null).await.code, 200);
    assert_eq!(post(&other, "b", given).await.code, 422);
    let free = json!({"metadata": {"finalizers": null}});
    assert_eq!(other.call(&format!("PATCH {SERVICES}/a"), free).await.code, 200);
    assert_eq!(post(&one, "b", given).await.code, 201);
    assert_eq!(one.call(&format!("DELETE {SERVICES}/b"), Value::Null).await.code, 200);
    assert_eq!(post(&other, "b", given).await.code, 201);
}

fn numbers(service: &Value) -> Vec<i64> {
    let ports = service["spec"]["ports"].as_array().unwrap();
    ports.iter().map(|port| port["nodePort"].as_i64().unwrap_or_default()).collect()
}

#[tokio::test]
async fn ports_of_nodes_are_given_once_and_kept_and_given_back() {
    let [one, other] = pair().await;
    let service = |name: &str, ports: Value| json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": ports}});
    let create = async |harness: &Harness, name: &str, ports: Value| {
        harness.call(&format!("POST {SERVICES}"), service(name, ports)).await
    };
    let both = json!([{"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"},
        {"name": "w", "port": 80}]);
    assert_eq!(numbers(&create(&one, "a", both).await.json), [30000, 30000, 30001]);
    assert_eq!(numbers(&create(&other, "b", json!([{"port": 80}])).await.json), [30002]);
    let refused = async |number: i64, why: &str| {
        let answer = create(&other, "c", json!([{"port": 80, "nodePort": number}])).await;
        let field = "Service \"c\" is invalid: spec.ports[0].nodePort: Invalid value";
        assert_eq!((answer.code, answer.message()), (422, format!("{field}: {number}: {why}").as_str()));
    };
    refused(30001, "provided port is already allocated").await;
    refused(80, "provided port is not in the valid range. The range of valid ports is 30000-32767").await;
    // A writer that does not speak of them keeps them; a new port gets one, and another type gives them back.
    let more = json!({"spec": {"ports": [{"name": "x", "port": 81}, {"name": "w", "port": 80}]}});
    assert_eq!(numbers(&other.call(&format!("PATCH {SERVICES}/a"), more).await.json), [30003, 30001]);
    assert_eq!(numbers(&create(&other, "c", json!([{"port": 80, "nodePort": 30000}])).await.json), [30000]);
    let plain = json!({"spec": {"type": "ClusterIP"}});
    assert_eq!(numbers(&one.call(&format!("PATCH {SERVICES}/a"), plain).await.json), [0, 0]);
    let again = json!([{"port": 80, "nodePort": 30001}]);
    assert_eq!(create(&other, "d", again.clone()).await.code, 201);
    assert_eq!(other.call(&format!("DELETE {SERVICES}/d"), Value::Null).await.code, 200);
    assert_eq!(create(&one, "d", again).await.code, 201);
    // A service becomes one of that type.
    assert_eq!(post(&one, "e", None).await.code, 201);
    let reachable = json!({"spec": {"type": "NodePort"}});
    assert_eq!(numbers(&other.call(&format!("PATCH {SERVICES}/e"), reachable).await.json), [30003]);
}

#[tokio::test]
async fn an_address_out_of_the_range_is_refused_with_the_range() {
    let [one, _] = pair().await;
    for outside in ["192.168.7.7", "10.96.0.0"] {
        let why = format!(
            "Service \"a\" is invalid: spec.clusterIPs: Invalid value: []string{{\"{outside}\"}}: failed to allocate \
             IP {outside}: the provided IP ({outside}) is not in the valid range. The range of valid IPs is 10.96.0.0/16"
        );
        let answer = post(&one, "a", Some(outside)).await;
        assert_eq!((answer.code, answer.message()), (422, why.as_str()));
    }
    let why = "Service \"a\" is invalid: spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. \
               10.9.8.7 or 2001:db8::ffff)";
    let answer = post(&one, "a", Some("x")).await;
    assert_eq!((answer.code, answer.message()), (422, why));
    // Nothing was claimed.
    assert_eq!(post(&one, "a", None).await.json["spec"]["clusterIP"], "10.96.0.2");
}

#[tokio::test]
async fn a_service_that_changes_its_type_gets_an_address_or_gives_it_back() {
    let [one, other] = pair().await;
    let url = format!("{SERVICES}/a");
    let change = async |harness: &Harness, spec: Value| {
        let answer = harness.call(&format!("PATCH {url}"), json!({"spec": spec})).await;
        assert_eq!(answer.code, 200, "{}", answer.json);
        answer.json["spec"].clone()
    };
    let ports = json!([{"port": 80}]);
    let named = json!({"metadata": {"name": "a"},
        "spec": {"type": "ExternalName", "externalName": "example.com", "ports": ports}});
    assert_eq!(one.call(&format!("POST {SERVICES}"), named).await.code, 201);

    let spec = change(&other, json!({"type": "NodePort", "externalName": null})).await;
    assert_eq!(
        (&spec["clusterIP"], &spec["clusterIPs"], &spec["ipFamilies"], &spec["ipFamilyPolicy"]),
        (&json!("10.96.0.2"), &json!(["10.96.0.2"]), &json!(["IPv4"]), &json!("SingleStack"))
    );
    assert_eq!(spec["ports"][0]["nodePort"], 30000);
    let taken = post(&one, "b", Some("10.96.0.2")).await;
    assert_eq!(taken.code, 422, "{}", taken.json);

    let spec = change(&one, json!({"type": "ExternalName", "externalName": "example.com"})).await;
    let expected = json!({"type": "ExternalName", "externalName": "example.com", "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]});
    assert_eq!(spec, expected);
    assert_eq!(post(&other, "b", Some("10.96.0.2")).await.code, 201);
    let again = json!({"metadata": {"name": "c"}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]}});
    assert_eq!(other.call(&format!("POST {SERVICES}"), again).await.code, 201);

    // An address that is named with the change is taken, or refused, and then nothing is kept of it; a dry run keeps nothing.
    let with =
        |address: &str| json!({"spec": {"type": "ClusterIP", "clusterIP": address, "externalName": null}});
    assert_eq!(one.call(&format!("PATCH {url}"), with("10.96.0.2")).await.code, 422);
    assert_eq!(one.call(&format!("PATCH {url}"), with("192.168.7.7")).await.code, 422);
    assert_eq!(one.call(&format!("PATCH {url}?dryRun=All"), with("10.96.0.50")).await.code, 200);
    assert_eq!(post(&other, "d", Some("10.96.0.50")).await.code, 201);
    let spec = change(&one, with("10.96.0.51")["spec"].clone()).await;
    assert_eq!(spec["clusterIPs"], json!(["10.96.0.51"]));
    // Its end gives it back, as if it had had it from the first.
    assert_eq!(one.call(&format!("DELETE {url}"), Value::Null).await.code, 200);
    assert_eq!(post(&other, "a", Some("10.96.0.51")).await.code, 201);
}
