"""A bearer token goes to a server that was verified, and to no other."""

from __future__ import annotations

import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import create_server
from typing import Any

import pytest

from pytest_istio_mc.certificates import Leaf, make_intermediate, make_leaf, make_root
from pytest_istio_mc.probes.sessions import Session
from tests.probes.conftest import Agent
from tests.probes.loopback import LocalExec

TOKEN = "opaque-token-of-istiod"
ROOT = make_root("API server CA")
INTERMEDIATE = make_intermediate(ROOT, "API servers")


@dataclass
class ApiServer:
    """A TLS server; ``received`` is all that came after handshakes."""

    port: int
    received: list[bytes] = field(default_factory=list)


@contextmanager
def api_server(leaf: Leaf) -> Iterator[ApiServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w") as pem:
        pem.write(leaf.chain + leaf.key)
        pem.flush()
        context.load_cert_chain(pem.name)
    with create_server(("127.0.0.1", 0)) as listener:
        served = ApiServer(listener.getsockname()[1])

        def serve() -> None:
            while True:
                try:
                    raw, _ = listener.accept()
                except OSError:
                    return  # closed by the end of the test
                try:
                    with context.wrap_socket(raw, server_side=True) as connection:
                        connection.settimeout(2)
                        served.received.append(connection.recv(4096))
                        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                except OSError:
                    pass  # the client refused the certificate

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield served
        listener.shutdown(2)
    thread.join(5)


def leaf_of(authority: Any, **names: Any) -> Leaf:
    return make_leaf(authority, **({"addresses": ["127.0.0.1"]} | names))


def ask(session: Session, port: int, **operation: Any) -> dict[str, Any]:
    url = f"https://127.0.0.1:{port}/api"
    asked = {"op": "https", "url": url, "ca_pem": ROOT.certificate, "bearer": TOKEN, "timeout": 5}
    return session.ask(asked | operation, timeout_seconds=20)


@pytest.mark.parametrize(
    ("leaf", "operation"),
    [
        (leaf_of(INTERMEDIATE), {}),
        # Go trusts each certificate that it is given, also one that is no root
        (leaf_of(INTERMEDIATE), {"ca_pem": INTERMEDIATE.certificate}),
        (leaf_of(INTERMEDIATE, addresses=[], dns_names=["api"]), {"server_name": "api"}),
    ],
    ids=["root", "intermediate", "server-name"],
)
def test_a_server_that_is_verified_gets_the_token(
    session: Session, leaf: Leaf, operation: dict[str, Any]
) -> None:
    with api_server(leaf) as server:
        seen = ask(session, server.port, **operation)

    assert (seen["status"], seen["tls_error"]) == (200, None)
    assert f"authorization: Bearer {TOKEN}".encode() in b"".join(server.received)


@pytest.mark.parametrize(
    ("leaf", "operation"),
    [
        (leaf_of(make_root("Foreign CA")), {}),
        (leaf_of(INTERMEDIATE, addresses=["127.0.0.2"]), {}),
        (leaf_of(INTERMEDIATE), {"server_name": "api.example"}),
        (leaf_of(INTERMEDIATE, addresses=[], dns_names=["x"], common_name="127.0.0.1"), {}),
        # no CA: the roots of the system, of which this is none
        (leaf_of(INTERMEDIATE), {"ca_pem": ""}),
    ],
    ids=["foreign", "address", "server-name", "common-name", "no-ca"],
)
def test_a_server_that_is_not_verified_gets_nothing_at_all(
    session: Session, leaf: Leaf, operation: dict[str, Any]
) -> None:
    with api_server(leaf) as server:
        seen = ask(session, server.port, **operation)

    assert "CERTIFICATE_VERIFY_FAILED" in seen["tls_error"]
    assert seen["status"] is None
    assert seen["peer_sha256"]
    assert b"".join(server.received) == b""


def test_without_a_ca_the_roots_of_the_system_count(agent: Agent, tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_text(ROOT.certificate)
    environment = agent.environment | {"SSL_CERT_FILE": str(roots)}
    session = Session("pod", lambda: LocalExec([*agent.command, "session"], environment))

    with api_server(leaf_of(INTERMEDIATE)) as server:
        seen = ask(session, server.port, ca_pem="")
    session.close()

    assert seen["status"] == 200


def test_a_handshake_alone_sends_nothing_and_says_who_answers(session: Session) -> None:
    with api_server(leaf_of(make_root("Foreign CA"))) as server:
        seen = ask(session, server.port, handshake_only=True)

    assert (seen["tls_error"], seen["connect_error"], seen["status"]) == (None, None, None)
    assert b"".join(server.received) == b""


@pytest.mark.parametrize("token", ["opaque\n", "opaque\r\nx: y", "öpaque\u2028"])
def test_a_token_that_cannot_be_sent_is_not_told(session: Session, token: str) -> None:
    with api_server(leaf_of(INTERMEDIATE)) as server:
        seen = ask(session, server.port, bearer=token)

    assert "a header of the request" in seen["connect_error"]
    assert "paque" not in str(seen)
    assert b"paque" not in b"".join(server.received)
