"""Comparison of two certificates in meaning: what became worse or better, came or went."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..checks.catalogue import Kind
from ..errors import MeshError
from ..settings import Settings
from ..verdicts import Outcome


class Change(Enum):
    """The change of something between two certificates."""

    WORSE = "worse"
    LOST = "no longer known"
    BETTER = "better"
    NEW = "new"
    CHANGED = "changed"


class Aspect(Enum):
    """What of a check or a mesh differs."""

    VERDICT = "verdict"
    COVERAGE = "coverage"
    FINDINGS = "findings"
    REACH = "reach"
    CONVERGENCE = "convergence"
    DURATION = "duration"
    VERSION = "version"
    MESH = "mesh"


CONVERGENCE_FACTOR, CONVERGENCE_SECONDS = 3.0, 10.0
"""A wait is worse if it takes more than so many times as long, and so much longer.

Istiod alone may hold a push back for 10 s (``PILOT_DEBOUNCE_MAX``).
"""

FAULT_SECONDS = 60.0
"""In place of these, after something was broken: clients retry ever more seldom.

Of client-go's reflectors every 30 s in the end, and up to twice that by chance (``backoff.go``).
"""

DURATION_FACTOR, DURATION_SECONDS = 4.0, 60.0
"""The same of the whole duration of a check, which waits for others on a busy machine."""


@dataclass(frozen=True)
class Difference:
    """One thing that differs, with its reason now.

    - ``check``: the id of the check; of ``VERSION`` and ``MESH`` the cluster, or ``mesh``.
    - ``before`` and ``now``: its verdicts, or whatever else ``aspect`` is about; empty where it was
      not known.
    """

    check: str
    change: Change
    before: str
    now: str
    reason: str = ""
    aspect: Aspect = Aspect.VERDICT

    def __str__(self) -> str:
        what = "" if self.aspect is Aspect.VERDICT else f"{self.aspect.value} "
        why = f": {self.reason}" if self.reason else ""
        values = f"{self.before or 'unknown'} -> {self.now or 'gone'}"
        return f"{self.change.value}: {self.check} {what}{values}{why}"

    def to_dict(self) -> dict[str, str]:
        """As plain JSON."""
        return {
            "check": self.check,
            "change": self.change.value,
            "aspect": self.aspect.value,
            "before": self.before,
            "now": self.now,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Scope:
    """What a certificate is about; two of different scopes cannot be compared.

    ``profile`` and ``clusters`` are empty, and ``quick`` is None, where that is not known.
    """

    topology: str
    profile: str
    quick: bool | None
    clusters: frozenset[str]

    def unlike(self, other: Scope) -> list[str]:
        """In which ways another scope is not this one, in words."""
        found = []
        if self.topology != other.topology:
            found.append(f"topology {self.topology}, not {other.topology}")
        profiles, quick = {self.profile, other.profile}, {self.quick, other.quick}
        if (len(profiles) > 1 and "" not in profiles) or (len(quick) > 1 and None not in quick):
            found.append(f"profile {self._claim}, not {other._claim}")
        if self.clusters and other.clusters and self.clusters != other.clusters:
            mine, theirs = (", ".join(sorted(one.clusters)) for one in (self, other))
            found.append(f"clusters {mine}, not {theirs}")
        return found

    @property
    def _claim(self) -> str:
        return f"{self.profile} + quick disruptive" if self.quick else self.profile


_RANK = {
    Outcome.CONFORMANT.value: 0,
    Outcome.NOT_APPLICABLE.value: 1,
    Outcome.INCONCLUSIVE.value: 2,
    Outcome.NON_CONFORMANT.value: 3,
}


def scope_of(certificate: Mapping[str, Any]) -> Scope:
    """The scope of a ``ConformanceReport`` document, also of an older version."""
    claim = certificate.get("claim") or {}
    options = certificate.get("options") or {}
    clusters = (certificate.get("mesh") or {}).get("clusters") or ()
    return Scope(
        str(certificate.get("topology", "")),
        str(claim.get("profile") or options.get("profile") or ""),
        claim.get("quickDisruptive"),
        frozenset(str(one["name"]) for one in clusters),
    )


def wanted_scope(settings: Settings) -> Scope:
    """The scope of the certificate that a run is going to write."""
    names = frozenset(cluster.name for cluster in settings.spec)
    return Scope(settings.topology, settings.profile.value, settings.quick, names)


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Everything that differs in meaning between two certificates, the worse things first.

    - Certificates are ``ConformanceReport`` documents.
    - ``MeshError`` where they are of different scopes.
    - Run ids, dates and figures within the bounds of noise are no difference.
    """
    if unlike := scope_of(old).unlike(scope_of(new)):
        step, detail = "are of different things", f"the earlier one is of {'; of '.join(unlike)}"
        raise MeshError("certificates", step, detail, advice="compare what is of the same mesh")
    before, now = ({entry["id"]: entry for entry in document["checks"]} for document in (old, new))
    found = [
        difference
        for id in dict.fromkeys([*now, *before])
        for difference in _of_check(id, before.get(id), now.get(id), _same_tool(old, new))
    ]
    if _provider(old) == _provider(new):
        good = {id for id in before.keys() & now.keys() if _is_good(before[id], now[id])}
        faults = {id for id, one in now.items() if one.get("kind") == Kind.FAULT.value}
        found += _slower(old, new, good, faults)
        found += _longer(before, now, good)
    found += _mesh(old, new)
    order = list(Change)
    return tuple(sorted(found, key=lambda entry: order.index(entry.change)))


