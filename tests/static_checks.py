"""All static checks of the catalogue, and the root causes they lead to."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pytest_istio_mc.checks.catalogue import Check, Kind, known_checks
from pytest_istio_mc.checks.diagnosis import RootCause, diagnose
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Finding, Verdict

STATIC: Mapping[str, Check] = {
    id: check for id, check in known_checks().items() if check.kind is Kind.STATIC
}


def judge_all(snapshot: Snapshot) -> dict[str, Verdict]:
    """The verdicts of all static checks whose features the mesh has."""
    return {
        id: check.judge(snapshot)
        for id, check in STATIC.items()
        if set(check.requires) <= snapshot.spec.features
    }


def root_causes(snapshot: Snapshot) -> tuple[RootCause, ...]:
    """The root causes in the certificate of a snapshot."""
    return diagnose(judge_all(snapshot), known_checks())


def findings(verdict: Verdict) -> list[tuple[str, tuple[str, ...]]]:
    """Fault names and clusters of a verdict's findings."""
    return [(finding.fault, finding.clusters) for finding in verdict.findings]


def texts(finding: Finding) -> str:
    """Everything that a finding says."""
    return f"{finding.summary} {finding.expected} {finding.seen} {finding.remedy}"


_DELETES = re.compile(r"(-n \S+ )?\b(delete|uninstall|drain|rm)\b(\s\S+)?")
_OURS = re.compile(r"-n istio-mc-\w+ delete pod/\S+")


def taken_away(remedy: str) -> list[str]:
    """What a remedy deletes when it is pasted, other than pods of a run of ours."""
    lines = (line for line in remedy.split("\n") if not line.startswith("#"))
    acting = "\n".join(line.partition("  # ")[0] for line in lines)
    deletes = (match[0] for match in _DELETES.finditer(acting))
    return [one for one in deletes if not _OURS.fullmatch(one)]
