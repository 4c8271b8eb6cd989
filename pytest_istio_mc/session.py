"""Session: the process that owns the mesh provisions it, gathers the verdicts, cleans up, writes the certificate and sums up."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import pytest

from . import compare, provision
from .checks import catalogue
from .diagnose import diagnose, symptoms
from .errors import MeshError, UsageProblem
from .evidence import allure, report, terminal
from .gathered import Gathered
from .items import Items, needs_mesh
from .mesh import Mesh
from .progress import Progress
from .providers import Provider
from .run import RUN, Run, new_run_id
from .scratch import Scratch
from .settings import Settings

COULD_NOT_FIND_OUT = 3
"""pytest's exit code where the mesh could not be provisioned or cleaned up, or no check failed but some could not find out."""

FIXTURES = ("mesh", "expect", "traffic")


def take_part(config: pytest.Config, settings: Settings, provider: Provider) -> None:
    """Make this pytest process part of a certification: as its owner, or as a worker of xdist that attaches."""
    for name in FIXTURES:
        module = f"{__package__}.fixtures.{name}"
        if importlib.util.find_spec(module) is not None:
            config.pluginmanager.import_plugin(module)
    run = Run(settings, catalogue.known_checks(), new_run_id())
    config.stash[RUN] = run
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    items = Items(run)
    config.pluginmanager.register(items, "mesh_items")
    if worker is not None:
        run.attach(worker["mesh_run"])
        items.lock_file = Path(worker["mesh_run"]["lock_file"])
        run.scratch = items.lock_file.parent
        return
    try:
        baseline = report.read_report(settings.baseline) if settings.baseline else None
    except MeshError as error:
        raise pytest.UsageError(f"--mesh-baseline: {error}") from error
    owner = Owner(config, run, items, provider, baseline)
    config.pluginmanager.register(owner, "mesh_owner")
    config.add_cleanup(owner.clean_up)
    if config.pluginmanager.hasplugin("xdist"):
        from .distribution import Distribution

        config.pluginmanager.register(Distribution(owner, run), "mesh_distribution")


