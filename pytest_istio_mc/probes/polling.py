"""Polling: one client's requests, one after the other, while something goes on.

Unlike ``flows`` it waits for each answer, so that it adds no load to a machine that is too busy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from ..errors import GivenUp, MeshError, ObservationError
from ..observations import Protocol, Request
from ..timelines import Flow, Mark, Record, Timeline
from . import manifests
from .traffic import Traffic

PAUSE_SECONDS = 0.02
_BATCH = 4


@contextmanager
def polling(traffic: Traffic, source: str, host: str, address: str, name: str) -> Iterator[Polling]:
    """Ask ``host`` from the client in ``source`` until the block ends.

    - Each request has a new connection, and is on record.
    - Raises :class:`ObservationError` at the end where asking itself did not go on.
    """
    running = Polling(traffic, source, host, address, name)
    running.start()
    try:
        yield running
    finally:
        running.stop()
    running.check()


class Polling:
    """Requests that are being sent, in batches between which a moment passes."""

    def __init__(self, traffic: Traffic, source: str, host: str, address: str, name: str) -> None:
        self._traffic, self._address = traffic, address
        self._flow = Flow(name, source, host, manifests.HTTP, Protocol.HTTP, False, 0.0)
        self._records: list[Record] = []
        self._marks: list[Mark] = []
        self._stopped = threading.Event()
        self._error: MeshError | GivenUp | None = None
        self._thread = threading.Thread(target=self._work, name=f"asking-{source}", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._flow = replace(self._flow, began=time.time())
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; returns when the last answer is there."""
        self._stopped.set()
        timeouts = self._traffic.timeouts
        self._thread.join(timeouts.kube_request + _BATCH * timeouts.request)

    def check(self) -> None:
        """Raise what kept it from asking on."""
        self.check_error()
        if self._thread.is_alive():
            thing, step = f'cluster "{self._flow.source}"', f"requests for {self._flow.host}"
            raise ObservationError(thing, step, "the client answers no more")

    @contextmanager
    def marked(self, text: str) -> Iterator[None]:
        """Note that something is done while the block goes on."""
        begin = time.time()
        try:
            yield
        finally:
            self._marks.append(Mark(begin, time.time(), text))

    def so_far(self) -> Flow:
        """The record until now."""
        return replace(self._flow, records=tuple(self._records), ended=time.time())

    @property
    def is_broken(self) -> bool:
        """Whether something keeps it from asking on, so that no record will come."""
        return self._error is not None

    def check_error(self) -> None:
        """Raise what keeps it from asking on, if anything does."""
        if self._error is not None:
            raise self._error

    @property
    def timeline(self) -> Timeline:
        """The record as a time line, by our own clock.

        It is exact to within the time that a batch's way to the client takes.
        """
        return Timeline((self.so_far(),), tuple(self._marks))

    def _work(self) -> None:
        ask = partial(self._traffic.requests, count=_BATCH, address=self._address)
        try:
            while not self._stopped.is_set():
                began = time.time()
                batch = ask(self._flow.source, self._flow.host, manifests.HTTP)
                self._records += [_record(one, began + one.when - batch[0].when) for one in batch]
                self._stopped.wait(PAUSE_SECONDS)
        except (MeshError, GivenUp) as error:
            self._error = error


def _record(request: Request, when: float) -> Record:
    answer = request.answer
    if answer is not None and answer.role != "server":  # a sidecar that does not know the name yet
        error = "answered by a client: the name is not known yet"
        answer, request = None, replace(request, error=error)
    return Record(
        when=when,
        ending=request.ending,
        status=request.status,
        latency_seconds=request.latency_seconds,
        new_connection=request.new_connection,
        cluster=answer.cluster if answer else "",
        pod=answer.pod if answer else "",
        version=answer.version if answer else "",
        error=request.error,
    )
