"""The agent's session as a child process, with the interface of ``kube.ExecSession``."""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence

from pytest_istio_mc.errors import KubeError


class LocalExec:
    """Lines to and from a child process."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=dict(environment),
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        try:
            with self._lock:
                self.process.stdin.write(line + "\n")
                self.process.stdin.flush()
        except (OSError, ValueError) as error:
            raise KubeError("local exec", "send", str(error)) from error

    def receive(self, timeout_seconds: float) -> str | None:
        try:
            line = self._lines.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if line is None:
            self._lines.put(None)
            raise KubeError("local exec", "receive", "the process has ended")
        return line

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(5)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            try:
                stream.close()
            except OSError:
                pass  # what was still buffered has nowhere to go
