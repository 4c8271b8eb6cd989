"""A TLS server on loopback that demands client certificates, as sidecars do.

It says who came.
"""

from __future__ import annotations

import json
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socket import AF_INET, SOCK_STREAM, socket

from pytest_istio_mc.certificates import Authority, Leaf, facts


@dataclass
class TlsPeer:
    """The server's port, the names that clients asked for, and failures."""

    port: int
    names: list[str | None] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@contextmanager
def tls_peer(leaf: Leaf, root: Authority, *, alpn: tuple[str, ...] = ()) -> Iterator[TlsPeer]:
    """Serve with ``leaf``; clients must have a certificate that leads to ``root``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w") as pem:
        pem.write(leaf.chain + leaf.key)
        pem.flush()
        context.load_cert_chain(pem.name)
    context.load_verify_locations(cadata=root.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    if alpn:
        context.set_alpn_protocols(list(alpn))

    with socket(AF_INET, SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        peer = TlsPeer(listener.getsockname()[1])
        context.sni_callback = lambda connection, name, _: peer.names.append(name)

        def serve() -> None:
            while True:
                try:
                    raw, _ = listener.accept()
                except OSError:
                    return  # closed by the end of the test
                try:
                    with context.wrap_socket(raw, server_side=True) as connection:
                        _answer(connection)
                except OSError as error:
                    peer.failures.append(str(error))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield peer
        finally:
            listener.shutdown(2)
    thread.join(5)


def _answer(connection: ssl.SSLSocket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(4096)
        if not piece:
            return
        received += piece
    shown = ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"")
    said = {"cluster": "west", "pod": "helloworld-v2", "port": 5999}
    body = json.dumps({**said, "xfcc": f"URI={facts(shown).spiffe_ids[0]}"}).encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
