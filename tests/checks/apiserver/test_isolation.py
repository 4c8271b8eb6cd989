"""The judge of isolation: a cluster that is not taken out of traffic, and what that costs."""

from __future__ import annotations

from dataclasses import replace

from pytest_istio_mc.checks.apiserver.facts import Delay, Isolation, Purpose
from pytest_istio_mc.checks.apiserver.isolation import isolation
from pytest_istio_mc.verdicts import Outcome
from tests.checks.apiserver import losses
from tests.checks.apiserver.losses import BEGAN, WITH_REMOTE, changed, failure, only
from tests.checks.live_mesh import here

HERE = here()


def test_an_isolated_cluster_that_still_gets_requests_is_found() -> None:
    kept = replace(losses.isolation(), drained=(Delay("east", None),))
    away = replace(losses.isolation(), returns=(Delay("east", None),))

    only(isolation(HERE, kept), "isolation-does-not-drain")
    only(isolation(HERE, away), "isolation-does-not-end")


def test_isolation_that_costs_requests_elsewhere_is_found() -> None:
    one, end = losses.isolation(), BEGAN + 1.1
    elsewhere = changed(one, Purpose.PLAIN, failure, source="east", begin=BEGAN + 1, end=end)

    only(isolation(HERE, elsewhere), "requests-fail-during-loss")


def test_requests_that_isolation_costs_the_cluster_itself_are_told() -> None:
    one, end = losses.isolation(), BEGAN + 1.5
    itself = changed(one, Purpose.PLAIN, failure, source="west", begin=BEGAN + 1, end=end)

    verdict = isolation(HERE, itself)

    assert verdict.outcome is Outcome.CONFORMANT
    assert "2 from west itself" in verdict.reason or "3 from west itself" in verdict.reason


def test_what_isolating_a_remote_cluster_costs_in_the_moment_of_change_is_counted() -> None:
    def failing(begin: float) -> Isolation:
        one, end = losses.isolation(), begin + 0.5
        return changed(one, Purpose.PLAIN, failure, source="east", begin=begin, end=end)

    verdict = isolation(WITH_REMOTE, failing(BEGAN + 0.1))
    assert verdict.outcome is Outcome.CONFORMANT
    assert "failed requests elsewhere, all in the moments of change" in verdict.reason
    only(isolation(WITH_REMOTE, failing(BEGAN + 6)), "requests-fail-during-loss")
    only(isolation(HERE, failing(BEGAN + 0.1)), "requests-fail-during-loss")


def test_how_long_the_cluster_still_answered_is_for_the_certificate() -> None:
    told = isolation(HERE, losses.isolation()).convergence

    assert [(entry.what, entry.first_seconds) for entry in told] == [
        ("east sends nothing more to an isolated cluster", 0.1)
    ]
