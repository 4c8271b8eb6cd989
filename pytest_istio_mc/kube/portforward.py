"""Port-forward: HTTP to a port of a pod, as if from inside."""

from __future__ import annotations

import http.client
import io
import threading
import time
from collections import defaultdict, deque
from typing import Any

from ..errors import KubeError
from .channels import Channels
from .connection import Connection

# One stream a port; its first two bytes repeat the port (the kubelet's portforward/websocket.go).
_PROTOCOLS = ("v4.channel.k8s.io",)
_DATA, _ERROR = 0, 1

MOST_BYTES = 64 << 20
"""Of an answer; what is longer is not read to its end."""

# A dump of all proxies may well take longer than a server's longest silence, but not for ever.
SILENCES = 6


class PodHttp:
    """GET requests to pods' own ports, over kept connections."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._idle: defaultdict[tuple[str, str, int], deque[_Tunnel]] = defaultdict(deque)

    def get(
        self,
        namespace: str,
        pod: str,
        port: int,
        path: str,
        timeout_seconds: float,
        most_bytes: int = MOST_BYTES,
    ) -> bytes:
        """The body of the answer.

        :class:`KubeError` where it is not 2xx (with its status), did not come or is too long.
        """
        key = (namespace, pod, port)
        thing = f"{self._connection.thing}: pod {namespace}/{pod}"
        step = f"GET localhost:{port}{path}"
        while True:
            with self._lock:
                idle = self._idle[key]
                tunnel, fresh = (idle.pop(), False) if idle else (None, True)
            if tunnel is None:
                tunnel = _Tunnel(self._connection, namespace, pod, port, timeout_seconds)
            try:
                status, body = tunnel.get(path, timeout_seconds, most_bytes)
            except (OSError, http.client.HTTPException) as error:
                tunnel.end()
                if not fresh and not isinstance(error, TimeoutError):
                    continue  # a kept connection may have been closed: that says nothing of the pod
                details = (str(error) or type(error).__name__, tunnel.complaint)
                raise KubeError(thing, step, "; ".join(filter(None, details))) from error
            if len(body) > most_bytes:
                tunnel.end()
                detail = f"the answer is longer than {most_bytes / (1 << 20):g} MiB"
                raise KubeError(thing, step, detail)
            if tunnel.usable:
                with self._lock:
                    self._idle[key].append(tunnel)
            else:
                tunnel.end()
            if not 200 <= status < 300:
                detail = f"HTTP {status}: {body[:300].decode(errors='replace')}"
                raise KubeError(thing, step, detail, status=status)
            return body

    def close(self) -> None:
        """Close the kept connections."""
        with self._lock:
            tunnels = [tunnel for idle in self._idle.values() for tunnel in idle]
            self._idle.clear()
        for tunnel in tunnels:
            tunnel.end()


class _Tunnel:
    """One forwarded TCP connection with HTTP on it."""

    def __init__(
        self, connection: Connection, namespace: str, pod: str, port: int, timeout_seconds: float
    ) -> None:
        self.complaint = ""
        self.usable = True
        self._incoming = _Incoming()
        self._skip = {_DATA: 2, _ERROR: 2}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/portforward"
        query = [("ports", str(port))]
        websocket = connection.websocket(path, query, _PROTOCOLS, timeout_seconds=timeout_seconds)
        name = f"port {port} of {namespace}/{pod}"
        self._channels = Channels(websocket, name, self._on_data, self._incoming.end)
        self._http = http.client.HTTPConnection("localhost", port)
        self._http.auto_open = 0
        self._http.sock = self

    def get(self, path: str, timeout_seconds: float, most_bytes: int) -> tuple[int, bytes]:
        """One request and its answer, as far as shows that it is too long."""
        self._incoming.limit(timeout_seconds)
        self._http.request("GET", path)
        answer = self._http.getresponse()
        self.usable = not answer.will_close
        return answer.status, answer.read(most_bytes + 1)

    def end(self) -> None:
        """End the connection."""
        self._channels.close()

    def close(self) -> None:
        """What ``http.client`` needs of a socket: close its end.

        It does so before it has read an answer that will be the last; the tunnel stays open.
        """

    def sendall(self, data: bytes) -> None:
        """What ``http.client`` needs of a socket: write."""
        self._channels.send(_DATA, bytes(data))

    def makefile(self, mode: str) -> io.BufferedReader:
        """What ``http.client`` needs of a socket: read."""
        return io.BufferedReader(self._incoming.reader(), 1 << 16)

    def _on_data(self, channel: int, data: bytes) -> None:
        if skip := self._skip.get(channel, 0):
            self._skip[channel] = max(0, skip - len(data))
            data = data[skip:]
        if channel == _DATA and data:
            self._incoming.feed(data)
        elif channel == _ERROR and data:
            self.complaint += data.decode(errors="replace").strip()
            self._incoming.end(self.complaint)


class _Incoming:
    """Bytes between the connection's thread and the reader of the answer."""

    def __init__(self) -> None:
        self.limit(10.0)
        self._condition = threading.Condition()
        self._chunks: deque[memoryview] = deque()
        self._ended = False

    def limit(self, timeout_seconds: float) -> None:
        """Begin an answer: its longest silence, and by that, how long all of it may take."""
        self._silence = timeout_seconds
        self._until = time.monotonic() + timeout_seconds * SILENCES

    def feed(self, data: bytes) -> None:
        with self._condition:
            self._chunks.append(memoryview(data))
            self._condition.notify()

    def end(self, reason: str) -> None:
        with self._condition:
            self._ended = True
            self._condition.notify()

    def read_into(self, buffer: memoryview) -> int:
        with self._condition:
            left = self._until - time.monotonic()
            wait = min(self._silence, left)
            came = left > 0 and self._condition.wait_for(lambda: self._chunks or self._ended, wait)
            if not came:
                if wait == self._silence:
                    raise TimeoutError(f"no answer within {wait:g} s")
                raise TimeoutError(f"no whole answer within {self._silence * SILENCES:g} s")
            if not self._chunks:
                return 0
            chunk = self._chunks.popleft()
            size = min(len(chunk), len(buffer))
            buffer[:size] = chunk[:size]
            if size < len(chunk):
                self._chunks.appendleft(chunk[size:])
            return size

    def reader(self) -> io.RawIOBase:
        return _Reader(self)


class _Reader(io.RawIOBase):
    def __init__(self, incoming: _Incoming) -> None:
        self._incoming = incoming

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._incoming.read_into(memoryview(buffer))
