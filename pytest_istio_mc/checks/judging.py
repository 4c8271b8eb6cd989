"""Judging: from a stream of findings and gaps to one verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from ..errors import ObservationError
from ..verdicts import Finding, Verdict, inconclusive, judged

T = TypeVar("T")


@dataclass(frozen=True)
class Gap:
    """A fact that could not be had: it makes a verdict inconclusive unless something is known to be wrong anyway."""

    reason: str


Found = Finding | Gap


def verdict_from(found: Iterable[Found], otherwise: str, *, pairs: Iterable[str] = ()) -> Verdict:
    """Non-conformant if there is a finding, else inconclusive if there is a gap, else conformant with the reason ``otherwise``."""
    findings: list[Finding] = []
    gaps: list[str] = []
    for item in found:
        if isinstance(item, Gap):
            gaps.append(item.reason)
        else:
            findings.append(item)
    if gaps and not findings:
        distinct = list(dict.fromkeys(gaps))
        return inconclusive(
            distinct[0]
            if len(distinct) == 1
            else f"{distinct[0]} (and {len(distinct) - 1} more facts are missing)"
        )
    return judged(findings, otherwise, pairs=pairs)


def each(things: Iterable[T], judge: Callable[[T], Iterator[Found]]) -> Iterator[Found]:
    """What ``judge`` finds in each of the things; where a fact is missing for one, that is a gap and the others are judged still."""
    for thing in things:
        try:
            yield from judge(thing)
        except ObservationError as error:
            yield Gap(str(error))


def names(clusters: Iterable[str]) -> str:
    """Cluster names as text: ``a``, ``a and b``, ``a, b and c``."""
    listed = list(clusters)
    return (
        listed[0]
        if len(listed) == 1
        else ", ".join(listed[:-1]) + " and " + listed[-1]
        if listed
        else "none"
    )
