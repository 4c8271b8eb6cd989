"""``istio-mc completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from .shared import GOOD

SHELLS = ("bash", "zsh", "tcsh")


def add_parser(commands: Any, parser: argparse.ArgumentParser) -> None:
    """Add the command; ``parser`` is the whole of which it is a part."""
    told = 'print a completion script: eval "$(istio-mc completion bash)"'
    command = commands.add_parser("completion", help=told)
    command.add_argument("shell", choices=SHELLS, help="the shell")
    command.set_defaults(run=partial(_print, parser))


def _print(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> int:
    import shtab

    print(shtab.complete(parser, parsed.shell))
    return GOOD
