"""The probe that runs in pods: it answers, sends and reports facts.

- It never judges.
- Standard library only, Python 3.8 or newer, for any image with ``python3``.
- Pods mount it from a ConfigMap as one file, ``probe.py``, which ``program.py`` makes of this
  package's modules.

``serve PORT=PROTOCOL ...`` answers every request with one JSON object.

- Protocols: ``http``, ``tcp``, ``http2``, and ``mortal``, HTTP that ends the program on demand.
- The object: cluster, namespace, pod, version, role, the port, protocol and path of the request,
  its peer, and the ``x-forwarded-client-cert`` header that the sidecar put on it.
- Over HTTP/1.1 the status is 500 while the scratch folder has a file ``ill-HOST``: so an
  application is ill for one service only.
- Only clients of the run are answered, who know its key; ``/ready`` is for the kubelet, too.
  Connections, time and sizes have the limits of ``bounds``.

``session`` runs operations side by side.

- It reads one operation a line from standard input: ``{"id": 1, "op": "http", ...}``. They are
  those of ``operations.OPERATIONS`` and ``flows.FLOW_OPERATIONS``.
- It writes one line as each ends: ``{"id": 1, "result": {...}}``, with ``"failed"`` instead of
  ``"result"`` where the operation makes no sense.

``flows`` sends at a fixed rate: an operation starts that process, which outlives the session.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import sys
import threading
import time

from . import bounds, http2, served

TYPE_CHECKING = False  # importing typing costs a tenth of the start-up time
if TYPE_CHECKING:
    from typing import Any, NoReturn

STRANGER = b"this probe answers clients of its own run only\n"


def identity(port: int, protocol: str, path: str, peer: str, xfcc: str) -> dict[str, Any]:
    """What a server says about itself and about how it was asked."""
    keys = ("cluster", "namespace", "pod", "version", "role")
    own = {key: os.environ.get("ISTIO_MC_" + key.upper(), "") for key in keys}
    return {**own, "port": port, "protocol": protocol, "path": path, "peer": peer, "xfcc": xfcc}


def ill(authority: str) -> bool:
    """Whether this server is to fail requests for that host."""
    host = authority.partition(":")[0].replace("/", "")
    scratch = os.environ.get("TMPDIR", "/tmp")  # noqa: S108
    return bool(host) and os.path.exists(f"{scratch}/ill-{host}")  # noqa: PTH110 - pathlib is slow


def answer_http(connection: bounds.Connection, port: int, peer: str, mortal: bool = False) -> None:
    """HTTP/1.1 with kept-alive connections; a ``mortal`` server answers one request on each."""
    while connection.peek().isalpha():  # else closed, or not HTTP: TLS must not wait for an answer
        connection.asks()
        request = connection.line(bounds.MOST_HEADER).split()
        headers = read_headers(connection)
        path = request[1].decode("latin-1") if len(request) > 1 else ""
        refusal, body = refused(request, path, headers)
        if refusal or headers is None:
            say(connection.sock, refusal, body, keep=False)
            return
        if not connection.skip(int(headers.get("content-length") or 0)):
            return
        if mortal and path == "/end":
            os._exit(0)
        keep = not mortal and headers.get("connection", "").lower() != "close"
        served.NOTED.note(headers.get(bounds.ID_HEADER, ""))
        status = "500 Internal Server Error" if ill(headers.get("host", "")) else "200 OK"
        xfcc = headers.get("x-forwarded-client-cert", "")
        body = json.dumps(identity(port, "HTTP/1.1", path, peer, xfcc)).encode()
        say(connection.sock, status, body, keep=keep, head=request[0] == b"HEAD")
        if not keep:
            return
        connection.rests()


def read_headers(connection: bounds.Connection) -> dict[str, str] | None:
    """The headers of a request, names in lower case; None where they are too large."""
    headers: dict[str, str] = {}
    left = bounds.MOST_HEADER
    while left > 0:
        line = connection.line(left)
        left -= len(line)
        if line in (b"\r\n", b"\n", b""):
            return headers
        name, _, value = line.decode("latin-1").partition(":")
        key = name.strip().lower()
        headers[key] = headers[key] + "," + value.strip() if key in headers else value.strip()
    return None


def refused(request: list[bytes], path: str, headers: dict[str, str] | None) -> tuple[str, bytes]:
    """The status and body with which a request is refused; empty for those to be answered.

    Refused is who is no client of this run, and what makes no sense or is too large.
    """
    if headers is None:
        return "431 Request Header Fields Too Large", b""
    length = headers.get("content-length") or "0"
    is_http = len(request) == 3 and request[2].startswith(b"HTTP/1.")
    if not is_http or "transfer-encoding" in headers or not (length.isascii() and length.isdigit()):
        return "400 Bad Request", b""
    if headers.get(bounds.KEY_HEADER, "") != bounds.KEY:
        return ("200 OK", b"ready\n") if path == "/ready" else ("403 Forbidden", STRANGER)
    if len(length) > 9 or int(length) > bounds.MOST_BODY:
        return "413 Content Too Large", b""
    return "", b""


def say(sock: socket.socket, status: str, body: bytes, *, keep: bool, head: bool = False) -> None:
    """Send an HTTP/1.1 answer, without its body to a HEAD request."""
    kind = "text/plain" if not body.startswith(b"{") else "application/json"
    lines = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
    lines += "\r\n" if keep else "connection: close\r\n\r\n"
    sock.sendall(lines.encode() + (b"" if head else body))


def answer_mortally(connection: bounds.Connection, port: int, peer: str) -> None:
    """HTTP/1.1, one request a connection; a request for ``/end`` ends the whole program."""
    answer_http(connection, port, peer, mortal=True)


def answer_http2(connection: bounds.Connection, port: int, peer: str) -> None:
    """HTTP/2 with prior knowledge."""

    def answer(request: http2.Message) -> tuple[int, bytes]:
        if request.header(bounds.KEY_HEADER) != bounds.KEY:
            return 403, STRANGER
        connection.rests()
        served.NOTED.note(request.header(bounds.ID_HEADER))
        xfcc = request.header("x-forwarded-client-cert")
        said = identity(port, "HTTP/2", request.header(":path"), peer, xfcc)
        return 200, json.dumps(said).encode()

    http2.serve(connection.sock, answer)


def answer_tcp(connection: bounds.Connection, port: int, peer: str) -> None:
    """A JSON line for every line ``TEXT KEY``."""
    while True:
        line = connection.line(bounds.MOST_HEADER)
        text, _, key = line.decode("latin-1").strip().partition(" ")
        if not line.endswith(b"\n") or key != bounds.KEY:
            return
        served.NOTED.note(text if text != "who" else "")
        connection.sock.sendall(json.dumps(identity(port, "TCP", text, peer, "")).encode() + b"\n")
        connection.rests()


def too_many(sock: socket.socket, protocol: str) -> None:
    """Say over HTTP/1.1 that the server has too many connections."""
    if protocol in ("http", "mortal"):
        say(sock, "503 Service Unavailable", b"too many connections\n", keep=False)
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(1.0)
        sock.recv(bounds.PIECE)  # what is unread when a socket closes resets the connection


ANSWERS = {"http": answer_http, "mortal": answer_mortally, "http2": answer_http2, "tcp": answer_tcp}


def listen(port: int) -> socket.socket:
    """A listening socket on all addresses, both families where the kernel has IPv6."""
    try:
        sock = socket.socket(socket.AF_INET6)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("::", port))
    except OSError:
        sock = socket.socket(socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", port))
    sock.listen(512)
    return sock


def serve(ports: list[str]) -> None:
    """Listen on ``PORT=PROTOCOL ...`` and answer for ever.

    Each port is told on standard output once it listens; port 0 becomes a real one.
    """

    def handle(connection: bounds.Connection, port: int, protocol: str, peer: str) -> None:
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ANSWERS[protocol](connection, port, peer)

    def accept(listener: socket.socket, port: int, protocol: str) -> None:
        while True:
            try:
                sock, address = listener.accept()
            except OSError:  # the client went away, or there are too many files open for now
                time.sleep(0.05)
                continue
            serve_one = functools.partial(handle, port=port, protocol=protocol, peer=address[0])
            connections.start(sock, serve_one, lambda sock: too_many(sock, protocol))

    connections = bounds.Connections()
    threading.Thread(target=connections.watch, daemon=True).start()
    if os.getpid() == 1:
        # processes that sessions leave behind become ours; nobody asks how they ended
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    threads = []
    for entry in ports:
        wanted, _, protocol = entry.partition("=")
        if protocol not in ANSWERS:
            raise SystemExit(f"{entry!r} is not PORT=PROTOCOL; protocols are {', '.join(ANSWERS)}")
        listener = listen(int(wanted))
        port = int(listener.getsockname()[1])
        print(f"listening {port}={protocol}", flush=True)
        about = (listener, port, protocol)
        threads.append(threading.Thread(target=accept, args=about, daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def service_domain() -> str:
    """The domain of Kubernetes services, from the pod's search list.

    ``cluster.local`` where that has none.
    """
    try:
        with open("/etc/resolv.conf") as lines:  # noqa: PTH123 - pathlib is slow to import
            searched = [line.split()[1:] for line in lines if line.startswith("search")]
    except OSError:
        searched = []
    domains = [name[4:] for names in searched for name in names if name.startswith("svc.")]
    return domains[0].rstrip(".") if domains else "cluster.local"


def session() -> NoReturn:
    """Run operations from standard input, side by side, until it closes.

    Those that still run then are abandoned.
    """
    from .flows import FLOW_OPERATIONS  # serving does not need them
    from .operations import OPERATIONS
    from .outcomes import explain

    lock = threading.Lock()
    operations = {**OPERATIONS, **FLOW_OPERATIONS, "served": served.look_up}

    def write(line: dict[str, Any]) -> None:
        with lock:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()

    def run(operation: dict[str, Any]) -> None:
        try:
            line = {"id": operation.get("id"), "result": operations[operation["op"]](operation)}
        except Exception as error:  # it belongs to this operation, and the session must go on
            line = {"id": operation.get("id"), "failed": explain(error)}
        write(line)

    hello = {
        "python": sys.version.split()[0],
        "cluster": os.environ.get("ISTIO_MC_CLUSTER", ""),
        "domain": service_domain(),
    }
    write({"id": None, "hello": hello})
    for text in sys.stdin:
        if text.strip():
            threading.Thread(target=run, args=(json.loads(text),), daemon=True).start()
    sys.stdout.flush()
    os._exit(0)


def main() -> None:
    """Do what the command line says."""
    if sys.argv[1:2] == ["serve"] and sys.argv[2:]:
        serve(sys.argv[2:])
    elif sys.argv[1:] == ["session"]:
        session()
    elif sys.argv[1:] == ["flows"]:
        from .flows import run

        run()
    else:
        raise SystemExit("usage: probe.py serve PORT=PROTOCOL ... | session | flows")
