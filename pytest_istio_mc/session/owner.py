"""Session: the process that owns the meshes certifies one after the other, sums up, and settles the exit code."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ..checks import catalogue
from ..checks.catalogue import Check
from ..errors import MeshError, UsageProblem
from ..evidence import allure, compare, report, summary, terminal
from ..providers import Provider
from ..scratch import Scratch
from ..settings import Assignment
from .certification import Certification, own_version
from .cleanup import interruptible
from .console import Console
from .run import RUNS, Run, Runs, new_run_id
from .tests import Tests

COULD_NOT_FIND_OUT = 3
"""pytest's exit code where a mesh could not be provisioned or cleaned up, or no check failed but some could not find out."""

FIXTURES = ("mesh", "expect", "traffic", "faults")

IN_ORDER = ("no", "load", "worksteal")
"""The ways of pytest-xdist to distribute tests in which every worker runs its tests in their order; with others, workers would wait for
each other's topologies for ever."""


def take_part(config: pytest.Config, assignment: Assignment, provider: Provider) -> None:
    """Make this pytest process part of a session: as the owner of its meshes, or as a worker of xdist that attaches to them."""
    for name in FIXTURES:
        config.pluginmanager.import_plugin(f"pytest_istio_mc.fixtures.{name}")
    checks = catalogue.known_checks()
    several = assignment.overall is not None
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is not None:
        folder = Path(worker["mesh_folder"])
        runs = config.stash[RUNS] = _runs(assignment, checks, folder)
        config.pluginmanager.register(Tests(runs, checks, folder, is_worker=True), "mesh_items")
        return
    if several and config.getoption("dist", "no") not in IN_ORDER:
        raise pytest.UsageError(
            f"--dist={config.getoption('dist')}: several topologies take --dist={' or '.join(IN_ORDER[1:])}"
        )
    if several and hasattr(config.option, "maxschedchunk") and config.option.maxschedchunk is None:
        config.option.maxschedchunk = (
            2  # else a worker gets tests of a later topology at once, and waits while others work
        )
    try:
        baselines = summary.baselines(assignment)
    except MeshError as error:
        raise pytest.UsageError(f"--mesh-baseline: {error}") from error
    scratch = Scratch(new_run_id())
    config.add_cleanup(scratch.remove)
    runs = config.stash[RUNS] = _runs(assignment, checks, scratch.folder)
    config.pluginmanager.register(Tests(runs, checks, scratch.folder), "mesh_items")
    console = Console(config)
    certifications = [
        Certification(run, provider, baselines.get(run.topology), console) for run in runs
    ]
    owner = Owner(config, assignment, runs, certifications, console)
    config.pluginmanager.register(owner, "mesh_owner")
    config.add_cleanup(owner.clean_up)
    if config.pluginmanager.hasplugin("xdist"):
        from .xdist import Distribution

        config.pluginmanager.register(Distribution(owner, scratch.folder), "mesh_distribution")


def _runs(assignment: Assignment, checks: Mapping[str, Check], folder: Path) -> Runs:
    several = assignment.overall is not None
    return Runs(
        Run(settings, checks, new_run_id(), folder, among_others=several)
        for settings in assignment.runs
    )


