"""Excuses: what is not held against a mesh while its machine is overloaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..machine import CROWD, LATE_SECONDS, STANDSTILL_CROWD, STANDSTILL_SECONDS, Machine
from ..observations import Ending
from ..timelines import Flow
from ..verdicts import Finding, Outcome, Verdict
from .judging import Found, Gap

_SILENT = (Ending.TIMEOUT, Ending.UNRESOLVED, Ending.SKIPPED)


def starved(flow: Flow, machine: Machine) -> str:
    """Why failures say nothing about the mesh; empty where they do.

    Only silence can be the fault of an overloaded machine.
    """
    late = max([machine.stall_seconds, *(record.late_seconds for record in flow.records)])
    silent = all(record.ending in _SILENT for record in flow.failures)
    if not silent or (late < LATE_SECONDS and machine.crowd < CROWD):
        return ""
    return f"{flow.name}: {len(flow.failures)} requests were not answered in time, but {machine}"


def fair(found: Iterable[Found], machine: Machine) -> Iterator[Found]:
    """The same findings, as gaps where the machine stood still."""
    stood_still = machine.stall_seconds >= STANDSTILL_SECONDS or machine.crowd >= STANDSTILL_CROWD
    for item in found:
        if stood_still and isinstance(item, Finding):
            yield Gap(f"{item.summary} ({item.seen}), but {machine}")
        else:
            yield item


def on_a_crowded_machine(verdict: Verdict, machine: Machine) -> Verdict:
    """The verdict of a live check whose clusters share one machine.

    Inconclusive instead of non-conformant while that machine stands still.
    """
    if verdict.outcome is not Outcome.NON_CONFORMANT or machine.crowd < STANDSTILL_CROWD:
        return verdict
    seen = "; ".join(f"{finding.summary} ({finding.seen})" for finding in verdict.findings[:2])
    return replace(
        verdict, outcome=Outcome.INCONCLUSIVE, findings=(), reason=f"{seen}, but {machine}"
    )
