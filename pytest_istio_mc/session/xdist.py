"""Distribution: the hooks for pytest-xdist. The controller owns the meshes; workers attach to them, and never make one themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

    from .owner import Owner


class Distribution:
    """Registered in the controller, where pytest-xdist is installed."""

    def __init__(self, owner: Owner, folder: Path) -> None:
        self._owner = owner
        self._folder = folder
        self._session: pytest.Session | None = None
        self._is_controller = False

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Remember the session for the hook below, which is not given it."""
        self._session = session

    @pytest.hookimpl(tryfirst=True)
    def pytest_xdist_setupnodes(self) -> None:
        """Provision before any worker is started, after a look at what there is to run: a typing error builds no clusters."""
        assert self._session is not None
        self._is_controller = True
        self._owner.begin(_collected(self._session))

    def pytest_configure_node(self, node: WorkerController) -> None:
        """Tell a worker, also one that replaces a crashed one, where it will be told of the meshes."""
        node.workerinput["mesh_folder"] = str(self._folder)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Go on to the next mesh after the last report on one; workers that have tests on it wait for it meanwhile."""
        if self._is_controller and self._owner.is_done(report):
            self._owner.go_on()


def _collected(session: pytest.Session) -> list[pytest.Item]:
    """What the workers will collect. None where collecting fails: the workers will report why, and nothing will run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    before = {kind: list(entries) for kind, entries in reporter.stats.items()} if reporter else {}
    session.perform_collect()
    items, failed = list(session.items), session.testsfailed
    session.items, session.testscollected, session.testsfailed = [], 0, 0
    if reporter is not None:
        reporter.stats.clear()
        reporter.stats.update(before)
    return [] if failed and not session.config.option.continue_on_collection_errors else items
