"""Judges of services that separate meshes share."""

from __future__ import annotations

from dataclasses import replace

from pytest_istio_mc.checks.federation.facts import Imported
from pytest_istio_mc.checks.federation.live import imported_services_answer, only_exported_services
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import (
    ClientCertificate,
    Ending,
    Path,
    Request,
    TlsHandshake,
    Trial,
)
from pytest_istio_mc.spec import ClusterSpec
from pytest_istio_mc.verdicts import Convergence, Outcome
from tests.checks.live_mesh import GATEWAYS, answer, failed, here, mesh, request, spiffe, unread


def _meshes() -> Mesh:
    members = (
        ClusterSpec("east", "network1", context="k-east", mesh_id="m1", trust_domain="east.lab"),
        ClusterSpec("west", "network2", context="k-west", mesh_id="m2", trust_domain="west.lab"),
    )
    joined = mesh(*members)
    return replace(joined, spec=replace(joined.spec, federated=True))


MESH = _meshes()
HERE = here(MESH, unread(MESH))


def _imported(source: str, target: str, seen: Request | None = None, *addresses: str) -> Imported:
    told = replace(
        answer(MESH, target),
        caller=spiffe("client", domain=f"{source}.lab"),
        server=spiffe("helloworld", domain=f"{target}.lab"),
    )
    good = request(MESH, source, target, answer=told)
    return Imported(
        source,
        target,
        f"helloworld.istio-mc-test.svc.{target}.local",
        addresses or ("240.240.0.1",),
        seen or good,
    )


BACK = _imported("west", "east")


def test_imported_services_that_answer_with_both_identities_are_conformant() -> None:
    verdict = imported_services_answer(HERE, ([_imported("east", "west"), BACK], 1.5))

    assert verdict.outcome is Outcome.CONFORMANT
    assert verdict.convergence == (Convergence("imported services answer", 1.5, 1.5),)
    assert verdict.pairs == ("east to west", "west to east")


def test_a_name_without_an_address_is_about_the_dns_proxy_of_the_source() -> None:
    unresolved = replace(
        _imported("east", "west"),
        addresses=(),
        request=failed(MESH, "east", 0, "Name or service not known"),
    )

    (finding,) = imported_services_answer(HERE, ([unresolved, BACK], None)).findings

    assert (finding.fault, finding.clusters) == ("fed-dns-capture-off", ("east",))
    assert "ISTIO_META_DNS_CAPTURE" in finding.remedy


def test_a_refused_call_points_at_the_alias_that_the_target_lacks() -> None:
    refused = _imported(
        "east", "west", failed(MESH, "east", 503, "reset reason: connection termination")
    )

    (finding,) = imported_services_answer(HERE, ([refused, BACK], None)).findings

    assert (finding.fault, finding.clusters) == ("fed-not-reached", ("east", "west"))
    assert "trustDomainAliases of west must name east.lab" in finding.remedy


def test_an_answer_of_another_mesh_is_wrong() -> None:
    (finding,) = imported_services_answer(
        HERE, ([_imported("east", "west", request(MESH, "east", "east")), BACK], None)
    ).findings

    assert finding.fault == "fed-answered-elsewhere"


def test_an_answer_without_mutual_tls_to_the_workload_is_wrong() -> None:
    bare = request(MESH, "east", "west", answer=replace(answer(MESH, "west"), caller="", server=""))

    (finding,) = imported_services_answer(
        HERE, ([_imported("east", "west", bare), BACK], None)
    ).findings

    assert finding.fault == "fed-identity-wrong"
    assert "caller nobody" in finding.seen


def test_a_pair_without_a_way_makes_it_inconclusive() -> None:
    assert imported_services_answer(HERE, ([BACK], None)).outcome is Outcome.INCONCLUSIVE


def _handshake(*, through: bool) -> TlsHandshake:
    return TlsHandshake(
        source="east",
        address="198.19.2.1",
        port=15443,
        sni="outbound_.5000_._.kept.istio-mc-test.svc.cluster.local",
        certificate=ClientCertificate.MESH,
        ending=Ending.ANSWERED if through else Ending.RESET,
        connected=True,
        completed=through,
        status=200 if through else 0,
        answer=answer(MESH, "west") if through else None,
    )


def _trial(*, exported: bool, kept: bool) -> Trial:
    way = Path("east", "west", "198.19.2.1", 15443, GATEWAYS[1])
    return Trial("east", "west", way, (_handshake(through=kept),), (_handshake(through=exported),))


def test_a_service_that_is_kept_and_refused_beside_one_that_answers_is_conformant() -> None:
    assert (
        only_exported_services(HERE, [_trial(exported=True, kept=False)]).outcome
        is Outcome.CONFORMANT
    )


def test_a_kept_service_that_is_reached_is_wrong() -> None:
    (finding,) = only_exported_services(HERE, [_trial(exported=True, kept=True)]).findings

    assert (finding.fault, finding.clusters) == ("fed-not-exported-reached", ("east", "west"))


def test_a_refusal_proves_nothing_where_the_exported_one_is_refused_too() -> None:
    assert (
        only_exported_services(HERE, [_trial(exported=False, kept=False)]).outcome
        is Outcome.INCONCLUSIVE
    )
    assert only_exported_services(HERE, []).outcome is Outcome.INCONCLUSIVE
