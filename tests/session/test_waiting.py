"""A mesh that settles is waited for, as long as was asked, and judged as it then is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_istio_mc.errors import MeshError, ObservationError
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.session.waiting import settled
from pytest_istio_mc.settings import Settings
from pytest_istio_mc.snapshot import Snapshot
from tests.checks.topologies import RECORDED

BROKEN, HEALTHY = (Snapshot.load(RECORDED / name) for name in ("ew-selector", "healthy"))
ASKED = Settings("multi-network-multi-primary", "attach", HEALTHY.spec, wait_seconds=60)


def wait(
    settings: Settings, *seen: Snapshot | MeshError
) -> tuple[Snapshot, list[str], list[Snapshot | MeshError]]:
    """What :func:`settled` gives where these are recorded in turn, the last for ever."""
    left, lines = list(seen), list[str]()

    def record() -> Snapshot:
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, MeshError):
            raise found
        return found

    return settled(record, settings, Progress(lines.append), every_seconds=0.01), lines, left


def test_the_first_good_snapshot_ends_it_and_what_was_wrong_is_told() -> None:
    lost = ObservationError("cluster", "did not answer")

    found, lines, _ = wait(ASKED, BROKEN, lost, BROKEN, HEALTHY)

    assert found is HEALTHY
    assert len(lines) == 2
    assert "MC-EASTWEST-002: the Gateway cross-network-gateway selects no pod" in lines[0]


def test_when_time_is_over_the_last_state_is_judged() -> None:
    found, lines, _ = wait(replace(ASKED, wait_seconds=0.5), BROKEN)

    assert found is BROKEN
    assert len(lines) > 1
    assert "waited 0.5 s; the mesh is judged as it is now" in lines[-1]


def test_only_what_is_chosen_is_waited_for() -> None:
    assert wait(replace(ASKED, checks=("MC-TRUST",)), BROKEN)[1] == []


def test_without_the_option_nothing_is_waited_for_and_errors_pass() -> None:
    found, lines, left = wait(replace(ASKED, wait_seconds=0.0), BROKEN, HEALTHY)

    assert (found, lines, left) == (BROKEN, [], [HEALTHY])
    with pytest.raises(ObservationError, match="did not answer"):
        wait(replace(ASKED, wait_seconds=0.0), ObservationError("cluster", "did not answer"))


def test_a_mesh_that_is_never_recorded_is_an_error_that_says_why() -> None:
    with pytest.raises(MeshError, match="did not answer"):
        wait(replace(ASKED, wait_seconds=0.1), ObservationError("cluster", "did not answer"))
