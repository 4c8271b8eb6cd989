"""Clusters that live a little: Deployments make pods, and istiods inject them.

They stand in for our own ``Kube`` protocol only. What they do is what Kubernetes and Istio do of
it: a changed pod template replaces its pods at once, and a pod gets its proxy from the injector
whose revision its labels, or its namespace's, name.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pytest_istio_mc.errors import KubeError

Json = dict[str, Any]
Pods = list[Json]

SYSTEM = "istio-system"
HUB = "hub"


@dataclass
class LivingCluster:
    """One cluster. ``log`` has what was done to it, ``fail`` may raise before it is done.

    ``served_by`` is the cluster that runs its istiod, where that is another.
    """

    name: str
    served_by: LivingCluster | None = None
    log: list[str] = field(default_factory=list)
    fail: Callable[[str], None] = lambda what: None
    objects: dict[tuple[str, str, str], Json] = field(default_factory=dict)
    clock: Iterator[int] = field(default_factory=lambda: itertools.count(1000, 10))

    def now(self) -> float:
        return float(next(self.clock))

    def read(self, kind: str, name: str, namespace: str | None = None) -> Json | None:
        return copy.deepcopy(self.objects.get((kind, namespace or "", name)))

    def list(
        self, kind: str, namespace: str | None = None, *, labels: str = "", **_: object
    ) -> list[Json]:
        if kind == "Pod":
            return [pod for pod in self.pods() if _selected(pod, namespace, labels)]
        return [
            copy.deepcopy(one)
            for (known, _, _), one in self.objects.items()
            if known == kind and _selected(one, namespace, labels)
        ]

    def apply(self, *manifests: Mapping[str, Any], **_: object) -> None:
        for manifest in manifests:
            one = json.loads(json.dumps(manifest))
            kind, metadata = one["kind"], one["metadata"]
            namespace = "" if kind in CLUSTER_WIDE else metadata.get("namespace", SYSTEM)
            self._do(f"apply {kind} {metadata['name']}")
            key = (kind, namespace, metadata["name"])
            before = self.objects.get(key)
            if before and kind in ("Deployment", "Namespace"):
                one = merged(before, one)
            self._keep(key, one, before)

    def merge(self, kind: str, name: str, namespace: str | None, patch: Mapping[str, Any]) -> Json:
        self._do(f"merge {kind} {name}")
        key = (kind, namespace or "", name)
        before = self.objects[key]
        self._keep(key, merged(before, patch), before)
        return self.objects[key]

    def delete(self, kind: str, name: str, namespace: str | None = None) -> None:
        self._do(f"delete {kind} {name}")
        self.objects.pop((kind, namespace or "", name), None)

    def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Json:
        assert dry_run
        one: Json = json.loads(json.dumps(manifest))
        injected = self._injected(one)
        if injected is None:
            return one
        return injected

    def wait_available(
        self, kind_and_name: Sequence[tuple[str, str]], namespace: str, *, within_seconds: float
    ) -> None:
        for kind, name in kind_and_name:
            if (kind, namespace, name) not in self.objects:
                raise KubeError(self.name, f"{name} is not there", status=404)

    def http_get(self, namespace: str, pod: str, port: int, path: str) -> str:
        clusters = ("cluster1", "cluster2")
        return json.dumps([{"id": one, "syncStatus": "synced"} for one in clusters])

    def pods(self) -> Pods:
        """The pods of all workloads, injected as they were when they were made."""
        return [copy.deepcopy(one["pod"]) for one in self.objects.values() if "pod" in one]

    def add(self, kind: str, namespace: str, name: str, **labels: str) -> None:
        """Add a workload whose pods have these labels."""
        template = {"metadata": {"labels": labels}, "spec": {"containers": []}}
        metadata = {"name": name, "namespace": namespace, "generation": 1}
        one = {"kind": kind, "metadata": metadata, "spec": {"template": template}}
        self._keep((kind, namespace, name), one, None)

    def namespace(self, name: str, **labels: str) -> None:
        """Add a namespace with these labels; ``rev`` and ``injection`` are Istio's."""
        names = {"rev": "istio.io/rev", "injection": "istio-injection"}
        found = {names[key]: value for key, value in labels.items()}
        self.objects["Namespace", "", name] = {"metadata": {"name": name, "labels": found}}

    def proxies(self) -> dict[str, tuple[str, str]]:
        """The revision and the tag of the proxy of each workload."""
        found = {}
        for pod in self.pods():
            status = pod["metadata"].get("annotations", {}).get("sidecar.istio.io/status")
            if status:
                image = pod["spec"]["containers"][-1]["image"]
                owner = pod["metadata"]["ownerReferences"][0]["name"]
                found[owner] = (json.loads(status)["revision"], image.rpartition(":")[2])
        return found

    def _do(self, what: str) -> None:
        self.fail(what)
        self.log.append(what)

    def _keep(self, key: tuple[str, str, str], one: Json, before: Json | None) -> None:
        kind, namespace, name = key
        if kind in ("Deployment", "StatefulSet"):
            template = one["spec"]["template"]
            if before is None or before["spec"]["template"] != template:
                one["pod"] = self._pod(kind, namespace, name, template)
            else:
                one["pod"] = before["pod"]
            one["status"] = {"readyReplicas": 1, "updatedReplicas": 1, "observedGeneration": 9}
            one["metadata"].setdefault("generation", 1)
        self.objects[key] = one

    def _pod(self, kind: str, namespace: str, name: str, template: Json) -> Json:
        made = datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = template["metadata"] | {
            "name": f"{name}-1",
            "namespace": namespace,
            "creationTimestamp": made,
            "ownerReferences": [{"kind": kind, "name": name, "controller": True}],
        }
        pod = copy.deepcopy({"metadata": metadata, "spec": template["spec"]})
        pod["status"] = {"phase": "Running"}
        return self._injected(pod) or pod

    def _injected(self, pod: Json) -> Json | None:
        """The pod with a proxy; None where nothing injects it."""
        labels = pod["metadata"].get("labels") or {}
        there = self.objects.get(("Namespace", "", pod["metadata"]["namespace"]), {})
        outer = there.get("metadata", {}).get("labels") or {}
        if outer.get("istio-injection") == "enabled":
            revision = "default"
        elif "istio.io/rev" in outer:
            revision = outer["istio.io/rev"]
        elif labels.get("sidecar.istio.io/inject") == "true":
            revision = labels.get("istio.io/rev", "default")
        else:
            return None
        tag = ("MutatingWebhookConfiguration", "", "istio-revision-tag-default")
        if revision == "default" and tag in self.objects:
            revision = self.objects[tag]["metadata"]["labels"]["istio.io/rev"]
        suffix = "" if revision == "default" else f"-{revision}"
        if ("MutatingWebhookConfiguration", "", f"istio-sidecar-injector{suffix}") not in (
            self.objects
        ):
            return None
        plane = self.served_by or self
        istiod = plane.objects.get(("Deployment", SYSTEM, f"istiod{suffix}"))
        if istiod is None:
            return None
        version = istiod["spec"]["template"]["metadata"]["labels"]["version"]
        status = json.dumps({"revision": revision})
        pod["metadata"].setdefault("annotations", {})["sidecar.istio.io/status"] = status
        env = {"ISTIO_META_CLUSTER_ID": self.name, "ISTIO_META_NETWORK": f"network{self.name[-1]}"}
        proxy = {
            "name": "istio-proxy",
            "image": f"{HUB}/proxyv2:{version}",
            "env": [{"name": name, "value": value} for name, value in env.items()],
        }
        pod["spec"] = pod["spec"] | {"containers": [*pod["spec"]["containers"], proxy]}
        return pod


