"""Judging: from a stream of findings and gaps to one verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from ..errors import ObservationError
from ..mesh import Mesh
from ..verdicts import Finding, Verdict, Weight, inconclusive, judged

T = TypeVar("T")


@dataclass(frozen=True)
class Gap:
    """A missing fact: the verdict is inconclusive unless something is wrong anyway."""

    reason: str


Found = Finding | Gap


def verdict_from(found: Iterable[Found], passed: str, *, pairs: Iterable[str] = ()) -> Verdict:
    """The verdict of all findings and gaps together.

    Non-conformant with something broken, else inconclusive with a gap, else conformant because
    ``passed``; risks and notes are kept.
    """
    findings: list[Finding] = []
    gaps: list[str] = []
    for item in found:
        if isinstance(item, Gap):
            gaps.append(item.reason)
        else:
            findings.append(item)
    if not gaps or any(one.weight is Weight.BROKEN for one in findings):
        return judged(findings, passed, pairs=pairs)
    first, *others = dict.fromkeys(gaps)
    reason = f"{first} (and {len(others)} more facts are missing)" if others else first
    return replace(inconclusive(reason), findings=tuple(findings))


def each(things: Iterable[T], judge: Callable[[T], Iterator[Found]]) -> Iterator[Found]:
    """Everything that ``judge`` finds in the things; a fact missing for one is a gap."""
    for thing in things:
        try:
            yield from judge(thing)
        except ObservationError as error:
            yield Gap(str(error))


def names(clusters: Iterable[str]) -> str:
    """Cluster names as text: ``a``, ``a and b``, ``a, b and c``, ``none``."""
    *others, last = list(clusters) or ["none"]
    return f"{', '.join(others)} and {last}" if others else last


def pair_names(mesh: Mesh) -> list[str]:
    """Every ordered pair of clusters, as reports name it."""
    return [f"{source.name} to {target.name}" for source, target in mesh.spec.pairs]
