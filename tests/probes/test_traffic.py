"""Traffic from one cluster, whose client pod is the agent's own process."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_istio_mc.errors import ObservationError
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.observations import ClientCertificate, Ending, Protocol
from pytest_istio_mc.probes.sessions import Session, Sessions
from pytest_istio_mc.probes.traffic import Traffic, open_traffic
from tests.checks.live_mesh import mesh
from tests.probes.conftest import IDENTITY

HERE, ADDRESS = "east", "127.0.0.1"
POD = IDENTITY["ISTIO_MC_POD"]


@pytest.fixture
def traffic(session: Session) -> Traffic:
    """Traffic over a session."""
    return Traffic(mesh(), Sessions({HERE: session}), replace(Timeouts(), request=2.0))


@pytest.mark.parametrize("protocol", list(Protocol), ids=lambda protocol: protocol.value)
def test_requests_say_who_answered(
    traffic: Traffic, server: dict[str, int], protocol: Protocol
) -> None:
    sent = traffic.requests(HERE, ADDRESS, server[protocol.value], protocol, count=3)

    assert [(one.ending, one.source, one.protocol) for one in sent] == [
        (Ending.ANSWERED, HERE, protocol)
    ] * 3
    assert {one.answer.pod for one in sent if one.answer} == {POD}


def test_what_goes_past_the_sidecar_says_how_it_ended(
    traffic: Traffic, server: dict[str, int]
) -> None:
    plaintext = traffic.plaintext(HERE, ADDRESS, server["http"], "any")
    none = ClientCertificate.NONE
    handshake = traffic.tls(HERE, ADDRESS, server["http2"], sni="any", certificate=none)
    connection = traffic.connect(HERE, ADDRESS, server["tcp"])

    assert plaintext.answer is not None
    assert plaintext.answer.pod == POD
    assert (handshake.connected, handshake.completed) == (True, False)
    assert connection.ending is Ending.ANSWERED
    assert traffic.resolve(HERE, ADDRESS) == (ADDRESS,)


def test_a_mesh_without_probes_cannot_be_asked() -> None:
    with pytest.raises(ObservationError, match="need probe workloads"):
        open_traffic(replace(mesh(), probes=None), {}, Timeouts())


def test_a_client_is_named_as_istioctl_names_pods() -> None:
    assert mesh().require_probes().client_pod(HERE) == f"client-{HERE}.istio-mc-test"
