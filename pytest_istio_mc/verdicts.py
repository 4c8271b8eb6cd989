"""Verdicts: what a check says about a mesh, with findings that carry the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any


class Outcome(Enum):
    """The four verdicts; the words are part of the report format."""

    CONFORMANT = "conformant"
    NON_CONFORMANT = "non-conformant"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not-applicable"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: a sentence, the clusters it concerns, what was expected and seen, and the remedy as a command.

    ``clusters`` is the scope that the diagnosis uses: a finding explains another one only where their scopes meet; no clusters
    means the whole mesh. ``fault`` is a stable short name of the kind of fault (``rs-missing``). ``latent`` says that nothing fails
    because of it yet (a certificate that ends soon), so that it explains only what is latent, too.
    """

    summary: str
    clusters: tuple[str, ...] = ()
    expected: str = ""
    seen: str = ""
    remedy: str = ""
    fault: str = ""
    latent: bool = False


@dataclass(frozen=True)
class Evidence:
    """Something to look at: a name, a media type and text (already redacted)."""

    name: str
    text: str
    media_type: str = "text/plain"


@dataclass(frozen=True)
class Verdict:
    """What one check found. ``reason`` is one sentence with the figures; ``pairs`` are the cluster pairs or other cells judged."""

    outcome: Outcome
    reason: str
    findings: tuple[Finding, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    pairs: tuple[str, ...] = ()
    check: str = ""

    def with_evidence(self, *evidence: Evidence) -> Verdict:
        """The same verdict with more to look at."""
        return replace(self, evidence=self.evidence + evidence)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, complete enough for :meth:`from_dict`; how verdicts travel from xdist workers."""
        return {
            "check": self.check,
            "outcome": self.outcome.value,
            "reason": self.reason,
            "findings": [
                {**finding.__dict__, "clusters": list(finding.clusters)}
                for finding in self.findings
            ],
            "evidence": [dict(item.__dict__) for item in self.evidence],
            "pairs": list(self.pairs),
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Verdict:
        """The verdict that :meth:`to_dict` wrote."""
        return cls(
            outcome=Outcome(document["outcome"]),
            reason=document["reason"],
            findings=tuple(
                Finding(**{**entry, "clusters": tuple(entry["clusters"])})
                for entry in document["findings"]
            ),
            evidence=tuple(Evidence(**entry) for entry in document["evidence"]),
            pairs=tuple(document["pairs"]),
            check=document["check"],
        )


def conformant(reason: str, *, pairs: Iterable[str] = ()) -> Verdict:
    """The mesh does what the check demands; ``reason`` says what was seen, with figures."""
    return Verdict(Outcome.CONFORMANT, reason, pairs=tuple(pairs))


def non_conformant(findings: Iterable[Finding], *, pairs: Iterable[str] = ()) -> Verdict:
    """The mesh does not; there is at least one finding."""
    found = tuple(findings)
    reason = (
        found[0].summary if len(found) == 1 else f"{found[0].summary} (and {len(found) - 1} more)"
    )
    return Verdict(Outcome.NON_CONFORMANT, reason, findings=found, pairs=tuple(pairs))


def inconclusive(reason: str) -> Verdict:
    """A fact could not be had; ``reason`` says which one and what would give it."""
    return Verdict(Outcome.INCONCLUSIVE, reason)


def not_applicable(reason: str) -> Verdict:
    """The check makes no sense here; ``reason`` says why and what would enable it."""
    return Verdict(Outcome.NOT_APPLICABLE, reason)


def judged(findings: Iterable[Finding], otherwise: str, *, pairs: Iterable[str] = ()) -> Verdict:
    """Non-conformant where there are findings, else conformant with the reason ``otherwise``."""
    found = tuple(findings)
    return non_conformant(found, pairs=pairs) if found else conformant(otherwise, pairs=pairs)


def worst(check: str, verdicts: Iterable[Verdict]) -> Verdict | None:
    """All verdicts of one check as one: the worst outcome, and the findings, evidence and pairs of all."""
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
    )
