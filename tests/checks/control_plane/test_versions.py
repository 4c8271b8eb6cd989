"""Skew of control planes and proxies, and what is said where a version is not known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.checks.control_plane.versions import supported_skew
from pytest_istio_mc.recorded import Failure
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Outcome
from tests.checks.topologies import changed, recorded
from tests.fake_clusters import FakeMesh


def _with_istiod(**changes: Any) -> Snapshot:
    snapshot = recorded("external-control-plane")
    (istiod,) = snapshot.clusters["cluster1"].istiods
    return changed(snapshot, "cluster1", istiods=(replace(istiod, **changes),))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"version": "", "failures": (Failure("metrics", "connection refused"),)},
            "does not say its version: connection refused",
        ),
        ({"version": "", "failures": ()}, "does not say its version: it answered nothing"),
        ({"version": "latest"}, "reports the version 'latest', which is no release"),
    ],
)
def test_an_unknown_version_is_inconclusive_and_says_why(
    changes: dict[str, Any], said: str
) -> None:
    verdict = supported_skew(_with_istiod(**changes))

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert said in verdict.reason


def _proxies(mesh: FakeMesh, number: int, version: str) -> None:
    for row in mesh[number].istiod("syncz"):
        row["istio_version"] = version


@pytest.mark.parametrize(
    ("proxies", "said"),
    [
        ("1.31.9", ""),
        ("1.30.4", ""),
        ("1.30.4-asm.1", ""),
        ("1.29.2", "two minor versions older (supported only as a revision jump) than"),
        ("1.28.2", "three or more minor versions older than"),
        ("1.32.0", "newer than"),
        ("1.32-alpha.4f0e1a2b3c4d", "newer than"),
    ],
)
def test_a_control_plane_may_be_one_minor_version_ahead_of_its_proxies(
    proxies: str, said: str
) -> None:
    mesh = FakeMesh()
    _proxies(mesh, 2, proxies)

    verdict = supported_skew(mesh.record())

    assert verdict.outcome is (Outcome.NON_CONFORMANT if said else Outcome.CONFORMANT)
    assert said in verdict.reason
    assert all(one.clusters == ("cluster2",) for one in verdict.findings)


def test_proxies_of_two_revisions_are_held_against_their_own_istiod() -> None:
    """A revision jump by two minor versions, half way: each proxy is beside its own istiod."""
    mesh = FakeMesh()
    for number in (1, 2):
        old = mesh.add_replica(number)
        mesh[number].answers[old, 15014, "/version"] = "1.29.6-4f0e1a2b3c4d-Clean"
        for row in mesh[number].answers[old, 8080, "/debug/syncz"]:
            row["istio_version"] = "1.29.6"

    assert supported_skew(mesh.record()).outcome is Outcome.CONFORMANT


def test_a_cluster_that_has_not_begun_a_jump_by_two_is_told() -> None:
    mesh = FakeMesh()
    mesh[2].answers["istiod-2", 15014, "/version"] = "1.29.6-4f0e1a2b3c4d-Clean"
    _proxies(mesh, 2, "1.29.6")

    (finding,) = supported_skew(mesh.record()).findings

    assert finding.fault == "up-primaries-skew"
    assert finding.seen == "cluster2 1.29, cluster1 1.31"
