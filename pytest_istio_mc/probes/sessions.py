"""Sessions: one long-lived exec into each client pod, for many operations at a time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Protocol, Self

from ..errors import GivenUp, MeshError, ObservationError


class Exec(Protocol):
    """What a session needs of an exec: lines in, lines out (``kube.ExecSession``)."""

    def send(self, line: str) -> None:
        """Write one line to the program's standard input."""

    def receive(self, timeout_seconds: float) -> str | None:
        """One line of its standard output; None where none came in time.

        Raises ``KubeError`` where the program has ended.
        """

    def close(self) -> None:
        """End the program."""


class Session:
    """Operations for one client pod.

    The first ``ask`` opens it, and the next one after it broke opens it anew.
    """

    def __init__(
        self, pod: str, open_exec: Callable[[], Exec], *, open_seconds: float = 20.0
    ) -> None:
        self._pod = pod
        self._open_exec = open_exec
        self._open_seconds = open_seconds
        self._lock = threading.Lock()
        self._exec: Exec | None = None
        self._hello: Mapping[str, Any] = {}
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._last_id = 0
        self._gone: MeshError | None = None

    def ask(self, operation: Mapping[str, Any], *, timeout_seconds: float) -> dict[str, Any]:
        """Have the probe run the operation, and return its result.

        - An operation is never sent twice.
        - Raises :class:`ObservationError` where the pod cannot be reached, refuses the operation,
          or says nothing in time.
        - Raises :class:`GivenUp` within a second of the pod's being given up.
        """
        self._require_hope()
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            running = self._opened()
            self._last_id += 1
            number = self._last_id
            self._waiting[number] = future
        try:
            running.send(json.dumps({**operation, "id": number}))
            reply = future.result(timeout_seconds)
        except FutureTimeout:
            raise self._failed(operation, f"no result within {timeout_seconds:g} s") from None
        except ObservationError:
            raise
        except MeshError as error:
            raise self._failed(operation, str(error)) from error
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if "result" not in reply:
            raise self._failed(operation, str(reply.get("failed", reply)))
        result: dict[str, Any] = reply["result"]
        return result

    def hello(self) -> Mapping[str, Any]:
        """What the probe said of itself on opening: ``python``, ``cluster``, DNS ``domain``."""
        with self._lock:
            self._opened()
            return self._hello

    def give_up(self, why: MeshError) -> None:
        """The pod is lost: what waits for it or asks it raises :class:`GivenUp`."""
        self._gone = why  # without the lock, which an opening session holds; the reader sees it

    def close(self) -> None:
        """End the probe's session, if one is open; operations under way fail."""
        with self._lock:
            self._drop(self._broken("the session was closed"))

    def _opened(self) -> Exec:
        if self._exec is not None:
            return self._exec
        try:
            running = self._open_exec()
            line = running.receive(self._open_seconds)
        except MeshError as error:
            raise self._failed({"op": "session"}, str(error)) from error
        if line is None:
            running.close()
            why = f"the probe did not say hello within {self._open_seconds:g} s"
            raise self._failed({"op": "session"}, why)
        self._hello = json.loads(line).get("hello", {})
        self._exec = running
        name = f"probe {self._pod}"
        threading.Thread(target=self._read, args=(running,), name=name, daemon=True).start()
        return running

    def _read(self, running: Exec) -> None:
        while self._exec is running:
            try:
                line = running.receive(1.0)
                self._require_hope()
            except (MeshError, GivenUp) as error:
                with self._lock:
                    if self._exec is running:
                        given_up = isinstance(error, GivenUp)
                        self._drop(error if given_up else self._broken(str(error)))
                return
            if line is None:
                continue
            reply = json.loads(line)
            with self._lock:
                future = self._waiting.pop(reply.get("id"), None)
            if future is not None:
                future.set_result(reply)

    def _require_hope(self) -> None:
        if self._gone is not None:
            raise GivenUp(self._gone)

    def _drop(self, error: Exception) -> None:
        running, self._exec = self._exec, None
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(error)
        if running is not None:
            running.close()

    def _broken(self, why: str) -> ObservationError:
        return self._failed({"op": "session"}, f"ended while operations were running: {why}")

    def _failed(self, operation: Mapping[str, Any], detail: str) -> ObservationError:
        return ObservationError(
            self._pod,
            f"probe operation {operation.get('op', '?')}",
            detail,
            advice="is the client pod running, and may you exec into it?",
        )


class Sessions:
    """All sessions, by cluster; a context manager that closes them."""

    def __init__(self, sessions: Mapping[str, Session]) -> None:
        self._sessions = dict(sessions)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, cluster: str) -> Session:
        try:
            return self._sessions[cluster]
        except KeyError:
            detail = f"no client pod; clusters with one: {', '.join(self._sessions) or 'none'}"
            raise ObservationError(f'cluster "{cluster}"', "probe session", detail) from None

    def give_up(self, why: MeshError) -> None:
        """Give all of the pods up."""
        for session in self._sessions.values():
            session.give_up(why)

    def close(self) -> None:
        """Close all of them."""
        for session in self._sessions.values():
            session.close()
