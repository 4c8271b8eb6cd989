"""The judge of lost gateway pods."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_istio_mc.checks.apiserver.facts import GatewayLoss, Purpose
from pytest_istio_mc.checks.eastwest.fault import gateway_pod_lost
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.machine import Machine
from pytest_istio_mc.verdicts import Outcome
from tests.checks.apiserver import losses
from tests.checks.apiserver.losses import BEGAN, FIRST, LAST, failure, silence, spoiled
from tests.checks.live_mesh import mesh

MESH = mesh()
TIMEOUTS = Timeouts()


def changed(
    loss: GatewayLoss, purpose: Purpose, change: losses.Change, begin: float, end: float
) -> GatewayLoss:
    return replace(loss, timeline=spoiled(loss.timeline, purpose, change, begin=begin, end=end))


def test_a_gateway_gets_over_the_loss_of_a_pod() -> None:
    verdict = gateway_pod_lost(
        MESH, (losses.gateway_loss(), losses.gateway_loss(replicas=2)), TIMEOUTS
    )

    assert verdict.outcome is Outcome.CONFORMANT
    assert (
        "lost its only pod, and had as many as before after 3.5 s: 0 of 125 requests failed"
        in verdict.reason
    )
    assert "3 of 125 requests failed" in verdict.reason


def test_requests_that_fail_though_there_is_another_pod_are_found() -> None:
    failing = changed(
        losses.gateway_loss(replicas=2), Purpose.RETRIED, failure, BEGAN + 2, BEGAN + 2.5
    )

    verdict = gateway_pod_lost(MESH, (failing,), TIMEOUTS)

    assert [finding.fault for finding in verdict.findings] == ["gateway-loss-fails-requests"]
    only_pod = changed(losses.gateway_loss(), Purpose.RETRIED, failure, BEGAN + 2, BEGAN + 2.5)
    assert gateway_pod_lost(MESH, (only_pod,), TIMEOUTS).outcome is Outcome.CONFORMANT


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_gateway_that_stays_lost_is_found(replicas: int) -> None:
    gone = changed(losses.gateway_loss(replicas), Purpose.ONLY, failure, BEGAN + 2, LAST)

    verdict = gateway_pod_lost(MESH, (gone,), TIMEOUTS)

    assert [finding.fault for finding in verdict.findings] == ["gateway-loss-lasts"]
    assert verdict.findings[0].clusters == ("east", "west")


def test_what_proves_nothing_is_inconclusive() -> None:
    before = changed(losses.gateway_loss(), Purpose.ONLY, failure, FIRST, BEGAN - 0.5)
    standing = changed(losses.gateway_loss(2), Purpose.RETRIED, silence, BEGAN + 2, BEGAN + 3)

    assert gateway_pod_lost(MESH, (before,), TIMEOUTS).outcome is Outcome.INCONCLUSIVE
    assert (
        gateway_pod_lost(MESH, (replace(standing, machine=Machine(4.0)),), TIMEOUTS).outcome
        is Outcome.INCONCLUSIVE
    )
    assert gateway_pod_lost(MESH, (standing,), TIMEOUTS).outcome is Outcome.NON_CONFORMANT
    assert gateway_pod_lost(MESH, (), TIMEOUTS).outcome is Outcome.INCONCLUSIVE
