#!/usr/bin/env python3
"""Writes kubernetes-1.33.table: names, numbers, types and merge facts of the served kinds.

Facts only (the struct tags and `+listType` marks of k8s.io/api and apimachinery); no comments are taken.
Usage: from-go.py <git dir of kubernetes/api> <git dir of kubernetes/apimachinery> \
  <git dir of kubernetes/apiextensions-apiserver> > kubernetes-1.33.table
"""
import re, subprocess, sys

TAG = "v0.33.0"
PACKAGES = {
    "core.v1": "core/v1", "apps.v1": "apps/v1", "events.v1": "events/v1", "discovery.v1": "discovery/v1",
    "coordination.v1": "coordination/v1", "scheduling.v1": "scheduling/v1", "policy.v1": "policy/v1",
    "rbac.v1": "rbac/v1", "authentication.v1": "authentication/v1", "authorization.v1": "authorization/v1",
    "certificates.v1": "certificates/v1", "autoscaling.v1": "autoscaling/v1", "storage.v1": "storage/v1",
    "admissionregistration.v1": "admissionregistration/v1", "networking.v1": "networking/v1", "batch.v1": "batch/v1",
    "node.v1": "node/v1",
}
ROOTS = """
core.v1: Binding ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim Pod
  PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount
apps.v1: ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet
events.v1: Event
discovery.v1: EndpointSlice
coordination.v1: Lease
scheduling.v1: PriorityClass
policy.v1: PodDisruptionBudget Eviction
rbac.v1: Role RoleBinding ClusterRole ClusterRoleBinding
authentication.v1: TokenRequest TokenReview SelfSubjectReview
authorization.v1: SubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview LocalSubjectAccessReview
certificates.v1: CertificateSigningRequest
autoscaling.v1: Scale HorizontalPodAutoscaler
storage.v1: StorageClass CSINode CSIDriver CSIStorageCapacity VolumeAttachment
admissionregistration.v1: MutatingWebhookConfiguration ValidatingWebhookConfiguration
networking.v1: Ingress IngressClass NetworkPolicy
batch.v1: Job CronJob
node.v1: RuntimeClass
apiextensions.v1: CustomResourceDefinition
meta.v1: DeleteOptions PartialObjectMetadata Status
"""
BUILTIN = {
    "string": "string", "int32": "int32", "int64": "int64", "int": "int64", "uint32": "int64", "bool": "bool",
    "float64": "float64", "byte": "byte", "uint8": "byte",
    "resource.Quantity": "quantity", "intstr.IntOrString": "intorstring", "runtime.RawExtension": "raw",
    "types.UID": "string:types.UID", "types.NodeName": "string:types.NodeName", "[]byte": "bytes",
    "meta.v1.Time": "time", "meta.v1.MicroTime": "microtime", "meta.v1.Duration": "duration",
    "meta.v1.FieldsV1": "fields",
    # Either-or types with marshallers of their own, and numbers that only a schema has.
    "apiextensions.v1.JSON": "raw", "apiextensions.v1.JSONSchemaPropsOrBool": "raw",
    "apiextensions.v1.JSONSchemaPropsOrArray": "raw", "apiextensions.v1.JSONSchemaPropsOrStringArray": "raw",
    "apiextensions.v1.float64": "raw", "apiextensions.v1.CustomResourceSubresourceStatus": "raw",
}

def show(repo, path):
    return subprocess.run(["git", f"--git-dir={repo}", "show", f"{TAG}:{path}"], check=True, capture_output=True, text=True).stdout

structs, named = {}, {}

