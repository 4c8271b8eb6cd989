"""Many Services: each is looked at a fixed number of times, not once for every other."""

from __future__ import annotations

from collections import Counter

import pytest

from pytest_istio_mc import snapshot as snapshots
from pytest_istio_mc.checks.catalogue import known_checks
from pytest_istio_mc.snapshot import Object, is_east_west_service
from tests.fake_clusters import FakeMesh
from tests.static_checks import STATIC

MANY = 3000
CLUSTERS = 2
LOOKS = 4
"""How often one check may look whether one Service is a gateway: once a cluster, and once more."""


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often it was asked whether a Service is an east-west gateway."""
    counted: Counter[str] = Counter()

    def count(service: Object) -> bool:
        counted["looks"] += 1
        return is_east_west_service(service)

    for module in (
        "pytest_istio_mc.snapshot",
        "pytest_istio_mc.checks.control_plane.sameness",
        "pytest_istio_mc.checks.control_plane.way_to_istiod",
    ):
        monkeypatch.setattr(f"{module}.is_east_west_service", count)
    assert snapshots.is_east_west_service is count
    return counted


def test_no_check_looks_at_every_service_for_every_service(looks: Counter[str]) -> None:
    mesh = FakeMesh(CLUSTERS)
    for cluster in mesh.clusters.values():
        cluster.objects["Service"] += [
            {
                "metadata": {"name": f"s{n}", "namespace": "default"},
                "spec": {"ports": [{"name": "http", "port": 80}], "clusterIP": "10.0.0.1"},
            }
            for n in range(MANY)
        ]
    snapshot = mesh.record()
    assert "MC-EASTWEST-009" in known_checks()

    for id, check in STATIC.items():
        looks.clear()
        if set(check.requires) <= snapshot.spec.features:
            check.judge(snapshot)
        assert looks["looks"] <= LOOKS * CLUSTERS * (MANY + 20), id
