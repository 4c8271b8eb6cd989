"""HTTP/2 without TLS (RFC 9113), as much as a probe needs.

- Whole requests and answers, multiplexing, flow control.
- Runs inside probe pods: standard library only, Python 3.8 or newer.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from .hpack import HeaderDecoder, ProtocolError, encode

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
GOAWAY, WINDOW_UPDATE, CONTINUATION = 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 3, 4, 5
FRAME_LIMIT = 16384  # RFC 9113 §6.5.2: what a peer may send as long as we do not announce more
MAX_BODY = 1 << 20
MAX_HEADER = 65536
MAX_STREAMS = 100
"""Bytes of an answer's body and of a header block, and how many requests are open at once."""


class Message:
    """A whole request or answer: its stream, headers (pseudo-headers too) and body."""

    def __init__(self, stream: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.stream = stream
        self.headers = headers
        self.body = body

    def header(self, name: str) -> str:
        """The first header of that name, or nothing."""
        return next((value for key, value in self.headers if key == name), "")


class Connection:
    """One side of a connection, used by a single thread.

    ``receive`` answers PING, SETTINGS and flow control on the way.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._file = sock.makefile("rb")
        self._decoder = HeaderDecoder()
        self._window = self._initial_window = 65535
        self._windows: dict[int, int] = {}
        self._unsent: list[tuple[int, bytes]] = []
        self._open: dict[int, tuple[list[tuple[str, str]], bytearray]] = {}
        self._largest_frame = FRAME_LIMIT
        self._keeps_bodies = True
        self.going_away = False

    def start(self, *, client: bool) -> None:
        """Exchange prefaces, which only a client begins with the magic, and SETTINGS.

        A server says how many requests it takes at once, and keeps no bodies of requests.
        """
        self._keeps_bodies = client
        most = b"" if client else struct.pack(">HI", MAX_CONCURRENT_STREAMS, MAX_STREAMS)
        self._socket.sendall((PREFACE if client else b"") + self._frame(SETTINGS, 0, 0, most))
        if not client and self._file.read(len(PREFACE)) != PREFACE:
            raise ProtocolError("not an HTTP/2 client")

    def send(self, stream: int, headers: list[tuple[str, str]], body: bytes = b"") -> None:
        """Send a whole message; parts beyond the peer's window go out while receiving."""
        flags = END_HEADERS if body else END_HEADERS | END_STREAM
        self._socket.sendall(self._frame(HEADERS, flags, stream, encode(headers)))
        if body:
            self._windows.setdefault(stream, self._initial_window)
            self._unsent.append((stream, body))
            self._flush()
        else:
            self._windows.pop(stream, None)

    def receive(self) -> Message | None:
        """The next whole message, or None when the peer has closed between messages."""
        while True:
            head = self._file.read(9)
            if not head:
                return None
            if len(head) < 9:
                raise ProtocolError("closed inside a frame")
            length = int.from_bytes(head[:3], "big")
            if length > FRAME_LIMIT:
                raise ProtocolError(f"frame of {length} bytes")
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF
            payload = self._file.read(length)
            if len(payload) < length:
                raise ProtocolError("closed inside a frame")
            message = self._take(kind, flags, stream, payload)
            if message is not None:
                return message

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> Message | None:
        if kind == HEADERS:
            return self._headers(flags, stream, payload)
        if kind == DATA:
            return self._data(flags, stream, payload)
        if kind == RST_STREAM:
            self._forget(stream)
            return Message(stream, [(":reset", str(int.from_bytes(payload, "big")))], b"")
        if kind == SETTINGS and not flags & ACK:
            self._settings(payload)
        elif kind == WINDOW_UPDATE:
            self._granted(stream, int.from_bytes(payload, "big") & 0x7FFFFFFF)
        elif kind == PING and not flags & ACK:
            self._socket.sendall(self._frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.going_away = True
        elif kind == CONTINUATION:
            raise ProtocolError("CONTINUATION without HEADERS")
        return None

    def _data(self, flags: int, stream: int, payload: bytes) -> Message | None:
        if payload:
            size = struct.pack(">I", len(payload))
            grants = [self._frame(WINDOW_UPDATE, 0, whose, size) for whose in (0, stream)]
            self._socket.sendall(b"".join(grants))
        if stream not in self._open:
            return None
        content = self._unpadded(flags, payload)
        if self._keeps_bodies:
            body = self._open[stream][1]
            body += content
            if len(body) > MAX_BODY:
                raise ProtocolError(f"body above {MAX_BODY} bytes")
        return self._complete(stream) if flags & END_STREAM else None

    def _settings(self, payload: bytes) -> None:
        for at in range(0, len(payload) - 5, 6):
            key, value = struct.unpack(">HI", payload[at : at + 6])
            if key == INITIAL_WINDOW_SIZE:
                more = value - self._initial_window
                self._windows = {known: left + more for known, left in self._windows.items()}
                self._initial_window = value
            elif key == MAX_FRAME_SIZE:
                self._largest_frame = value
        self._socket.sendall(self._frame(SETTINGS, ACK, 0, b""))
        self._flush()

    def _granted(self, stream: int, size: int) -> None:
        if not stream:
            self._window += size
        elif stream in self._windows or stream in self._open:  # else it is closed already
            self._windows[stream] = self._windows.get(stream, self._initial_window) + size
        self._flush()

    def _headers(self, flags: int, stream: int, payload: bytes) -> Message | None:
        block = self._unpadded(flags, payload)
        if flags & PRIORITY:
            block = block[5:]
        more = flags
        while not more & END_HEADERS:
            head = self._file.read(9)
            if len(head) < 9 or head[3] != CONTINUATION:
                raise ProtocolError("header block is not continued")
            length = int.from_bytes(head[:3], "big")
            if length > FRAME_LIMIT or len(block) + length > MAX_HEADER:
                raise ProtocolError(f"header block above {MAX_HEADER} bytes")
            more = head[4]
            block += self._file.read(length)
        headers = self._decoder.decode(block)
        if stream not in self._open:  # else they are trailers, which no probe needs
            if any(name == ":status" and value.startswith("1") for name, value in headers):
                return None
            if len(self._open) >= MAX_STREAMS or len(self._unsent) >= MAX_STREAMS:
                raise ProtocolError(f"more than {MAX_STREAMS} streams at once")
            self._open[stream] = (headers, bytearray())
        return self._complete(stream) if flags & END_STREAM else None

    def _complete(self, stream: int) -> Message:
        headers, body = self._open.pop(stream)
        return Message(stream, headers, bytes(body))

    def _forget(self, stream: int) -> None:
        self._open.pop(stream, None)
        self._windows.pop(stream, None)
        self._unsent = [(other, body) for other, body in self._unsent if other != stream]

    def _flush(self) -> None:
        waiting: list[tuple[int, bytes]] = []
        for stream, body in self._unsent:
            sent = 0
            while sent < len(body):
                window = self._windows.get(stream, self._initial_window)
                size = min(len(body) - sent, self._window, window, self._largest_frame)
                if size <= 0:
                    waiting.append((stream, body[sent:]))
                    break
                piece = body[sent : sent + size]
                sent += size
                self._window -= size
                self._windows[stream] = window - size
                flags = 0 if sent < len(body) else END_STREAM
                self._socket.sendall(self._frame(DATA, flags, stream, piece))
                if sent == len(body):
                    self._windows.pop(stream, None)
        self._unsent = waiting

    @staticmethod
    def _unpadded(flags: int, payload: bytes) -> bytes:
        if not flags & PADDED:
            return payload
        if not payload or payload[0] >= len(payload):
            raise ProtocolError("wrong padding")
        return payload[1 : len(payload) - payload[0]]

    @staticmethod
    def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
        return head + payload


def serve(sock: socket.socket, answer: Callable[[Message], tuple[int, bytes]]) -> None:
    """Answer requests on an accepted connection, as JSON, until the client closes it."""
    connection = Connection(sock)
    connection.start(client=False)
    while True:
        request = connection.receive()
        if request is None:
            return
        if request.header(":reset"):
            continue
        status, body = answer(request)
        headers = [(":status", str(status)), ("content-type", "application/json")]
        headers.append(("content-length", str(len(body))))
        connection.send(request.stream, headers, body)


class Client:
    """A connection with prior knowledge (RFC 9113 §3.3), for successive requests."""

    def __init__(self, sock: socket.socket) -> None:
        self._connection = Connection(sock)
        self._stream = -1
        self._connection.start(client=True)

    @property
    def usable(self) -> bool:
        """Whether the server still takes requests on this connection."""
        return not self._connection.going_away

    def get(self, authority: str, path: str, headers: list[tuple[str, str]]) -> Message:
        """Send a GET and return its answer.

        Raises :class:`ProtocolError` where the stream is reset or the connection ends.
        """
        self._stream += 2
        pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", authority)]
        self._connection.send(self._stream, [*pseudo, (":path", path), *headers])
        while True:
            answer = self._connection.receive()
            if answer is None:
                raise ProtocolError("closed without an answer")
            if answer.stream == self._stream:
                if answer.header(":reset"):
                    raise ProtocolError(f"stream reset with code {answer.header(':reset')}")
                return answer
