"""Live judges of east-west gateways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.checks.eastwest.live import (
    names_lead_to_services,
    only_way,
    reachable,
    tls_passes_through,
    unknown_names_refused,
)
from pytest_istio_mc.observations import (
    Answer,
    Connection,
    Ending,
    NamedCall,
    Path,
    PeerCertificate,
    Plaintext,
    TlsHandshake,
    Trial,
)
from pytest_istio_mc.spec import ClusterSpec
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.live_mesh import (
    GATEWAYS,
    answer,
    certificate,
    closed,
    here,
    mesh,
    named_calls,
    spiffe,
    trials,
    unread,
    way,
)

MESH = mesh()
HERE = here(MESH, unread(MESH))
EAST, WEST = GATEWAYS
CONNECTIONS = [
    Connection("east", WEST.address, WEST.port, Ending.ANSWERED),
    Connection("west", EAST.address, EAST.port, Ending.ANSWERED),
]


def spoiled(service: str, port: int, subset: str = "", **changes: Any) -> list[NamedCall]:
    """All calls, with east's call of that name changed."""
    return [
        replace(call, handshake=replace(call.handshake, **changes))
        if (call.handshake.source, call.service, call.port, call.subset)
        == ("east", service, port, subset)
        else call
        for call in named_calls(MESH)
    ]


def test_connections_to_every_gateway_are_conformant() -> None:
    assert reachable(HERE, GATEWAYS, CONNECTIONS).outcome is Outcome.CONFORMANT


@pytest.mark.parametrize("ending", [Ending.TIMEOUT, Ending.REFUSED, Ending.UNREACHABLE])
def test_a_gateway_that_takes_no_connection_is_found(ending: Ending) -> None:
    verdict = reachable(HERE, GATEWAYS, [replace(CONNECTIONS[0], ending=ending), CONNECTIONS[1]])

    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        ("gateway-unreachable", ("east", "west"))
    ]
    assert ending.value in verdict.reason
    assert (
        "first broken hop: none was found (nothing is known of: client TLS, remote gateway"
        in verdict.findings[0].seen
    )
    assert [item.name for item in verdict.evidence] == ["hops from east to west"]


def test_a_network_without_a_gateway_is_found() -> None:
    verdict = reachable(HERE, [EAST], CONNECTIONS[1:])

    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        ("gateway-address-missing", ("west",))
    ]


def test_a_gateway_that_was_not_tried_is_a_gap() -> None:
    assert reachable(HERE, GATEWAYS, CONNECTIONS[:1]).outcome is Outcome.INCONCLUSIVE


def test_names_that_lead_where_they_should_are_conformant() -> None:
    verdict = names_lead_to_services(HERE, GATEWAYS, named_calls(MESH))

    assert verdict.outcome is Outcome.CONFORMANT


@pytest.mark.parametrize(
    ("name", "changes", "fault"),
    [
        (
            ("helloworld", 5000, ""),
            {"answer": None, "completed": False, "ending": Ending.CLOSED},
            "gateway-does-not-route",
        ),
        (
            ("helloworld", 5999, ""),
            {"answer": answer(MESH, "west", port=5000)},
            "gateway-routes-wrongly",
        ),
        (
            ("client", 5000, ""),
            {"answer": answer(MESH, "west", port=5000)},
            "gateway-routes-wrongly",
        ),
        (
            ("helloworld", 5000, ""),
            {"answer": answer(MESH, "east", port=5000)},
            "gateway-routes-wrongly",
        ),
        (
            ("helloworld-subsets", 5000, "v2"),
            {"answer": None, "completed": False, "ending": Ending.CLOSED},
            "gateway-does-not-route",
        ),
        (
            ("helloworld-subsets", 5000, "v1"),
            {"answer": answer(MESH, "east", port=5000)},
            "gateway-forwards-to-other-networks",
        ),
    ],
)
def test_a_name_that_leads_elsewhere_is_found(
    name: tuple[str, int, str], changes: dict[str, Any], fault: str
) -> None:
    verdict = names_lead_to_services(HERE, GATEWAYS, spoiled(*name, **changes))

    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        (fault, ("east", "west"))
    ]


