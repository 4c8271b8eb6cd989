"""HTTP/2 without TLS, as much as a probe needs (RFC 9113, RFC 7541): whole requests and answers, multiplexing, flow control.

Runs inside probe pods beside ``agent.py``: standard library only, Python 3.8 or newer.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0,
    1,
    3,
    4,
    6,
    7,
    8,
    9,
)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 4, 5
FRAME_LIMIT = 16384  # RFC 9113 §6.5.2: what a peer may send as long as we do not announce more
TABLE_LIMIT = 4096  # RFC 7541 §4.2: the dynamic table's size as long as we do not announce another
MAX_BODY = 1 << 20

# RFC 7541 appendix A; an entry is a name, or a name and a value.
_STATIC_ENTRIES = (
    ":authority;:method=GET;:method=POST;:path=/;:path=/index.html;:scheme=http;:scheme=https;:status=200;:status=204;"
    ":status=206;:status=304;:status=400;:status=404;:status=500;accept-charset;accept-encoding=gzip, deflate;"
    "accept-language;accept-ranges;accept;access-control-allow-origin;age;allow;authorization;cache-control;"
    "content-disposition;content-encoding;content-language;content-length;content-location;content-range;content-type;"
    "cookie;date;etag;expect;expires;from;host;if-match;if-modified-since;if-none-match;if-range;if-unmodified-since;"
    "last-modified;link;location;max-forwards;proxy-authenticate;proxy-authorization;range;referer;refresh;retry-after;"
    "server;set-cookie;strict-transport-security;transfer-encoding;user-agent;vary;via;www-authenticate"
)
STATIC_TABLE = [
    (entry.partition("=")[0], entry.partition("=")[2]) for entry in _STATIC_ENTRIES.split(";")
]

# RFC 7541 appendix B: the code is canonical, so the length of each symbol's code (two hexadecimal digits a symbol) is all of it.
_CODE_LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b080606060505050606060606060607080f06"
    "0c0a0d06070707070707070707070707070707070707070707070807080d130d0e060f05060506050606060507070606060506070605050607070707070f"
    "0b0e0d1c14161414161616171617171717171817181816171817171717151617161717181615141616171715171616181516171715151615171617171416"
    "1616171616171a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b14181415161515171616191918181a171a1b1a1a1b1b1b1b"
    "1b1c1b1b1b1b1b1a1e"
)


def _huffman_codes() -> dict[tuple[int, int], int]:
    codes: dict[tuple[int, int], int] = {}
    code = length = 0
    for symbol in sorted(range(257), key=lambda symbol: (_CODE_LENGTHS[symbol], symbol)):
        code <<= _CODE_LENGTHS[symbol] - length
        length = _CODE_LENGTHS[symbol]
        codes[length, code] = symbol
        code += 1
    return codes


_CODES = _huffman_codes()


class ProtocolError(OSError):
    """The peer broke the protocol, refused a stream or closed in the middle; an OSError like any other broken connection."""


class HeaderDecoder:
    """HPACK decoding; one for a connection, because the dynamic table lives as long as the connection."""

    def __init__(self) -> None:
        self._table: list[tuple[str, str]] = []
        self._limit = TABLE_LIMIT

    def decode(self, block: bytes) -> list[tuple[str, str]]:
        """The headers of one complete header block, in order."""
        headers: list[tuple[str, str]] = []
        at = 0
        while at < len(block):
            byte = block[at]
            if byte & 0x80:
                index, at = self._integer(block, at, 7)
                headers.append(self._entry(index))
            elif byte & 0xE0 == 0x20:
                self._limit, at = self._integer(block, at, 5)
                if self._limit > TABLE_LIMIT:
                    raise ProtocolError("HPACK: table size above the limit")
                self._evict()
            else:
                remember = bool(byte & 0x40)
                index, at = self._integer(block, at, 6 if remember else 4)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, at = self._string(block, at)
                value, at = self._string(block, at)
                headers.append((name, value))
                if remember:
                    self._table.insert(0, (name, value))
                    self._evict()
        return headers

    def _entry(self, index: int) -> tuple[str, str]:
        if 1 <= index <= len(STATIC_TABLE):
            return STATIC_TABLE[index - 1]
        if len(STATIC_TABLE) < index <= len(STATIC_TABLE) + len(self._table):
            return self._table[index - len(STATIC_TABLE) - 1]
        raise ProtocolError(f"HPACK: index {index} out of range")

    def _evict(self) -> None:
        while sum(len(name) + len(value) + 32 for name, value in self._table) > self._limit:
            self._table.pop()

    @staticmethod
    def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
        limit = (1 << bits) - 1
        try:
            value = block[at] & limit
            at += 1
            shift = 0
            while value >= limit:
                value += (block[at] & 0x7F) << shift
                shift += 7
                at += 1
                if not block[at - 1] & 0x80:
                    break
                if shift > 28:
                    raise ProtocolError("HPACK: integer too large")
        except IndexError:
            raise ProtocolError("HPACK: block ends inside an integer") from None
        return value, at

    def _string(self, block: bytes, at: int) -> tuple[str, int]:
        coded = at < len(block) and bool(block[at] & 0x80)
        length, at = self._integer(block, at, 7)
        raw = block[at : at + length]
        if len(raw) != length:
            raise ProtocolError("HPACK: block ends inside a string")
        return (self._huffman(raw) if coded else raw).decode("latin-1"), at + length

    @staticmethod
    def _huffman(raw: bytes) -> bytes:
        out = bytearray()
        code = length = 0
        for byte in raw:
            for shift in range(7, -1, -1):
                code = code << 1 | (byte >> shift & 1)
                length += 1
                symbol = _CODES.get((length, code))
                if symbol is not None:
                    out.append(symbol)
                    code = length = 0
        if length > 7 or code != (1 << length) - 1:
            raise ProtocolError(
                "HPACK: wrong padding"
            )  # RFC 7541 §5.2: fewer than 8 bits, all ones
        return bytes(out)


def encode(headers: list[tuple[str, str]]) -> bytes:
    """A header block of literals without indexing and without Huffman coding (RFC 7541 §6.2.2); keeps no state."""
    block = bytearray()
    for name, value in headers:
        block.append(0)
        for text in (name.encode("latin-1"), value.encode("latin-1")):
            if len(text) < 127:
                block.append(len(text))
            else:
                block.append(127)
                rest = len(text) - 127
                while rest >= 128:
                    block.append(rest & 0x7F | 0x80)
                    rest >>= 7
                block.append(rest)
            block += text
    return bytes(block)


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
    """One side of a connection; a single thread uses it. ``receive`` answers PING, SETTINGS and flow control on the way."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._file = sock.makefile("rb")
        self._decoder = HeaderDecoder()
        self._window = self._initial_window = 65535
        self._windows: dict[int, int] = {}
        self._unsent: list[tuple[int, bytes]] = []
        self._open: dict[int, tuple[list[tuple[str, str]], bytearray]] = {}
        self._largest_frame = FRAME_LIMIT
        self.going_away = False

    def start(self, *, client: bool) -> None:
        """Exchange prefaces: a client sends the magic, a server demands it; both send empty SETTINGS."""
        self._socket.sendall((PREFACE if client else b"") + self._frame(SETTINGS, 0, 0, b""))
        if not client and self._file.read(len(PREFACE)) != PREFACE:
            raise ProtocolError("not an HTTP/2 client")

    def send(self, stream: int, headers: list[tuple[str, str]], body: bytes = b"") -> None:
        """Send a whole message; what the peer's window does not admit yet goes out while receiving."""
        self._socket.sendall(
            self._frame(HEADERS, END_HEADERS | (0 if body else END_STREAM), stream, encode(headers))
        )
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
            grant = struct.pack(">I", len(payload))
            self._socket.sendall(
                self._frame(WINDOW_UPDATE, 0, 0, grant)
                + self._frame(WINDOW_UPDATE, 0, stream, grant)
            )
        if stream not in self._open:
            return None
        body = self._open[stream][1]
        body += self._unpadded(flags, payload)
        if len(body) > MAX_BODY:
            raise ProtocolError(f"body above {MAX_BODY} bytes")
        return self._complete(stream) if flags & END_STREAM else None

    def _settings(self, payload: bytes) -> None:
        for at in range(0, len(payload) - 5, 6):
            key, value = struct.unpack(">HI", payload[at : at + 6])
            if key == INITIAL_WINDOW_SIZE:
                self._windows = {
                    known: left + value - self._initial_window
                    for known, left in self._windows.items()
                }
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
            if len(block) > MAX_BODY:
                raise ProtocolError(f"header block above {MAX_BODY} bytes")
            more = head[4]
            block += self._file.read(int.from_bytes(head[:3], "big"))
        headers = self._decoder.decode(block)
        if (
            stream not in self._open
        ):  # a second block on a stream holds trailers, which no probe needs
            if any(name == ":status" and value.startswith("1") for name, value in headers):
                return None
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
                size = min(
                    len(body) - sent,
                    self._window,
                    self._windows.get(stream, self._initial_window),
                    self._largest_frame,
                )
                if size <= 0:
                    waiting.append((stream, body[sent:]))
                    break
                piece = body[sent : sent + size]
                sent += size
                self._window -= size
                self._windows[stream] = self._windows.get(stream, self._initial_window) - size
                self._socket.sendall(
                    self._frame(DATA, 0 if sent < len(body) else END_STREAM, stream, piece)
                )
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
        return (
            len(payload).to_bytes(3, "big")
            + bytes((kind, flags))
            + stream.to_bytes(4, "big")
            + payload
        )


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
        size = str(len(body))
        connection.send(
            request.stream,
            [
                (":status", str(status)),
                ("content-type", "application/json"),
                ("content-length", size),
            ],
            body,
        )


class Client:
    """A connection with prior knowledge (RFC 9113 §3.3), one request after the other."""

    def __init__(self, sock: socket.socket) -> None:
        self._connection = Connection(sock)
        self._stream = -1
        self._connection.start(client=True)

    @property
    def usable(self) -> bool:
        """Whether the server still takes requests on this connection."""
        return not self._connection.going_away

    def get(self, authority: str, path: str, headers: list[tuple[str, str]]) -> Message:
        """Send a GET and return its answer; :class:`ProtocolError` when the stream is reset or the connection ends."""
        self._stream += 2
        pseudo = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", authority),
            (":path", path),
        ]
        self._connection.send(self._stream, pseudo + headers)
        while True:
            answer = self._connection.receive()
            if answer is None:
                raise ProtocolError("closed without an answer")
            if answer.stream == self._stream:
                if answer.header(":reset"):
                    raise ProtocolError(f"stream reset with code {answer.header(':reset')}")
                return answer