CLUSTER_WIDE = (
    "Namespace",
    "MutatingWebhookConfiguration",
    "CustomResourceDefinition",
    "ClusterRole",
)


def merged(below: Mapping[str, Any], patch: Mapping[str, Any]) -> Json:
    """JSON merge patch (RFC 7386)."""
    both = dict(below)
    for key, value in patch.items():
        if value is None:
            both.pop(key, None)
        elif isinstance(value, Mapping):
            old = both.get(key)
            both[key] = merged(old if isinstance(old, Mapping) else {}, value)
        else:
            both[key] = value
    return both


def istio_manifests(revision: str, tag: str, *, istiod: bool = True) -> list[Json]:
    """What istioctl makes of a control plane, as far as an upgrade looks at it."""
    suffix = f"-{revision}" if revision else ""
    labels = {"app": "istiod", "istio.io/rev": revision or "default", "version": tag}
    container = {"name": "discovery", "image": f"{HUB}/pilot:{tag}"}

    def one(kind: str, name: str, **content: Any) -> Json:
        where = {} if kind in CLUSTER_WIDE else {"namespace": SYSTEM}
        metadata = {"name": name, "labels": labels, **where}
        return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **content}

    deployment = {"template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}
    found = [
        one("CustomResourceDefinition", "gateways.networking.istio.io"),
        one("ClusterRole", f"istio-reader-clusterrole{suffix}-istio-system"),
        one("ServiceAccount", "istio-reader-service-account"),
        one("Service", f"istiod{suffix}"),
        one("MutatingWebhookConfiguration", f"istio-sidecar-injector{suffix}"),
    ]
    if istiod:
        mesh = f"defaultConfig: {{discoveryAddress: istiod{suffix}}}\ntrustDomain: cluster.local"
        found += [
            one("ConfigMap", f"istio{suffix}", data={"mesh": mesh}),
            one("Deployment", f"istiod{suffix}", spec=deployment),
        ]
    return found


def _selected(one: Json, namespace: str | None, labels: str) -> bool:
    metadata = one["metadata"]
    if namespace is not None and metadata.get("namespace", "") != namespace:
        return False
    name, _, value = labels.partition("=")
    return not labels or (metadata.get("labels") or {}).get(name) == value
