"""The pytest plugin: sleeps, unless a run is about a mesh.

Every pytest loads it: it imports nothing heavy.
"""

from __future__ import annotations

import os

import pytest

from . import absent, hookspecs, options


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options, their environment variables and ini twins."""
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the hooks for providers and topologies of other packages."""
    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Answer ``--mesh-list`` and ``--mesh-plan`` without a mesh."""
    if options.asked_for(config, "list"):
        from .session import listing
        from .visible import as_written

        print(as_written(listing.list_checks(options.read_checks(config)), styled=False))
        return 0
    if options.asked_for(config, "plan"):
        from .session.planning import Planning

        Planning.instead_of_tests(config)
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; take part in a run on a mesh."""
    marker = "mesh_check(id): this test judges the check with that id"
    config.addinivalue_line("markers", marker)
    options.warn_of_strangers(config, os.environ)
    if options.is_active(config):
        from .session import selecting, start

        assignment, provider = options.read_assignment(config)
        assignment = assignment.selecting(selecting.selection(config))
        selecting.collect_suites(config)
        start.take_part(config, assignment, provider)
        return
    config.pluginmanager.register(absent, "absent_mesh")
    if options.names_suites(config) and not config.option.showfixtures:
        raise pytest.UsageError(
            "the suites judge a mesh: add --mesh-topology=multi-network-multi-primary "
            "(builds one on this machine), or --mesh-replay=DIR; --mesh-list prints every check"
        )
