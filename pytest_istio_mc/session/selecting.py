"""Selecting: which tests a run on a mesh has, from pytest's own arguments."""

from __future__ import annotations

import pytest

from ..options import SUITES
from ..settings import Selection


def selection(config: pytest.Config) -> Selection:
    """Which tests pytest was asked for."""
    option, typed = config.option, config.args_source is config.ArgsSource.ARGS
    given = list(map(str, config.invocation_params.args))
    plugins = [name for name in option.plugins or () if {name, f"-p{name}"} & {*given}]
    return Selection(
        plugins=tuple(dict.fromkeys(plugins)),
        paths=tuple(map(str, config.args)) if typed else (),
        keyword=option.keyword,
        markers=option.markexpr,
        deselected=tuple(option.deselect or ()),
        pyargs=option.pyargs,
    )


def collect_suites(config: pytest.Config) -> None:
    """Collect the suites, too, where no path was typed; accept the ids that runs print.

    ``pytest --mesh-topology=…`` judges wherever the package is installed, and a node id of the
    suites leads to its test from any folder.
    """
    if config.args_source is not config.ArgsSource.ARGS:
        if str(SUITES) not in config.args:
            config.args = [*config.args, str(SUITES)]
        return
    config.args = [_in_suites(config, argument) for argument in map(str, config.args)]


def _in_suites(config: pytest.Config, argument: str) -> str:
    """``suites`` or ``suites/…`` as a path of ours, where it leads nowhere from here."""
    # brackets of a parameter may hold anything; the path comes before them
    path, colons, names = argument.partition("::")
    if not f"{path}/".startswith("suites/") or (config.invocation_params.dir / path).exists():
        return argument
    ours = SUITES.parent / path
    return f"{ours}{colons}{names}" if ours.exists() else argument
