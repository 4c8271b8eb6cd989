"""The judge of lost gateway pods."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_istio_mc.checks.apiserver.facts import Purpose
from pytest_istio_mc.checks.eastwest.facts import GatewayLoss
from pytest_istio_mc.checks.eastwest.fault import gateway_pod_lost
from pytest_istio_mc.machine import Machine
from pytest_istio_mc.timelines import Timeline
from pytest_istio_mc.verdicts import Outcome
from tests.checks.apiserver.losses import (
    BEGAN,
    FIRST,
    LAST,
    changed,
    failure,
    flow,
    silence,
)
from tests.checks.live_mesh import here

HERE = here()


def gateway_loss(replicas: int = 1) -> GatewayLoss:
    """A gateway of west that lost a pod.

    Some default requests fail, those that may be sent again do not.
    """

    def some_fail(when: float, number: int) -> str:
        return "" if BEGAN + 2 < when < BEGAN + 2.7 else "west"

    flows_ = (
        flow("east", Purpose.ONLY, some_fail),
        flow("east", Purpose.RETRIED, lambda when, number: "west"),
    )
    return GatewayLoss("network2", "west", replicas, BEGAN, 3.5, Timeline(flows_))


def test_a_gateway_gets_over_the_loss_of_a_pod() -> None:
    verdict = gateway_pod_lost(HERE, (gateway_loss(), gateway_loss(replicas=2)))

    assert verdict.outcome is Outcome.CONFORMANT
    assert (
        "lost its only pod, and had as many as before after 3.5 s: 0 of 125 requests failed"
        in verdict.reason
    )
    assert "3 of 125 requests failed" in verdict.reason


def test_requests_that_fail_though_there_is_another_pod_are_found() -> None:
    failing = changed(
        gateway_loss(replicas=2), Purpose.RETRIED, failure, begin=BEGAN + 2, end=BEGAN + 2.5
    )

    verdict = gateway_pod_lost(HERE, (failing,))

    assert [finding.fault for finding in verdict.findings] == ["gateway-loss-fails-requests"]
    only_pod = changed(gateway_loss(), Purpose.RETRIED, failure, begin=BEGAN + 2, end=BEGAN + 2.5)
    assert gateway_pod_lost(HERE, (only_pod,)).outcome is Outcome.CONFORMANT


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_gateway_that_stays_lost_is_found(replicas: int) -> None:
    gone = changed(gateway_loss(replicas), Purpose.ONLY, failure, begin=BEGAN + 2, end=LAST)

    verdict = gateway_pod_lost(HERE, (gone,))

    assert [finding.fault for finding in verdict.findings] == ["gateway-loss-lasts"]
    assert verdict.findings[0].clusters == ("east", "west")


def test_what_proves_nothing_is_inconclusive() -> None:
    before = changed(gateway_loss(), Purpose.ONLY, failure, begin=FIRST, end=BEGAN - 0.5)
    standing = changed(gateway_loss(2), Purpose.RETRIED, silence, begin=BEGAN + 2, end=BEGAN + 3)

    assert gateway_pod_lost(HERE, (before,)).outcome is Outcome.INCONCLUSIVE
    assert (
        gateway_pod_lost(HERE, (replace(standing, machine=Machine(4.0)),)).outcome
        is Outcome.INCONCLUSIVE
    )
    assert gateway_pod_lost(HERE, (standing,)).outcome is Outcome.NON_CONFORMANT
    assert gateway_pod_lost(HERE, ()).outcome is Outcome.INCONCLUSIVE
