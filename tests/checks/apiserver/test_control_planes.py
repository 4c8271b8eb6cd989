"""The judges of control planes: those that do not start, and losses that nobody tells of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_istio_mc.checks.apiserver.control_planes import restarted_control_plane, visible
from pytest_istio_mc.checks.apiserver.facts import How, Purpose, Sign
from pytest_istio_mc.verdicts import Outcome
from tests.checks.apiserver import losses
from tests.checks.apiserver.losses import DIED, changed, failure, hung, only
from tests.checks.live_mesh import here

HERE = here()


@pytest.mark.parametrize("ready_seconds", [None, 60.0])
def test_an_istiod_that_waits_for_the_lost_cluster_is_found(ready_seconds: float | None) -> None:
    blocked = losses.loss(How.HUNG, restart=losses.restart(ready_seconds=ready_seconds, status=""))

    only(restarted_control_plane(HERE, blocked), "istiod-blocked-by-lost-cluster")


def test_an_istiod_that_claims_to_be_in_sync_is_found() -> None:
    lying = losses.loss(How.HUNG, restart=losses.restart(status="synced"))

    only(restarted_control_plane(HERE, lying), "status-claims-synced")


def test_requests_that_fail_when_istiod_restarts_are_found() -> None:
    broken = changed(hung(), Purpose.PLAIN, failure, begin=DIED + 3, end=DIED + 4)

    only(restarted_control_plane(HERE, broken), "requests-fail-during-loss")
    assert restarted_control_plane(HERE, losses.loss(How.HUNG)).outcome is Outcome.INCONCLUSIVE


def test_a_loss_that_nobody_tells_of_is_found() -> None:
    silent = losses.loss(How.HUNG, restart=losses.restart(status="synced"))

    verdict = visible(HERE, losses.loss(), silent)

    only(verdict, "loss-is-silent")
    logged = replace(losses.loss(), signs=(Sign("log", "east", "watch ended with error", 8.0),))
    assert visible(HERE, logged, silent).outcome is Outcome.CONFORMANT


def test_how_long_the_start_took_is_for_the_certificate() -> None:
    told = restarted_control_plane(HERE, hung()).convergence

    assert [(entry.what, entry.first_seconds) for entry in told] == [
        ("istiod of east ready without west", 11.5)
    ]