class Owner:
    """The hooks of the process that owns the mesh: the only process, or the controller of xdist."""

    def __init__(
        self, config: pytest.Config, run: Run, items: Items, provider: Provider, baseline: Mapping[str, Any] | None
    ) -> None:
        self._config = config
        self._run = run
        self._provider = provider
        self._baseline = baseline
        self._gathered = Gathered()
        self._progress = Progress(self._print)
        self._undo = ExitStack()
        self._problems: list[str] = []
        self._began = datetime.now(UTC)
        self._mesh: Mesh | None = None
        self._problem = ""
        self._report: dict[str, Any] | None = None
        self._differences: tuple[compare.Difference, ...] = ()
        self._where = ""
        self._failed: list[pytest.TestReport] = []
        self._wanted = False
        scratch = Scratch(run.run_id)
        self._undo.callback(scratch.remove)
        self.folder = run.scratch = scratch.folder
        self.lock_file = self.folder / "faults.lock"
        items.lock_file = self.lock_file

    # what happens, in order

    def pytest_report_header(self) -> list[str]:
        """Say what is about to be certified."""
        return terminal.header(self._run.settings, self._run.run_id)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Provision, now that it is known what will run. (Under xdist the controller has done so before its workers started.)"""
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            return
        if self._run.mesh is None and session.items and not session.config.option.collectonly:
            self.provision(session.items)

    def provision(self, items: Iterable[pytest.Item]) -> None:
        """Provision if any of ``items`` needs a mesh. Where that fails, say why and end the session with exit code 3."""
        if not any(needs_mesh(item) for item in items):
            return
        self._wanted = True
        self._gathered.expect_from(items)
        folder = self._run.settings.snapshot or self.folder / "snapshot"
        self._undo.enter_context(provision.interruptible())
        try:
            prepared = self._undo.enter_context(
                provision.prepared_mesh(self._provider, self._run.settings, self._run.run_id, folder, self._progress, self._problems)
            )
        except Exception as error:
            self._give_up(error)
        except BaseException:
            if self._config.pluginmanager.hasplugin("dsession"):
                self._conclude_early("the run was interrupted")
            raise
        else:
            self._mesh = self._run.mesh = prepared.mesh
            self._run.snapshot_folder, self._run.no_probes = folder, prepared.no_probes
            self._run.settings = replace(self._run.settings, spec=prepared.mesh.spec)
            for line in terminal.versions(prepared.mesh):
                self._progress.note(line)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather verdicts, from this process or from a worker."""
        self._gathered.add(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Clean up (after xdist has ended its workers), write the certificate, and settle the exit code."""
        self.clean_up()
        if self._wanted:
            self._certify("the run was interrupted" if exitstatus == pytest.ExitCode.INTERRUPTED else "the run stopped before it")
            session.exitstatus = self._exit_status(int(exitstatus))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int
    ) -> Generator[None, object, object]:
        """Root causes before pytest's list of failures, and only the causes in that list; the certificate after it."""
        if self._report is not None:
            _write(self._config, "mesh diagnosis", terminal.diagnosis(self._report))
            explained = symptoms(diagnose(self._gathered.verdicts, self._run.checks))
            self._failed = terminalreporter.stats.get("failed", [])
            causes = [entry for entry in self._failed if self._gathered.check_of(entry) not in explained]
            if self._failed:
                terminalreporter.stats["failed"] = causes
        elif exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            terminalreporter.write_line(f"no check was selected, so nothing was provisioned. All of them: {self._run.settings.reproduce()}")
        return (yield)

    @pytest.hookimpl(specname="pytest_terminal_summary", trylast=True)
    def pytest_mesh_certificate_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Runs after pytest's list of failures and before its short summary, which names the symptoms, too."""
        if self._report is not None:
            if self._failed:
                terminalreporter.stats["failed"] = self._failed
            self._write_certificate()

    # how

    def clean_up(self) -> None:
        """Take down what was provisioned; a second call does nothing."""
        with provision.finishing(self._print):
            self._undo.close()
        self._run.mesh = None

    def _give_up(self, error: Exception) -> None:
        """Say what went wrong, and end the session."""
        self._problem = str(error) if isinstance(error, MeshError) else f"{type(error).__name__}: {error}"
        _write(self._config, "the mesh could not be provisioned", [*_told(error), *self._cleaning()])
        self._conclude_early("the mesh could not be provisioned")
        code = pytest.ExitCode.USAGE_ERROR if isinstance(error, UsageProblem) else COULD_NOT_FIND_OUT
        pytest.exit("the mesh could not be provisioned", returncode=int(code))

    def _conclude_early(self, why: str) -> None:
        """Certify where pytest will not come to its summary. Whatever happens, no older certificate is left to be taken for this run's."""
        self._certify(why)
        self._write_certificate()
        self._wanted = False

    def _certify(self, why_not_run: str) -> None:
        """Build and write the certificate; where the disk refuses it, it goes to the terminal instead of being lost."""
        settings, gathered = self._run.settings, self._gathered
        self._report = report.build_report(
            settings,
            self._run.checks,
            report.Outcomes(
                verdicts=gathered.verdicts,
                durations=gathered.durations,
                not_run=gathered.why_not_run(why_not_run),
                convergence=gathered.convergence,
                steps=self._progress.steps,
                began=self._began,
                seconds=(datetime.now(UTC) - self._began).total_seconds(),
                problem=self._problem,
            ),
            self._mesh,
            version=_own_version(),
        )
        try:
            report.write_report(self._report, settings.report)
            self._where = str(settings.report)
        except MeshError as error:
            _write(self._config, "the certificate could not be written", [str(error), *report.to_text(self._report).splitlines()])
            self._problems.append(str(error))
        if self._baseline:
            self._differences = compare.compare(self._baseline, self._report)
        self._finish_allure()

    def _finish_allure(self) -> None:
        folder = getattr(self._config.option, "allure_report_dir", None)
        if folder and self._report:
            try:
                allure.finish(self._config.invocation_params.dir / folder, self._report, report.to_text(self._report))
            except OSError as error:
                self._problems.append(f"Allure's environment and categories were not written: {error}")

    def _exit_status(self, status: int) -> int:
        assert self._report is not None
        if status == pytest.ExitCode.TESTS_FAILED:
            only_inconclusive = self._report["result"] == report.Result.INCONCLUSIVE and not self._gathered.other_failures
            status = COULD_NOT_FIND_OUT if only_inconclusive else status
        if status == pytest.ExitCode.OK and self._problems:
            status = COULD_NOT_FIND_OUT
        if status in (pytest.ExitCode.OK, COULD_NOT_FIND_OUT) and compare.worse(self._differences):
            status = pytest.ExitCode.TESTS_FAILED
        return int(status)

    def _cleaning(self) -> list[str]:
        return [f"clean-up: {problem}" for problem in self._problems]

    def _write_certificate(self) -> None:
        assert self._report is not None
        lines = terminal.certificate(self._report, self._run.settings, self._where, self._differences)
        _write(self._config, "mesh certificate", [*lines, *self._cleaning()])

    def _print(self, line: str) -> None:
        """Print a line of progress at once, also while pytest captures output."""
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
            reporter = self._config.pluginmanager.get_plugin("terminalreporter")
            if reporter is None:
                print(line, file=sys.stderr, flush=True)
            else:
                _begin_line(self._config, reporter)
                reporter.write_line(line, flush=True)


def _begin_line(config: pytest.Config, reporter: pytest.TerminalReporter) -> None:
    """End a line of dots, also one of pytest-xdist, which the reporter does not know to be unfinished."""
    reporter.ensure_newline()
    if config.get_terminal_writer().width_of_current_line:
        reporter.write_line("")


def _write(config: pytest.Config, title: str, lines: Iterable[str]) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        _begin_line(config, reporter)
        reporter.section(title)
        for line in lines:
            reporter.write_line(line)


def _told(error: BaseException) -> list[str]:
    """What went wrong, oldest first: an error while cleaning up comes after the one that led to it. A defect of ours has its trace."""
    earlier = _told(error.__context__) if error.__context__ is not None and error.__cause__ is None else []
    if isinstance(error, MeshError):
        return [*earlier, *str(error).splitlines()]
    if isinstance(error, ModuleNotFoundError):
        return [*earlier, f"{error}; the lab needs: pip install 'pytest-istio-mc[lab]'"]
    return [*earlier, *"".join(traceback.format_exception(error, chain=False)).splitlines()]


def _own_version() -> str:
    try:
        return version_of("pytest-istio-mc")
    except PackageNotFoundError:
        return "unknown"
