"""The pytest plugin: registers options, and wakes up only for a run that is about a mesh. Loaded by every pytest: imports nothing heavy."""

from __future__ import annotations

import pytest

from . import hookspecs, options


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options, their environment variables and ini twins."""
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the hooks with which other packages add providers and topologies."""
    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Answer ``--mesh-list`` and ``--mesh-plan`` without a session."""
    for name in ("list", "plan"):
        if options.asked_for(config, name):
            from .session import listing

            print(
                listing.list_checks()
                if name == "list"
                else listing.plan(*options.read_assignment(config))
            )
            return 0
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; for a run on a mesh, read the options and take part."""
    config.addinivalue_line(
        "markers",
        "mesh_check(id): this test judges the check with that id, and is the only one that does",
    )
    config.addinivalue_line(
        "markers",
        "mesh_sees(observe=function): the fixture seen is observe(run), made beside those of other tests",
    )
    if options.is_active(config):
        from .session.owner import take_part

        take_part(config, *options.read_assignment(config))
    elif options.names_suites(config):
        raise pytest.UsageError(
            "the suites judge a mesh: add --mesh-topology=multi-network-multi-primary (builds one on this machine), "
            "or --mesh-replay=DIR; --mesh-list prints every check"
        )
