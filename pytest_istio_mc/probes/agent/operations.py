"""What a probe can be told: requests, raw connections, name lookups and ``handshakes``.

- Each operation takes a JSON object and returns one: what happened, never what to think of it.
- Runs inside probe pods: standard library only, Python 3.8 or newer; slow imports are in functions.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from . import http2
from .bounds import ID_HEADER, KEY, KEY_HEADER
from .handshakes import https, tls
from .outcomes import MOST_TEXT, ending, explain, failures, read_body

TYPE_CHECKING = False  # importing typing costs a tenth of the start-up time
if TYPE_CHECKING:
    from typing import Any


def question(id: str) -> bytes:
    """The question over TCP, with the id of the request where it has one."""
    return f"{id or 'who'} {KEY}\n".encode()


class Sender:
    """Requests of one protocol to one target, over one connection at a time.

    It opens a connection where there is none.
    """

    protocol = ""

    def __init__(self, operation: dict[str, Any]) -> None:
        self.host = str(operation["host"])
        self.port = int(operation["port"])
        self.address = str(operation.get("address") or self.host)
        self.path = str(operation.get("path", "/"))
        self.headers = {str(key): str(value) for key, value in operation.get("headers", {}).items()}
        self.timeout = float(operation.get("timeout", 5))
        self.id = ""  # of the next request, for the server's own record
        self.sock: socket.socket | None = None

    def connected(self) -> socket.socket:
        """The connection, opened now if need be."""
        if self.sock is None:
            self.sock = socket.create_connection((self.address, self.port), self.timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.opened()
        return self.sock

    def opened(self) -> None:
        """Set up the protocol on a new connection."""

    def send(self) -> dict[str, Any]:
        """One request: ``status`` (0 where the protocol has none) and ``answer`` or ``body``."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.sock is not None:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)  # a reader would keep it open
            except OSError:
                pass  # it is down already
            self.sock.close()
            self.sock = None


class HttpSender(Sender):
    """HTTP/1.1."""

    protocol = "HTTP/1.1"

    def __init__(self, operation: dict[str, Any]) -> None:
        super().__init__(operation)
        # here, so that the first request's latency does not include the import
        from http.client import HTTPResponse

        self.response_type = HTTPResponse

    def send(self) -> dict[str, Any]:
        sock = self.connected()
        lines = [f"GET {self.path} HTTP/1.1", f"host: {self.host}:{self.port}"]
        lines += [f"{KEY_HEADER}: {KEY}", *([f"{ID_HEADER}: {self.id}"] if self.id else [])]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        response = self.response_type(sock, method="GET")
        response.begin()
        seen = {"status": response.status, **read_body(response.read())}
        if response.will_close:
            self.close()
        return seen


class Http2Sender(Sender):
    """HTTP/2 with prior knowledge."""

    protocol = "HTTP/2"
    client: http2.Client

    def opened(self) -> None:
        assert self.sock is not None
        self.client = http2.Client(self.sock)

    def send(self) -> dict[str, Any]:
        self.connected()
        headers = [(KEY_HEADER, KEY), *self.headers.items()]
        headers += [(ID_HEADER, self.id)] if self.id else []
        answer = self.client.get(f"{self.host}:{self.port}", self.path, headers)
        if not self.client.usable:
            self.close()
        return {"status": int(answer.header(":status") or 0), **read_body(answer.body)}


class TcpSender(Sender):
    """A line out, a line back."""

    protocol = "TCP"

    def send(self) -> dict[str, Any]:
        sock = self.connected()
        sock.sendall(question(self.id))
        line = b""
        while not line.endswith(b"\n"):
            piece = sock.recv(4096)
            if not piece:
                raise EOFError("closed inside the answer" if line else "closed without an answer")
            line += piece
        return {"status": 0, **read_body(line)}


MOST_TIMEOUTS = 8
"""After so many timeouts an operation sends no more: waiting for hundreds takes minutes."""

SENDERS: dict[str, type[Sender]] = {"http": HttpSender, "http2": Http2Sender, "tcp": TcpSender}


