"""Exhibits of recorded meshes: something to look at, nothing secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_istio_mc.evidence.exhibits import exhibits
from pytest_istio_mc.snapshot import Snapshot

RECORDED = Path(__file__).parent.parent / "recorded"


@pytest.fixture(scope="module")
def healthy() -> Snapshot:
    """The recorded healthy mesh of two clusters."""
    return Snapshot.load(RECORDED / "healthy")


@pytest.mark.parametrize(
    ("area", "words"),
    [
        ("TRUST", ["cacerts", "spiffe://cluster.local/ns/", "valid until"]),
        ("ACCESS", ["istio-remote-secret-cluster2", "HTTP 200", "synced"]),
        ("CONTROL", ["topology.istio.io/network=network1", "CLUSTER_ID=cluster1"]),
        ("DISCOVERY", ["198.19.2.1:15443 HEALTHY", "tls istio"]),
        ("EASTWEST", ["AUTO_PASSTHROUGH", "filter chains"]),
    ],
)
def test_every_area_shows_what_was_looked_at(
    healthy: Snapshot, area: str, words: list[str]
) -> None:
    shown = exhibits(healthy, area)

    assert [item.name.rpartition(" ")[2] for item in shown] == ["cluster1", "cluster2"]
    assert [word for word in words if word not in shown[0].text] == []
    assert "PRIVATE KEY" not in shown[0].text
    assert "eyJ" not in shown[0].text


def test_an_area_without_exhibits_shows_nothing(healthy: Snapshot) -> None:
    assert exhibits(healthy, "UPGRADE") == ()
