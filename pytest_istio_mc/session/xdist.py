"""Hooks for pytest-xdist: the controller owns the meshes, workers only attach to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .meshes import Meshes
from .owner import Owner

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController


class Distribution:
    """Registered in the controller, where pytest-xdist is installed."""

    def __init__(self, owner: Owner, meshes: Meshes, folder: Path) -> None:
        self._owner = owner
        self._meshes = meshes
        self._folder = folder
        self._session: pytest.Session | None = None
        self._is_controller = False

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Remember the session for the hook below, which is not given it."""
        self._session = session

    @pytest.hookimpl(tryfirst=True)
    def pytest_xdist_setupnodes(self) -> None:
        """Provision before any worker starts, once it is known that there is something to run."""
        assert self._session is not None
        self._is_controller = True
        self._owner.begin(_collected(self._session))

    def pytest_configure_node(self, node: WorkerController) -> None:
        """Tell a worker, also a replacement, in which folder it will be told of the meshes."""
        node.workerinput["mesh_folder"] = str(self._folder)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Go on to the next mesh after the last report on one; workers wait meanwhile."""
        if self._is_controller and self._meshes.is_last_on(report):
            self._owner.go_on()


def _collected(session: pytest.Session) -> list[pytest.Item]:
    """What the workers will collect; nothing where that fails, which the workers report."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    before = {kind: list(entries) for kind, entries in reporter.stats.items()} if reporter else {}
    session.perform_collect()
    items, failed = list(session.items), session.testsfailed
    session.items, session.testscollected, session.testsfailed = [], 0, 0
    if reporter is not None:
        reporter.stats.clear()
        reporter.stats.update(before)
    return [] if failed and not session.config.option.continue_on_collection_errors else items
