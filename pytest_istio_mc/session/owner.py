"""Owner: the hooks of the process that owns the meshes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from enum import Enum

import pytest

from ..errors import UsageProblem
from ..evidence import terminal
from ..options import is_dry
from .console import guard
from .meshes import Meshes, NoMesh
from .results import COULD_NOT_FIND_OUT, Results
from .run import Runs


class State(Enum):
    """How far a session has come; it goes down this list and skips, never up."""

    IDLE = "nothing is selected yet that is on a mesh"
    CERTIFYING = "a mesh was provisioned, or its provisioning was tried"
    CONCLUDED = "every certificate is written, and waits for pytest's summary to be shown"
    TOLD = "certificates are written and shown, because pytest will not come to its summary"


class Owner:
    """The hooks of the only process, or of the controller of xdist.

    They stand in the order in which pytest calls them.
    """

    def __init__(self, config: pytest.Config, runs: Runs, meshes: Meshes, results: Results) -> None:
        self.state = State.IDLE
        self._config = config
        self._runs = runs
        self._meshes = meshes
        self._results = results
        self._failed: dict[str, list[pytest.TestReport]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Guard the terminal, before the first line."""
        guard(self._config)

    def pytest_report_header(self) -> list[str]:
        """Say what is about to be certified."""
        return [line for run in self._runs for line in terminal.header(run.settings, run.run_id)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Provision, now that the tests are known. (Under xdist: before workers start.)"""
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            return
        if self.state is State.IDLE and session.items:
            self.begin(session.items)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Go on to the next mesh after the last test on one. (Under xdist reports tell.)"""
        result = yield
        run = self._runs.of(item)
        if run is not None and nextitem is not None and self._runs.of(nextitem) is not run:
            self.go_on()
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather verdicts, from this process or from a worker."""
        certification = self._meshes.of(report)
        if certification is None:
            self._results.other_failures += report.failed
        else:
            certification.gathered.add(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Clean up (after xdist has ended its workers), certify, and settle the exit code."""
        self._meshes.clean_up()
        if self.state is State.CERTIFYING:
            interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
            self._results.write(
                "the run was interrupted" if interrupted else "the run stopped before it"
            )
            self.state = State.CONCLUDED
            session.exitstatus = self._results.exit_status(int(exitstatus))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int
    ) -> Generator[None, object, object]:
        """Show root causes before pytest's list of failures, which then has only the causes."""
        if self.state is State.CONCLUDED:
            self._results.show_diagnoses()
            for kind in ("failed", "error"):
                self._failed[kind] = found = terminalreporter.stats.get(kind, [])
                if found:
                    causes = [entry for entry in found if not self._results.is_symptom(entry)]
                    terminalreporter.stats[kind] = causes
        elif exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            terminalreporter.write_line(
                "no check was selected, so nothing was provisioned. --mesh-list prints every id; "
                "--mesh-checks=MC-TRUST-001,MC-EASTWEST selects, and so do -k and -m, also by "
                "profile (core) and kind (static)"
            )
        return (yield)

    @pytest.hookimpl(specname="pytest_terminal_summary", trylast=True)
    def pytest_mesh_certificate_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show certificates after the failures; the short summary names the symptoms, too."""
        if self.state is State.CONCLUDED:
            terminalreporter.stats.update({kind: all for kind, all in self._failed.items() if all})
            self._results.show_certificates()

    def begin(self, items: Iterable[pytest.Item]) -> None:
        """Provision the first mesh that any of the tests needs, unless nothing is to be done."""
        if is_dry(self._config):
            return
        self._provisioning(lambda: self._meshes.begin(items))

    def go_on(self) -> None:
        """Finish the mesh at hand and provision the next one."""
        self._provisioning(self._meshes.go_on)

    def _provisioning(self, provision: Callable[[], None]) -> None:
        """Certify early where pytest will not come to its summary.

        So no older certificate is left to be taken for this run's.
        """
        try:
            provision()
        except NoMesh as error:
            self._tell("the mesh could not be provisioned")
            usage = isinstance(error.__cause__, UsageProblem)
            code = pytest.ExitCode.USAGE_ERROR if usage else COULD_NOT_FIND_OUT
            pytest.exit("the mesh could not be provisioned", returncode=int(code))
        except BaseException:
            if self._config.pluginmanager.hasplugin("dsession"):
                self._tell("the run was interrupted")
            raise
        finally:
            if self.state is State.IDLE and any(self._meshes):
                self.state = State.CERTIFYING

    def _tell(self, why: str) -> None:
        self._results.write(why)
        self._results.show_certificates()
        self.state = State.TOLD