def worse(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """The differences at which a gate must stop."""
    return tuple(entry for entry in differences if entry.change in (Change.WORSE, Change.LOST))


def _of_check(
    id: str, before: Mapping[str, Any] | None, now: Mapping[str, Any] | None, same_tool: bool
) -> Iterator[Difference]:
    if before is None:
        if now is not None:
            yield Difference(id, Change.NEW, "", now["verdict"], now["reason"])
        return
    old = str(before["verdict"])
    if now is None:
        # what the mesh never claimed to pass is no loss
        claimed = before.get("claimed", old != Outcome.NOT_APPLICABLE.value)
        yield Difference(id, Change.LOST if claimed else Change.CHANGED, old, "")
        return
    new, reason = str(now["verdict"]), str(now["reason"])
    if _RANK[new] > _RANK[old]:
        yield Difference(id, Change.WORSE, old, new, reason)
    elif before.get("claimed", True) and before.get("ran", True) and not now.get("ran", True):
        yield Difference(id, Change.WORSE, "ran", "did not run", reason, Aspect.COVERAGE)
    elif old != new:
        change = Change.BETTER if new == Outcome.CONFORMANT.value else Change.CHANGED
        yield Difference(id, change, old, new, reason)
    elif new == Outcome.NON_CONFORMANT.value:
        yield from _findings(id, before, now)
    elif new == Outcome.CONFORMANT.value:
        yield from _reach(id, before, now, same_tool)


def _findings(id: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    """Of a check that failed and fails: other faults, or the same in other clusters."""
    old, new = (
        {(str(one["fault"]), tuple(sorted(one["clusters"]))) for one in entry.get("findings") or ()}
        for entry in (before, now)
    )
    for change, more in ((Change.WORSE, new - old), (Change.BETTER, old - new)):
        if more and (change is Change.WORSE or not new - old):
            told = "; ".join(
                f"{fault or 'a finding'} in {', '.join(clusters) or 'the mesh'}"
                for fault, clusters in sorted(more)
            )
            yield Difference(id, change, str(len(old)), str(len(new)), told, Aspect.FINDINGS)


def _reach(
    id: str, before: Mapping[str, Any], now: Mapping[str, Any], same_tool: bool
) -> Iterator[Difference]:
    """Of a check that passed and passes: pairs that it does not judge any more."""
    old, new = (dict.fromkeys(entry.get("pairs") or ()) for entry in (before, now))
    gone = [pair for pair in old if pair not in new]
    # another version may word its pairs otherwise: there only their number says something
    if gone and (same_tool or len(new) < len(old)):
        told = f"not judged any more: {', '.join(gone)}"
        yield Difference(id, Change.WORSE, str(len(old)), str(len(new)), told, Aspect.REACH)


def _slower(
    old: Mapping[str, Any], new: Mapping[str, Any], good: set[str], faults: set[str]
) -> Iterator[Difference]:
    before, now = _waits(old), _waits(new)
    for key, seconds in before.items():
        check, what = key
        if check not in good:
            continue
        if key not in now:
            told = f"{what}: this version, or this run, has no such figure"
            yield Difference(
                check, Change.CHANGED, f"{seconds:.1f} s", "", told, Aspect.CONVERGENCE
            )
            continue
        bound = FAULT_SECONDS if check in faults else CONVERGENCE_SECONDS
        if change := _by_far(seconds, now[key], CONVERGENCE_FACTOR, bound):
            figures = f"{seconds:.1f} s", f"{now[key]:.1f} s"
            yield Difference(check, change, *figures, what, Aspect.CONVERGENCE)


def _waits(document: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """The longest of each wait, by check and what was waited for."""
    found: dict[tuple[str, str], float] = {}
    for entry in document.get("convergence") or ():
        key = (str(entry["check"]), str(entry["what"]))
        found[key] = max(found.get(key, 0.0), float(entry["stable_seconds"]))
    return found


def _longer(
    before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]], good: set[str]
) -> Iterator[Difference]:
    for id in before:
        if id in good:
            first, second = (float(one[id].get("duration_seconds", 0.0)) for one in (before, now))
            if change := _by_far(first, second, DURATION_FACTOR, DURATION_SECONDS):
                figures = f"{first:.1f} s", f"{second:.1f} s"
                yield Difference(id, change, *figures, "", Aspect.DURATION)


def _by_far(before: float, now: float, factor: float, seconds: float) -> Change | None:
    if now > before * factor and now - before > seconds:
        return Change.WORSE
    if before > now * factor and before - now > seconds:
        return Change.BETTER
    return None


def _mesh(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    """What else is told, and worse or better for nobody."""
    before, now = (document.get("mesh") or {} for document in (old, new))
    for key in ("provider", "meshId", "trustDomain"):
        yield from _told("mesh", Aspect.MESH, key, before.get(key), now.get(key))
    overrides = ("; ".join(document.get("overrides") or ()) for document in (old, new))
    yield from _told("mesh", Aspect.MESH, "overrides", *overrides)
    clusters = {str(one["name"]): one for one in now.get("clusters") or ()}
    for first in before.get("clusters") or ():
        name, second = str(first["name"]), clusters.get(str(first["name"]), {})
        for key in ("role", "network", "controlPlane", "locality"):
            yield from _told(name, Aspect.MESH, key, first.get(key), second.get(key))
        versions = first.get("versions") or {}, second.get("versions") or {}
        for key in dict.fromkeys([*versions[0], *versions[1]]):
            values = (one.get(key) for one in versions)
            yield from _told(name, Aspect.VERSION, key, *values)


def _told(name: str, aspect: Aspect, what: str, before: Any, now: Any) -> Iterator[Difference]:
    if (before or "") != (now or ""):
        yield Difference(name, Change.CHANGED, str(before or ""), str(now or ""), what, aspect)


def _is_good(*entries: Mapping[str, Any]) -> bool:
    return all(entry["verdict"] == Outcome.CONFORMANT.value for entry in entries)


def _provider(document: Mapping[str, Any]) -> str:
    return str((document.get("mesh") or {}).get("provider", ""))


def _same_tool(*documents: Mapping[str, Any]) -> bool:
    versions = {str((one.get("tool") or {}).get("version", "")) for one in documents}
    return len(versions) == 1
