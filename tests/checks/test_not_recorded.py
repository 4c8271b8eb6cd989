"""Kinds of objects that a snapshot does not hold: its checks could not find out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_istio_mc.shapes import KINDS
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Outcome
from tests.checks.test_recorded import HEALTHY, RECORDED
from tests.static_checks import judge_all


def without(snapshot: Snapshot, kind: str) -> Snapshot:
    """The snapshot as a version recorded it that did not know this kind."""
    clusters = {
        name: replace(
            cluster, objects={key: items for key, items in cluster.objects.items() if key != kind}
        )
        for name, cluster in snapshot.clusters.items()
    }
    return replace(snapshot, clusters=clusters)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_kind_that_was_not_recorded_is_never_a_fault(kind: str) -> None:
    for name in sorted(HEALTHY):
        verdicts = judge_all(without(Snapshot.load(RECORDED / name), kind))

        wrong = [one for one in verdicts.values() if one.outcome is Outcome.NON_CONFORMANT]
        assert [f"{name}: {one.check}: {one.reason}" for one in wrong] == []


@pytest.mark.parametrize(
    "kind", ["Service", "ConfigMap", "EndpointSlice", "Gateway.networking.istio.io", "Namespace"]
)
def test_a_check_that_needs_a_kind_says_that_it_was_not_recorded(kind: str) -> None:
    verdicts = judge_all(without(Snapshot.load(RECORDED / "healthy"), kind)).values()

    unknown = [one.reason for one in verdicts if one.outcome is Outcome.INCONCLUSIVE]
    assert any(f"could not list {kind} (it was not recorded)" in reason for reason in unknown)
