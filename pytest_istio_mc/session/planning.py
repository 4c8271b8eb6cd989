"""Planning: ``--mesh-plan`` collects as a run would, and prints what that run would do."""

from __future__ import annotations

import pytest

from ..options import read_assignment
from ..visible import as_written
from . import listing
from .run import CHECK, RUNS


class Planning:
    """Prints the plan where else tests would run; nothing is provisioned."""

    @classmethod
    def instead_of_tests(cls, config: pytest.Config) -> None:
        """Have this session print the plan, and nothing else that goes well."""
        read_assignment(config)  # what is wrong is said first
        config.option.verbose = -2
        if hasattr(config.option, "numprocesses"):  # pytest-xdist: there is nothing to share
            config.option.numprocesses, config.option.dist, config.option.tx = None, "no", []
        config.pluginmanager.register(cls(), "mesh_planning")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """The plan for the tests that were selected."""
        if session.testsfailed:
            return None
        runs = session.config.stash[RUNS]
        selected: dict[str, set[str]] = {topology: set() for topology in runs.topologies}
        for item in session.items:
            run = runs.of(item)
            if run is not None and CHECK in item.stash:
                selected[run.topology].add(item.stash[CHECK].id)
        text = listing.plan(*read_assignment(session.config), selected)
        print(as_written(text, styled=False))
        return True
