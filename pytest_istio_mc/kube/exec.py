"""ExecSession: lines to and from a process in a pod."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Sequence

from ..errors import KubeError
from .channels import Channels
from .connection import Connection

# v5 can end stdin, which v4 cannot (Kubernetes enhancement 4006).
_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _ERROR, _CLOSE = 0, 1, 2, 3, 255
_STDERR_KEPT = 16384


class ExecSession:
    """One long-lived process in a pod.

    - Any thread may ``send``; ``receive`` gives each line of stdout once, to the first who asks.
    - After the end of the process or the connection the lines that had come are still received;
      then :class:`KubeError` says how it ended.
    """

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        timeout_seconds: float,
        stdin: bool = True,
    ) -> None:
        self.thing = f"{connection.thing}: pod {namespace}/{pod}"
        self._step = f"run {command[0]} in container {container}"
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._partial: list[bytes] = []
        self._stderr = bytearray()
        self._status: bytes = b""
        self._reason = ""
        self._ended = threading.Event()
        query = [("container", container), ("stdout", "true"), ("stderr", "true")]
        query += [("stdin", str(stdin).lower()), *(("command", word) for word in command)]
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
        websocket = connection.websocket(path, query, _PROTOCOLS, timeout_seconds=timeout_seconds)
        name = f"exec in {namespace}/{pod}"
        self._channels = Channels(websocket, name, self._on_data, self._on_end)

    def send(self, line: str) -> None:
        """Write one line to the process's stdin; :class:`KubeError` where it has ended."""
        self.write(line.encode() + b"\n")

    def write(self, data: bytes) -> None:
        """Write bytes to the process's stdin; :class:`KubeError` where it has ended."""
        try:
            self._channels.send(_STDIN, data)
        except ConnectionError:
            raise self._ending() from None

    def end_of_input(self) -> None:
        """Close the process's stdin."""
        if self._channels.protocol != _PROTOCOLS[0]:
            raise KubeError(
                self.thing,
                self._step,
                "this apiserver cannot end a process's input (Kubernetes before 1.30)",
            )
        self._channels.send(_CLOSE, bytes([_STDIN]))

    def receive(self, timeout_seconds: float) -> str | None:
        """The next line of stdout, without its end; ``None`` where none came in time.

        :class:`KubeError` after the last one.
        """
        try:
            line = self._lines.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if line is None:
            self._lines.put(None)  # whoever asks next learns it, too
            raise self._ending()
        return line.decode()

    def finish(self, timeout_seconds: float) -> bytes:
        """Wait for the process to end; the rest of its stdout.

        :class:`KubeError` where it failed or did not end.
        """
        if not self._ended.wait(timeout_seconds):
            detail = f"did not end within {timeout_seconds:g} s{self._complaints()}"
            raise KubeError(self.thing, self._step, detail)
        rest = []
        while (line := self._lines.get()) is not None:
            rest.append(line + b"\n")
        if self.exit_code() != 0:
            raise self._ending()
        return b"".join(rest) + b"".join(self._partial)

    def exit_code(self) -> int | None:
        """The exit code, or ``None`` before the kubelet has told it."""
        if not self._status:
            return None
        status = json.loads(self._status)
        if status.get("status") == "Success":
            return 0
        for cause in status.get("details", {}).get("causes", []):
            if cause.get("reason") == "ExitCode":
                return int(cause["message"])
        return -1

    def close(self) -> None:
        """End the connection; the kubelet then closes the process's stdin."""
        self._channels.close()

    def _on_data(self, channel: int, data: bytes) -> None:
        if channel == _STDOUT:
            *whole, rest = data.split(b"\n")
            for line in whole:
                self._partial.append(line)
                self._lines.put(b"".join(self._partial))
                self._partial = []
            if rest:
                self._partial.append(rest)
        elif channel == _STDERR:
            self._stderr += data
            del self._stderr[:-_STDERR_KEPT]
        elif channel == _ERROR:
            self._status += data

    def _on_end(self, reason: str) -> None:
        self._reason = reason
        self._lines.put(None)
        self._ended.set()

    def _ending(self) -> KubeError:
        self._ended.wait(1)
        code = self.exit_code()
        if code is None:
            detail = self._reason
        elif code >= 0:
            detail = f"exit code {code}"
        else:
            detail = str(json.loads(self._status).get("message", "failed"))
        return KubeError(self.thing, self._step, detail + self._complaints())

    def _complaints(self) -> str:
        text = self._stderr.decode(errors="replace").strip()
        return f"; stderr: {text}" if text else ""
