"""What is said of control planes whose version is not known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.checks.control_plane.versions import supported_skew
from pytest_istio_mc.recorded import Failure
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Outcome
from tests.checks.topologies import changed, recorded


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
