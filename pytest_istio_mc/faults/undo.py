"""Undo: steps that take changes back, which another process can carry out, too."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import GivenUp, MeshError
from ..together import for_each

if TYPE_CHECKING:
    from ..kube import Kube

Manifest = Mapping[str, Any]

_LONGEST_PAUSE_SECONDS = 5.0

_SET_BY_THE_API_SERVER = (
    "resourceVersion",
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
)


@dataclass(frozen=True)
class Step(ABC):
    """One step of undoing, in one cluster: a dataclass of plain JSON values.

    Each subclass is known by its name from its definition on; they are all in ``steps``.
    """

    kinds: ClassVar[dict[str, type[Step]]] = {}

    cluster: str

    def __init_subclass__(cls) -> None:
        Step.kinds[cls.__name__] = cls

    @property
    @abstractmethod
    def about(self) -> str:
        """The object that it is about: ``ConfigMap istio-system/istio``."""

    @abstractmethod
    def run(self, kubes: Mapping[str, Kube]) -> None:
        """Carry it out; a second time changes nothing.

        What somebody else has done to the object meanwhile stays.
        """

    @abstractmethod
    def objection(self, run_id: str, istio_namespace: str) -> str:
        """Why no journal of that run and namespace may demand it; else empty."""


@dataclass(frozen=True)
class Work:
    """All that is to be undone in one cluster, and what comes after."""

    cluster: str
    steps: Sequence[Step]
    done: Callable[[], None] = lambda: None


def carry_out(
    kubes: Mapping[str, Kube],
    works: Sequence[Work],
    *,
    patience_seconds: float,
    note: Callable[[str], None] = lambda line: None,
    is_over: Callable[[], bool] = lambda: False,
) -> dict[str, Exception]:
    """Undo all of it, clusters side by side; the last errors where something is left.

    - Every step is tried in every round, whatever happens to others, until none is left.
    - Whoever waits is told of each error by ``note``; ``is_over`` says that no more can be done.
    """
    deadline = time.monotonic() + patience_seconds

    def one(work: Work) -> Exception | None:
        left: list[Callable[[], None]] = [partial(step.run, kubes) for step in work.steps]
        pause = 0.2
        while True:
            failed: list[tuple[Callable[[], None], Exception]] = []
            for act in left or [work.done]:
                try:
                    act()
                except Exception as error:
                    note(f'cluster "{work.cluster}": {type(error).__name__}: {error}')
                    failed.append((act, error))
            if not failed and not left:
                return None
            left = [act for act, _ in failed if act is not work.done]
            last = failed[-1][1] if failed else None
            if isinstance(last, GivenUp):
                return last
            if last is None:
                continue
            if is_over() or time.monotonic() + pause > deadline:
                return last
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    answers = zip(works, for_each(one, works), strict=True)
    return {work.cluster: error for work, error in answers if error is not None}


def to_list(steps: Iterable[Step]) -> list[dict[str, Any]]:
    """Plain JSON for :func:`from_list`."""
    return [{"undo": type(step).__name__, **asdict(step)} for step in steps]


def from_list(document: Iterable[Mapping[str, Any]]) -> list[Step]:
    """The steps that :func:`to_list` wrote.

    :class:`MeshError` where it is anything else.
    """
    return [_step(entry) for entry in document]


def _step(entry: Any) -> Step:
    kind = Step.kinds.get(str(entry.get("undo"))) if isinstance(entry, Mapping) else None
    given = {key: value for key, value in entry.items() if key != "undo"} if kind else {}
    if kind is None or set(given) != {field.name for field in fields(kind)}:
        raise MeshError("a step of undoing", "is none that this version knows")
    for field in fields(kind):
        text = field.type == "str"
        expected: tuple[type, ...] = (str,) if text else (list, tuple, dict)
        if not isinstance(given[field.name], expected):
            raise MeshError("a step of undoing", f"has no usable {field.name}")
        if isinstance(given[field.name], list):
            given[field.name] = tuple(given[field.name])
    return kind(**given)


def as_it_was(found: Mapping[str, Any]) -> dict[str, Any]:
    """An object as it was read, to be made again.

    Without all that only the API server may say, but with its fields' owners.
    """
    metadata = {
        key: value for key, value in found["metadata"].items() if key not in _SET_BY_THE_API_SERVER
    }
    return {key: value for key, value in found.items() if key != "status"} | {"metadata": metadata}
