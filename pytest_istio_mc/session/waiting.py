"""Waiting: a mesh that is still settling is recorded again, until its static checks hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..checks import catalogue
from ..errors import MeshError, NotInTime, ObservationError
from ..eventually import eventually
from ..progress import Progress
from ..settings import Settings
from ..verdicts import Outcome, inconclusive

if TYPE_CHECKING:
    from ..snapshot import Snapshot

EVERY_SECONDS = 10.0
"""Between two recordings: each is some hundred requests to the API servers of others."""


def settled(
    record: Callable[[], Snapshot],
    settings: Settings,
    progress: Progress,
    *,
    every_seconds: float = EVERY_SECONDS,
) -> Snapshot:
    """A snapshot whose static checks hold, or the last one when ``--mesh-wait`` is over.

    Without that option the first one. What does not hold yet is told each time.
    """
    within, began = settings.wait_seconds, time.monotonic()
    last: list[Snapshot] = []

    def look() -> Mapping[str, str]:
        last[:] = [record()]
        if not within:
            return {}
        wrong = _wrong(last[0], settings)
        if wrong:
            left = max(0.0, within - (time.monotonic() - began))
            told = "; ".join(f"{id}: {why}" for id, why in wrong.items())
            progress.note(f"waiting, at most {left:.0f} s more: {told}")
        return wrong

    if not within:
        look()
        return last[0]
    try:
        what = "the static checks"
        eventually(
            look,
            lambda wrong: not wrong,
            within_seconds=within,
            what=what,
            every_seconds=every_seconds,
        )
    except NotInTime as error:
        if not last:  # nothing could be recorded at all, and the last attempt says why
            raise MeshError("mesh", "could not be recorded", str(error)) from error
        progress.note(f"waited {within:g} s; the mesh is judged as it is now")
    return last[0]


def _wrong(snapshot: Snapshot, settings: Settings) -> dict[str, str]:
    """The static checks that are claimed and do not hold, with their reasons."""
    found: dict[str, str] = {}
    for check in catalogue.known_checks().values():
        if check.sees or not settings.selects(check) or settings.standing(check).obstacle:
            continue
        try:
            verdict = check.judge(snapshot)
        except ObservationError as error:
            verdict = inconclusive(str(error).partition("\n")[0])
        if verdict.outcome in (Outcome.NON_CONFORMANT, Outcome.INCONCLUSIVE):
            found[check.id] = verdict.reason
    return found
