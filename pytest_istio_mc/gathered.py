"""Gathered: the verdicts of a run as its tests report them, from this process or from workers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from .items import verdict_of, worst
from .run import CHECK
from .verdicts import Verdict, inconclusive


@dataclass
class Gathered:
    """What the reports of a run say about its checks."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    convergence: list[dict[str, Any]] = field(default_factory=list)
    other_failures: int = 0
    _checks: dict[str, str] = field(default_factory=dict)

    def expect_from(self, items: Iterable[pytest.Item]) -> None:
        """Remember which test judges which check: a worker that crashes cannot say."""
        self._checks.update({item.nodeid: item.stash[CHECK].id for item in items if CHECK in item.stash})

    def add(self, report: pytest.TestReport) -> None:
        """Take in one report: a verdict, a skip with its reason, or a failure of a test that judges no check."""
        check = self.check_of(report)
        if check is None:
            self.other_failures += report.failed
            return
        before = getattr(report, "mesh_check", {}).get("seconds_before", 0.0)
        self.durations[check] = self.durations.get(check, 0.0) + report.duration + before
        verdict = verdict_of(report)
        if verdict is None and report.failed:
            # only a crashed worker fails a test without a verdict
            verdict = replace(inconclusive(f"the worker that ran it ended unexpectedly: {report.longrepr}"), check=check)
        if verdict is not None:
            known = [self.verdicts[check]] if check in self.verdicts else []
            self.verdicts[check] = worst(check, [*known, verdict]) or verdict
            self.convergence.extend(getattr(report, "mesh_check", {}).get("convergence", ()))
        elif report.skipped:
            self.not_run[check] = _skip_reason(report)

    def check_of(self, report: pytest.TestReport) -> str | None:
        """The id of the check that the reported test judges."""
        recorded = getattr(report, "mesh_check", None)
        return recorded["check"] if recorded else self._checks.get(report.nodeid.partition("@")[0])

    def why_not_run(self, otherwise: str) -> dict[str, str]:
        """Why each check that was to run has no verdict: the reason of its skip, or ``otherwise``."""
        return {check: self.not_run.get(check, otherwise) for check in self._checks.values() if check not in self.verdicts}


def _skip_reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(report.longrepr)
