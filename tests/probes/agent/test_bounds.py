"""What strangers, and clients out of their minds, can cost a probe server."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_istio_mc.probes.agent import bounds, hpack, http2, main
from tests.probes.conftest import IDENTITY, KEY, Agent

OWN = f"x-istio-mc-key: {KEY}\r\n"


@pytest.fixture
def fresh(agent: Agent) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """A server of its own, and its ports by protocol."""
    command = [*agent.command, "serve", "0=http", "0=http2", "0=tcp", "0=mortal"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, text=True, env=agent.environment) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().split()[1].partition("=") for _ in range(4)]
        yield process, {protocol: int(port) for port, _, protocol in told}
        process.kill()


def exchange(port: int, data: bytes, *, until_closed: bool = True) -> bytes:
    """What a server says to these bytes, until it closes."""
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        return rest(sock) if until_closed else sock.recv(65536)


def rest(sock: socket.socket) -> bytes:
    came = b""
    with contextlib.suppress(OSError):
        while piece := sock.recv(65536):
            came += piece
    return came


def test_a_stranger_is_not_told_who_answers(server: dict[str, int]) -> None:
    for path in ("/", "/ready"):
        for key in ("", "x-istio-mc-key: guessed\r\n"):
            said = exchange(server["http"], f"GET {path} HTTP/1.1\r\n{key}\r\n".encode())
            assert said.split()[1] == (b"200" if path == "/ready" else b"403")
            assert IDENTITY["ISTIO_MC_POD"].encode() not in said
    assert exchange(server["tcp"], b"who\n") == b""
    assert exchange(server["tcp"], b"who guessed\n") == b""
    with socket.create_connection(("127.0.0.1", server["http2"]), 5) as sock:
        client = http2.Client(sock)
        # a proxy sends requests of several clients over one connection, so that it stays
        for key, status in (("", "403"), ("guessed", "403"), (KEY, "200")):
            answer = client.get("x", "/", [("x-istio-mc-key", key)])
            assert answer.header(":status") == status
            assert (IDENTITY["ISTIO_MC_POD"].encode() in answer.body) == (status == "200")


def test_a_client_of_the_run_is_answered_on_a_connection_that_stays(
    server: dict[str, int],
) -> None:
    with socket.create_connection(("127.0.0.1", server["http"]), 5) as sock:
        for _ in range(2):
            sock.sendall(f"GET / HTTP/1.1\r\n{OWN}content-length: 3\r\n\r\nabc".encode())
            assert IDENTITY["ISTIO_MC_POD"].encode() in sock.recv(65536)


def test_a_stranger_cannot_end_a_mortal_server(
    fresh: tuple[subprocess.Popen[str], dict[str, int]],
) -> None:
    process, ports = fresh
    assert exchange(ports["mortal"], b"GET /end HTTP/1.1\r\n\r\n").split()[1] == b"403"
    assert process.poll() is None

    assert exchange(ports["mortal"], f"GET /end HTTP/1.1\r\n{OWN}\r\n".encode()) == b""
    assert process.wait(5) == 0


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"{OWN}content-length: 9900000000", b"413"),
        (f"{OWN}content-length: {bounds.MOST_BODY + 1}", b"413"),
        (f"{OWN}content-length: {'9' * 5000}", b"413"),
        (f"{OWN}content-length: -1", b"400"),
        (f"{OWN}content-length: 1_0", b"400"),
        (f"{OWN}content-length: ٣", b"400"),
        (f"{OWN}transfer-encoding: chunked", b"400"),
        (f"{OWN}long: {'x' * 70000}", b"431"),
        (OWN + "\r\n".join(f"n{number}: {'x' * 900}" for number in range(100)), b"431"),
    ],
    ids=[
        "huge",
        "just-above",
        "digits",
        "negative",
        "underscore",
        "arabic",
        "chunked",
        "line",
        "many",
    ],
)
def test_what_is_too_large_is_refused_before_it_is_read(
    server: dict[str, int], head: str, status: bytes
) -> None:
    said = exchange(server["http"], f"POST / HTTP/1.1\r\n{head}\r\n\r\n".encode())

    assert said.split()[1] == status


def test_bodies_and_connections_cost_little_memory(
    fresh: tuple[subprocess.Popen[str], dict[str, int]],
) -> None:
    process, ports = fresh
    before = resident_kib(process.pid)
    body = b"x" * bounds.MOST_BODY
    head = f"POST / HTTP/1.1\r\n{OWN}content-length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", ports["http"]), 5) as sock:
        for _ in range(50):
            sock.sendall(head + body)
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    with contextlib.ExitStack() as stack:
        for _ in range(bounds.MOST_CONNECTIONS):
            made = socket.create_connection(("127.0.0.1", ports["http"]), 5)
            stack.enter_context(made).sendall(f"POST / HTTP/1.1\r\n{OWN}".encode())

        said = exchange(ports["http"], f"GET / HTTP/1.1\r\n{OWN}\r\n".encode())
        after = resident_kib(process.pid)

    assert said.split()[1] == b"503"
    assert after - before < 32 * 1024
    for _ in range(50):
        said = exchange(ports["http"], b"GET /ready HTTP/1.1\r\n\r\n")
        if said.split()[1] == b"200":
            return
        time.sleep(0.1)
    pytest.fail("the server does not recover when the connections are gone")


def test_beyond_the_refusals_connections_are_closed_and_no_thread_is_made() -> None:
    connections = bounds.Connections(most=1)
    seen: list[str] = []
    with contextlib.ExitStack() as stack:
        held = threading.Event()
        ends = [stack.enter_context(contextlib.closing(end)) for end in pairs(20, stack)]

        def serve(_: bounds.Connection) -> None:
            seen.append("served")
            held.wait(5)

        def refuse(_: socket.socket) -> None:
            held.wait(5)

        for end in ends:
            connections.start(end, serve, refuse)
        assert sum(end.fileno() == -1 for end in ends) == 20 - 1 - bounds.MOST_REFUSALS
        held.set()
    assert seen == ["served"]


@pytest.mark.parametrize("way", ["silent", "trickling", "headers-only"])
def test_a_request_that_does_not_end_in_time_is_cut_off(way: str) -> None:
    connections = bounds.Connections(seconds=0.4)
    threading.Thread(target=connections.watch, daemon=True).start()
    with contextlib.ExitStack() as stack:
        here, there = socket.socketpair()
        stack.enter_context(here)
        here.settimeout(5)
        connections.start(there, lambda one: main.answer_http(one, 1, "x"), lambda _: None)
        began = time.monotonic()
        if way == "headers-only":
            here.sendall(b"POST / HTTP/1.1\r\nx-istio-mc-key:\r\ncontent-length: 5\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while way == "trickling" and time.monotonic() - began < 4:
                here.sendall(b"G")
                time.sleep(0.05)
        assert rest(here) == b""
        assert 0.3 < time.monotonic() - began < 3


def test_a_connection_of_the_run_may_rest() -> None:
    connections = bounds.Connections(seconds=0.3)
    threading.Thread(target=connections.watch, daemon=True).start()
    here, there = socket.socketpair()
    with here:
        here.settimeout(5)
        connections.start(there, lambda one: main.answer_http(one, 1, "x"), lambda _: None)
        for pause in (0, 1.2):  # a proxy keeps idle connections, and sends when it likes
            time.sleep(pause)
            here.sendall(b"GET / HTTP/1.1\r\nx-istio-mc-key:\r\n\r\n")
            assert here.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("what", ["streams", "header", "frame", "unread"])
def test_http2_holds_no_more_than_its_bounds(what: str) -> None:
    here, there = socket.socketpair()
    said = threading.Thread(target=serve_http2, args=(there,), daemon=True)
    said.start()
    begin = hpack.encode([(":path", "/")])

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return http2.Connection._frame(kind, flags, stream, payload)

    def flood() -> Iterator[bytes]:
        yield http2.PREFACE
        if what == "unread":  # a window of nothing, so that answers pile up
            yield frame(http2.SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x00")
        for number in range(400):
            stream = 2 * number + 1
            if what == "frame":
                yield frame(http2.HEADERS, 0, 1, begin) + b"\xff\xff\xff\x09\x00\x00\x00\x00\x01"
            elif what == "header":
                yield frame(http2.CONTINUATION if number else http2.HEADERS, 0, 1, b"\x00" * 16000)
            elif what == "unread":
                yield frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream, begin)
            else:
                yield frame(http2.HEADERS, http2.END_HEADERS, stream, begin)

    with here, contextlib.suppress(ConnectionError):
        threading.Thread(target=rest, args=(here,), daemon=True).start()
        for piece in flood():
            here.sendall(piece)
    said.join(5)
    assert not said.is_alive()


def test_a_server_of_http2_keeps_no_body() -> None:
    here, there = socket.socketpair()
    seen: list[http2.Message] = []

    def answer(request: http2.Message) -> tuple[int, bytes]:
        seen.append(request)
        return 200, b"ok"

    threading.Thread(target=http2.serve, args=(there, answer), daemon=True).start()
    threading.Thread(target=rest, args=(here,), daemon=True).start()
    with here:
        frame = http2.Connection._frame
        block = hpack.encode([(":path", "/")])
        here.sendall(http2.PREFACE + frame(http2.HEADERS, http2.END_HEADERS, 1, block))
        for number in range(300):
            flags = http2.END_STREAM if number == 299 else 0
            here.sendall(frame(http2.DATA, flags, 1, b"x" * 16000))
        for _ in range(100):
            if seen:
                break
            time.sleep(0.05)

    assert [request.body for request in seen] == [b""]


def serve_http2(sock: socket.socket) -> None:
    with sock, contextlib.suppress(OSError):
        http2.serve(sock, lambda request: (200, b"ok"))
        pytest.fail("the connection ended as if it were well")


def pairs(count: int, stack: contextlib.ExitStack) -> Iterator[socket.socket]:
    for _ in range(count):
        here, there = socket.socketpair()
        stack.enter_context(here)
        yield there


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