def test_a_gateway_that_answers_no_name_at_all_is_one_finding() -> None:
    dead = [
        replace(
            call,
            handshake=replace(call.handshake, answer=None, completed=False, ending=Ending.RESET),
        )
        if call.gateway is WEST
        else call
        for call in named_calls(MESH)
    ]

    verdict = names_lead_to_services(HERE, GATEWAYS, dead)

    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        ("gateway-does-not-route", ("east", "west"))
    ]
    assert "none of 4 names" in verdict.reason
    assert "first broken hop: remote gateway: TLS from east" in verdict.findings[0].seen
    assert [item.name for item in verdict.evidence] == ["hops from east to west"]


def test_a_gateway_of_which_no_service_is_known_is_judged_and_looked_for() -> None:
    unknown = replace(WEST, service="", whole_network=True, address="gw.example.com", port=443)
    tried = [replace(CONNECTIONS[0], address="gw.example.com", port=443, ending=Ending.REFUSED)]
    dead = [
        replace(
            call,
            gateway=unknown if call.gateway is WEST else call.gateway,
            handshake=replace(call.handshake, answer=None, completed=False, ending=Ending.RESET),
        )
        for call in named_calls(MESH)
    ]

    [unreachable] = reachable(HERE, [EAST, unknown], [*tried, CONNECTIONS[1]]).findings
    silent = names_lead_to_services(HERE, [EAST, unknown], dead).findings

    assert unreachable.fault == "gateway-unreachable"
    assert "--all-namespaces" in unreachable.remedy
    assert any("gw.example.com:443" in finding.summary for finding in silent)
    assert all("deployment/." not in finding.remedy for finding in silent)


def test_a_name_that_leads_to_somebody_who_gives_no_answer_proves_nothing() -> None:
    denied = spoiled("helloworld", 5000, answer=None, status=403)

    verdict = names_lead_to_services(HERE, GATEWAYS, denied)

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "first broken hop: authorisation" in verdict.reason


def test_certificates_of_the_workloads_are_conformant() -> None:
    assert tls_passes_through(HERE, GATEWAYS, named_calls(MESH)).outcome is Outcome.CONFORMANT


@pytest.mark.parametrize(
    "shown",
    [
        certificate("istio-eastwestgateway"),
        PeerCertificate(
            (),
            ("DNS:lb.example.com",),
            "CN=lb.example.com",
            "CN=Public CA",
            "cd",
            "2030-01-01T00:00:00+00:00",
            1,
        ),
        replace(certificate(), uris=(spiffe("helloworld", domain="other.domain"),)),
    ],
    ids=["gateway", "load-balancer", "other-trust-domain"],
)
def test_a_certificate_that_is_not_the_workloads_is_found(shown: PeerCertificate) -> None:
    verdict = tls_passes_through(HERE, GATEWAYS, spoiled("helloworld", 5000, peer=shown))

    assert [finding.fault for finding in verdict.findings] == ["gateway-terminates-tls"]


@pytest.mark.parametrize(
    "changes",
    [{"peer": None}, {"verified": False, "verify_error": "unknown issuer"}],
    ids=["none-seen", "unknown-root"],
)
def test_a_certificate_that_proves_nothing_is_a_gap(changes: dict[str, Any]) -> None:
    verdict = tls_passes_through(HERE, GATEWAYS, spoiled("helloworld", 5000, **changes))

    assert verdict.outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("judge", [names_lead_to_services, tls_passes_through])
def test_a_network_that_was_not_called_is_a_gap(judge: Callable[..., Verdict]) -> None:
    calls = named_calls(MESH)
    at_one = [call for call in calls if call.gateway is EAST]

    assert judge(HERE, [EAST], calls).outcome is Outcome.INCONCLUSIVE
    assert judge(HERE, GATEWAYS, at_one).outcome is Outcome.INCONCLUSIVE


def gateway_trials() -> list[Trial]:
    """Trials in which not even a handshake was completed without a known name."""
    return [
        replace(
            trial,
            forbidden=tuple(
                replace(one, completed=False) if not isinstance(one, Plaintext) else one
                for one in trial.forbidden
            ),
        )
        for trial in trials(MESH)
    ]


