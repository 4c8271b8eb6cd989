"""Clean-up: undoing in reverse, lost clusters, and signals meanwhile."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, TypeVar

from ..errors import GivenUp, MeshError

if TYPE_CHECKING:
    from ..kube import Kube

T = TypeVar("T")


class Losses:
    """Clusters that the provider lost, as it tells of them from any thread.

    ``first`` is the one to show, None while all is well; ``tell_first`` is called with it.
    """

    def __init__(self, tell_first: Callable[[MeshError], None]) -> None:
        self._tell_first = tell_first
        self._lock = threading.Lock()
        self._watched: tuple[Kube, ...] = ()
        self.first: MeshError | None = None

    def tell(self, error: MeshError) -> None:
        """Note a loss; requests to clusters that :meth:`ends` watches end at once."""
        with self._lock:
            if self.first is not None:
                return
            self.first = error
            for kube in self._watched:
                kube.give_up(error)
        self._tell_first(error)

    @contextmanager
    def ends(self, kubes: Iterable[Kube]) -> Iterator[None]:
        """End what is done here with the first loss, which is raised."""
        with self._lock:
            if self.first:
                raise self.first
            self._watched = tuple(kubes)
        try:
            yield
        except (MeshError, GivenUp) as error:
            if self.first is None or self.first is error:
                raise
            raise self.first from error
        finally:
            with self._lock:
                self._watched = ()
        if self.first:
            raise self.first


class Undo:
    """An exit stack in which clean-up errors neither hide other errors nor stop the clean-up."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.problems: list[str] = []

    def enter(self, what: str, manager: AbstractContextManager[T]) -> T:
        """Enter ``manager``; where leaving it fails, ``problems`` says so, naming ``what``."""
        value = manager.__enter__()

        def leave(
            kind: type[BaseException] | None,
            error: BaseException | None,
            trace: TracebackType | None,
        ) -> None:
            try:
                manager.__exit__(kind, error, trace)
            except Exception as problem:
                if problem is not error:
                    self.problems.append(f"{what}: {problem}")

        self._stack.push(leave)
        return value

    def close(self, error: BaseException | None = None) -> None:
        """Undo everything, in reverse."""
        self._stack.__exit__(
            type(error) if error else None, error, error.__traceback__ if error else None
        )


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM (a cancelled CI job) end the run as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(f"ended by signal {signal.Signals(number).name}")

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def finishing(warn: Callable[[str], None]) -> Iterator[None]:
    """Let clean-up finish: a first Ctrl-C or SIGTERM only warns, a second one gives up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise KeyboardInterrupt
        leave = "interrupt once more to leave things behind (istio-mc sweep removes them)"
        warn(f"still cleaning up; {leave}")

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
