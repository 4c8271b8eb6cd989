"""Which Services are gateways is found without asking each Service about all others."""

from __future__ import annotations

import pytest
import yaml

from pytest_istio_mc.checks.eastwest import gateways
from pytest_istio_mc.checks.oracle import networks_of
from pytest_istio_mc.network_gateways import MeshNetwork
from pytest_istio_mc.snapshot import Object, Snapshot, is_east_west_service
from pytest_istio_mc.spec import ClusterSpec
from tests.fake_clusters import SYSTEM, FakeMesh

MANY = 300


@pytest.mark.parametrize("declared", [False, True])
def test_every_service_is_looked_at_once(monkeypatch: pytest.MonkeyPatch, declared: bool) -> None:
    mesh = FakeMesh()
    for number in (1, 2):
        metadata = {"namespace": "shop"}
        spec = {"ports": [{"port": 80}], "selector": {"app": "shop"}}
        mesh[number].objects["Service"] += [
            {"metadata": {"name": f"shop-{place}", **metadata}, "spec": spec}
            for place in range(MANY)
        ]
    if declared:
        gateway = {"address": "203.0.113.1", "port": 443}
        text = yaml.safe_dump({"networks": {"network2": {"gateways": [gateway]}}})
        mesh[1].find("ConfigMap", "istio", SYSTEM)["data"]["meshNetworks"] = text
    snapshot = mesh.record()
    asked: list[str] = []
    read: list[str] = []

    def counted(service: Object) -> bool:
        asked.append(service["metadata"]["name"])
        return is_east_west_service(service)

    def counted_networks(snapshot: Snapshot, plane: ClusterSpec) -> dict[str, MeshNetwork]:
        read.append(plane.name)
        return networks_of(snapshot, plane)

    monkeypatch.setattr(gateways, "is_east_west_service", counted)
    monkeypatch.setattr(gateways, "networks_of", counted_networks)

    found = gateways.east_west_services(snapshot)

    assert [cluster.name for cluster, _ in found] == ["cluster1", "cluster2"]
    assert len(asked) == sum(len(cluster.listed("Service")) for cluster in snapshot)
    assert read == ["cluster1", "cluster2"]