def parse(pkg, text):
    aliases = {"metav1": "meta.v1", "v1": "core.v1" if pkg != "core.v1" else "core.v1", "corev1": "core.v1", "apiv1": "core.v1"}
    for m in re.finditer(r'^\s*(\w+)?\s*"k8s.io/(api|apimachinery/pkg/apis)/([\w/]+)"', text, re.M):
        aliases[m.group(1) or m.group(3).split("/")[-1]] = m.group(3).replace("/", ".")
    def qualify(t):
        t = t.strip()
        if t.startswith("*"): return "*" + qualify(t[1:])
        if t == "[]byte": return t
        if t.startswith("[]"): return "[]" + qualify(t[2:])
        m = re.match(r"map\[([\w.]+)\](.*)", t)
        if m: return "map " + qualify(m.group(2))
        if t == "float64" and pkg == "apiextensions.v1": return f"{pkg}.{t}"
        if t in BUILTIN: return t
        if "." in t:
            p, n = t.split(".")
            return f"{aliases[p]}.{n}" if p in aliases else t
        return f"{pkg}.{t}"
    lines = text.split("\n")
    i, marks = 0, []
    while i < len(lines):
        l = lines[i]
        m = re.match(r"type (\w+) struct \{", l)
        if l.startswith("//"):
            marks.append(l.strip("/ ")); i += 1; continue
        if m:
            name = f"{pkg}.{m.group(1)}"
            fields, fmarks, depth = [], [], 0
            head = marks; marks = []
            i += 1
            while lines[i] != "}":
                s = lines[i].strip()
                if s.startswith("//"): fmarks.append(s.strip("/ "))
                elif s:
                    f = re.match(r"(?:(\w+)\s+)?([*\[\]\w.]+(?:\[[\w.]+\][*\[\]\w.]+)?)\s+`(.*)`", s)
                    if f:
                        tags = dict(re.findall(r'(\w+):"([^"]*)"', f.group(3)))
                        fields.append((f.group(1), qualify(f.group(2)), tags, fmarks))
                    elif "`" in s: fields.append((None, "unreadable", {"json": s}, []))
                    fmarks = []
                else: fmarks = []
                i += 1
            structs[name] = (fields, head)
        else:
            m = re.match(r"type (\w+) (=\s*)?([\w.\[\]*]+)", l) or re.match(r"\t(\w+) (=\s*)?((?:string|int32))$", l)
            if m and m.group(3) not in ("struct", "interface"):
                named[f"{pkg}.{m.group(1)}"] = qualify(m.group(3))
            if l.strip(): marks = []
        i += 1

def base(t):
    """Type token, and the struct it refers to."""
    if t in BUILTIN: return BUILTIN[t], None
    if t.startswith("[]"):
        inner, ref = base(t[2:]); return "[" + inner, ref
    if t.startswith("*"):
        inner, ref = base(t[1:]); return "*" + inner, ref
    if t.startswith("map "):
        inner, ref = base(t[4:]); return "{" + inner, ref
    if t.endswith(".ExtraValue"): return "extra", None
    if t in structs: return t, t
    if t in named:
        inner, ref = base(named[t])
        short = t.split(".")[-1]
        if ":" not in inner and ref is None: inner += f":v1.{short}"
        return inner, ref
    raise SystemExit(f"unknown type {t}")

def mark(marks, key):
    return [m.split("=", 1)[1] for m in marks if m.startswith(f"+{key}=")]

def main(api, machinery, extensions):
    parse("meta.v1", show(machinery, "pkg/apis/meta/v1/types.go"))
    for pkg, path in PACKAGES.items():
        parse(pkg, show(api, f"{path}/types.go"))
    for file in ("types.go", "types_jsonschema.go"):
        parse("apiextensions.v1", show(extensions, f"pkg/apis/apiextensions/v1/{file}"))
    todo, seen = [], set()
    for line in ROOTS.strip().replace("\n  ", " ").split("\n"):
        pkg, kinds = line.split(":")
        todo += [f"{pkg}.{k}" for k in kinds.split()]
    roots = set(todo)
    out = {}
    while todo:
        name = todo.pop()
        if name in seen: continue
        seen.add(name)
        fields, head = structs[name]
        title = f":{name}"
        if "atomic" in mark(head, "structType"): title += " atomic"
        rows = [title]
        for go, t, tags, marks in fields:
            json = tags.get("json", "")
            if json == "-": continue
            parts = json.split(",")
            number = tags.get("protobuf", ",0").split(",")[1]
            token, ref = base(t)
            if t == "meta.v1.TypeMeta":
                rows += ["apiVersion 0 string o", "kind 0 string o"]; continue
            if ref: todo.append(ref)
            flags = []
            if "omitempty" in parts[1:]: flags.append("o")
            if "patchStrategy" in tags:
                for s in tags["patchStrategy"].split(","):
                    flags.append({"merge": "merge" + (f"={tags['patchMergeKey']}" if "patchMergeKey" in tags else ""),
                                  "retainKeys": "retain", "replace": "replace"}[s])
            for l in mark(marks, "listType"):
                keys = mark(marks, "listMapKey")
                flags.append(f"list={','.join(keys)}" if l == "map" else l)
            for l in mark(marks, "structType") + mark(marks, "mapType"):
                flags.append(l)
            name_ = parts[0] if parts[0] else "-"
            if not parts[0] and "inline" not in parts: raise SystemExit(f"no name: {name} {go}")
            rows.append(" ".join([name_, number, token] + flags))
        out[name] = rows
    for name in sorted(out):
        print("\n".join(out[name]))

main(sys.argv[1], sys.argv[2], sys.argv[3])