def send_one(sender: Sender, keep: bool) -> dict[str, Any]:
    """Send one request and record it.

    The record: when, how long, over a new connection or not, and what came back or why nothing did.
    """
    record: dict[str, Any] = {"when": time.time(), "new": sender.sock is None, "status": 0}
    record.update(ending="answered", error="")
    began = time.monotonic()
    try:
        record.update(sender.send())
    except failures() as error:
        record.update(ending=ending(error), error=explain(error))
        sender.close()
    record["seconds"] = time.monotonic() - began
    if not keep:
        sender.close()
    return record


def requests(operation: dict[str, Any]) -> dict[str, Any]:
    """``http``, ``http2``, ``tcp``: ``count`` requests to ``host``:``port``.

    - ``concurrency``: how many are under way at a time.
    - ``keep_alive``: each of these senders keeps its connection; else each request has a new one.
    - ``address``: where to connect instead of to ``host``.
    - The result has a record of every request that was sent: of all, unless ``MOST_TIMEOUTS`` were
      not answered in time.
    """
    left = iter(range(int(operation.get("count", 1))))
    records: list[dict[str, Any]] = []
    late: list[dict[str, Any]] = []

    def work() -> None:
        sender = SENDERS[operation["op"]](operation)
        try:
            for _ in left:
                record = send_one(sender, bool(operation.get("keep_alive")))
                records.append(record)
                if record["ending"] == "timeout":
                    late.append(record)
                if len(late) >= MOST_TIMEOUTS:
                    break
        finally:
            sender.close()

    others = int(operation.get("concurrency", 1)) - 1
    threads = [threading.Thread(target=work, daemon=True) for _ in range(others)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    return {"requests": sorted(records, key=lambda record: float(record["when"]))}


def connect(operation: dict[str, Any]) -> dict[str, Any]:
    """``connect``: open a TCP connection to ``address``:``port`` and close it."""
    address = (operation["address"], int(operation["port"]))
    result = {"ending": "answered", "error": ""}
    began = time.monotonic()
    try:
        socket.create_connection(address, float(operation.get("timeout", 5))).close()
    except OSError as error:
        result = {"ending": ending(error), "error": explain(error)}
    return {**result, "seconds": time.monotonic() - began}


def plaintext(operation: dict[str, Any]) -> dict[str, Any]:
    """``plaintext``: send a GET for ``host`` to ``address``:``port`` without TLS.

    The result has what came back until the peer closed or fell silent.
    """
    address = (operation["address"], int(operation["port"]))
    came = b""
    result: dict[str, Any] = {"connected": False, "ending": "answered", "error": ""}
    began = time.monotonic()
    try:
        with socket.create_connection(address, float(operation.get("timeout", 5))) as sock:
            result["connected"] = True
            lines = ["GET / HTTP/1.1", f"host: {operation['host']}", f"{KEY_HEADER}: {KEY}"]
            sock.sendall("\r\n".join([*lines, "connection: close", "", ""]).encode("latin-1"))
            while len(came) < MOST_TEXT:
                piece = sock.recv(4096)
                if not piece:
                    break
                came += piece
        if not came:
            result.update(ending="closed", error="closed without a byte")
    except OSError as error:
        if not came:
            result.update(ending=ending(error), error=explain(error))
    _, _, body = came.partition(b"\r\n\r\n")
    result.update(received=came[:MOST_TEXT].decode("latin-1"), seconds=time.monotonic() - began)
    result.update({key: value for key, value in read_body(body).items() if key == "answer"})
    return result


def dns(operation: dict[str, Any]) -> dict[str, Any]:
    """``dns``: resolve ``name`` as a program in this pod does."""
    began = time.monotonic()
    try:
        found = socket.getaddrinfo(operation["name"], None, type=socket.SOCK_STREAM)
    except OSError as error:
        return {"addresses": [], "error": explain(error), "seconds": time.monotonic() - began}
    addresses = sorted({str(entry[4][0]) for entry in found})
    return {"addresses": addresses, "error": "", "seconds": time.monotonic() - began}


OPERATIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "http": requests,
    "http2": requests,
    "tcp": requests,
    "connect": connect,
    "plaintext": plaintext,
    "dns": dns,
    "tls": tls,
    "https": https,
}
