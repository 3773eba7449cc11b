"""What Python's client does in a day. Prints what it sees; the test compares."""
import os

from kubernetes import client, watch
from kubernetes.dynamic import DynamicClient

configuration = client.Configuration()
configuration.host = os.environ["API"]
api = client.ApiClient(configuration)
core, apps = client.CoreV1Api(api), client.AppsV1Api(api)

print("version", client.VersionApi(api).get_code().minor)
print("nodes", sorted(node.metadata.name for node in core.list_node().items))
daemon = apps.read_namespaced_daemon_set("hello", "default")
print("daemon", daemon.status.number_ready, daemon.spec.template.spec.containers[0].resources.requests)
print("pods", sorted(pod.spec.node_name for pod in core.list_namespaced_pod("default", label_selector="app=hello").items))

made = core.create_namespaced_config_map(
    "default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="from-python"), data={"a": "1"}))
print("created", made.metadata.name, made.data)
try:
    core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="from-python")))
except client.ApiException as refused:
    print("refused", refused.status, refused.reason)

# A strategic merge patch, which this client sends for a dict, and a JSON patch, which it sends for a list.
core.patch_namespaced_config_map("from-python", "default", {"data": {"b": "2"}})
core.patch_namespaced_config_map(
    "from-python", "default", [{"op": "add", "path": "/metadata/labels", "value": {"patched": "yes"}}])

seen = []
for event in watch.Watch().stream(
        core.list_namespaced_config_map, "default", field_selector="metadata.name=from-python", timeout_seconds=20):
    seen.append((event["type"], event["object"].metadata.labels, event["object"].data))
    if len(seen) == 1:
        core.patch_namespaced_config_map("from-python", "default", {"data": {"c": "3"}})
    elif len(seen) == 2:
        core.patch_namespaced_config_map("from-python", "default", {"data": {"c": None}})
    else:
        break
for event in seen:
    print("event", *event)

dynamic = DynamicClient(api)
sets = dynamic.resources.get(api_version="apps/v1", kind="DaemonSet")
print("dynamic", sets.name, [item.metadata.name for item in sets.get(namespace="default").items])
maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"x": "1"}}
for manager, value, force in [("one", "1", False), ("one", "2", False), ("two", "3", False), ("two", "4", True)]:
    body["data"]["x"] = value
    try:
        answer = maps.server_side_apply(
            body=body, name="applied", namespace="default", field_manager=manager, force_conflicts=force)
        print("applied", manager, answer.data.to_dict())
    except Exception as conflict:
        print("conflict", manager, conflict.status)
ended = maps.delete(name="applied", namespace="default")
print("deleted", ended.status)
