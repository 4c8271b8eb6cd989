"""HTTP into a pod through a real kubelet."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.together import for_each

pytestmark = pytest.mark.lab

# Listens on the pod's localhost only: what arrives has come from inside.
# Paths: /<bytes>, /once (says "Connection: close"), /hang.
_SERVER = """
import http.server, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/" + sys.argv[2]
    def do_GET(self):
        if self.path == "/hang":
            threading.Event().wait()
        known = self.path.strip("/").isdigit()
        body = b"0123456789abcdef" * (int(self.path[1:]) // 16) if known else self.path.encode()
        self.send_response(200 if known or self.path == "/once" else 418)
        if self.path == "/once":
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def ports(node: Kube, python_pod: str) -> Iterator[dict[str, int]]:
    """Ports of servers in the pod, by the HTTP version that they speak."""
    found = {"1.0": 7010, "1.1": 7011}
    program = ["python3", "-c", _SERVER]
    sessions = [
        node.open_exec("default", python_pod, "python", [*program, str(port), version])
        for version, port in found.items()
    ]
    for session in sessions:
        assert session.receive(20) == "ready"
    yield found
    for session in sessions:
        session.close()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_big_answers_are_intact(
    node: Kube, python_pod: str, ports: dict[str, int], version: str
) -> None:
    size = 8_000_000
    whole = hashlib.sha256(b"0123456789abcdef" * (size // 16)).digest()
    for _ in range(3):
        body = node.http_get("default", python_pod, ports[version], f"/{size}")
        assert hashlib.sha256(body).digest() == whole


def test_an_answer_that_ends_with_its_connection(
    node: Kube, python_pod: str, ports: dict[str, int]
) -> None:
    assert node.http_get("default", python_pod, ports["1.1"], "/once") == b"/once"
    assert len(node.http_get("default", python_pod, ports["1.1"], "/16")) == 16


def test_connections_are_kept_between_requests(
    node: Kube, python_pod: str, ports: dict[str, int]
) -> None:
    node.http_get("default", python_pod, ports["1.1"], "/16")
    before = threading.active_count()

    for _ in range(20):
        node.http_get("default", python_pod, ports["1.1"], "/16")

    assert threading.active_count() == before


def test_side_by_side(node: Kube, python_pod: str, ports: dict[str, int]) -> None:
    sizes = [16 * number for number in range(1, 65)]

    def length(size: int) -> int:
        return len(node.http_get("default", python_pod, ports["1.1"], f"/{size}"))

    assert for_each(length, sizes, at_once=16) == sizes


def test_a_refusal_has_its_status(node: Kube, python_pod: str, ports: dict[str, int]) -> None:
    with pytest.raises(KubeError, match="HTTP 418: /teapot") as refused:
        node.http_get("default", python_pod, ports["1.1"], "/teapot")

    assert refused.value.status == 418


def test_a_port_on_which_nothing_listens(node: Kube, python_pod: str) -> None:
    with pytest.raises(KubeError, match=r"GET localhost:1/x.*connection refused") as refused:
        node.http_get("default", python_pod, 1, "/x")

    assert refused.value.status == 0


def test_an_answer_that_does_not_come(node: Kube, python_pod: str, ports: dict[str, int]) -> None:
    with pytest.raises(KubeError, match=r"no answer within 0\.5 s"):
        node.http_get("default", python_pod, ports["1.1"], "/hang", timeout_seconds=0.5)


def test_a_server_that_was_restarted_is_reached_again(node: Kube, python_pod: str) -> None:
    patient = "import socket; socket.setdefaulttimeout(None)" + _SERVER
    command = ["python3", "-c", patient, "7012", "1.1"]
    for _ in range(2):
        with closing(node.open_exec("default", python_pod, "python", command)) as session:
            assert session.receive(20) == "ready"
            assert len(node.http_get("default", python_pod, 7012, "/16")) == 16
            node.exec("default", python_pod, "python", ["python3", "-c", _KILL, "7012"])


_KILL = """
import os, signal, sys
for pid in filter(str.isdigit, os.listdir("/proc")):
    words = open(f"/proc/{pid}/cmdline").read().split(chr(0))
    if sys.argv[1] in words and int(pid) != os.getpid():
        os.kill(int(pid), signal.SIGKILL)
"""
