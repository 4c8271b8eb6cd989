"""Comparison of two certificates: what became worse or better, came or went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..verdicts import Outcome


class Change(Enum):
    """The change of a check between two certificates."""

    WORSE = "worse"
    LOST = "no longer known"
    BETTER = "better"
    NEW = "new"


@dataclass(frozen=True)
class Difference:
    """One check that differs, with its reason now.

    ``before`` and ``now`` are its verdicts, empty where it was not known.
    """

    check: str
    change: Change
    before: str
    now: str
    reason: str = ""

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        verdicts = f"{self.before or 'unknown'} -> {self.now or 'gone'}"
        return f"{self.change.value}: {self.check} {verdicts}{why}"


_RANK = {
    Outcome.CONFORMANT.value: 0,
    Outcome.NOT_APPLICABLE.value: 1,
    Outcome.INCONCLUSIVE.value: 2,
    Outcome.NON_CONFORMANT.value: 3,
}


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Every check whose verdict differs between two certificates, the worse ones first.

    - Certificates are ``ConformanceReport`` documents.
    - Durations, run ids and the like are no difference.
    - A conformant check is worse if it now does not apply, could not be judged, or is unknown.
    """
    before, now = ({entry["id"]: entry for entry in document["checks"]} for document in (old, new))
    found = [_difference(id, before.get(id), now.get(id)) for id in dict.fromkeys([*now, *before])]
    order = list(Change)
    differences = (entry for entry in found if entry)
    return tuple(sorted(differences, key=lambda entry: order.index(entry.change)))


def worse(differences: tuple[Difference, ...]) -> tuple[Difference, ...]:
    """The differences at which a gate must stop."""
    return tuple(entry for entry in differences if entry.change in (Change.WORSE, Change.LOST))


def _difference(
    id: str, before: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> Difference | None:
    if before is None:
        return Difference(id, Change.NEW, "", now["verdict"], now["reason"]) if now else None
    old = before["verdict"]
    if now is None:
        return Difference(id, Change.LOST, old, "")
    new = now["verdict"]
    if old == new:
        return None
    change = Change.WORSE if _RANK[new] > _RANK[old] else Change.BETTER
    return Difference(id, change, old, new, now["reason"])
