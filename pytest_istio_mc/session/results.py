"""Results: what the certificates of a session say together, on disk and as an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..errors import MeshError
from ..evidence import allure_folder, compare, markdown, page, report, summary, terminal
from ..settings import Assignment
from .certification import Certification, own_version
from .console import Console
from .meshes import Meshes

COULD_NOT_FIND_OUT = 3
"""pytest's exit code where nothing failed, but something could not be found out.

That is: a mesh could not be provisioned or cleaned up, a check was inconclusive, or none ran.
"""


class Results:
    """Writes and shows what came out for all meshes of a session.

    ``other_failures`` counts the failed tests that are on no mesh.
    """

    def __init__(
        self, meshes: Meshes, assignment: Assignment, console: Console, allure_folder: Path | None
    ) -> None:
        self.other_failures = 0
        self._meshes = meshes
        self._assignment = assignment
        self._console = console
        self._allure_folder = allure_folder
        self._overall: dict[str, Any] | None = None
        self._where = ""
        self._page: Path | None = None

    def write(self, why_not_run: str) -> None:
        """Write every certificate that is not written yet, and what they say together."""
        self._meshes.finish(why_not_run)
        wanted = list(self._meshes)
        for certification in wanted:
            if certification.report is None:
                certification.certify(why_not_run)
        reports = {one.run.settings.report: one.report for one in wanted if one.report}
        if self._assignment.overall:
            self._overall = summary.build_summary(
                reports, version=own_version(), reproduce=self.reproduce()
            )
            try:
                report.write_document(self._overall, self._assignment.overall)
                self._where = str(self._assignment.overall)
                self._write_page(list(reports.values()), self._assignment.overall)
            except MeshError as error:
                wanted[0].problems.append(str(error))
        if why := markdown.append_step_summary(list(reports.values())):
            self._console.line(f"warning: {why}")
        if self._allure_folder:
            try:
                allure_folder.finish(self._allure_folder, list(reports.values()))
            except OSError as error:
                what = "Allure's environment and categories were not written"
                wanted[0].problems.append(f"{what}: {error}")

    def _write_page(self, reports: list[dict[str, Any]], beside: Path) -> None:
        """Write one page of all certificates."""
        if self._assignment.runs[0].page:
            self._page = page.page_beside(beside)
            if why := page.try_to_write(reports, self._page):
                self._console.line(f"warning: {why}")
                self._page = None

    def reproduce(self) -> str:
        """The command that repeats the session."""
        return self._assignment.reproduce()

    def show_diagnoses(self) -> None:
        """Print the root causes of every mesh worth showing."""
        for certification in self._worth_showing():
            certification.show_diagnosis()

    def show_certificates(self) -> None:
        """Print the certificates worth showing, and the overall result."""
        for certification in self._worth_showing():
            certification.show_certificate()
        if self._overall is not None:
            lines = terminal.overview(self._overall, self._where, str(self._page or ""))
            self._console.section("mesh certificates", lines)

    def exit_status(self, status: int) -> int:
        """pytest's exit code, which knows failed tests only, with what the certificates say."""
        wanted = list(self._meshes)
        results = {one.report["result"] for one in wanted if one.report}
        unknown = report.Result.INCONCLUSIVE in results
        if status == pytest.ExitCode.TESTS_FAILED:
            nothing_failed = report.Result.FAILURE not in results and unknown
            others = self.other_failures or any(one.gathered.other_failures for one in wanted)
            status = COULD_NOT_FIND_OUT if nothing_failed and not others else status
        if status == pytest.ExitCode.OK and (unknown or any(one.problems for one in wanted)):
            status = COULD_NOT_FIND_OUT
        worse = any(compare.worse(one.differences) for one in wanted)
        if status in (pytest.ExitCode.OK, COULD_NOT_FIND_OUT) and worse:
            status = pytest.ExitCode.TESTS_FAILED
        return int(status)

    def is_symptom(self, entry: pytest.TestReport) -> bool:
        """Whether a failure need not be listed: it is explained, or its mesh is missing."""
        one = self._meshes.of(entry)
        if one is None:
            return False
        return bool(one.run.problem) or one.gathered.check_of(entry) in one.symptoms

    def _worth_showing(self) -> list[Certification]:
        """The certifications to show in full: of several, those that are not plain successes."""
        done = [one for one in self._meshes if one.report]
        if not self._meshes.several:
            return done
        return [
            one
            for one in done
            if one.report and summary.is_notable(one.report, one.differences, one.problems)
        ]
