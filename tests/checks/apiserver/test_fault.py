"""The judges of lost API servers: conformant on a healthy mesh, and each sabotage is found."""

from __future__ import annotations

from dataclasses import replace
from typing import get_type_hints

import pytest

from pytest_istio_mc.checks.apiserver import observe
from pytest_istio_mc.checks.apiserver.control_planes import restarted_control_plane, visible
from pytest_istio_mc.checks.apiserver.facts import Delay, Loss, Purpose
from pytest_istio_mc.checks.apiserver.fault import (
    configuration_goes_on,
    converges_again,
    dead_endpoints_ejected,
    hanging,
    remotes_go_on,
    traffic_goes_on,
)
from pytest_istio_mc.checks.apiserver.isolation import isolation
from pytest_istio_mc.machine import Machine
from pytest_istio_mc.plain import from_plain, to_plain
from pytest_istio_mc.spec import ClusterSpec
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.apiserver import losses
from tests.checks.apiserver.losses import (
    BEGAN,
    DIED,
    ENDED,
    FIRST,
    PUSHED,
    WITH_REMOTE,
    changed,
    failure,
    hung,
    only,
    silence,
)
from tests.checks.live_mesh import here, mesh

HERE = here()


def judged_all(refused: Loss, other: Loss) -> list[Verdict]:
    return [
        traffic_goes_on(HERE, refused),
        dead_endpoints_ejected(HERE, refused),
        configuration_goes_on(HERE, refused),
        restarted_control_plane(HERE, other),
        visible(HERE, refused, other),
        converges_again(HERE, refused),
        isolation(HERE, losses.isolation()),
        remotes_go_on(WITH_REMOTE, refused, refused),
        hanging(HERE, other),
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
    assert "answered east 4.0 s, west 4.0 s after the loss was mended" in back
    assert "was mended, 2.0 s at most after it was there" in back
    assert "the last answer from it east 0.1 s" in isolated


@pytest.mark.parametrize("source", losses.CLUSTERS)
def test_one_failed_request_is_found(source: str) -> None:
    loss = losses.loss()
    end = BEGAN + 5.1
    broken = changed(loss, Purpose.PLAIN, failure, source=source, begin=BEGAN + 5, end=end)

    verdict = traffic_goes_on(HERE, broken)

    only(verdict, "requests-fail-during-loss")
    assert {finding.clusters for finding in verdict.findings} == {
        tuple(dict.fromkeys((source, "west")))
    }
    only(remotes_go_on(WITH_REMOTE, broken, loss), "requests-fail-during-loss")
    only(remotes_go_on(WITH_REMOTE, loss, broken), "requests-fail-during-loss")


def test_a_failed_request_after_the_loss_is_found_as_well() -> None:
    broken = changed(losses.loss(), Purpose.PLAIN, failure, begin=ENDED + 3, end=ENDED + 3.1)

    only(traffic_goes_on(HERE, broken), "requests-fail-during-loss")


def test_endpoints_that_go_with_the_api_server_are_found() -> None:
    broken = changed(
        losses.loss(),
        Purpose.PLAIN,
        lambda one: replace(one, cluster="east", pod="hello-east"),
        begin=BEGAN + 1,
        end=ENDED,
    )

    only(traffic_goes_on(HERE, broken), "loss-takes-endpoints")


def test_what_fails_before_the_loss_is_no_finding() -> None:
    broken = changed(losses.loss(), Purpose.PLAIN, failure, begin=FIRST, end=BEGAN - 0.5)

    assert traffic_goes_on(HERE, broken).outcome is Outcome.INCONCLUSIVE


def test_a_machine_that_stands_still_is_not_the_meshs_fault() -> None:
    silent = changed(losses.loss(), Purpose.PLAIN, silence, begin=BEGAN + 5, end=BEGAN + 6)
    refusing = changed(losses.loss(), Purpose.PLAIN, failure, begin=BEGAN + 5, end=BEGAN + 6)

    for spoilt, machine in (
        (silent, Machine(1.5)),
        (silent, Machine(crowd=9)),
        (refusing, Machine(3.5)),
    ):
        verdict = traffic_goes_on(HERE, replace(spoilt, machine=machine))
        assert verdict.outcome is Outcome.INCONCLUSIVE
    for spoilt in (silent, replace(refusing, machine=Machine(2.0))):
        only(traffic_goes_on(HERE, spoilt), "requests-fail-during-loss")


def test_a_dead_endpoint_that_is_tried_again_and_again_is_found() -> None:
    broken = changed(losses.loss(), Purpose.DYING, failure, begin=DIED, end=ENDED)

    verdict = dead_endpoints_ejected(HERE, broken)

    only(verdict, "dead-endpoint-not-ejected")
    assert "maxEjectionPercent: 100" in verdict.findings[0].remedy


def test_clients_that_have_only_the_address_of_a_shared_gateway_are_told_and_not_judged() -> None:
    clusters = (
        ClusterSpec("east", "network1"),
        ClusterSpec("west", "network2"),
        ClusterSpec("south", "network2"),
    )
    shared = here(mesh(*clusters))
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

    assert dead_endpoints_ejected(HERE, broken).outcome is Outcome.INCONCLUSIVE
    undying = replace(losses.loss(), died=0.0)
    assert dead_endpoints_ejected(HERE, undying).outcome is Outcome.INCONCLUSIVE


def test_configuration_that_does_not_arrive_is_found() -> None:
    broken = changed(
        losses.loss(),
        Purpose.PUSHED,
        lambda one: replace(one, cluster="west"),
        begin=PUSHED,
        end=ENDED,
    )

    only(configuration_goes_on(HERE, broken), "no-pushes-during-loss")
    only(hanging(HERE, broken), "no-pushes-during-loss")


def test_a_route_that_changes_nothing_proves_nothing() -> None:
    same = changed(
        losses.loss(),
        Purpose.PUSHED,
        lambda one: replace(one, cluster="east"),
        begin=FIRST,
        end=ENDED,
    )

    assert configuration_goes_on(HERE, same).outcome is Outcome.INCONCLUSIVE
    unpushed = replace(same, pushes=())
    assert configuration_goes_on(HERE, unpushed).outcome is Outcome.INCONCLUSIVE


def test_endpoints_that_stay_stale_are_found() -> None:
    stale = replace(losses.loss(), returns=(Delay("east", None), Delay("west", 4.0, 2.0)))
    slow = replace(losses.loss(), returns=(Delay("east", 130.0, 125.0),))

    for broken in (stale, slow):
        only(converges_again(HERE, broken), "endpoints-stay-stale-after-loss")
        only(hanging(HERE, broken), "endpoints-stay-stale-after-loss")
    unseen = replace(stale, returns=())
    assert converges_again(HERE, unseen).outcome is Outcome.INCONCLUSIVE


def test_a_control_plane_that_had_to_restart_is_found() -> None:
    restarted = replace(losses.loss(), restarted=("east: istiod-1 (1 restarts)",))

    only(converges_again(HERE, restarted), "istiod-restarted-by-loss")


def test_a_hung_api_server_that_costs_requests_is_found() -> None:
    broken = changed(hung(), Purpose.PLAIN, failure, begin=BEGAN + 1, end=BEGAN + 2)

    only(hanging(HERE, broken), "requests-fail-during-loss")


def test_where_nobody_is_watched_there_is_nothing_to_lose() -> None:
    for verdict in (
        traffic_goes_on(HERE, None),
        dead_endpoints_ejected(HERE, None),
        visible(HERE, None, None),
        isolation(HERE, None),
        remotes_go_on(WITH_REMOTE, losses.loss(), None),
        remotes_go_on(HERE, losses.loss(), losses.loss()),
    ):
        assert verdict.outcome is Outcome.NOT_APPLICABLE
        assert verdict.reason


def test_what_took_how_long_is_for_the_certificate() -> None:
    refused, other = losses.loss(), hung()

    figures = [
        {entry.what: entry.first_seconds for entry in verdict.convergence}
        for verdict in (
            traffic_goes_on(HERE, refused),
            configuration_goes_on(HERE, refused),
            converges_again(HERE, refused),
            hanging(HERE, other),
        )
    ]

    back = "sees a new endpoint of a cluster whose API server was lost"
    assert figures == [
        {},
        {"a route is in force in east while the API server of west is refused": 0.4},
        {f"east {back}": 4.0, f"west {back}": 4.0},
        {"a route is in force in east while the API server of west is hung": 0.4},
    ]


def test_every_loss_is_drawn() -> None:
    drawn = [title for title, _ in remotes_go_on(WITH_REMOTE, losses.loss(), hung()).timelines]

    assert drawn == [
        "time line, API server of west refused",
        "time line, API server of west hung",
    ]


def test_what_is_seen_travels_between_processes() -> None:
    for one, value in (
        (observe.refused, losses.loss()),
        (observe.hung, hung()),
        (observe.primary, None),
        (observe.isolated, losses.isolation()),
    ):
        kind = get_type_hints(one)["return"]
        assert from_plain(kind, to_plain(value)) == value
