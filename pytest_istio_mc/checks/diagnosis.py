"""Diagnosis: which failures are causes and which are their symptoms.

The same verdicts always give the same answer.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..verdicts import Finding, Outcome, Verdict, Weight
from .catalogue import Check

PROBES_NEED = (
    "MC-TRUST-002",
    "MC-TRUST-003",
    *(f"MC-ACCESS-00{number}" for number in range(1, 6)),
    *(f"MC-CONTROL-{number:03}" for number in (2, 4, 5, 7, 10)),
)
"""The checks of what a pod needs to start with a sidecar.

A control plane that runs, injects it, knows its cluster and signs for it.
"""

INJECTION = "MC-CONTROL-004"
"""Where it passes, pods started: nothing is missing for want of probes."""


@dataclass(frozen=True)
class RootCause:
    """A failure that no other failure explains: what is wrong and what mends it.

    ``explains`` are the checks that fail because of it.
    """

    check: str
    summary: str
    remedy: str
    explains: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    fault: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The entry under ``rootCauses`` in the certificate."""
        return {
            "check": self.check,
            "summary": self.summary,
            "remedy": self.remedy,
            "explains": list(self.explains),
            "clusters": list(self.clusters),
            "fault": self.fault,
        }


@dataclass(frozen=True)
class _Node:
    """One finding of one failing check, or a whole inconclusive check.

    Without a finding the scope is the whole mesh.
    """

    check: str
    finding: Finding | None

    @property
    def latent(self) -> bool:
        """Whether nothing fails because of it yet."""
        return self.finding is not None and self.finding.latent

    def meets(self, other: _Node) -> bool:
        """Whether the scopes have a cluster in common; no clusters means the whole mesh."""
        mine, theirs = self._scope, other._scope
        return not mine or not theirs or bool(mine & theirs)

    @property
    def _scope(self) -> set[str]:
        return set(self.finding.clusters) if self.finding else set()


def diagnose(verdicts: Mapping[str, Verdict], checks: Mapping[str, Check]) -> tuple[RootCause, ...]:
    """The root causes among ``verdicts`` (by check id).

    - Those that explain most come first, then the order of ``checks`` counts.
    - A finding is a symptom of a finding below for the same clusters, unless only that is latent.
      Below is every failing check in ``explained_by`` of its own check, directly or through others
      that are not conformant.
    - A check that is inconclusive for want of probes is also a symptom of what stops these.
    - Every non-conformant check is a root cause, or in the ``explains`` of one.
    - An inconclusive check is never a cause.
    """
    passed = {check for check, verdict in verdicts.items() if verdict.outcome is Outcome.CONFORMANT}
    below = checks_below(checks, passed)
    nodes = [node for check in checks if check in verdicts for node in _nodes(verdicts[check])]
    causes = [node for node in nodes if node.finding]

    def explains(cause: _Node, node: _Node) -> bool:
        unprobed = node.finding is None and checks[node.check].probed and INJECTION not in passed
        is_below = cause.check in below[node.check] or (unprobed and cause.check in PROBES_NEED)
        return is_below and node.meets(cause) and cause.latent <= node.latent

    parents: dict[_Node, list[_Node]] = {
        node: [cause for cause in causes if explains(cause, node)] for node in nodes
    }
    groups: dict[tuple[str, str], list[_Node]] = {}
    for node in causes:
        if not parents[node] and node.finding:
            kind = node.finding.fault or node.finding.summary
            groups.setdefault((node.check, kind), []).append(node)
    place = {check: number for number, check in enumerate(checks)}

    def rank(cause: RootCause) -> tuple[int, int, str, str]:
        return -len(cause.explains), place[cause.check], cause.fault, cause.summary

    found = (_root_cause(members, parents, place) for members in groups.values())
    return tuple(sorted(found, key=rank))


def checks_below(
    checks: Mapping[str, Check], passed: Container[str] = ()
) -> dict[str, frozenset[str]]:
    """For each check, every check that can explain its failure, directly or through others.

    - Nothing acts through a check that ``passed``.
    - Two checks that name each other, directly or in a circle, do not explain each other.
    """
    circles = {check: _reachable(check, checks, ()) for check in checks}
    reached = {check: _reachable(check, checks, passed) for check in checks}
    return {
        check: frozenset(other for other in reached[check] if check not in circles.get(other, ()))
        for check in checks
    }


def symptoms(causes: tuple[RootCause, ...]) -> dict[str, str]:
    """Each explained check that is no root cause, with the one explaining it first."""
    roots = {cause.check for cause in causes}
    found: dict[str, str] = {}
    for cause in causes:
        for check in cause.explains:
            if check not in roots:
                found.setdefault(check, cause.check)
    return found


def _nodes(verdict: Verdict) -> Iterator[_Node]:
    if verdict.outcome is Outcome.NON_CONFORMANT:
        for finding in dict.fromkeys(verdict.findings):
            if finding.weight is Weight.BROKEN:
                yield _Node(verdict.check, finding)
    elif verdict.outcome is Outcome.INCONCLUSIVE:
        yield _Node(verdict.check, None)


def _reachable(check: str, checks: Mapping[str, Check], passed: Container[str]) -> frozenset[str]:
    found: set[str] = set()
    waiting = [check]
    while waiting:
        current = checks.get(waiting.pop())
        for other in current.explained_by if current else ():
            if other not in found:
                found.add(other)
                if other not in passed:
                    waiting.append(other)
    return frozenset(found)


def _root_cause(
    members: list[_Node], parents: Mapping[_Node, list[_Node]], place: Mapping[str, int]
) -> RootCause:
    check = members[0].check
    explained, more = set(members), set(members)
    while more:
        more = {node for node, above in parents.items() if not more.isdisjoint(above)} - explained
        explained |= more
    findings = [node.finding for node in members if node.finding]
    others = len(findings) - 1
    clusters = dict.fromkeys(cluster for finding in findings for cluster in finding.clusters)
    return RootCause(
        check=check,
        summary=findings[0].summary + (f" (and {others} more of the kind)" if others else ""),
        remedy="\n".join(dict.fromkeys(finding.remedy for finding in findings if finding.remedy)),
        explains=tuple(sorted({node.check for node in explained} - {check}, key=place.__getitem__)),
        clusters=tuple(clusters),
        fault=findings[0].fault,
    )
