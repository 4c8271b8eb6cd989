"""Meshes: the certifications of a session, one mesh after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import pytest

from ..evidence import terminal
from .certification import Certification
from .cleanup import interruptible
from .console import Console
from .run import Runs


class NoMesh(Exception):
    """The only mesh of a session could not be provisioned; its cause says why."""


class Meshes:
    """Which mesh is at hand, which ones wait, and which tests are on which.

    ``several`` says whether the session certifies more than one topology.
    """

    def __init__(
        self,
        runs: Runs,
        certifications: Iterable[Certification],
        console: Console,
        *,
        several: bool,
    ) -> None:
        self.several = several
        self._runs = runs
        self._certifications = {one.topology: one for one in certifications}
        self._console = console
        self._topology_of: dict[str, str] = {}
        self._waiting: list[Certification] = []
        self._current: Certification | None = None
        self._undo = ExitStack()

    def __iter__(self) -> Iterator[Certification]:
        """The certifications that any selected test is on."""
        wanted = set(self._topology_of.values())
        return (one for one in self._certifications.values() if one.topology in wanted)

    def of(self, report: pytest.TestReport) -> Certification | None:
        """The certification that a report belongs to; None for a test on no mesh."""
        topology = self._topology_of.get(report.nodeid.partition("@")[0])
        return self._certifications[topology] if topology else None

    def begin(self, items: Iterable[pytest.Item]) -> None:
        """Provision the first mesh that any of the tests needs."""
        for item in items:
            run = self._runs.of(item)
            if run is not None:
                certification = self._certifications[run.topology]
                certification.expected.add(item.nodeid)
                certification.gathered.expect_from([item])
                self._topology_of[item.nodeid] = run.topology
        self._waiting = list(self)
        for certification in self._certifications.values():
            if certification not in self._waiting:
                # else a worker that collects more than we did would wait for ever
                certification.run.publish()
        if self._waiting:
            self._undo.enter_context(interruptible())
            self._provision_next()

    def is_last_on(self, report: pytest.TestReport) -> bool:
        """Whether a report was the last one on this mesh, and others wait (xdist)."""
        certification = self.of(report)
        ended = ("teardown", "???")  # pytest-xdist's word for a test that killed its worker
        if certification is None or report.when not in ended:
            return False
        certification.expected.discard(report.nodeid.partition("@")[0])
        return certification is self._current and not certification.expected and bool(self._waiting)

    def go_on(self) -> None:
        """Finish the mesh at hand and provision the next one."""
        self.finish("the run stopped before it")
        if self._waiting:
            self._provision_next()

    def finish(self, why_not_run: str) -> None:
        """Take the mesh at hand down and write its certificate."""
        certification, self._current = self._current, None
        if certification is None:
            return
        certification.clean_up()
        certification.certify(why_not_run)
        if self.several:
            assert certification.report is not None
            self._console.line(terminal.one_line(certification.report))

    def clean_up(self) -> None:
        """Take down what was provisioned; a second call does nothing."""
        if self._current is not None:
            self._current.clean_up()
        self._undo.close()

    def _provision_next(self) -> None:
        """Provision the next mesh; an error is said, and ends a session of one mesh."""
        self._current = certification = self._waiting.pop(0)
        if self.several:
            self._console.section(certification.titled("mesh"), [])
        try:
            certification.provision()
        except Exception as error:
            certification.show_problem(error)
            if not self.several:
                raise NoMesh from error
        certification.run.publish()
