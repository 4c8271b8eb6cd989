"""Verdicts on a watched change: what was lost and worse is named, all else is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_istio_mc.checks.catalogue import known_checks
from pytest_istio_mc.checks.upgrade.facts import (
    INJECTION_SECONDS,
    NO_CHANGE,
    Admission,
    Commanded,
    EndpointLook,
    IstiodPod,
    Unread,
    Watched,
)
from pytest_istio_mc.counted import Fate
from pytest_istio_mc.observations import Ending
from pytest_istio_mc.plain import from_plain, to_plain
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.live_mesh import here
from tests.checks.upgrade.watching import (
    BEGAN,
    ENDED,
    LAST,
    STARTED,
    istiod,
    losing,
    lost,
    proxy,
    watched,
    with_counts,
)

IDS = [id for id, check in known_checks().items() if check.watches]
TRAFFIC, SAMPLED = IDS[:3], IDS[3:]


def judge(id: str, seen: Watched | None) -> Verdict:
    return known_checks()[id].judge(here(), seen)


def finding(id: str, seen: Watched) -> str:
    verdict = judge(id, seen)
    assert verdict.outcome is Outcome.NON_CONFORMANT, verdict.reason
    return f"{verdict.findings[0].summary}; {verdict.findings[0].seen}"


def gap(id: str, seen: Watched) -> str:
    verdict = judge(id, seen)
    assert verdict.outcome is Outcome.INCONCLUSIVE, verdict.reason
    return verdict.reason


@pytest.mark.parametrize("id", IDS)
def test_a_change_that_costs_nothing_is_conformant(id: str) -> None:
    verdict = judge(id, watched())

    assert (verdict.outcome, verdict.findings) == (Outcome.CONFORMANT, ())


@pytest.mark.parametrize("id", IDS)
def test_without_a_change_nothing_applies(id: str) -> None:
    verdict = judge(id, None)

    assert (verdict.outcome, verdict.reason) == (Outcome.NOT_APPLICABLE, NO_CHANGE)


@pytest.mark.parametrize("id", IDS)
def test_a_command_that_never_started_shows_nothing(id: str) -> None:
    never = replace(watched(), command=Commanded("x", BEGAN, BEGAN, problem="no shell"))

    assert "no shell" in gap(id, never)


def test_the_facts_travel_to_other_processes_whole() -> None:
    seen = replace(losing(watched(), lost()), control=watched(), unread=(Unread("x", 2, "y"),))

    assert from_plain(Watched, to_plain(seen)) == seen


# traffic


@pytest.mark.parametrize("id", TRAFFIC)
def test_what_was_counted_is_told_with_its_bound(id: str) -> None:
    told = judge(id, watched()).reason

    assert told.startswith("2000 of 2000 ")
    assert "none lost, so no more than 0.15 % are, with 95 % confidence" in told
    assert "longest time without an answer 0.3 s" in told


@pytest.mark.parametrize("id", TRAFFIC)
def test_a_loss_is_named_with_its_pair_its_time_and_its_phase(id: str) -> None:
    seen = losing(watched(), lost(), lost(BEGAN + 18, seconds=0.5), source="east", target="west")

    told = finding(id, seen)

    assert told.startswith("2 of 500 ")
    assert "from east to west were lost from 00:16:56.0Z on for 2.5 s (16.0 s into the" in told
    assert 'in phase "gateway of west"' in told
    assert "2× 503 upstream connect error" in told
    assert judge(id, seen).findings[0].clusters == ("east", "west")


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        (Fate.LATE, "answered after 3.0 s"),
        (Fate.ASTRAY, "answered by nobody that is known"),
        (Fate.DONE, "1 of them were carried out all the same"),
        (Fate.UNKNOWN, "may have been carried out: the server's record is gone"),
    ],
)
def test_every_fate_is_a_loss_and_told(fate: Fate, words: str) -> None:
    seen = losing(watched(), lost(fate=fate, seconds=3.0), source="east", target="west")

    assert words in finding(TRAFFIC[0], seen)


def test_losses_that_are_not_listed_are_losses() -> None:
    seen = with_counts(watched(), lambda one: replace(one, unlisted=7), source="east")

    assert "; and 7 more" in finding(TRAFFIC[0], seen)


def test_a_mesh_that_lost_requests_before_the_command_is_not_accused_of_it() -> None:
    seen = losing(watched(), lost(STARTED + 1), lost(), source="east", target="west")

    assert "1 requests were lost before the command began" in gap(TRAFFIC[0], seen)


def test_a_pair_without_answers_before_shows_nothing() -> None:
    seen = losing(watched(), lost(), source="east", target="west")
    seen = replace(seen, unready={"east to west": "HTTP 503"})

    assert "no answers before the command" in gap(TRAFFIC[0], seen)


def test_a_record_that_is_not_complete_is_no_pass() -> None:
    seen = with_counts(watched(), lambda one: replace(one, missing="the sender has died"))

    assert "the sender has died" in gap(TRAFFIC[0], seen)


def test_a_record_that_is_not_complete_still_shows_losses() -> None:
    seen = losing(watched(), lost(), source="east", target="west")
    seen = with_counts(seen, lambda one: replace(one, missing="the sender has died"))

    assert "1 of 500" in finding(TRAFFIC[0], seen)


def test_a_tester_that_does_not_keep_its_rate_neither_passes_nor_accuses() -> None:
    late = with_counts(
        watched(), lambda one: replace(one, unsent=20, answered=480, latest_seconds=2.0)
    )
    starved = losing(watched(), lost(starved=True), source="east", target="west")

    assert "the tester did not keep its rate: it sent 480 of 500" in gap(TRAFFIC[0], late)
    assert "lost while the tester itself stood still" in gap(TRAFFIC[0], starved)


def test_nothing_counted_is_no_pass() -> None:
    assert gap(TRAFFIC[0], replace(watched(), counts=())) == "nothing was counted"


def test_losses_no_more_than_in_the_control_run_are_told_and_not_charged() -> None:
    same = losing(watched(), lost(), lost(), source="east", target="west")
    seen = replace(same, control=same)

    verdict = judge(TRAFFIC[0], seen)

    assert verdict.outcome is Outcome.CONFORMANT
    assert "2 lost, no more than in the control run" in verdict.reason


def test_losses_beyond_the_control_run_are_charged() -> None:
    control = losing(watched(), lost(), source="east", target="west")
    seen = losing(watched(), *[lost()] * 20, source="east", target="west")

    told = finding(TRAFFIC[0], replace(seen, control=control))

    assert "20 of 500" in told
    assert "of which the control run explains" in told


def test_a_control_run_that_lost_nothing_explains_nothing() -> None:
    seen = losing(watched(), lost(), source="east", target="west")

    assert "1 of 500" in finding(TRAFFIC[0], replace(seen, control=watched()))


def test_losses_of_another_pair_in_the_control_run_explain_nothing() -> None:
    control = losing(watched(), *[lost()] * 50, source="west", target="east")
    seen = losing(watched(), lost(), source="east", target="west")

    assert "1 of 500" in finding(TRAFFIC[0], replace(seen, control=control))


# injection


def admissions(*looks: Admission) -> Watched:
    kept = [one for one in watched().admissions if one.cluster == "east"]
    return replace(watched(), admissions=(*kept, *looks))


def west(when: float, error: str = "", *, injected: bool = True) -> Admission:
    return Admission("west", when, injected=injected and not error, error=error)


def test_a_short_refusal_is_told_and_not_charged() -> None:
    seen = admissions(west(STARTED), west(BEGAN + 1, "no endpoints"), west(BEGAN + 9))

    verdict = judge("MC-UPGRADE-104", seen)

    assert verdict.outcome is Outcome.CONFORMANT
    assert "west 8.0 s" in verdict.reason
    assert "east not at all" in verdict.reason


def test_a_long_refusal_is_charged() -> None:
    end = BEGAN + 1 + INJECTION_SECONDS + 1
    seen = admissions(west(STARTED), west(BEGAN + 1, "no endpoints"), west(end))

    assert "west refused new pods for 31 s from 00:16:41.0Z on; no endpoints" in finding(
        "MC-UPGRADE-104", seen
    )


def test_injection_that_never_comes_back_is_charged() -> None:
    seen = admissions(west(STARTED), west(LAST - 5, "no endpoints"))

    assert "and still did at the end" in finding("MC-UPGRADE-104", seen)


def test_a_pod_without_a_sidecar_is_charged_at_once() -> None:
    seen = admissions(west(STARTED), west(BEGAN + 1, injected=False), west(BEGAN + 3))

    assert "west admitted new pods without a sidecar" in finding("MC-UPGRADE-104", seen)


def test_injection_that_did_not_work_before_is_not_charged() -> None:
    seen = admissions(west(STARTED, "denied"), west(BEGAN + 1, "denied"))

    assert "gave new pods no sidecars before the command: denied" in gap("MC-UPGRADE-104", seen)


def test_injection_that_could_not_be_tried_is_no_pass() -> None:
    seen = replace(watched(), unread=(Unread("injection in west", 3, "HTTP 403"),))

    assert "injection in west could not be read 3 times: HTTP 403" in gap("MC-UPGRADE-104", seen)
    assert "no pod was to be admitted in west" in gap("MC-UPGRADE-104", admissions())


# endpoints, gateways, remote clusters


def test_a_remote_without_endpoints_is_named_with_its_time() -> None:
    looks = (*watched().endpoints, EndpointLook("east", "west", BEGAN + 7, 0))
    seen = replace(watched(), endpoints=tuple(sorted(looks, key=lambda one: one.when)))

    told = finding("MC-UPGRADE-105", seen)

    assert "no endpoint in west from 00:16:47.0Z until 00:17:25.0Z" in told


def test_a_gateway_that_an_istiod_forgets_is_named() -> None:
    short = replace(istiod("east", BEGAN + 7), gateways={"network1": ("198.19.1.1:15443",)})
    seen = replace(watched(), istiods=(*watched().istiods, short))

    assert "istiod istiod-east of east knew fewer gateways of network2" in finding(
        "MC-UPGRADE-105", seen
    )


def test_a_remote_cluster_that_an_istiod_forgets_is_named() -> None:
    short = replace(istiod("east", BEGAN + 7), pod="istiod-new", remotes={"east": "synced"})
    seen = replace(watched(), istiods=(*watched().istiods, short))

    assert "istiod istiod-new of east did not watch west" in finding("MC-UPGRADE-105", seen)


def test_what_an_istiod_does_not_tell_is_no_finding_and_no_pass() -> None:
    mute = replace(
        istiod("east", BEGAN + 7), gateways={}, remotes={}, unread=("networkz", "clusterz")
    )
    unread = (Unread("networkz of istiod in east", 1, "HTTP 404"),)
    seen = replace(watched(), istiods=(*watched().istiods, mute), unread=unread)

    assert "networkz of istiod in east could not be read once" in gap("MC-UPGRADE-105", seen)


def test_an_istiod_that_is_never_asked_again_is_no_pass() -> None:
    early = tuple(one for one in watched().istiods if one.when < BEGAN)

    told = gap("MC-UPGRADE-105", replace(watched(), istiods=early))

    assert "was not asked after the command began" in told


# configuration


def test_a_crash_is_named_with_how_the_container_ended() -> None:
    crashed = IstiodPod("west", "istiod-west", LAST, True, 2, "Error, exit code 2")
    seen = replace(watched(), pods=(*watched().pods, crashed))

    told = finding("MC-UPGRADE-106", seen)

    assert told.startswith("a container of istiod istiod-west of west ended by itself 2 times")
    assert told.endswith("; Error, exit code 2")


def test_a_new_istiod_is_no_crash() -> None:
    new = IstiodPod("west", "istiod-new", ENDED, ready=True)
    seen = replace(watched(), pods=(*watched().pods, new))

    verdict = judge("MC-UPGRADE-106", seen)

    assert verdict.outcome is Outcome.CONFORMANT
    assert verdict.reason.startswith("3 istiod pods, 1 of them new")


def test_refused_configuration_is_charged_unless_it_was_refused_before() -> None:
    late = replace(istiod("east", BEGAN + 7), pod="istiod-new", rejects=3.0)
    seen = replace(watched(), istiods=(*watched().istiods, late))
    early = replace(istiod("east", STARTED), rejects=1.0)
    before = replace(seen, istiods=(early, *seen.istiods))

    assert "proxies refused configuration of istiod of east 3 times" in finding(
        "MC-UPGRADE-106", seen
    )
    assert "as they did before the command (1 times)" in gap("MC-UPGRADE-106", before)


def test_what_a_proxy_lacks_afterwards_is_named_where_it_is_the_runs_own() -> None:
    without = [replace(proxy("east"), inbound=()), proxy("west")]
    others = [replace(proxy("east"), outbound=proxy("east").outbound[:1]), proxy("west")]

    assert "lacks 1 Envoy clusters" in finding(
        "MC-UPGRADE-106", replace(watched(), proxies_after=tuple(without))
    )
    verdict = judge("MC-UPGRADE-106", replace(watched(), proxies_after=tuple(others)))
    assert verdict.outcome is Outcome.CONFORMANT
    assert "1 of others came or went" in verdict.reason


def test_a_lost_request_in_the_words_of_its_end() -> None:
    assert lost(ending=Ending.RESET, status=0, error="").failure
