"""Channels: several byte streams over one upgraded connection to the apiserver.

- These are Kubernetes' ``channel.k8s.io`` protocols.
- One thread owns the socket: two must not read and write a TLS connection at the same time.
- That thread sleeps until there is something to do: a waiting session costs nothing, and an
  answer is handed over at once.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from websocket import WebSocket

_READ_SIZE = 1 << 18
_PING_AFTER_SECONDS = 15.0  # load balancers before apiservers cut connections idle for a minute
_DEAD_AFTER_SECONDS = 45.0

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class Channels:
    """Send and receive on numbered channels.

    ``on_data(channel, data)`` and, once, ``on_end(reason)`` are called from the thread that owns
    the connection; they must not block.
    """

    def __init__(
        self,
        websocket: WebSocket,
        name: str,
        on_data: Callable[[int, bytes], None],
        on_end: Callable[[str], None],
    ) -> None:
        self.protocol: str = websocket.subprotocol or ""
        assert websocket.sock is not None
        self._socket: socket.socket = websocket.sock
        self._on_data = on_data
        self._on_end = on_end
        self._lock = threading.Lock()
        self._outgoing: deque[memoryview] = deque()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._closing = False
        self._ended = False
        self._frames = Frames()
        self._socket.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def send(self, channel: int, data: bytes) -> None:
        """Queue bytes for a channel; :class:`ConnectionError` where the connection has ended."""
        self._queue(frame(_BINARY, bytes([channel]) + data))

    def close(self) -> None:
        """End the connection and wait for its thread, ``on_end`` included."""
        with self._lock:
            self._closing = True
            self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(5)

    def _queue(self, data: bytes) -> None:
        with self._lock:
            if self._ended or self._closing:
                raise ConnectionError("the connection has ended")
            self._outgoing.append(memoryview(data))
            self._wake()

    def _wake(self) -> None:
        if not self._ended:
            with suppress(BlockingIOError):  # a full pipe: the thread is about to wake anyway
                os.write(self._wake_write, b"x")

    def _run(self) -> None:
        reason = "the connection was closed"
        try:
            reason = self._pump()
        except (OSError, ValueError) as error:
            reason = f"the connection broke: {error}"
        finally:
            with self._lock:
                self._ended = True
                os.close(self._wake_read)
                os.close(self._wake_write)
            self._socket.close()
            self._on_end(reason)

    def _pump(self) -> str:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        descriptor = self._socket.fileno()
        heard = pinged = time.monotonic()
        wants = select.POLLIN
        poll.register(descriptor, wants)
        # What came with the answer to the upgrade is decrypted already and would not wake the poll.
        ready = True
        while True:
            if not ready:
                events = dict(poll.poll(_PING_AFTER_SECONDS * 1000))
                if self._wake_read in events:
                    os.read(self._wake_read, 4096)
                ready = descriptor in events
            now = time.monotonic()
            if ready:
                ended = self._read()
                heard = now
                if ended:
                    return ended
                ready = False
            if self._closing:
                self._say_goodbye()
                return "the connection was closed"
            if now - heard > _DEAD_AFTER_SECONDS:
                return f"nothing was heard for {now - heard:.0f} s"
            if now - max(heard, pinged) >= _PING_AFTER_SECONDS - 1:
                pinged = now
                with self._lock:
                    self._outgoing.append(memoryview(frame(_PING, b"")))
            now_wants = select.POLLIN | (0 if self._write() else select.POLLOUT)
            if now_wants != wants:
                poll.modify(descriptor, now_wants)
                wants = now_wants

    def _read(self) -> str:
        """Read all there is; the reason for the end, if any."""
        while True:
            try:
                data = self._socket.recv(_READ_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return ""
            if not data:
                return "the other side ended the connection"
            for code, payload in self._frames.feed(data):
                if code == _CLOSE:
                    return "the other side ended the connection"
                if code == _PING:
                    with self._lock:
                        self._outgoing.append(memoryview(frame(_PONG, payload)))
                elif code != _PONG and payload:
                    self._on_data(payload[0], payload[1:])

    def _write(self) -> bool:
        """Write from the queue until the socket is full; whether all went."""
        while True:
            with self._lock:
                if not self._outgoing:
                    return True
                data = self._outgoing[0]
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            with self._lock:
                if sent == len(data):
                    self._outgoing.popleft()
                else:
                    self._outgoing[0] = data[sent:]

    def _say_goodbye(self) -> None:
        with self._lock:
            self._outgoing.append(memoryview(frame(_CLOSE, struct.pack(">H", 1000))))
        self._write()


def frame(code: int, payload: bytes) -> bytes:
    """One masked client frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", 0x80 | code, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", 0x80 | code, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", 0x80 | code, 0x80 | 127, size)
    mask = os.urandom(4)
    stretched = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return head + mask + masked.to_bytes(size, "big")


class Frames:
    """Puts messages together from the bytes of server frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._fragments: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The messages that are complete with ``data``: opcode and payload."""
        self._buffer += data
        at = 0
        while (message := self._one(at)) is not None:
            code, final, payload, at = message
            if code in (_CLOSE, _PING, _PONG):
                yield code, payload
                continue
            self._fragments.append(payload)
            if final:
                whole, self._fragments = b"".join(self._fragments), []
                yield _BINARY, whole
        del self._buffer[:at]

    def _one(self, at: int) -> tuple[int, bool, bytes, int] | None:
        buffer = self._buffer
        if len(buffer) < at + 2:
            return None
        size = buffer[at + 1] & 0x7F
        begin = at + 2
        if size >= 126:
            begin += 2 if size == 126 else 8
            if len(buffer) < begin:
                return None
            size = int.from_bytes(buffer[at + 2 : begin], "big")
        if len(buffer) < begin + size:
            return None
        code, final, end = buffer[at] & 0x0F, bool(buffer[at] & 0x80), begin + size
        return code, final, bytes(buffer[begin:end]), end