def test_a_gateway_that_knows_only_its_services_is_conformant() -> None:
    assert unknown_names_refused(HERE, gateway_trials()).outcome is Outcome.CONFORMANT


def test_a_handshake_with_an_unknown_name_is_found_even_without_an_answer() -> None:
    good = gateway_trials()
    unknown = good[0].forbidden[0]
    assert isinstance(unknown, TlsHandshake)
    completed = replace(unknown, completed=True)

    verdict = unknown_names_refused(HERE, [replace(good[0], forbidden=(completed,)), good[1]])

    assert [finding.fault for finding in verdict.findings] == ["gateway-too-open"]


def test_plaintext_that_a_gateway_answers_is_found() -> None:
    good = gateway_trials()
    leak = replace(
        closed("east"), ending=Ending.ANSWERED, received="HTTP/1.1 404 Not Found\r\n\r\n"
    )

    verdict = unknown_names_refused(HERE, [replace(good[0], forbidden=(leak,)), good[1]])

    assert [finding.fault for finding in verdict.findings] == ["gateway-too-open"]


def test_a_gateway_that_is_dead_or_unknown_is_a_gap() -> None:
    good = gateway_trials()
    dead = replace(good[0].twins[0], ending=Ending.REFUSED, answer=None)

    assert (
        unknown_names_refused(HERE, [replace(good[0], twins=(dead,)), good[1]]).outcome
        is Outcome.INCONCLUSIVE
    )
    assert unknown_names_refused(HERE, []).outcome is Outcome.INCONCLUSIVE


def straight(source: str, target: str, seen: Answer | None) -> Plaintext:
    ending = Ending.ANSWERED if seen else Ending.TIMEOUT
    return Plaintext(
        source,
        "10.2.0.3",
        5998,
        ending,
        connected=bool(seen),
        answer=seen,
        received="HTTP/1.1 200" if seen else "",
    )


def past(source: str, target: str, *, reached: bool, twin: bool = True) -> Trial:
    attempt = straight(source, target, answer(MESH, target) if reached else None)
    return Trial(
        source,
        target,
        way(source, target),
        (attempt,),
        (straight(target, target, answer(MESH, target) if twin else None),),
    )


def test_networks_that_only_meet_at_gateways_are_conformant() -> None:
    apart = [past("east", "west", reached=False), past("west", "east", reached=False)]

    assert only_way(HERE, apart).outcome is Outcome.CONFORMANT


def test_a_pod_of_another_network_that_answers_directly_is_found() -> None:
    verdict = only_way(
        HERE, [past("east", "west", reached=True), past("west", "east", reached=False)]
    )

    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        ("networks-not-separate", ("east", "west"))
    ]


def test_a_pod_of_ones_own_cluster_with_the_same_address_is_no_way_there() -> None:
    overlap = Trial(
        "east",
        "west",
        way("east", "west"),
        (straight("east", "west", answer(MESH, "east")),),
        (straight("west", "west", answer(MESH, "west")),),
    )

    assert only_way(HERE, [overlap]).outcome is Outcome.CONFORMANT


def test_a_pod_that_does_not_even_answer_its_own_cluster_proves_nothing() -> None:
    assert (
        only_way(HERE, [past("east", "west", reached=False, twin=False)]).outcome
        is Outcome.INCONCLUSIVE
    )


def test_pods_of_one_network_must_reach_each_other() -> None:
    flat = mesh(ClusterSpec("east", "network1"), ClusterSpec("west", "network1"))
    path = Path("east", "west", "10.2.0.3", 5998)
    open_way = Trial("east", "west", path, twins=(straight("east", "west", answer(flat, "west")),))
    blocked = Trial("east", "west", path, twins=(straight("east", "west", None),))

    assert only_way(here(flat), [open_way]).outcome is Outcome.CONFORMANT
    assert [finding.fault for finding in only_way(here(flat), [blocked]).findings] == [
        "network-not-flat"
    ]
