"""The judges of lost API servers: conformant on what a healthy mesh shows, and each sabotage found for what it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_istio_mc.checks.apiserver.facts import (
    How,
    Isolation,
    Loss,
    Purpose,
    Return,
    Sign,
    cluster_to_lose,
    primary_to_lose,
)
from pytest_istio_mc.checks.apiserver.fault import (
    configuration_goes_on,
    converges_again,
    dead_endpoints_ejected,
    hanging,
    isolation,
    remotes_go_on,
    restarted_control_plane,
    traffic_goes_on,
    visible,
)
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.machine import Machine
from pytest_istio_mc.spec import ClusterSpec, Role
from pytest_istio_mc.topologies import known
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.apiserver import losses
from tests.checks.apiserver.losses import (
    BEGAN,
    DIED,
    ENDED,
    FIRST,
    PUSHED,
    failure,
    silence,
    spoiled,
)
from tests.checks.live_mesh import mesh

MESH = mesh()
TIMEOUTS = Timeouts()


def only(verdict: Verdict, fault: str) -> None:
    """Non-conformant, for one kind of fault."""
    assert verdict.outcome is Outcome.NON_CONFORMANT, verdict.reason
    assert {finding.fault for finding in verdict.findings} == {fault}
    assert all(
        finding.clusters and finding.expected and finding.seen and finding.remedy
        for finding in verdict.findings
    )


def changed(loss: Loss, purpose: Purpose, change: losses.Change, **window: float) -> Loss:
    return replace(loss, timeline=spoiled(loss.timeline, purpose, change, **window))  # type: ignore[arg-type]


def hung() -> Loss:
    return losses.loss(How.HUNG, restart=losses.restart())


def judged_all(refused: Loss, other: Loss) -> list[Verdict]:
    return [
        traffic_goes_on(MESH, refused),
        dead_endpoints_ejected(MESH, refused),
        configuration_goes_on(MESH, refused, TIMEOUTS),
        restarted_control_plane(MESH, other),
        visible(MESH, refused, other),
        converges_again(MESH, refused, TIMEOUTS),
        isolation(MESH, losses.isolation(), TIMEOUTS),
        remotes_go_on(MESH, refused, refused),
        hanging(MESH, other, TIMEOUTS),
    ]


def test_a_healthy_mesh_gets_over_everything() -> None:
    verdicts = judged_all(losses.loss(), hung())

    assert [verdict.outcome for verdict in verdicts] == [Outcome.CONFORMANT] * 9, [
        verdict.reason for verdict in verdicts
    ]
    assert [verdict.check for verdict in verdicts] == [
        f"MC-APISERVER-00{number}" for number in range(1, 10)
    ]


def test_the_figures_are_in_the_reasons() -> None:
    traffic, ejected, pushed, restarted, told, back, isolated, *_ = (
        verdict.reason for verdict in judged_all(losses.loss(), hung())
    )

    assert "west refused connections for 14 s: 0 of " in traffic
    assert "failed requests by client east 2, west 2, the last one 0.8 s after its death" in ejected
    assert "in force in east 0.4 s" in pushed
    assert "ready 11.5 s after the restart (timeout 10 s) and says timeout of west" in restarted
    assert "no status, metric or log elsewhere in 14 s (istiod of east: synced)" in told
    assert "only west's own istiod logs it, after 1 s" in told
    assert (
        "answered east 4.0 s, west 4.0 s after the loss was mended, 2.0 s at most after it was there"
        in back
    )
    assert "the last answer from it east 0.1 s" in isolated


@pytest.mark.parametrize("source", losses.CLUSTERS)
def test_one_failed_request_is_found(source: str) -> None:
    loss = losses.loss()
    broken = replace(
        loss,
        timeline=spoiled(
            loss.timeline, Purpose.PLAIN, failure, source=source, begin=BEGAN + 5, end=BEGAN + 5.1
        ),
    )

    verdict = traffic_goes_on(MESH, broken)

    only(verdict, "requests-fail-during-loss")
    assert {finding.clusters for finding in verdict.findings} == {
        tuple(dict.fromkeys((source, "west")))
    }
    only(remotes_go_on(MESH, broken, loss), "requests-fail-during-loss")
    only(remotes_go_on(MESH, loss, broken), "requests-fail-during-loss")


def test_a_failed_request_after_the_loss_is_found_as_well() -> None:
    broken = changed(losses.loss(), Purpose.PLAIN, failure, begin=ENDED + 3, end=ENDED + 3.1)

    only(traffic_goes_on(MESH, broken), "requests-fail-during-loss")


def test_endpoints_that_go_with_the_api_server_are_found() -> None:
    broken = changed(
        losses.loss(),
        Purpose.PLAIN,
        lambda one: replace(one, cluster="east", pod="hello-east"),
        begin=BEGAN + 1,
        end=ENDED,
    )

    only(traffic_goes_on(MESH, broken), "loss-takes-endpoints")


def test_what_fails_before_the_loss_is_no_finding() -> None:
    broken = changed(losses.loss(), Purpose.PLAIN, failure, begin=FIRST, end=BEGAN - 0.5)

    assert traffic_goes_on(MESH, broken).outcome is Outcome.INCONCLUSIVE


def test_a_machine_that_stands_still_is_not_the_meshs_fault() -> None:
    silent = changed(losses.loss(), Purpose.PLAIN, silence, begin=BEGAN + 5, end=BEGAN + 6)
    refusing = changed(losses.loss(), Purpose.PLAIN, failure, begin=BEGAN + 5, end=BEGAN + 6)

    assert (
        traffic_goes_on(MESH, replace(silent, machine=Machine(1.5))).outcome is Outcome.INCONCLUSIVE
    )
    assert (
        traffic_goes_on(MESH, replace(silent, machine=Machine(crowd=9))).outcome
        is Outcome.INCONCLUSIVE
    )
    only(traffic_goes_on(MESH, silent), "requests-fail-during-loss")
    only(
        traffic_goes_on(MESH, replace(refusing, machine=Machine(2.0))), "requests-fail-during-loss"
    )
    assert (
        traffic_goes_on(MESH, replace(refusing, machine=Machine(3.5))).outcome
        is Outcome.INCONCLUSIVE
    )


def test_a_dead_endpoint_that_is_tried_again_and_again_is_found() -> None:
    broken = changed(losses.loss(), Purpose.DYING, failure, begin=DIED, end=ENDED)

    verdict = dead_endpoints_ejected(MESH, broken)

    only(verdict, "dead-endpoint-not-ejected")
    assert "maxEjectionPercent: 100" in verdict.findings[0].remedy


def test_clients_that_have_only_the_address_of_a_shared_gateway_are_told_and_not_judged() -> None:
    shared = mesh(
        ClusterSpec("east", "network1"),
        ClusterSpec("west", "network2"),
        ClusterSpec("south", "network2"),
    )
    broken = changed(losses.loss(), Purpose.DYING, failure, begin=DIED, end=ENDED)

    verdict = dead_endpoints_ejected(shared, broken)

    assert {finding.clusters for finding in verdict.findings} == {("west",)}
    assert "(through a shared gateway)" in dead_endpoints_ejected(shared, losses.loss()).reason


def test_an_endpoint_that_never_answered_proves_nothing() -> None:
    broken = changed(
        losses.loss(),
        Purpose.DYING,
        lambda one: replace(one, cluster="east"),
        begin=FIRST,
        end=DIED,
    )

    assert dead_endpoints_ejected(MESH, broken).outcome is Outcome.INCONCLUSIVE
    assert (
        dead_endpoints_ejected(MESH, replace(losses.loss(), died=0.0)).outcome
        is Outcome.INCONCLUSIVE
    )


def test_configuration_that_does_not_arrive_is_found() -> None:
    broken = changed(
        losses.loss(),
        Purpose.PUSHED,
        lambda one: replace(one, cluster="west"),
        begin=PUSHED,
        end=ENDED,
    )

    only(configuration_goes_on(MESH, broken, TIMEOUTS), "no-pushes-during-loss")
    only(hanging(MESH, broken, TIMEOUTS), "no-pushes-during-loss")


def test_a_route_that_changes_nothing_proves_nothing() -> None:
    same = changed(
        losses.loss(),
        Purpose.PUSHED,
        lambda one: replace(one, cluster="east"),
        begin=FIRST,
        end=ENDED,
    )

    assert configuration_goes_on(MESH, same, TIMEOUTS).outcome is Outcome.INCONCLUSIVE
    assert (
        configuration_goes_on(MESH, replace(same, pushes=()), TIMEOUTS).outcome
        is Outcome.INCONCLUSIVE
    )


@pytest.mark.parametrize("ready_seconds", [None, 60.0])
def test_an_istiod_that_waits_for_the_lost_cluster_is_found(ready_seconds: float | None) -> None:
    blocked = losses.loss(How.HUNG, restart=losses.restart(ready_seconds=ready_seconds, status=""))

    only(restarted_control_plane(MESH, blocked), "istiod-blocked-by-lost-cluster")


def test_an_istiod_that_claims_to_be_in_sync_is_found() -> None:
    lying = losses.loss(How.HUNG, restart=losses.restart(status="synced"))

    only(restarted_control_plane(MESH, lying), "status-claims-synced")


def test_requests_that_fail_when_istiod_restarts_are_found() -> None:
    only(
        restarted_control_plane(
            MESH, changed(hung(), Purpose.PLAIN, failure, begin=DIED + 3, end=DIED + 4)
        ),
        "requests-fail-during-loss",
    )
    assert restarted_control_plane(MESH, losses.loss(How.HUNG)).outcome is Outcome.INCONCLUSIVE


def test_a_loss_that_nobody_tells_of_is_found() -> None:
    silent = losses.loss(How.HUNG, restart=losses.restart(status="synced"))

    verdict = visible(MESH, losses.loss(), silent)

    only(verdict, "loss-is-silent")
    logged = replace(losses.loss(), signs=(Sign("log", "east", "watch ended with error", 8.0),))
    assert visible(MESH, logged, silent).outcome is Outcome.CONFORMANT


def test_endpoints_that_stay_stale_are_found() -> None:
    stale = replace(losses.loss(), returns=(Return("east", None, None), Return("west", 4.0, 2.0)))
    slow = replace(losses.loss(), returns=(Return("east", 130.0, 125.0),))

    for broken in (stale, slow):
        only(converges_again(MESH, broken, TIMEOUTS), "endpoints-stay-stale-after-loss")
        only(hanging(MESH, broken, TIMEOUTS), "endpoints-stay-stale-after-loss")
    assert (
        converges_again(MESH, replace(stale, returns=()), TIMEOUTS).outcome is Outcome.INCONCLUSIVE
    )


def test_a_control_plane_that_had_to_restart_is_found() -> None:
    restarted = replace(losses.loss(), restarted=("east: istiod-1 (1 restarts)",))

    only(converges_again(MESH, restarted, TIMEOUTS), "istiod-restarted-by-loss")


def test_an_isolated_cluster_that_still_gets_requests_is_found() -> None:
    kept: Isolation = replace(losses.isolation(), drained=(Return("east", None, None),))
    away: Isolation = replace(losses.isolation(), returns=(Return("east", None, None),))

    only(isolation(MESH, kept, TIMEOUTS), "isolation-does-not-drain")
    only(isolation(MESH, away, TIMEOUTS), "isolation-does-not-end")


def test_isolation_that_costs_requests_elsewhere_is_found_and_what_it_costs_the_cluster_is_told() -> (
    None
):
    good = losses.isolation()
    elsewhere = replace(
        good,
        timeline=spoiled(
            good.timeline, Purpose.PLAIN, failure, source="east", begin=BEGAN + 1, end=BEGAN + 1.1
        ),
    )
    itself = replace(
        good,
        timeline=spoiled(
            good.timeline, Purpose.PLAIN, failure, source="west", begin=BEGAN + 1, end=BEGAN + 1.5
        ),
    )

    only(isolation(MESH, elsewhere, TIMEOUTS), "requests-fail-during-loss")
    verdict = isolation(MESH, itself, TIMEOUTS)
    assert verdict.outcome is Outcome.CONFORMANT
    assert "2 from west itself" in verdict.reason or "3 from west itself" in verdict.reason


def test_what_isolating_a_remote_cluster_costs_in_the_moment_of_change_is_counted() -> None:
    remote = mesh(
        ClusterSpec("east", "network1"), ClusterSpec("west", "network2", Role.REMOTE, "east")
    )
    good = losses.isolation()

    def failing(begin: float) -> Isolation:
        return replace(
            good,
            timeline=spoiled(
                good.timeline, Purpose.PLAIN, failure, source="east", begin=begin, end=begin + 0.5
            ),
        )

    verdict = isolation(remote, failing(BEGAN + 0.1), TIMEOUTS)
    assert verdict.outcome is Outcome.CONFORMANT
    assert "failed requests elsewhere, all in the moments of change" in verdict.reason
    only(isolation(remote, failing(BEGAN + 6), TIMEOUTS), "requests-fail-during-loss")
    only(isolation(MESH, failing(BEGAN + 0.1), TIMEOUTS), "requests-fail-during-loss")


def test_a_hung_api_server_that_costs_requests_is_found() -> None:
    only(
        hanging(
            MESH, changed(hung(), Purpose.PLAIN, failure, begin=BEGAN + 1, end=BEGAN + 2), TIMEOUTS
        ),
        "requests-fail-during-loss",
    )


def test_where_nobody_is_watched_there_is_nothing_to_lose() -> None:
    for verdict in (
        traffic_goes_on(MESH, None),
        dead_endpoints_ejected(MESH, None),
        visible(MESH, None, None),
        isolation(MESH, None, TIMEOUTS),
        remotes_go_on(MESH, losses.loss(), None),
    ):
        assert verdict.outcome is Outcome.NOT_APPLICABLE
        assert verdict.reason


def test_the_cluster_that_is_lost_is_one_that_others_watch() -> None:
    lost = {name: cluster_to_lose(topology.default_spec()) for name, topology in known().items()}
    primary = {name: primary_to_lose(topology.default_spec()) for name, topology in known().items()}

    assert {name: cluster.name if cluster else "" for name, cluster in lost.items()} == {
        "multi-network-multi-primary": "cluster2",
        "multi-network-primary-remote": "cluster2",
        "flat-multi-primary": "cluster2",
        "flat-primary-remote": "cluster2",
        "external-control-plane": "cluster3",
        "ha-multi-primary-remote": "cluster4",
        "federated": "",
    }
    assert {name: cluster.name for name, cluster in primary.items() if cluster} == {
        "multi-network-primary-remote": "cluster1",
        "flat-primary-remote": "cluster1",
        "external-control-plane": "cluster2",
        "ha-multi-primary-remote": "cluster1",
    }
