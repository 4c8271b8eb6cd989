"""The agent on loopback, over every protocol, with real certificates."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from typing import Any

import pytest

from pytest_istio_mc.certificates import Leaf, facts, make_intermediate, make_leaf, make_root
from pytest_istio_mc.errors import ObservationError
from pytest_istio_mc.probes.agent.operations import MOST_TIMEOUTS
from pytest_istio_mc.probes.sessions import Session
from tests.probes.conftest import CLIENT_ID, IDENTITY, KEY, SERVER_ID, Agent, Authorities
from tests.probes.tls_peer import tls_peer

PROTOCOLS = {"http": "HTTP/1.1", "tcp": "TCP", "http2": "HTTP/2"}


@pytest.fixture(scope="module")
def server_leaf(authorities: Authorities) -> Leaf:
    return make_leaf(authorities.intermediate, spiffe_id=SERVER_ID)


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def ask(session: Session, op: str, **arguments: Any) -> dict[str, Any]:
    return session.ask({"op": op, "timeout": 5, **arguments}, timeout_seconds=20)


@pytest.mark.parametrize("op", PROTOCOLS)
@pytest.mark.parametrize("keep_alive", [False, True], ids=["new-connections", "kept-alive"])
def test_every_request_is_recorded_and_answered(
    session: Session, server: dict[str, int], op: str, keep_alive: bool
) -> None:
    to = {"host": "127.0.0.1", "port": server[op]}
    sent = ask(session, op, **to, count=50, concurrency=4, keep_alive=keep_alive)["requests"]

    assert len(sent) == 50
    assert [record["ending"] for record in sent] == ["answered"] * 50
    opened = sum(record["new"] for record in sent)
    assert 1 <= opened <= 4 if keep_alive else opened == 50
    assert sent == sorted(sent, key=lambda record: record["when"])
    answer = sent[0]["answer"]
    keys = ("cluster", "namespace", "pod", "version", "role")
    assert {f"ISTIO_MC_{key.upper()}": answer[key] for key in keys} == IDENTITY
    assert (answer["port"], answer["protocol"]) == (server[op], PROTOCOLS[op])


@pytest.mark.parametrize("op", ["http", "http2"])
def test_the_forwarded_client_certificate_comes_back(
    session: Session, server: dict[str, int], op: str
) -> None:
    header = {"x-forwarded-client-cert": f'By={SERVER_ID};Hash=ab;Subject="";URI={CLIENT_ID}'}

    sent = ask(session, op, host="127.0.0.1", port=server[op], headers=header)["requests"]

    assert sent[0]["answer"]["xfcc"] == header["x-forwarded-client-cert"]


@pytest.mark.parametrize("op", PROTOCOLS)
def test_a_refused_connection_is_recorded_not_repeated(
    session: Session, closed_port: int, op: str
) -> None:
    sent = ask(session, op, host="127.0.0.1", port=closed_port, count=3)["requests"]

    assert [(record["ending"], record.get("answer")) for record in sent] == [("refused", None)] * 3


def test_a_client_gives_up_on_what_swallows_its_requests(
    session: Session, silent_port: int
) -> None:
    to = {"host": "127.0.0.1", "port": silent_port}
    sent = ask(session, "http", **to, timeout=0.2, count=100, concurrency=4)["requests"]

    # the other three senders had one under way
    assert MOST_TIMEOUTS <= len(sent) < MOST_TIMEOUTS + 4
    assert {record["ending"] for record in sent} == {"timeout"}


@pytest.mark.parametrize("op", PROTOCOLS)
def test_silence_is_a_timeout(session: Session, silent_port: int, op: str) -> None:
    sent = ask(session, op, host="127.0.0.1", port=silent_port, timeout=0.2)["requests"]

    assert sent[0]["ending"] == "timeout"
    assert 0.2 <= sent[0]["seconds"] < 2


def test_the_wrong_protocol_is_not_taken_for_an_answer(
    session: Session, server: dict[str, int]
) -> None:
    http_to_http2 = ask(session, "http", host="127.0.0.1", port=server["http2"], timeout=1)
    http2_to_http = ask(session, "http2", host="127.0.0.1", port=server["http"], timeout=1)

    assert http_to_http2["requests"][0]["ending"] != "answered"
    assert http2_to_http["requests"][0]["ending"] != "answered"


def test_operations_run_side_by_side(
    session: Session, server: dict[str, int], silent_port: int
) -> None:
    slow: list[dict[str, Any]] = []

    def ask_slowly() -> None:
        slow.append(ask(session, "http", host="127.0.0.1", port=silent_port, timeout=1.5))

    thread = threading.Thread(target=ask_slowly)
    thread.start()

    quick = ask(session, "http", host="127.0.0.1", port=server["http"])

    assert quick["requests"][0]["ending"] == "answered"
    assert not slow
    thread.join()
    assert slow[0]["requests"][0]["ending"] == "timeout"


def test_plaintext_and_what_came_back(
    session: Session, server: dict[str, int], closed_port: int
) -> None:
    came = ask(session, "plaintext", address="127.0.0.1", port=server["http"], host="x")
    refused = ask(session, "plaintext", address="127.0.0.1", port=closed_port, host="x")
    closed = ask(session, "plaintext", address="127.0.0.1", port=server["http2"], host="x")

    assert came["received"].startswith("HTTP/1.1 200")
    assert came["answer"]["pod"] == IDENTITY["ISTIO_MC_POD"]
    assert (refused["connected"], refused["ending"], refused["received"]) == (False, "refused", "")
    assert closed["connected"]
    assert "answer" not in closed


def test_connect_and_dns(session: Session, server: dict[str, int], closed_port: int) -> None:
    assert ask(session, "connect", address="127.0.0.1", port=server["tcp"])["ending"] == "answered"
    assert ask(session, "connect", address="127.0.0.1", port=closed_port)["ending"] == "refused"
    assert "127.0.0.1" in ask(session, "dns", name="localhost")["addresses"]
    assert ask(session, "dns", name="no.such.name.invalid")["addresses"] == []
    assert ask(session, "connect", address="no.such.name.invalid", port=1)["ending"] == "unresolved"


def test_mutual_tls_shows_both_sides(
    session: Session, authorities: Authorities, server_leaf: Leaf
) -> None:
    sni = "outbound_.5999_._.helloworld.istio-mc-test.svc.cluster.local"

    alpn = ["istio-http/1.1", "istio"]
    with tls_peer(server_leaf, authorities.root, alpn=("istio",)) as peer:
        seen = tls(session, peer.port, sni=sni, alpn=alpn, certificate="mesh")

    assert peer.names == [sni]
    assert (seen["completed"], seen["verified"], seen["verify_error"]) == (True, True, "")
    assert seen["alpn"] == "istio"
    assert seen["answer"]["xfcc"] == f"URI={CLIENT_ID}"
    assert facts(seen["peer"][0]).spiffe_ids == (SERVER_ID,)
    assert len(seen["peer"]) == 2


def test_no_server_name_is_sent_when_none_is_given(
    session: Session, authorities: Authorities, server_leaf: Leaf
) -> None:
    with tls_peer(server_leaf, authorities.root) as peer:
        tls(session, peer.port, sni="", certificate="mesh")

    assert peer.names == [None]


@pytest.mark.parametrize("shown", ["foreign", "none"])
def test_a_client_that_the_server_refuses_gets_an_alert_and_no_answer(
    session: Session, authorities: Authorities, server_leaf: Leaf, shown: str
) -> None:
    authority = make_intermediate(make_root("foreign root"), "foreign intermediate")
    foreign = make_leaf(authority, spiffe_id=CLIENT_ID)
    strange = {"cert_pem": foreign.chain, "key_pem": foreign.key}
    certificate = strange if shown == "foreign" else None

    with tls_peer(server_leaf, authorities.root) as peer:
        seen = tls(session, peer.port, sni="x", certificate=certificate)

    assert peer.failures
    assert (seen["ending"], seen["status"]) == ("alert", 0)
    assert "answer" not in seen


def test_an_unknown_root_is_told_and_the_certificate_is_seen_all_the_same(
    session: Session, authorities: Authorities
) -> None:
    leaf = make_leaf(make_intermediate(make_root("other root"), "i"), spiffe_id=SERVER_ID)
    with tls_peer(leaf, authorities.root) as peer:
        seen = tls(session, peer.port, sni="x", certificate="mesh")

    assert "unable to get local issuer certificate" in seen["verify_error"]
    assert not seen["verified"]
    assert facts(seen["peer"][0]).spiffe_ids == (SERVER_ID,)
    assert seen["answer"]["pod"] == "helloworld-v2"


def test_something_else_than_tls_is_told(
    session: Session, server: dict[str, int], silent_port: int
) -> None:
    assert tls(session, server["http2"], sni="x")["ending"] == "not-tls"
    assert tls(session, silent_port, sni="x", timeout=0.3)["ending"] == "timeout"


def test_https_says_how_far_it_came(
    session: Session, authorities: Authorities, closed_port: int, server: dict[str, int]
) -> None:
    leaf = make_leaf(authorities.intermediate, dns_names=["api"], addresses=["127.0.0.1"])
    digest = facts(leaf.certificate).sha256.replace(":", "").lower()
    root = authorities.root.certificate
    # it demands a client certificate, so that no request is answered
    with tls_peer(leaf, authorities.root) as peer:
        url = f"https://127.0.0.1:{peer.port}/readyz?verbose"
        right = ask(session, "https", url=url, ca_pem=root)
        other = ask(session, "https", url=url, ca_pem=make_root("other").certificate)
        named = ask(session, "https", url=url, ca_pem=root, server_name="other.example")
    refused = ask(session, "https", url=f"https://127.0.0.1:{closed_port}/", ca_pem=root)
    plain = ask(session, "https", url=f"https://127.0.0.1:{server['http']}/", ca_pem=root)

    assert right["peer_sha256"] == digest
    assert "CERTIFICATE_VERIFY_FAILED" in other["tls_error"]
    assert other["peer_sha256"] == digest
    assert "match" in named["tls_error"]
    assert (refused["tls_error"], refused["status"]) == (None, None)
    assert "refused" in refused["connect_error"]
    assert plain["tls_error"]
    assert plain["connect_error"] is None


def test_an_operation_that_makes_no_sense_does_not_end_the_session(
    session: Session, server: dict[str, int]
) -> None:
    with pytest.raises(ObservationError, match="nonsense"):
        ask(session, "nonsense")
    with pytest.raises(ObservationError, match="port"):
        ask(session, "http", host="127.0.0.1")

    sent = ask(session, "http", host="127.0.0.1", port=server["http"])["requests"]
    assert sent[0]["ending"] == "answered"


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_another_implementation_of_http2_is_answered(server: dict[str, int]) -> None:
    header = 'x-forwarded-client-cert: By=a;Subject="b,c"'
    command = ["curl", "-s", "--http2-prior-knowledge", "-H", header]
    command += ["-H", f"x-istio-mc-key: {KEY}", "--data", "x" * 90_000]
    command.append(f"http://127.0.0.1:{server['http2']}/path")
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    if "unsupported" in done.stderr or done.returncode in (1, 2):
        pytest.skip("this curl has no HTTP/2")

    assert '"path": "/path"' in done.stdout
    assert r"By=a;Subject=\"b,c\"" in done.stdout


def test_serve_refuses_an_unknown_protocol(agent: Agent) -> None:
    command, environment = [*agent.command, "serve", "0=ftp"], agent.environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20)

    assert done.returncode == 1
    assert "PORT=PROTOCOL" in done.stderr


def tls(session: Session, port: int, **arguments: Any) -> dict[str, Any]:
    arguments |= {"ca_pem": "mesh", "request": {"host": "helloworld.istio-mc-test"}}
    return ask(session, "tls", address="127.0.0.1", port=port, **arguments)
