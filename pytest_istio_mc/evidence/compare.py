"""Comparison of two certificates in meaning: what became worse, what better, what came and what went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..verdicts import Outcome


class Change(Enum):
    """How a check differs between two certificates."""

    WORSE = "worse"
    LOST = "no longer known"
    BETTER = "better"
    NEW = "new"


@dataclass(frozen=True)
class Difference:
    """One check that differs: its verdict before and now (empty where it was not known), and the reason now."""

    check: str
    change: Change
    before: str
    now: str
    reason: str = ""

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"{self.change.value}: {self.check} {self.before or 'unknown'} -> {self.now or 'gone'}{why}"


_RANK = {
    Outcome.CONFORMANT.value: 0,
    Outcome.NOT_APPLICABLE.value: 1,
    Outcome.INCONCLUSIVE.value: 2,
    Outcome.NON_CONFORMANT.value: 3,
}


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Every check whose verdict differs between two certificates (``ConformanceReport`` documents), the worse ones first.

    Durations, run ids and the like are no difference. A check that was conformant and now does not apply, could not be judged, or
    is not known any more, is worse.
    """
    before, now = ({entry["id"]: entry for entry in document["checks"]} for document in (old, new))
    found = [_difference(id, before.get(id), now.get(id)) for id in dict.fromkeys([*now, *before])]
    order = list(Change)
    return tuple(
        sorted((entry for entry in found if entry), key=lambda entry: order.index(entry.change))
    )


def worse(differences: tuple[Difference, ...]) -> tuple[Difference, ...]:
    """The differences that a gate must stop at."""
    return tuple(entry for entry in differences if entry.change in (Change.WORSE, Change.LOST))


def _difference(
    id: str, before: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> Difference | None:
    if before is None:
        return Difference(id, Change.NEW, "", now["verdict"], now["reason"]) if now else None
    if now is None:
        return Difference(id, Change.LOST, before["verdict"], "")
    if before["verdict"] == now["verdict"]:
        return None
    is_worse = _RANK[now["verdict"]] > _RANK[before["verdict"]]
    return Difference(
        id,
        Change.WORSE if is_worse else Change.BETTER,
        before["verdict"],
        now["verdict"],
        now["reason"],
    )
