"""HTTP/2: both sides against each other where it gets tight."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from pytest_istio_mc.probes.agent import hpack, http2


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    here.settimeout(5)
    there.settimeout(5)
    with here, there:
        yield here, there


def serving(sock: socket.socket, body: bytes) -> threading.Thread:
    def run() -> None:
        try:
            http2.serve(sock, lambda request: (200, body))
        except OSError:
            pass  # the client of the test went away
        finally:
            sock.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_an_answer_larger_than_the_window_waits_for_room(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    body = bytes(range(256)) * 1024  # 256 KiB, the window is 64 KiB
    thread = serving(pair[1], body)
    client = http2.Client(pair[0])

    for path in ("/a", "/b", "/c"):
        answer = client.get("x", path, [])
        assert answer.header(":status") == "200"
        assert answer.body == body

    pair[0].shutdown(socket.SHUT_RDWR)
    thread.join(5)
    assert not thread.is_alive()


def test_a_peer_that_sends_in_pieces_pads_and_pings_is_understood(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    seen: list[http2.Message] = []

    def answer(request: http2.Message) -> tuple[int, bytes]:
        seen.append(request)
        return 200, b"ok"

    thread = threading.Thread(target=lambda: http2.serve(pair[1], answer), daemon=True)
    thread.start()
    block = hpack.encode([(":method", "GET"), (":path", "/"), ("x", "y" * 300)])
    padded = b"\x03" + b"\x00" * 5 + block[:100] + b"\x00" * 3
    last = http2.END_HEADERS | http2.END_STREAM
    pieces = [
        http2.PREFACE,
        frame(http2.SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x01"),  # a window of one byte
        frame(http2.PING, 0, 0, b"12345678"),
        frame(0x21, 0, 0, b"an extension"),
        frame(http2.HEADERS, http2.PADDED | http2.PRIORITY, 1, padded),
        frame(http2.CONTINUATION, 0, 1, block[100:200]),
        frame(http2.CONTINUATION, http2.END_HEADERS, 1, block[200:]),
        frame(http2.DATA, http2.PADDED, 1, b"\x02body\x00\x00"),
        frame(http2.HEADERS, last, 1, hpack.encode([("grpc-status", "0")])),
        frame(http2.WINDOW_UPDATE, 0, 1, b"\x00\x00\x00\x05"),
    ]
    for byte in b"".join(pieces):
        pair[0].sendall(bytes([byte]))
    pair[0].shutdown(socket.SHUT_WR)
    thread.join(5)
    pair[1].close()
    came = frames(pair[0])

    (request,) = seen
    assert (request.header(":path"), request.header("x"), request.body) == ("/", "y" * 300, b"")
    assert (http2.PING, http2.ACK, 0, b"12345678") in came
    assert (http2.SETTINGS, http2.ACK, 0, b"") in came
    assert [(flags, payload) for kind, flags, _, payload in came if kind == http2.DATA] == [
        (0, b"o"),
        (http2.END_STREAM, b"k"),
    ]


def test_a_stream_that_the_server_resets_is_an_error_with_its_code(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    pair[1].sendall(
        frame(http2.SETTINGS, 0, 0, b"") + frame(http2.RST_STREAM, 0, 1, b"\x00\x00\x00\x07")
    )

    with pytest.raises(hpack.ProtocolError, match="code 7"):
        http2.Client(pair[0]).get("x", "/", [])


def test_a_connection_that_ends_in_the_middle_is_an_error(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    pair[1].sendall(frame(http2.SETTINGS, 0, 0, b"") + b"\x00\x00")
    pair[1].shutdown(socket.SHUT_WR)

    with pytest.raises(hpack.ProtocolError, match="closed inside a frame"):
        http2.Client(pair[0]).get("x", "/", [])


def test_the_padding_of_an_answer_is_no_part_of_it(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    block = hpack.encode([(":status", "200")])
    headers = frame(http2.HEADERS, http2.END_HEADERS, 1, block)
    data = frame(http2.DATA, http2.PADDED | http2.END_STREAM, 1, b"\x02body\x00\x00")
    pair[1].sendall(frame(http2.SETTINGS, 0, 0, b"") + headers + data)

    assert http2.Client(pair[0]).get("x", "/", []).body == b"body"


def test_a_server_that_goes_away_is_not_used_again(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    block = hpack.encode([(":status", "200")])
    headers = frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 1, block)
    pair[1].sendall(frame(http2.GOAWAY, 0, 0, b"\x00" * 8) + headers)
    client = http2.Client(pair[0])

    assert client.get("x", "/", []).header(":status") == "200"
    assert not client.usable


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def frames(sock: socket.socket) -> list[tuple[int, int, int, bytes]]:
    raw = b""
    while piece := sock.recv(65536):
        raw += piece
    found = []
    while raw:
        size = int.from_bytes(raw[:3], "big")
        found.append((raw[3], raw[4], int.from_bytes(raw[5:9], "big"), raw[9 : 9 + size]))
        raw = raw[9 + size :]
    return found
