"""An API server that misbehaves in exactly the way that a test asks for, and proxies before it."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pytest_istio_mc.certificates import Authority, make_leaf
from pytest_istio_mc.kube import Kube

Misbehaviour = Callable[["Handler"], None]
EMPTY = {"kind": "List", "metadata": {}, "items": []}


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: Any
    when: float


@dataclass
class FakeApi:
    """What it was asked, and how it answers: ``script`` first, then ``answer``."""

    port: int = 0
    scheme: str = "http"
    seen: list[Seen] = field(default_factory=list)
    script: deque[Misbehaviour] = field(default_factory=deque)
    answer: Misbehaviour = field(default=lambda handler: handler.reply(200, EMPTY))
    at_once: int = 0
    most_at_once: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def then(self, *misbehaviours: Misbehaviour) -> None:
        """Answer the next requests like this, one each."""
        self.script.extend(misbehaviours)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    api: FakeApi
    lock: threading.Lock
    at_work: bool = False

    def handle_one(self) -> None:
        """Note the request, and answer it."""
        parts = urlsplit(self.path)
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        query = dict(parse_qsl(parts.query))
        headers = self.headers
        seen = Seen(self.command, parts.path, query, headers, body, time.monotonic())
        with self.lock:
            self.api.seen.append(seen)
            self.api.at_once += 1
            self.api.most_at_once = max(self.api.most_at_once, self.api.at_once)
            how = self.api.script.popleft() if self.api.script else self.api.answer
        self.at_work = True
        try:
            how(self)
        finally:
            self._answered()

    def _answered(self) -> None:
        """Count the request no more; before its answer is whole, as the next may come at once."""
        with self.lock:
            self.api.at_once -= self.at_work
            self.at_work = False

    do_GET = do_POST = do_PATCH = do_DELETE = handle_one  # noqa: N815

    @property
    def last(self) -> Seen:
        """The request that is being answered."""
        return self.api.seen[-1]

    def reply(self, status: int, document: Any, **headers: str) -> None:
        """A whole answer."""
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._answered()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def refuses(status: int, message: str = "no", **headers: str) -> Misbehaviour:
    """Answer with a ``Status``."""
    document = {"kind": "Status", "status": "Failure", "message": message, "code": status}
    return lambda handler: handler.reply(status, document, **headers)


def resets(handler: Handler) -> None:
    """Reset the connection instead of answering."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.rfile.close()
    handler.wfile.close()
    socket.socket.close(handler.connection)


def closes(handler: Handler) -> None:
    """End the connection instead of answering."""
    handler.close_connection = True


def cuts(handler: Handler) -> None:
    """Promise more than comes."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"items": [')
    handler.close_connection = True


def trickles(of: str) -> Misbehaviour:
    """Send a byte every tenth of a second, of the ``headers`` or of the ``body``, for 20 s."""

    def trickle(handler: Handler) -> None:
        if of == "body":
            handler.send_response(200)
            handler.send_header("Content-Length", "200")
            handler.end_headers()
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        handler.close_connection = True
        with suppress(OSError):
            for _ in range(200):
                handler.wfile.write(b" ")
                time.sleep(0.1)

    return trickle


def forwards(pieces: Iterable[bytes], every_seconds: float) -> Misbehaviour:
    """Forward a port: what comes from it are these pieces."""

    def forward(handler: Handler) -> None:
        key = handler.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        handler.send_response(101)
        handler.send_header("Upgrade", "websocket")
        handler.send_header("Connection", "Upgrade")
        accepted = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        handler.send_header("Sec-WebSocket-Accept", accepted)
        handler.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
        handler.end_headers()
        handler.close_connection = True
        with suppress(OSError):
            for piece in (b"\0\1\1", b"\1\1\1", *(b"\0" + piece for piece in pieces)):
                handler.wfile.write(bytes([0x82, len(piece)]) + piece)
                time.sleep(every_seconds)

    return forward


@contextmanager
def fake_api(tls: ssl.SSLContext | None = None) -> Iterator[FakeApi]:
    """Start one on loopback."""
    api = FakeApi(scheme="https" if tls else "http")
    of_this = type("Of", (Handler,), {"api": api, "lock": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), of_this)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # clients go away
    if tls is not None:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    api.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


def server_tls(authority: Authority, folder: Path, name: str) -> ssl.SSLContext:
    """TLS of a server that is called ``name``; it asks for client certificates, and takes none."""
    leaf = make_leaf(authority, dns_names=[name])
    file = folder / f"{name}.pem"
    file.write_text(leaf.certificate + leaf.chain + leaf.key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)
    tls.verify_mode = ssl.CERT_OPTIONAL
    tls.load_verify_locations(cadata=authority.certificate)
    return tls


@contextmanager
def connect_proxy(target: int, *, refuse: str = "") -> Iterator[tuple[int, list[list[str]]]]:
    """A proxy that leads every tunnel to a port of this machine; its port, and what it was told.

    ``refuse`` is the status line that it answers instead.
    """
    told: list[list[str]] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            told.append(head.decode().split("\r\n")[:-2])
            if refuse:
                client.sendall(f"HTTP/1.1 {refuse}\r\nContent-Length: 0\r\n\r\n".encode())
                return
            with socket.create_connection(("127.0.0.1", target)) as onwards:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                pump(client, onwards)

    with accepting(listener, serve):
        yield listener.getsockname()[1], told


@contextmanager
def socks_proxy(target: int) -> Iterator[tuple[int, list[str]]]:
    """A SOCKS 5 proxy (RFC 1928, 1929) that leads everything to one port; what it was asked for."""
    told: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            _, count = client.recv(2)
            methods = client.recv(count)
            client.sendall(b"\x05\x02" if 2 in methods else b"\x05\x00")
            if 2 in methods:
                user = client.recv(client.recv(2)[1])
                password = client.recv(client.recv(1)[0])
                told.append(f"{user.decode()}:{password.decode()}")
                client.sendall(b"\x01\x00")
            kind = client.recv(4)[3]
            host = client.recv(client.recv(1)[0] if kind == 3 else 4)
            port = struct.unpack(">H", client.recv(2))[0]
            told.append(f"{host.decode() if kind == 3 else socket.inet_ntoa(host)}:{port}")
            client.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
            with socket.create_connection(("127.0.0.1", target)) as onwards:
                pump(client, onwards)

    with accepting(listener, serve):
        yield listener.getsockname()[1], told


@contextmanager
def accepting(listener: socket.socket, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """Serve each connection in a thread of its own."""

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def pump(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until both ends have ended."""

    def carry(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    back = threading.Thread(target=carry, args=(other, one), daemon=True)
    back.start()
    carry(one, other)
    back.join(5)


def client_of(
    server: str,
    folder: Path,
    user: Mapping[str, Any] | None = None,
    cluster: Mapping[str, Any] | None = None,
    *,
    request_timeout_seconds: float = 10.0,
) -> Kube:
    """A client with a kubeconfig of its own."""
    file = folder / "kubeconfig"
    file.write_text(json.dumps(kubeconfig(server, user, cluster)))
    return Kube("east", str(file), "prod", request_timeout_seconds=request_timeout_seconds)


def kubeconfig(
    server: str, user: Mapping[str, Any] | None = None, cluster: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A kubeconfig with one context."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "prod",
        "clusters": [{"name": "prod", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "me", "user": dict(user or {"token": "t0ken"})}],
        "contexts": [{"name": "prod", "context": {"cluster": "prod", "user": "me"}}],
    }
