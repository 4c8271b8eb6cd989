"""What is adopted of meshes that are installed in other ways than the guide's."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from pytest_istio_mc.providers.attach import adopted, look
from pytest_istio_mc.spec import ClusterSpec, MeshSpec, Role

SYSTEM = "istio-system"
Json = dict[str, Any]


class FakeKube:
    """A cluster's objects by kind and name, for our own ``Kube`` protocol."""

    def __init__(self, **objects: list[Json]) -> None:
        self._objects = objects

    def version(self) -> str:
        return "v1.36.1"

    def list(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str = "",
        metadata_only: bool = False,
    ) -> list[Json]:
        return self._objects.get(kind, [])

    def read(self, kind: str, name: str, namespace: str | None = None) -> Json | None:
        found = (one for one in self._objects.get(kind, []) if one["metadata"]["name"] == name)
        return next(found, None)


def istiod(revision: str) -> Json:
    container = {"name": "discovery", "image": "pilot:1.31.0", "env": []}
    labels = {"app": "istiod", "istio.io/rev": revision}
    template = {"spec": {"containers": [container]}}
    return {"metadata": {"name": "istiod", "labels": labels}, "spec": {"template": template}}


def config(suffix: str, mesh_id: str, trust_domain: str = "") -> list[Json]:
    """The two ConfigMaps of an installation."""
    values = {"global": {"meshID": mesh_id, "network": "net", "multiCluster": {}}}
    mesh = {"trustDomain": trust_domain} if trust_domain else {"rootNamespace": SYSTEM}
    return [
        {
            "metadata": {"name": f"istio-sidecar-injector{suffix}"},
            "data": {"values": json.dumps(values)},
        },
        {"metadata": {"name": f"istio{suffix}"}, "data": {"mesh": yaml.safe_dump(mesh)}},
    ]


def webhook(revision: str, tag: str = "") -> Json:
    labels = {"istio.io/rev": revision} | ({"istio.io/tag": tag} if tag else {})
    return {"metadata": {"name": f"injector-{revision}-{tag}", "labels": labels}}


def seen(kube: FakeKube) -> tuple[str, str]:
    """The mesh id and trust domain that a cluster states."""
    found = look(kube, SYSTEM)  # type: ignore[arg-type]
    return found.mesh_id, found.trust_domain


def test_the_guides_installation() -> None:
    kube = FakeKube(Deployment=[istiod("default")], ConfigMap=config("", "prod", "corp.example"))

    assert seen(kube) == ("prod", "corp.example")


def test_an_installation_under_a_revision() -> None:
    kube = FakeKube(Deployment=[istiod("1-31")], ConfigMap=config("-1-31", "prod", "corp.example"))

    assert seen(kube) == ("prod", "corp.example")


def test_of_two_revisions_the_one_that_injects_by_default() -> None:
    kube = FakeKube(
        Deployment=[istiod("1-30"), istiod("1-31")],
        ConfigMap=[*config("-1-30", "prod", "corp.example"), *config("-1-31", "next", "next")],
        MutatingWebhookConfiguration=[
            webhook("1-30"),
            webhook("1-31"),
            webhook("1-31", "canary"),
            webhook("1-30", "default"),
        ],
    )

    assert seen(kube) == ("prod", "corp.example")


def test_a_cluster_that_is_served_from_elsewhere_has_webhooks_and_no_istiod() -> None:
    kube = FakeKube(
        ConfigMap=config("-1-31", "prod", "corp.example"),
        MutatingWebhookConfiguration=[webhook("1-31")],
    )

    assert seen(kube) == ("prod", "corp.example")


@pytest.mark.parametrize("domain", ["", "corp.example"])
def test_without_a_mesh_id_pods_are_given_the_trust_domain(domain: str) -> None:
    kube = FakeKube(Deployment=[istiod("default")], ConfigMap=config("", "", domain))

    assert seen(kube) == (domain or "cluster.local", domain or "cluster.local")


def test_nothing_is_stated_where_nothing_can_be_read() -> None:
    assert seen(FakeKube(Deployment=[istiod("default")])) == ("", "")


def adopt(*clusters: tuple[ClusterSpec, str]) -> list[str]:
    """The trust domains of clusters that state these."""
    base = look(FakeKube(Deployment=[istiod("default")]), SYSTEM)  # type: ignore[arg-type]
    spec = MeshSpec("multi-network-multi-primary", tuple(cluster for cluster, _ in clusters))
    entries = {cluster.name: replace(base, trust_domain=domain) for cluster, domain in clusters}
    made = adopted(spec, entries)
    return [made.trust_domain_of(cluster) for cluster in made]


def test_primaries_may_have_trust_domains_of_their_own() -> None:
    east, west = ClusterSpec("east", "network1"), ClusterSpec("west", "network2")

    assert adopt((east, "one.example"), (west, "two.example")) == ["one.example", "two.example"]
    assert adopt((east, "one.example"), (west, "one.example")) == ["one.example", "one.example"]


def test_a_remote_cluster_is_in_the_trust_domain_of_its_primary() -> None:
    east = ClusterSpec("east", "network1")
    west = ClusterSpec("west", "network2")
    far = ClusterSpec("far", "network3", Role.REMOTE, "west")

    domains = adopt((east, "one.example"), (west, "two.example"), (far, "left.over"))

    assert domains == ["one.example", "two.example", "two.example"]
