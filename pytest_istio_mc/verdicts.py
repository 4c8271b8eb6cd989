"""Verdicts of checks about a mesh, with findings that carry the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from .eventually import Converged
from .outlines import Outline
from .plain import from_plain, to_plain
from .shell import NO_REMEDY, Remedy
from .timelines import Timeline


class Outcome(Enum):
    """The four verdicts; the words are part of the report format."""

    CONFORMANT = "conformant"
    NON_CONFORMANT = "non-conformant"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not-applicable"


class Weight(Enum):
    """How much a finding weighs; the words are part of the report format.

    - Broken: something fails; its check is not conformant.
    - Risk: it works, and the next failure, change or caller meets it.
    - Note: worth knowing.
    """

    BROKEN = "broken"
    RISK = "risk"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, with the remedy as a command.

    - ``clusters``: its scope; none means the whole mesh. The diagnosis lets a finding explain
      another one only where their scopes meet.
    - ``fault``: a stable short name of the kind of fault (``rs-missing``).
    - ``latent``: nothing fails because of it yet (a certificate that ends soon); it explains only
      what is latent, too.
    - ``weight``: what is not broken leaves a check conformant, with a remark.
    """

    summary: str
    clusters: tuple[str, ...] = ()
    expected: str = ""
    seen: str = ""
    remedy: Remedy = NO_REMEDY
    fault: str = ""
    latent: bool = False
    weight: Weight = Weight.BROKEN

    @property
    def told(self) -> dict[str, Any]:
        """What people and programs are told of it, as plain JSON."""
        return {
            "summary": self.summary,
            "clusters": list(self.clusters),
            "expected": self.expected,
            "seen": self.seen,
            "remedy": self.remedy,
        }


@dataclass(frozen=True)
class Evidence:
    """Something to look at: a name, a media type and text (already redacted)."""

    name: str
    text: str
    media_type: str = "text/plain"


@dataclass(frozen=True)
class Convergence:
    """The time until something first held, and held often enough."""

    what: str
    first_seconds: float
    stable_seconds: float


