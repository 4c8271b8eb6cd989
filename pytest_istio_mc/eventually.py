"""Waiting, with the last observation in every time-out message; all time budgets."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Generic, TypeVar

from .errors import MeshError, NotAllowed, NotInTime

T = TypeVar("T")

_LONGEST_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Timeouts:
    """Every wait in one place, in seconds.

    - A *requirement* is part of a check's demand on the mesh.
    - *Patience* is only the time that we give our own scaffolding.
    - A certificate made with ``scaled`` budgets says so.
    """

    cluster_ready: float = 90.0  # patience: apiserver, node and DNS of a lab cluster
    control_plane_ready: float = 180.0  # patience: istiod and gateways available
    workload_ready: float = 120.0  # patience: probe pods ready, sidecars included
    request: float = 5.0  # patience: one probe request
    kube_request: float = 30.0  # patience: one Kubernetes API request
    config_propagation: float = 20.0  # requirement: a change of configuration is in every proxy
    endpoint_propagation: float = 20.0  # requirement: a change of endpoints is in every proxy
    remote_sync: float = 60.0  # requirement: a new remote secret is synced
    heal: float = 90.0  # patience: what a fault broke works again
    clean_up: float = 60.0  # patience: what a run made is gone again
    provisioned: float = 3600.0  # patience: another test process has built the mesh

    def scaled(self, factor: float) -> Timeouts:
        """All budgets times ``factor``."""
        budgets = {field.name: getattr(self, field.name) * factor for field in fields(self)}
        return replace(self, **budgets)


@dataclass(frozen=True)
class Converged(Generic[T]):
    """A condition that came true: its last observation, and when.

    ``first_seconds`` is until it first held, ``stable_seconds`` until it had held often enough.
    """

    value: T
    first_seconds: float
    stable_seconds: float


def eventually(
    observe: Callable[[], T],
    until: Callable[[T], bool],
    *,
    within_seconds: float,
    what: str,
    times: int = 1,
    every_seconds: float = 0.1,
) -> Converged[T]:
    """Observe until the condition has held ``times`` times in a row.

    - A ``MeshError`` raised by ``observe`` counts as an observation that does not hold.
    - :class:`NotAllowed` is raised at once: it will not be allowed later.
    - The pauses begin with ``every_seconds`` and grow to a tenth of the time that has gone by, at
      most to a second: who looks is no burden, and is late by a tenth at most.
    - Raises :class:`NotInTime` with the last observation.
    """
    from tenacity import Retrying, retry_if_result, stop_after_delay

    began = time.monotonic()
    first, held = 0.0, 0
    seen: object = None

    def look() -> Converged[T] | None:
        nonlocal first, held, seen
        try:
            value = observe()
            seen = value
            good = until(value)
        except NotAllowed:
            raise
        except MeshError as error:
            seen, good = error, False
        held = held + 1 if good else 0
        now = time.monotonic() - began
        if held == 1:
            first = now
        return Converged(value, first, now) if good and held >= times else None

    def pause(_: object) -> float:
        gone = time.monotonic() - began
        grown = max(every_seconds, min(gone / 10, _LONGEST_PAUSE_SECONDS))
        # not all who wait for the same thing look at the same moment
        wanted = every_seconds if held else grown * random.uniform(1.0, 1.1)  # noqa: S311
        return min(wanted, max(0.0, within_seconds - gone))

    looks = Retrying(
        retry=retry_if_result(lambda converged: converged is None),
        stop=stop_after_delay(within_seconds),
        wait=pause,
        retry_error_callback=lambda _: None,
    )
    converged = looks(look)
    if converged is None:
        raise NotInTime(what, f"not so within {within_seconds:g} s", f"last seen: {seen}")
    return converged


def awaited(
    observe: Callable[[], T], until: Callable[[T], bool], *, within_seconds: float, what: str
) -> tuple[T, float | None]:
    """The first good observation and the seconds until it, or the last one and None."""
    try:
        converged = eventually(observe, until, within_seconds=within_seconds, what=what)
    except NotInTime:
        return observe(), None
    return converged.value, converged.first_seconds
