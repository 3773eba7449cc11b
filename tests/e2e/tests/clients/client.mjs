// What Node's client does in a day. Prints what it sees; the test compares.
import * as k8s from '@kubernetes/client-node';

const config = new k8s.KubeConfig();
// The recorder speaks plain HTTP, which this client only takes where nobody asks for certificates.
config.loadFromClusterAndUser({ name: 'c', server: process.env.API, skipTLSVerify: true }, { name: 'u' });
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const namespace = 'default';

const nodes = await core.listNode();
console.log('nodes', nodes.items.map((node) => node.metadata.name).sort().join(' '));
const daemon = await apps.readNamespacedDaemonSet({ name: 'hello', namespace });
console.log('daemon', daemon.status.numberReady, daemon.metadata.creationTimestamp instanceof Date);

// An informer sees what is there, and what comes.
const seen = [];
let changed = () => {};
const list = () => core.listNamespacedConfigMap({ namespace, labelSelector: 'from=node' });
const path = `/api/v1/namespaces/${namespace}/configmaps`;
const informer = k8s.makeInformer(config, path, list, 'from=node');
for (const event of ['add', 'update', 'delete']) {
    informer.on(event, (map) => {
        seen.push(`${event} ${map.metadata.name} ${JSON.stringify(map.data)}`);
        changed();
    });
}
informer.on('error', (error) => seen.push(`error ${error}`));
const until = async (count) => {
    const limit = setTimeout(() => { console.log('too late', seen); process.exit(1); }, 20000);
    while (seen.length < count) await new Promise((resolve) => { changed = resolve; });
    clearTimeout(limit);
};

const metadata = (name) => ({ name, labels: { from: 'node' } });
await core.createNamespacedConfigMap({ namespace, body: { metadata: metadata('first'), data: { a: '1' } } });
await informer.start();
await until(1);
await core.createNamespacedConfigMap({ namespace, body: { metadata: metadata('second'), data: { a: '1' } } });
await until(2);
await core.patchNamespacedConfigMap(
    { namespace, name: 'second', body: { data: { b: '2' } } },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.StrategicMergePatch),
);
await until(3);
const map = await core.readNamespacedConfigMap({ name: 'second', namespace });
await core.replaceNamespacedConfigMap({ namespace, name: 'second', body: { ...map, data: { c: '3' } } });
await until(4);
await core.deleteNamespacedConfigMap({ namespace, name: 'second' });
await until(5);
for (const line of seen) console.log(line);

try {
    await core.readNamespacedConfigMap({ name: 'second', namespace });
} catch (error) {
    console.log('missing', error.code, JSON.parse(error.body).reason);
}
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const read = await objects.read({ apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { name: 'hello', namespace } });
console.log('generic', read.kind, read.metadata.name);
await informer.stop();
process.exit(0);
