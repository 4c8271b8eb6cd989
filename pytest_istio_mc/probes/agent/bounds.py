"""Bounds: what strangers can cost a probe server in connections, time and bytes.

Runs inside probe pods: standard library only, Python 3.8 or newer.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

MOST_CONNECTIONS = 256
"""At once, on all ports together; each is a thread."""

MOST_REFUSALS = 16
"""How many connections more are told so; all others are closed without a word."""

SECONDS = 30.0
"""For a whole request: from the connection, or its first byte, to the end of its body."""

MOST_HEADER = 65536
"""Bytes of all headers of a request together, or of a line of the TCP protocol."""

MOST_BODY = 1 << 20
PIECE = 65536

KEY_HEADER = "x-istio-mc-key"
"""Every request of the run's own clients has it."""

ID_HEADER = "x-istio-mc-id"
"""A request with it is written down by the server that gets it (``served``)."""

KEY = os.environ.get("ISTIO_MC_KEY", "")
"""The run's own, the same in all its pods."""


class Connections:
    """The connections of one server: no more than ``most``, and none that takes too long."""

    def __init__(self, most: int = MOST_CONNECTIONS, seconds: float = SECONDS) -> None:
        self._most = most
        self.seconds = seconds
        self._lock = threading.Lock()
        self._open: dict[Connection, float] = {}

    def start(
        self,
        sock: socket.socket,
        serve: Callable[[Connection], None],
        refuse: Callable[[socket.socket], None],
    ) -> None:
        """Have a thread ``serve`` the connection, or ``refuse`` it where there are too many."""
        connection = Connection(sock, self)
        with self._lock:
            count = len(self._open)
            if count < self._most + MOST_REFUSALS:
                self._open[connection] = time.monotonic() + self.seconds
        if count >= self._most + MOST_REFUSALS:
            sock.close()
            return

        def work() -> None:
            try:
                if count < self._most:
                    serve(connection)
                else:
                    refuse(sock)
            except (OSError, ValueError):
                pass  # a client that went away or spoke something else
            finally:
                with self._lock:
                    self._open.pop(connection, None)
                sock.close()

        try:
            threading.Thread(target=work, daemon=True).start()
        except RuntimeError:  # the pod may have no more threads
            with self._lock:
                self._open.pop(connection, None)
            sock.close()

    def allow(self, connection: Connection, seconds: float) -> None:
        """From now on the connection may take so long; shut down later, by :meth:`watch`."""
        with self._lock:
            if connection in self._open:
                self._open[connection] = time.monotonic() + seconds

    def watch(self) -> None:
        """Shut down, for ever, what takes too long: its thread then reads the end."""
        while True:
            time.sleep(min(1.0, self.seconds / 4))
            now = time.monotonic()
            with self._lock:
                late = [one for one, until in self._open.items() if until < now]
            for connection in late:
                try:
                    connection.sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it is down already


class Connection:
    """One connection of a server, read through a buffer of its own."""

    def __init__(self, sock: socket.socket, among: Connections) -> None:
        self.sock = sock
        self._among = among
        self._came = b""

    def asks(self) -> None:
        """A request begins: it has to end in time."""
        self._among.allow(self, self._among.seconds)

    def rests(self) -> None:
        """A client of this run has its answer, and may keep the connection.

        A proxy keeps connections for an hour, and would send into one that closes.
        """
        self._among.allow(self, float("inf"))

    def peek(self) -> bytes:
        """The next byte, which stays; empty at the end."""
        self._fill(1)
        return self._came[:1]

    def line(self, most: int) -> bytes:
        """The next line with its end, which is missing where the line is longer than that."""
        while b"\n" not in self._came and len(self._came) < most and self._more():
            pass
        at = self._came.find(b"\n", 0, most) + 1 or min(most, len(self._came))
        line, self._came = self._came[:at], self._came[at:]
        return line

    def skip(self, count: int) -> bool:
        """Read so many bytes and keep none; whether all of them came."""
        while count > 0:
            if not self._came and not self._more():
                return False
            dropped = min(count, len(self._came))
            self._came = self._came[dropped:]
            count -= dropped
        return True

    def _fill(self, count: int) -> None:
        while len(self._came) < count and self._more():
            pass

    def _more(self) -> bool:
        piece = self.sock.recv(PIECE)
        self._came += piece
        return bool(piece)
