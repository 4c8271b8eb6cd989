"""What a cluster answers in a shape that nobody knows is a failure, and the rest is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Outcome
from tests.fake_clusters import SYSTEM, FakeMesh, Json
from tests.static_checks import judge_all


def odd_port(mesh: FakeMesh) -> None:
    mesh[1].objects["Service"][0]["spec"]["ports"][0]["port"] = "http"


def odd_pod(mesh: FakeMesh) -> None:
    mesh[1].objects["Pod"][0]["spec"] = "x"


def odd_name(mesh: FakeMesh) -> None:
    mesh[1].objects["Namespace"].append({"metadata": {"name": "A_B"}})


def odd_answer(mesh: FakeMesh) -> None:
    mesh[1].istiod("syncz")[0].pop("proxy")


def odd_status(mesh: FakeMesh) -> None:
    rows: list[Json] = mesh[1].istiod("clusterz")
    rows[0]["syncStatus"] = 7


def odd_secret(mesh: FakeMesh) -> None:
    secret = mesh[1].find("Secret", "istio-remote-secret-cluster2", SYSTEM)
    secret["metadata"]["name"] = "istio-remote-secret-A_B"


@pytest.mark.parametrize(
    ("seed", "what"),
    [
        (odd_port, "list Service"),
        (odd_pod, "list Pod"),
        (odd_name, "list Namespace"),
        (odd_answer, "syncz"),
        (odd_secret, "list Secret"),
        (odd_status, "clusterz"),
    ],
)
def test_an_answer_of_another_shape_is_a_failure_and_no_fault(
    seed: object, what: str, tmp_path: Path
) -> None:
    mesh = FakeMesh()
    assert callable(seed)
    seed(mesh)

    snapshot = mesh.record()
    snapshot.save(tmp_path)
    verdicts = judge_all(Snapshot.load(tmp_path)).values()

    cluster = snapshot.clusters["cluster1"]
    told = (istiod.failures for istiod in cluster.istiods)
    failures = [*cluster.failures, *(failure for found in told for failure in found)]
    (failure,) = [failure for failure in failures if failure.what == what]
    assert "is of a shape that this version does not know" in failure.error
    wrong = [one for one in verdicts if one.outcome is Outcome.NON_CONFORMANT]
    assert [f"{one.check}: {one.reason}" for one in wrong] == []
    assert any("of a shape that this version" in one.reason for one in verdicts)