class Reached(Enum):
    """Whether one cluster's clients reach another cluster; part of the report format."""

    YES = "reached"
    PARTLY = "partly"  # some requests failed, nobody knows on their way to which cluster
    NO = "not-reached"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Reach:
    """What a check found out about the way from one cluster to another.

    - ``protocol`` in the words of the certificate (``HTTP``, ``mutual TLS``).
    - ``note``: the figures, or why it is not known.
    """

    protocol: str
    source: str
    target: str
    reached: Reached
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """What one check found.

    - ``reason`` is one sentence with the figures.
    - ``pairs`` are the cluster pairs or other cells judged.
    - ``convergence`` is for the certificate's figures.
    - ``timelines`` by title are drawn as evidence before the verdict travels, and become
      ``outlines``.
    - ``reach``: cells of the matrix of who reaches whom.
    """

    outcome: Outcome
    reason: str
    findings: tuple[Finding, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    pairs: tuple[str, ...] = ()
    check: str = ""
    convergence: tuple[Convergence, ...] = ()
    timelines: tuple[tuple[str, Timeline], ...] = ()
    outlines: tuple[Outline, ...] = ()
    reach: tuple[Reach, ...] = ()

    def with_reach(self, reach: Iterable[Reach]) -> Verdict:
        """The same verdict with cells of the matrix of who reaches whom."""
        return replace(self, reach=(*self.reach, *reach))

    def with_evidence(self, *evidence: Evidence) -> Verdict:
        """The same verdict with more to look at."""
        return replace(self, evidence=self.evidence + evidence)

    def with_convergence(self, what: str, converged: Converged[Any] | float | None) -> Verdict:
        """The same verdict with one more figure.

        ``converged``: a wait, seconds, or None where it never came, which is no figure.
        """
        if converged is None:
            return self
        if not isinstance(converged, Converged):
            converged = Converged(None, max(0.0, converged), max(0.0, converged))
        first, stable = round(converged.first_seconds, 3), round(converged.stable_seconds, 3)
        return replace(self, convergence=(*self.convergence, Convergence(what, first, stable)))

    def with_timeline(self, title: str, timeline: Timeline) -> Verdict:
        """The same verdict with a time line to draw."""
        return replace(self, timelines=(*self.timelines, (title, timeline)))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON for the way from an xdist worker, without time lines."""
        document: dict[str, Any] = to_plain(replace(self, timelines=()))
        return document

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Verdict:
        """The verdict that :meth:`to_dict` wrote."""
        return from_plain(cls, document)


def conformant(reason: str, *, pairs: Iterable[str] = ()) -> Verdict:
    """The mesh does what is demanded; ``reason`` has the figures."""
    return Verdict(Outcome.CONFORMANT, reason, pairs=tuple(pairs))


def non_conformant(findings: Iterable[Finding], *, pairs: Iterable[str] = ()) -> Verdict:
    """The mesh does not; there is at least one finding."""
    found = tuple(findings)
    others = sum(one.weight is Weight.BROKEN for one in found) - 1
    more = f" (and {others} more)" if others > 0 else ""
    reason = f"{found[0].summary}{more}"
    return Verdict(Outcome.NON_CONFORMANT, reason, findings=found, pairs=tuple(pairs))


def inconclusive(reason: str) -> Verdict:
    """A fact could not be had; ``reason`` tells what would give it."""
    return Verdict(Outcome.INCONCLUSIVE, reason)


def not_applicable(reason: str) -> Verdict:
    """The check makes no sense here; ``reason`` tells what would enable it."""
    return Verdict(Outcome.NOT_APPLICABLE, reason)


def judged(findings: Iterable[Finding], otherwise: str, *, pairs: Iterable[str] = ()) -> Verdict:
    """Non-conformant where something is broken, else conformant with the reason ``otherwise``.

    Risks and notes are kept, behind what is broken.
    """
    found = sorted(findings, key=lambda one: list(Weight).index(one.weight))
    if any(one.weight is Weight.BROKEN for one in found):
        return non_conformant(found, pairs=pairs)
    return replace(conformant(otherwise + remarked(found), pairs=pairs), findings=tuple(found))


def remarked(findings: Iterable[Finding]) -> str:
    """The number of risks and notes in words, for behind a reason."""
    found = list(findings)
    numbers = (
        (sum(one.weight is weight for one in found), weight.value)
        for weight in (Weight.RISK, Weight.NOTE)
    )
    told = [f"{number} {word}{'s' if number > 1 else ''}" for number, word in numbers if number]
    return f"; {' and '.join(told)}" if told else ""


def strict(verdict: Verdict) -> Verdict:
    """The verdict where risks fail, too (``--mesh-strict``)."""
    risks = [one for one in verdict.findings if one.weight is Weight.RISK]
    if verdict.outcome is not Outcome.CONFORMANT or not risks:
        return verdict
    decided = non_conformant(
        replace(one, weight=Weight.BROKEN) if one.weight is Weight.RISK else one
        for one in verdict.findings
    )
    return replace(
        verdict, outcome=decided.outcome, reason=decided.reason, findings=decided.findings
    )


def worst(check: str, verdicts: Iterable[Verdict]) -> Verdict | None:
    """All verdicts of one check as one, with the worst outcome."""
    found = list(verdicts)
    if not found:
        return None
    order = (
        Outcome.NON_CONFORMANT,
        Outcome.INCONCLUSIVE,
        Outcome.CONFORMANT,
        Outcome.NOT_APPLICABLE,
    )
    decisive = min(found, key=lambda verdict: order.index(verdict.outcome))
    return Verdict(
        outcome=decisive.outcome,
        reason=decisive.reason,
        findings=tuple(dict.fromkeys(finding for verdict in found for finding in verdict.findings)),
        evidence=tuple(dict.fromkeys(item for verdict in found for item in verdict.evidence)),
        pairs=tuple(dict.fromkeys(pair for verdict in found for pair in verdict.pairs)),
        check=check,
        convergence=tuple(entry for verdict in found for entry in verdict.convergence),
        outlines=tuple(dict.fromkeys(one for verdict in found for one in verdict.outlines)),
        reach=tuple(dict.fromkeys(cell for verdict in found for cell in verdict.reach)),
    )
