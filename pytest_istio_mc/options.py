"""Options as a session has them: from the command line, variables and ini files."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pytest

from .offered import OPTIONS, OTHER_VARIABLES, PREFIX, Option

if TYPE_CHECKING:
    from .providers import Provider
    from .settings import Assignment, Given

T = TypeVar("T")

SUITES = Path(__file__).parent / "suites"
SUITES_PACKAGE = "pytest_istio_mc.suites"

ACTIVATING = ("topology", "replay", "list", "plan")
"""The options that wake the plugin, as ``--mesh-spec`` does where it is no variable or setting."""


def add_options(parser: pytest.Parser) -> None:
    """Register every option and its ini twin."""
    twins = "(each also as a variable ISTIO_MC_... and an ini setting mesh_...)"
    group = parser.getgroup("mesh", f"mesh: certify an Istio multi-cluster mesh {twins}")
    for option in OPTIONS:
        summary = f"{option.help} [{option.variable}, ini {option.setting}]".replace("%", "%%")
        summary = summary if option.help else argparse.SUPPRESS
        metavar = {"metavar": option.metavar}
        shape: dict[str, Any] = {"action": "store_true"} if option.is_switch else metavar
        group.addoption(option.flag, dest=option.setting, default=None, help=summary, **shape)
        kind: Literal["bool", "string", "float"] = "bool" if option.is_switch else option.kind
        parser.addini(option.setting, option.help or "Reserved.", type=kind, default=None)


def is_active(config: pytest.Config) -> bool:
    """Whether this pytest run is about a mesh. Cheap: imports nothing.

    Raises ``pytest.UsageError`` for an option on the command line that would have no effect.
    """
    if any(asked_for(config, name) for name in ACTIVATING):
        return True
    if getattr(config.option, "mesh_spec", None):
        return True
    idle = [option.flag for option in OPTIONS if getattr(config.option, option.setting, None)]
    if idle:
        others = "(or --mesh-spec, --mesh-replay, --mesh-list, --mesh-plan)"
        nothing = f"nothing to do without --mesh-topology=NAME {others}"
        raise pytest.UsageError(f"{', '.join(idle)}: {nothing}")
    return False


def names_suites(config: pytest.Config) -> bool:
    """Whether an argument of this run names our suites, or something in them."""
    for argument in config.args:
        name = argument.partition("::")[0]
        path = (config.invocation_params.dir / name).resolve()
        if f"{name}.".startswith(f"{SUITES_PACKAGE}.") or path.is_relative_to(SUITES.resolve()):
            return True
    return False


def is_dry(config: pytest.Config) -> bool:
    """Whether this run only tells what it would do: then nothing is provisioned or written."""
    return config.option.collectonly or config.option.setupplan or asked_for(config, "plan")


def asked_for(config: pytest.Config, name: str) -> bool:
    """Whether the option ``name`` was given anywhere."""
    return any(_text(config, option, os.environ) for option in OPTIONS if option.name == name)


def read_assignment(config: pytest.Config) -> tuple[Assignment, Provider]:
    """What the session is to certify, validated, and its provider.

    Raises ``pytest.UsageError`` where that makes no sense.
    """
    from . import providers, topologies
    from .errors import UsageProblem
    from .providers.replay import Replay
    from .validation import assignment_from

    hook = config.pluginmanager.hook
    known = _merged(providers.known(), *hook.pytest_mesh_providers(config=config))
    try:
        assignment = assignment_from(
            read_given(config, os.environ),
            os.environ,
            providers=known,
            topologies=_merged(topologies.known(), *hook.pytest_mesh_topologies(config=config)),
        )
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from problem
    first = assignment.runs[0]
    return assignment, Replay(first.replay) if first.replay else known[first.provider]


def read_checks(config: pytest.Config) -> tuple[str, ...]:
    """The ids and areas of ``--mesh-checks``; empty where all are meant.

    Raises ``pytest.UsageError`` where there is no such check.
    """
    from .errors import UsageProblem
    from .validation.values import checks, unknown_checks

    try:
        chosen = checks(read_given(config, os.environ))
        if problem := unknown_checks(chosen):
            raise problem
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from problem
    return chosen


def _merged(*registries: Mapping[str, T]) -> dict[str, T]:
    return {name: entry for registry in registries for name, entry in registry.items()}


def read_given(config: pytest.Config, environment: Mapping[str, str]) -> dict[str, Given]:
    """What was given, by option name.

    The command line comes before the environment, the environment before the ini file.
    """
    from .settings import Given

    started = config.invocation_params.dir
    ini = config.inipath.parent if config.inipath else started
    given: dict[str, Given] = {}
    for option in OPTIONS:
        if found := _text(config, option, environment):
            text, source = found
            if not text.strip():
                raise pytest.UsageError(f"{option.flag}: was given without a value")
            given[option.name] = Given(text, source, ini if source == "ini" else started)
    return given


def _was_typed(config: pytest.Config, option: Option) -> bool:
    """Whether the option is among the arguments of this very run, not only in ``addopts``.

    A worker of xdist has what its controller was given, which has looked at that.
    """
    if hasattr(config, "workerinput"):
        return True
    typed = map(str, config.invocation_params.args)
    return any(one == option.flag or one.startswith(f"{option.flag}=") for one in typed)


_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off", "")


def _text(
    config: pytest.Config, option: Option, environment: Mapping[str, str]
) -> tuple[str, str] | None:
    """The option's text and source; None where it is not given or off."""
    typed = getattr(config.option, option.setting, None)
    if typed is not None:
        from .settings import TYPED

        source = TYPED if _was_typed(config, option) else "addopts"
        return ("true" if option.is_switch else str(typed)), source
    variable = next((one for one in option.variables if one in environment), None)
    if variable is not None:
        text = environment[variable].strip()
        if not option.is_switch:
            return (text, "environment") if text else None
        if text.lower() not in _TRUE + _FALSE:
            valid = ", ".join(_TRUE + _FALSE[:-1])
            raise pytest.UsageError(f"{variable}={text}: is a switch; valid are: {valid}")
        return ("true", "environment") if text.lower() in _TRUE else None
    return _in_ini_file(config, option)


def _in_ini_file(config: pytest.Config, option: Option) -> tuple[str, str] | None:
    try:
        value = config.getini(option.setting)
    except (TypeError, ValueError) as error:  # pytest before 9.1 lets them through
        raise pytest.UsageError(f"ini setting {option.setting}: {error}") from error
    if option.is_switch:
        return ("true", "ini") if value else None
    if isinstance(value, float | int):
        return f"{value:g}", "ini"
    return (str(value), "ini") if value else None


def warn_of_strangers(config: pytest.Config, environment: Mapping[str, str]) -> None:
    """Warn of variables with our prefix that are none of ours: else they pass for heeded."""
    known = {option.variable for option in OPTIONS} | set(OTHER_VARIABLES)
    for name in environment:
        if name.startswith(PREFIX) and name not in known:
            from difflib import get_close_matches

            close = get_close_matches(name, sorted(known), n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            warning = pytest.PytestConfigWarning(f"{name} is no option of pytest-istio-mc{hint}")
            config.issue_config_time_warning(warning, stacklevel=2)
