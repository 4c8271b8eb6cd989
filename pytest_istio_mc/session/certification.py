"""Certification: one mesh from provisioning to certificate, in the process that owns it."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import pytest

from ..checks.diagnosis import diagnose, symptoms
from ..errors import MeshError, ProvisionError, missing_package
from ..evidence import compare, page, report, terminal
from ..evidence.drawing_facts import picture_of
from ..mesh import Mesh
from ..progress import Progress
from ..providers import Provider
from ..verdicts import Verdict, inconclusive, worst
from .cleanup import finishing
from .console import Console
from .provision import prepared_mesh
from .run import CHECK, Run
from .tests import verdict_of


class Certification:
    """One mesh: provision it, gather the verdicts on it, take it down, write its certificate.

    ``report`` is that certificate, once there is one, and ``page`` what is beside it; ``problems``
    went wrong besides its verdicts.
    """

    def __init__(
        self, run: Run, provider: Provider, baseline: Mapping[str, Any] | None, console: Console
    ) -> None:
        self.run = run
        self.gathered = Gathered()
        self.report: dict[str, Any] | None = None
        self.differences: tuple[compare.Difference, ...] = ()
        self.problems: list[str] = []
        self.page: Path | None = None
        self.expected: set[str] = set()
        self._provider = provider
        self._baseline = baseline
        self._console = console
        self._progress = Progress(console.line)
        self._began = datetime.now(UTC)
        self._undo = ExitStack()
        self._mesh: Mesh | None = None
        self._picture: dict[str, Any] | None = None
        self._where = ""
        self._kept: tuple[str, ...] = ()

    @property
    def topology(self) -> str:
        """The name of its topology."""
        return self.run.topology

    def provision(self) -> None:
        """Make the mesh and record its snapshot; raises whatever keeps it from being made."""
        self._progress, self._began = Progress(self._console.line), datetime.now(UTC)
        settings, run_id = self.run.settings, self.run.run_id
        folder = settings.snapshot or self.run.folder / f"snapshot-{self.topology}"
        folder.parent.mkdir(exist_ok=True)
        prepared = self._undo.enter_context(
            prepared_mesh(
                self._provider,
                settings,
                run_id,
                folder,
                self._progress,
                self.problems,
                self.run.give_up,
            )
        )
        self._mesh = self.run.mesh = prepared.mesh
        self.run.snapshot_folder, self.run.no_probes = folder, prepared.no_probes
        self.run.settings = replace(settings, spec=prepared.mesh.spec)
        for line in terminal.versions(prepared.mesh):
            self._progress.note(line)
        self._picture = self._pictured()

    def clean_up(self) -> None:
        """Take down what was provisioned; a second call does nothing."""
        with finishing(self._console.line):
            mesh, keep = self.run.mesh, self.run.settings.keep
            if mesh is not None and mesh.disposable and not keep:
                self.run.give_up(ProvisionError(f"mesh {self.topology}", "is being taken down"))
            self.run.leave()  # after an interruption observations may still be at work
            self._undo.close()
        self.run.mesh = None

    def certify(self, why_not_run: str) -> None:
        """Build and write the certificate; where the disk refuses it, print it instead."""
        settings, gathered = self.run.settings, self.gathered
        self.report = report.build_report(
            settings,
            self.run.checks,
            report.Outcomes(
                verdicts=gathered.verdicts,
                durations=gathered.durations,
                not_run=gathered.why_not_run(why_not_run),
                convergence=gathered.convergence(),
                steps=self._progress.steps,
                began=self._began,
                seconds=(datetime.now(UTC) - self._began).total_seconds(),
                problem=self.run.problem,
                run_id=self.run.run_id,
            ),
            self._mesh,
            version=own_version(),
            picture=self._picture,
        )
        try:
            report.write_document(self.report, settings.report)
            self._where = str(settings.report)
        except MeshError as error:
            self._console.section(
                "the certificate could not be written",
                [str(error), *report.to_text(self.report).splitlines()],
            )
            self.problems.append(str(error))
        if settings.page and self._where:
            self.page = page.page_beside(settings.report)
            if why := page.try_to_write([self.report], self.page):
                self._console.line(f"warning: {why}")
                self.page = None
        self._kept = tuple(self._keep_snapshot())
        if self._baseline:
            try:
                self.differences = compare.compare(self._baseline, self.report)
            except MeshError as error:  # a provider found other clusters than it was asked for
                self.problems.append(str(error))

    def _keep_snapshot(self) -> Iterable[str]:
        """Keep what was recorded where something is wrong with it, and nobody else keeps it."""
        from .keeping import keep

        settings, folder = self.run.settings, self.run.snapshot_folder
        wrong = self.report is not None and self.report["result"] not in terminal.NOTHING_WRONG
        if not wrong or folder is None or settings.snapshot or settings.replay:
            return ()
        if not any(entry["ran"] for entry in (self.report or {})["checks"]):
            return ()
        return keep(folder, self.topology, self.run.run_id)

    def _pictured(self) -> dict[str, Any] | None:
        """What a drawing needs of the snapshot; a certificate without it is one all the same."""
        try:
            return picture_of(self.run.read_snapshot())
        except Exception as error:
            self._progress.note(f"the mesh cannot be drawn: {error}")
            return None

    @cached_property
    def symptoms(self) -> frozenset[str]:
        """The ids of the failing checks that others explain, once all verdicts are there."""
        return frozenset(symptoms(diagnose(self.gathered.verdicts, self.run.checks)))

    def show_problem(self, error: BaseException) -> None:
        """Print why there is no mesh, and remember it."""
        self.run.problem = (
            str(error) if isinstance(error, MeshError) else f"{type(error).__name__}: {error}"
        )
        self._console.section(
            self.titled("the mesh could not be provisioned"), [*_told(error), *self._cleaning()]
        )

    def show_diagnosis(self) -> None:
        """Print the root causes."""
        assert self.report is not None
        if self._console.is_quiet and self.report["result"] in terminal.NOTHING_WRONG:
            return
        self._console.section(self.titled("mesh diagnosis"), terminal.diagnosis(self.report))

    def show_certificate(self) -> None:
        """Print what the certificate says."""
        assert self.report is not None
        tell = terminal.brief if self._console.is_quiet else terminal.certificate
        lines = tell(self.report, self.run.settings, self._where, self.differences)
        if self.page and not self._console.is_quiet:
            lines = [*lines, f"page        {self.page}"]
        lines = [*lines, *self._kept, *self._cleaning()]
        self._console.section(self.titled("mesh certificate"), lines)

    def titled(self, title: str) -> str:
        """A heading, with the topology where there are several."""
        return f"{title}: {self.topology}" if self.run.among_others else title

    def _cleaning(self) -> Iterable[str]:
        return [f"clean-up: {problem}" for problem in self.problems]


def own_version() -> str:
    """The version of this package."""
    try:
        return version_of("pytest-istio-mc")
    except PackageNotFoundError:
        return "unknown"


def _told(error: BaseException) -> list[str]:
    """What went wrong, oldest first: a clean-up error comes last. Our defects have a trace."""
    earlier = (
        _told(error.__context__)
        if error.__context__ is not None and error.__cause__ is None
        else []
    )
    if isinstance(error, MeshError):
        return [*earlier, *str(error).splitlines()]
    if isinstance(error, ModuleNotFoundError):
        return [*earlier, missing_package(error)]
    return [*earlier, *"".join(traceback.format_exception(error, chain=False)).splitlines()]


@dataclass
class Gathered:
    """What the reports of a run say about its checks."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    other_failures: int = 0
    _checks: dict[str, str] = field(default_factory=dict)

    def expect_from(self, items: Iterable[pytest.Item]) -> None:
        """Remember which test judges which check: a worker that crashes cannot say."""
        self._checks.update(
            {item.nodeid: item.stash[CHECK].id for item in items if CHECK in item.stash}
        )

    def add(self, report: pytest.TestReport) -> None:
        """Take in one report: a verdict, a skip with its reason, or a failure besides checks."""
        check = self.check_of(report)
        if check is None:
            self.other_failures += report.failed
            return
        before = getattr(report, "mesh_check", {}).get("seconds_before", 0.0)
        self.durations[check] = self.durations.get(check, 0.0) + report.duration + before
        verdict = verdict_of(report)
        if verdict is None and report.failed:
            # only a crashed worker fails a test without a verdict
            verdict = replace(
                inconclusive(f"the worker that ran it ended unexpectedly: {report.longrepr}"),
                check=check,
            )
        if verdict is not None:
            known = [self.verdicts[check]] if check in self.verdicts else []
            self.verdicts[check] = worst(check, [*known, verdict]) or verdict
        elif report.skipped:
            self.not_run[check] = _skip_reason(report)

    def convergence(self) -> list[dict[str, Any]]:
        """How long waits took, an entry each, with the check that waited."""
        return [
            {"check": check, **entry.__dict__}
            for check, verdict in self.verdicts.items()
            for entry in verdict.convergence
        ]

    def check_of(self, report: pytest.TestReport) -> str | None:
        """The id of the check that the reported test judges."""
        recorded = getattr(report, "mesh_check", None)
        return recorded["check"] if recorded else self._checks.get(report.nodeid.partition("@")[0])

    def why_not_run(self, otherwise: str) -> dict[str, str]:
        """Why checks that were to run have no verdict: the reason of a skip, or ``otherwise``."""
        return {
            check: self.not_run.get(check, otherwise)
            for check in self._checks.values()
            if check not in self.verdicts
        }


def _skip_reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(report.longrepr)
