"""Judges of mutual TLS: conformant when all is well, and not for the faults they are for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.checks.site import Here
from pytest_istio_mc.checks.trust.live import (
    foreign_certificate_refused,
    mutual_tls,
    plaintext_refused,
)
from pytest_istio_mc.observations import ClientCertificate, Ending, Plaintext, TlsHandshake, Trial
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.live_mesh import (
    answer,
    failed,
    handshake,
    here,
    mesh,
    refused,
    request,
    requests,
    spiffe,
    trials,
    unread,
)

MESH = mesh()
HERE = here(MESH, unread(MESH))
TLS_ERROR = (
    "upstream connect error or disconnect/reset before headers. transport failure reason: "
    "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end"
)
LOCAL_ONLY = [request(MESH, source, source) for source in ("east", "west") for _ in range(20)]
Judge = Callable[[Here, Sequence[Trial]], Verdict]
JUDGES = pytest.mark.parametrize("judge", [plaintext_refused, foreign_certificate_refused])


def handshaken(change: Callable[[TlsHandshake], TlsHandshake]) -> list[Trial]:
    """For every pair of clusters, a handshake with the mesh certificate, changed."""
    return [
        replace(trial, twins=(change(handshake(MESH, trial.source, trial.target)),))
        for trial in trials(MESH)
    ]


def test_mutual_tls_with_the_right_identities_is_conformant() -> None:
    verdict = mutual_tls(HERE, requests(MESH), trials(MESH))

    assert verdict.outcome is Outcome.CONFORMANT
    assert verdict.check == "MC-TRUST-008"
    assert verdict.pairs == ("east to west", "west to east")


@pytest.mark.parametrize(
    ("field", "seen", "fault"),
    [
        ("caller", spiffe("client", domain="other.domain"), "identity-wrong"),
        ("caller", "", "mutual-tls-missing"),
        ("server", spiffe("istio-eastwestgateway", "istio-system"), "identity-wrong"),
        ("server", "", "mutual-tls-missing"),
    ],
)
def test_a_wrong_identity_on_either_side_is_found(field: str, seen: str, fault: str) -> None:
    changes: dict[str, Any] = {field: seen}
    wrong = [
        replace(one, answer=replace(one.answer, **changes))
        if one.answer and (one.source, one.answer.cluster) == ("east", "west")
        else one
        for one in requests(MESH)
    ]

    verdict = mutual_tls(HERE, wrong, trials(MESH))

    assert verdict.outcome is Outcome.NON_CONFORMANT
    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        (fault, ("east", "west"))
    ]


def test_a_server_certificate_that_the_client_refuses_is_found_though_envoy_retries() -> None:
    unverified = {"verified": False, "verify_error": "unknown issuer", "answer": None}
    bad = handshaken(lambda one: replace(one, **unverified))  # type: ignore[arg-type]

    verdict = mutual_tls(HERE, LOCAL_ONLY, bad)

    assert verdict.outcome is Outcome.NON_CONFORMANT
    assert {finding.fault for finding in verdict.findings} == {"certificate-refused"}
    assert verdict.findings[0].summary == (
        "east to west: mutual TLS fails: "
        "east does not accept the certificate of west (unknown issuer)"
    )
    assert "kubectl --context=k-east" in verdict.findings[0].remedy
    assert "first broken hop: client TLS: TLS from east" in verdict.findings[0].seen
    assert [item.name for item in verdict.evidence] == [
        "hops from east to west",
        "hops from west to east",
    ]


def test_a_client_certificate_that_the_server_refuses_is_found() -> None:
    bad = handshaken(lambda one: refused(one, ClientCertificate.MESH))

    verdict = mutual_tls(HERE, LOCAL_ONLY, bad)

    assert "west does not accept the certificate of east" in verdict.findings[0].summary
    assert "first broken hop: remote inbound: " in verdict.findings[0].seen


def test_what_sidecars_say_counts_where_no_raw_handshake_was_possible() -> None:
    sent = [
        request(MESH, "west", "east"),
        request(MESH, "east", "east"),
        failed(MESH, "east", 503, TLS_ERROR),
    ]

    verdict = mutual_tls(HERE, sent, [Trial("west", "east", None), Trial("east", "west", None)])

    assert verdict.outcome is Outcome.NON_CONFORMANT
    assert [finding.clusters for finding in verdict.findings] == [("east", "west")]


def test_a_cluster_that_nobody_reaches_says_nothing_about_trust() -> None:
    dead = handshaken(
        lambda one: replace(
            one, ending=Ending.TIMEOUT, answer=None, connected=False, completed=False
        )
    )

    verdict = mutual_tls(HERE, LOCAL_ONLY, dead)

    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_trust_is_proven_past_the_sidecars_where_they_send_nothing() -> None:
    assert mutual_tls(HERE, LOCAL_ONLY, trials(MESH)).outcome is Outcome.CONFORMANT


@JUDGES
def test_refusal_of_everything_but_the_twin_is_conformant(judge: Judge) -> None:
    assert judge(HERE, trials(MESH)).outcome is Outcome.CONFORMANT


@JUDGES
def test_one_answer_without_the_right_credentials_is_found(judge: Judge) -> None:
    good = trials(MESH)
    leak = replace(good[0].forbidden[0], ending=Ending.ANSWERED, answer=answer(MESH, "west"))

    verdict = judge(HERE, [replace(good[0], forbidden=(leak,)), good[1]])

    assert verdict.outcome is Outcome.NON_CONFORMANT
    assert [finding.clusters for finding in verdict.findings] == [("east", "west")]


def test_bytes_that_come_back_to_plaintext_are_an_answer() -> None:
    good = trials(MESH)
    answered = Plaintext("east", "10.2.0.3", 5999, Ending.ANSWERED, connected=True)
    leak = replace(answered, received="HTTP/1.1 403 Forbidden\r\n\r\n")

    verdict = plaintext_refused(HERE, [replace(good[0], forbidden=(leak,)), good[1]])

    assert [finding.fault for finding in verdict.findings] == ["strict-not-enforced"]


@JUDGES
def test_a_dead_way_proves_nothing(judge: Judge) -> None:
    good = trials(MESH)
    dead = replace(good[0].twins[0], ending=Ending.TIMEOUT, answer=None)

    assert judge(HERE, [replace(good[0], twins=(dead,)), good[1]]).outcome is Outcome.INCONCLUSIVE
    assert judge(HERE, [Trial("east", "west", None), good[1]]).outcome is Outcome.INCONCLUSIVE


@JUDGES
def test_a_twin_that_another_cluster_answered_proves_nothing(judge: Judge) -> None:
    good = trials(MESH)
    elsewhere = replace(good[0].twins[0], answer=answer(MESH, "east"))

    verdict = judge(HERE, [replace(good[0], twins=(elsewhere,)), good[1]])

    assert verdict.outcome is Outcome.INCONCLUSIVE
