"""One rule held against a mesh of fake clusters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_istio_mc.checks.precheck import RULES, Outlook, Rule, precheck
from pytest_istio_mc.checks.releases import Release, release
from tests.fake_clusters import SYSTEM, FakeMesh, Json, meta

Change = Callable[[FakeMesh], object]
BY_ID: dict[str, Rule] = {rule.id: rule for rule in RULES}


def target(version: str) -> Release:
    """The release that people mean by a version."""
    found = release(version, newest=True)
    assert found is not None
    return found


def stands(mesh: FakeMesh, rule: str, to: str) -> Outlook:
    """How a rule stands in the mesh."""
    found = precheck(mesh.record_for_upgrade(), target(to))
    return next(one for one in found if one.rule.id == rule)


def run(mesh: FakeMesh, version: str, *, proxies: str | None = None) -> None:
    """Let istiods, and proxies if not told otherwise, be of a version."""
    for cluster in mesh.clusters.values():
        for (pod, port, path), answer in list(cluster.answers.items()):
            if path == "/version":
                cluster.answers[pod, port, path] = f"{version}-4f0e1a2b3c4d-Clean"
            if path == "/debug/syncz":
                for row in answer:
                    row["istio_version"] = version if proxies is None else proxies


def add(mesh: FakeMesh, kind: str, name: str, spec: Json, *, namespace: str = "shop") -> Json:
    """An object in every cluster."""
    made: Json = {"metadata": meta(name, namespace), "spec": spec}
    for cluster in mesh.clusters.values():
        cluster.objects.setdefault(kind, []).append(made)
    return made


def entry(mesh: FakeMesh, namespace: str = "shop", **spec: Any) -> Json:
    """A ServiceEntry for ``api.example.com`` by DNS with endpoints in two regions."""
    endpoints = [
        {"address": "a.example.com", "locality": "region1/zone1"},
        {"address": "b.example.com", "locality": "region2/zone2"},
    ]
    usual = {"hosts": ["api.example.com"], "resolution": "DNS", "endpoints": endpoints}
    return add(mesh, "ServiceEntry.networking.istio.io", "api", usual | spec, namespace=namespace)


FAILOVER: Json = {
    "outlierDetection": {"consecutive5xxErrors": 5},
    "loadBalancer": {"localityLbSetting": {"failoverPriority": ["topology.kubernetes.io/region"]}},
}


def rule_for(mesh: FakeMesh, namespace: str = "shop", **spec: Any) -> Json:
    """A DestinationRule with a failoverPriority for ``api.example.com``."""
    usual = {"host": "api.example.com", "trafficPolicy": FAILOVER}
    name = "DestinationRule.networking.istio.io"
    return add(mesh, name, "api", usual | spec, namespace=namespace)


def budget(mesh: FakeMesh, labels: dict[str, str], **spec: Any) -> Json:
    """A PodDisruptionBudget beside istiod."""
    usual = {"minAvailable": 1, "selector": {"matchLabels": labels}}
    kind = "PodDisruptionBudget.policy"
    return add(mesh, kind, "-".join(labels.values()), usual | spec, namespace=SYSTEM)