class Owner:
    """The hooks of the process that owns the meshes: the only process, or the controller of xdist."""

    def __init__(
        self,
        config: pytest.Config,
        assignment: Assignment,
        runs: Runs,
        certifications: Iterable[Certification],
        console: Console,
    ) -> None:
        self._config = config
        self._assignment = assignment
        self._runs = runs
        self._certifications = {
            certification.topology: certification for certification in certifications
        }
        self._console = console
        self._undo = ExitStack()
        self._waiting: list[Certification] = []
        self._current: Certification | None = None
        self._concluded = False
        self._where = ""
        self._topology_of: dict[str, str] = {}
        self._other_failures = 0
        self._failed: dict[str, list[pytest.TestReport]] = {}
        self._overall: dict[str, Any] | None = None

    # what happens, in order

    def pytest_report_header(self) -> list[str]:
        """Say what is about to be certified."""
        return [line for run in self._runs for line in terminal.header(run.settings, run.run_id)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Provision, now that it is known what will run. (Under xdist the controller has done so before its workers started.)"""
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            return
        if not self._topology_of and session.items and not session.config.option.collectonly:
            self.begin(session.items)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Go on to the next mesh after the last test on one. (Under xdist tests run elsewhere, and their reports tell.)"""
        result = yield
        run = self._runs.of(item)
        if run is not None and nextitem is not None and self._runs.of(nextitem) is not run:
            self.go_on()
        return result

    def begin(self, items: Iterable[pytest.Item]) -> None:
        """Provision the first mesh that any of ``items`` needs."""
        for item in items:
            run = self._runs.of(item)
            if run is not None:
                certification = self._certifications[run.topology]
                certification.expected.add(item.nodeid)
                certification.gathered.expect_from([item])
                self._topology_of[item.nodeid] = run.topology
        self._waiting = [
            certification
            for certification in self._certifications.values()
            if certification.expected
        ]
        for certification in self._certifications.values():
            if not certification.expected:
                certification.run.publish()  # else a worker that collects more than we did would wait for ever
        if self._waiting:
            self._undo.enter_context(interruptible())
            self._provision_next()

    def go_on(self) -> None:
        """Finish the mesh at hand and provision the next one."""
        self._finish_current("the run stopped before it")
        if self._waiting:
            self._provision_next()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather verdicts, from this process or from a worker."""
        certification = self._certification_of(report)
        if certification is None:
            self._other_failures += report.failed
        else:
            certification.gathered.add(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Clean up (after xdist has ended its workers), write the certificates, and settle the exit code."""
        self.clean_up()
        wanted = self._topology_of and not self._concluded
        if wanted:
            self._conclude(
                "the run was interrupted"
                if exitstatus == pytest.ExitCode.INTERRUPTED
                else "the run stopped before it"
            )
            session.exitstatus = self._exit_status(int(exitstatus))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int
    ) -> Generator[None, object, object]:
        """Root causes before pytest's list of failures, and only the causes in that list; the certificates after it."""
        if self._concluded:
            for certification in self._worth_showing():
                certification.show_diagnosis()
            for kind in ("failed", "error"):
                self._failed[kind] = terminalreporter.stats.get(kind, [])
                causes = [entry for entry in self._failed[kind] if not self._is_symptom(entry)]
                if self._failed[kind]:
                    terminalreporter.stats[kind] = causes
        elif exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            every = self._assignment.reproduce()
            terminalreporter.write_line(
                f"no check was selected, so nothing was provisioned. All of them: {every}"
            )
        return (yield)

    @pytest.hookimpl(specname="pytest_terminal_summary", trylast=True)
    def pytest_mesh_certificate_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Runs after pytest's list of failures and before its short summary, which names the symptoms, too."""
        if self._concluded:
            terminalreporter.stats.update(
                {kind: entries for kind, entries in self._failed.items() if entries}
            )
            self._show_certificates()

    # how

    def clean_up(self) -> None:
        """Take down what was provisioned; a second call does nothing."""
        if self._current is not None:
            self._current.clean_up()
        self._undo.close()

    def is_done(self, report: pytest.TestReport) -> bool:
        """Under xdist: whether this report was the last one on the mesh at hand."""
        certification = self._certification_of(report)
        if certification is None or report.when not in (
            "teardown",
            "???",
        ):  # pytest-xdist's word for a test that killed its worker
            return False
        certification.expected.discard(report.nodeid.partition("@")[0])
        return certification is self._current and not certification.expected and bool(self._waiting)

    def _provision_next(self) -> None:
        """Provision the next mesh. Where that fails, say why; where there is no other, end the session with exit code 3."""
        self._current = certification = self._waiting.pop(0)
        if self._several:
            self._console.section(certification.titled("mesh"), [])
        try:
            certification.provision()
        except Exception as error:
            certification.show_problem(error)
            if not self._several:
                self._give_up(error)
        except BaseException:
            if self._config.pluginmanager.hasplugin("dsession"):
                self._conclude_early("the run was interrupted")
            raise
        certification.run.publish()

    def _finish_current(self, why_not_run: str) -> None:
        """Take the mesh at hand down and write its certificate."""
        certification, self._current = self._current, None
        if certification is None:
            return
        certification.clean_up()
        certification.certify(why_not_run)
        if self._several:
            assert certification.report is not None
            self._console.line(terminal.one_line(certification.report))

    def _give_up(self, error: Exception) -> None:
        self._conclude_early("the mesh could not be provisioned")
        code = (
            pytest.ExitCode.USAGE_ERROR if isinstance(error, UsageProblem) else COULD_NOT_FIND_OUT
        )
        pytest.exit("the mesh could not be provisioned", returncode=int(code))

    def _conclude_early(self, why: str) -> None:
        """Certify where pytest will not come to its summary. Whatever happens, no older certificate is left to be taken for this run's."""
        self._conclude(why)
        self._show_certificates()
        self._topology_of.clear()
        self._concluded = False

    def _conclude(self, why_not_run: str) -> None:
        """Write every certificate that is not written yet, and what they say together."""
        self._finish_current(why_not_run)
        for certification in self._wanted():
            if certification.report is None:
                certification.certify(why_not_run)
        reports = {
            certification.run.settings.report: certification.report
            for certification in self._wanted()
            if certification.report
        }
        if self._assignment.overall:
            self._overall = summary.build_summary(
                reports, version=own_version(), reproduce=self._assignment.reproduce()
            )
            try:
                report.write_document(self._overall, self._assignment.overall)
                self._where = str(self._assignment.overall)
            except MeshError as error:
                self._wanted()[0].problems.append(str(error))
        folder = getattr(self._config.option, "allure_report_dir", None)
        if folder:
            try:
                allure.finish(self._config.invocation_params.dir / folder, list(reports.values()))
            except OSError as error:
                self._wanted()[0].problems.append(
                    f"Allure's environment and categories were not written: {error}"
                )
        self._concluded = True

    def _exit_status(self, status: int) -> int:
        wanted = self._wanted()
        if status == pytest.ExitCode.TESTS_FAILED:
            results = {
                certification.report["result"] for certification in wanted if certification.report
            }
            nothing_failed = (
                report.Result.FAILURE not in results and report.Result.INCONCLUSIVE in results
            )
            others = self._other_failures or any(
                certification.gathered.other_failures for certification in wanted
            )
            status = COULD_NOT_FIND_OUT if nothing_failed and not others else status
        if status == pytest.ExitCode.OK and any(certification.problems for certification in wanted):
            status = COULD_NOT_FIND_OUT
        if status in (pytest.ExitCode.OK, COULD_NOT_FIND_OUT) and any(
            compare.worse(one.differences) for one in wanted
        ):
            status = pytest.ExitCode.TESTS_FAILED
        return int(status)

    @property
    def _several(self) -> bool:
        return self._assignment.overall is not None

    def _wanted(self) -> list[Certification]:
        topologies = set(self._topology_of.values())
        return [
            certification
            for certification in self._certifications.values()
            if certification.topology in topologies
        ]

    def _worth_showing(self) -> list[Certification]:
        """The certifications to show in full: of several, those that are not plain successes."""
        done = [one for one in self._wanted() if one.report]
        if not self._several:
            return done
        return [
            one
            for one in done
            if one.report and summary.is_notable(one.report, one.differences, one.problems)
        ]

    def _show_certificates(self) -> None:
        for certification in self._worth_showing():
            certification.show_certificate()
        if self._overall is not None:
            self._console.section(
                "mesh certificates", terminal.overview(self._overall, self._where)
            )

    def _certification_of(self, entry: pytest.TestReport) -> Certification | None:
        topology = self._topology_of.get(entry.nodeid.partition("@")[0])
        return self._certifications[topology] if topology else None

    def _is_symptom(self, entry: pytest.TestReport) -> bool:
        """Whether a failure need not be listed: another check explains it, or that its topology has no mesh has been said already."""
        certification = self._certification_of(entry)
        if certification is None:
            return False
        return (
            bool(certification.run.problem)
            or certification.gathered.check_of(entry) in certification.symptoms
        )
