"""Diagnosis: which failures are causes and which are their symptoms. Pure; the same verdicts always give the same answer."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..verdicts import Finding, Outcome, Verdict
from .catalogue import Check

PROBES_NEED = (
    "MC-TRUST-002",
    "MC-TRUST-003",
    *(f"MC-ACCESS-00{number}" for number in range(1, 6)),
    *(f"MC-CONTROL-{number:03}" for number in (2, 4, 5, 7, 10)),
)
"""The checks of what a pod needs to start with a sidecar: a control plane that runs, injects it, knows its cluster and signs for it."""

INJECTION = "MC-CONTROL-004"
"""Where it passes, pods started, so that whatever was not seen was not for want of probes."""


@dataclass(frozen=True)
class RootCause:
    """A failure that no other failure explains: what is wrong, the command that mends it, and the checks that fail because of it."""

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
    """One finding of one failing check, or a whole inconclusive check (no finding: the scope is the whole mesh)."""

    check: str
    finding: Finding | None

    @property
    def latent(self) -> bool:
        """Whether nothing fails because of it yet."""
        return self.finding is not None and self.finding.latent

    def meets(self, other: _Node) -> bool:
        """Whether the scopes have a cluster in common; no clusters means the whole mesh."""
        mine, theirs = (
            set(node.finding.clusters) if node.finding else set() for node in (self, other)
        )
        return not mine or not theirs or bool(mine & theirs)


def diagnose(verdicts: Mapping[str, Verdict], checks: Mapping[str, Check]) -> tuple[RootCause, ...]:
    """The root causes among ``verdicts`` (by check id), those that explain most first, then in the order of ``checks``.

    A finding is a symptom where a failing check that its own check names in ``explained_by``, directly or through others that are not
    conformant, has a finding for the same clusters, unless that one is latent and the symptom is not. What is inconclusive for want of
    probes is also a symptom of what keeps these from starting. Every non-conformant check is a
    root cause, or in the ``explains`` of one; an inconclusive check is never a cause.
    """
    passed = {check for check, verdict in verdicts.items() if verdict.outcome is Outcome.CONFORMANT}
    below = checks_below(checks, passed)
    nodes = [node for check in checks if check in verdicts for node in _nodes(verdicts[check])]
    causes = [node for node in nodes if node.finding]

    def explains(cause: _Node, node: _Node) -> bool:
        probeless = (
            node.finding is None
            and checks[node.check].probed
            and cause.check in PROBES_NEED
            and INJECTION not in passed
        )
        return (
            (cause.check in below[node.check] or probeless)
            and node.meets(cause)
            and cause.latent <= node.latent
        )

    parents: dict[_Node, list[_Node]] = {
        node: [cause for cause in causes if explains(cause, node)] for node in nodes
    }
    groups: dict[tuple[str, str], list[_Node]] = {}
    for node in causes:
        if not parents[node] and node.finding:
            groups.setdefault((node.check, node.finding.fault or node.finding.summary), []).append(
                node
            )
    place = {check: number for number, check in enumerate(checks)}
    found = [_root_cause(members, parents, place) for members in groups.values()]
    return tuple(
        sorted(
            found,
            key=lambda cause: (
                -len(cause.explains),
                place[cause.check],
                cause.fault,
                cause.summary,
            ),
        )
    )


def checks_below(
    checks: Mapping[str, Check], passed: Container[str] = ()
) -> dict[str, frozenset[str]]:
    """For each check, every check that can explain its failure, directly or through others.

    Nothing acts through a check that ``passed``. Two checks that name each other, directly or in a circle, explain neither one the
    other.
    """
    circles = {check: _reachable(check, checks, ()) for check in checks}
    reached = {check: _reachable(check, checks, passed) for check in checks}
    return {
        check: frozenset(other for other in reached[check] if check not in circles.get(other, ()))
        for check in checks
    }


def symptoms(causes: tuple[RootCause, ...]) -> dict[str, str]:
    """For each explained check that is not a root cause itself, the check of the first root cause that explains it."""
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
    explained = set(members)
    grown = True
    while grown:
        more = {
            node
            for node, above in parents.items()
            if node not in explained and any(parent in explained for parent in above)
        }
        explained |= more
        grown = bool(more)
    first = members[0]
    findings = [node.finding for node in members if node.finding]
    summary = (
        findings[0].summary
        if len(findings) == 1
        else f"{findings[0].summary} (and {len(findings) - 1} more of the kind)"
    )
    return RootCause(
        check=first.check,
        summary=summary,
        remedy="\n".join(dict.fromkeys(finding.remedy for finding in findings if finding.remedy)),
        explains=tuple(
            sorted(
                {node.check for node in explained} - {first.check}, key=lambda check: place[check]
            )
        ),
        clusters=tuple(
            dict.fromkeys(cluster for finding in findings for cluster in finding.clusters)
        ),
        fault=findings[0].fault,
    )
