"""``istio-mc``: labs that stay, sweeping and comparisons from the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..errors import MeshError, UsageProblem, missing_package
from ..tool import tool_version
from . import (
    checks,
    compare,
    completion,
    lab,
    mesh_config,
    precheck,
    rbac,
    reading,
    report,
    sweep,
)
from .shared import GOOD, UNKNOWN, USAGE, WORSE, say

__all__ = ["GOOD", "UNKNOWN", "USAGE", "WORSE", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except UsageProblem as problem:
        say(f"istio-mc: {problem}", error=True)
        return USAGE
    except MeshError as error:
        say(f"istio-mc: {error}", error=True)
        return UNKNOWN
    except KeyboardInterrupt:
        say("istio-mc: interrupted; what was begun has been taken down", error=True)
        return UNKNOWN
    except BrokenPipeError:
        return GOOD
    except ModuleNotFoundError as error:
        say(f"istio-mc: {missing_package(error)}", error=True)
        return UNKNOWN
    except OSError as error:
        say(f"istio-mc: cannot go on: {error}", error=True)
        return UNKNOWN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="istio-mc",
        description="Labs, snapshots and certificates of Istio multi-cluster meshes. "
        "The checks themselves run in pytest: "
        "pytest --mesh-topology=NAME",
        epilog="Exit codes: 0 good, 1 not conformant or worse, 2 wrong usage, "
        "3 could not find out.",
    )
    version = f"istio-mc {tool_version()}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    lab.add_parser(commands)
    checks.add_parsers(commands)
    reading.add_parsers(commands)
    report.add_parser(commands)
    compare.add_parser(commands)
    precheck.add_parser(commands)
    rbac.add_parser(commands)
    sweep.add_parser(commands)
    mesh_config.add_parser(commands)
    completion.add_parser(commands, parser)
    return parser
