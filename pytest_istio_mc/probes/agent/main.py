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

``session`` runs operations side by side.

- It reads one operation a line from standard input: ``{"id": 1, "op": "http", ...}``. They are
  those of ``operations.OPERATIONS`` and ``flows.FLOW_OPERATIONS``.
- It writes one line as each ends: ``{"id": 1, "result": {...}}``, with ``"failed"`` instead of
  ``"result"`` where the operation makes no sense.

``flows`` sends at a fixed rate: an operation starts that process, which outlives the session.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import sys
import threading

from . import http2

TYPE_CHECKING = False  # importing typing costs a tenth of the start-up time
if TYPE_CHECKING:
    from typing import Any, NoReturn

LONGEST_LINE = 65536


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


def answer_http(sock: socket.socket, port: int, peer: str, most: int = 0) -> None:
    """HTTP/1.1 with kept-alive connections, for at most ``most`` requests each, if given."""
    stream = sock.makefile("rb")
    for number in itertools.count(1):
        if not stream.peek(1)[:1].isalpha():
            return  # closed, or not HTTP at all: a TLS client must not wait for an answer
        request = stream.readline(LONGEST_LINE).split()
        headers: dict[str, str] = {}
        while True:
            line = stream.readline(LONGEST_LINE)
            if line in (b"\r\n", b"\n", b""):
                break
            name, _, value = line.decode("latin-1").partition(":")
            key = name.strip().lower()
            headers[key] = headers[key] + "," + value.strip() if key in headers else value.strip()
        status, keep = "200 OK", headers.get("connection", "").lower() != "close" and number != most
        is_http = len(request) == 3 and request[2].startswith(b"HTTP/1.")
        if not is_http or "transfer-encoding" in headers:
            status, keep = "400 Bad Request", False
        else:
            stream.read(int(headers.get("content-length") or 0))
            if ill(headers.get("host", "")):
                status = "500 Internal Server Error"
        path = request[1].decode("latin-1") if len(request) > 1 else ""
        xfcc = headers.get("x-forwarded-client-cert", "")
        body = json.dumps(identity(port, "HTTP/1.1", path, peer, xfcc)).encode()
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(body)}\r\n"
        head += "\r\n" if keep else "connection: close\r\n\r\n"
        sock.sendall(head.encode() + (b"" if request[0] == b"HEAD" else body))
        if not keep:
            return


def answer_mortally(sock: socket.socket, port: int, peer: str) -> None:
    """HTTP/1.1, one request a connection; a request for ``/end`` ends the whole program."""
    if sock.recv(9, socket.MSG_PEEK) == b"GET /end ":
        os._exit(0)
    answer_http(sock, port, peer, most=1)


def answer_http2(sock: socket.socket, port: int, peer: str) -> None:
    """HTTP/2 with prior knowledge."""

    def answer(request: http2.Message) -> tuple[int, bytes]:
        xfcc = request.header("x-forwarded-client-cert")
        said = identity(port, "HTTP/2", request.header(":path"), peer, xfcc)
        return 200, json.dumps(said).encode()

    http2.serve(sock, answer)


def answer_tcp(sock: socket.socket, port: int, peer: str) -> None:
    """A JSON line for every line."""
    for line in sock.makefile("rb"):
        said = identity(port, "TCP", line.decode("latin-1").strip(), peer, "")
        sock.sendall(json.dumps(said).encode() + b"\n")


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

    def handle(sock: socket.socket, peer: str, port: int, protocol: str) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ANSWERS[protocol](sock, port, peer)
        except (OSError, ValueError):
            pass  # a client that went away or spoke something else; its connection is closed
        finally:
            sock.close()

    def accept(listener: socket.socket, port: int, protocol: str) -> None:
        while True:
            sock, peer = listener.accept()
            about = (sock, peer[0], port, protocol)
            threading.Thread(target=handle, args=about, daemon=True).start()

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
    operations = {**OPERATIONS, **FLOW_OPERATIONS}

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
