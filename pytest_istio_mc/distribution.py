"""Distribution: the hooks for pytest-xdist. The controller owns the mesh; workers attach to it, and never make a second one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .run import Run

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

    from .session import Owner


class Distribution:
    """Registered in the controller, where pytest-xdist is installed."""

    def __init__(self, owner: Owner, run: Run) -> None:
        self._owner = owner
        self._run = run
        self._session: pytest.Session | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Remember the session for the hook below, which is not given it."""
        self._session = session

    @pytest.hookimpl(tryfirst=True)
    def pytest_xdist_setupnodes(self) -> None:
        """Provision before any worker is started, after a look at what there is to run: a typing error builds no clusters."""
        assert self._session is not None
        self._owner.provision(_collected(self._session))

    def pytest_configure_node(self, node: WorkerController) -> None:
        """Hand the mesh to a worker, also to one that replaces a crashed one."""
        document: dict[str, Any] = self._run.to_worker() | {"lock_file": str(self._owner.lock_file)}
        node.workerinput["mesh_run"] = document


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
