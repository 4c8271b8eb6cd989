"""What all commands share: exit codes, progress, reading documents."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .. import documents
from ..errors import UsageProblem
from ..files import Unreadable
from ..progress import Progress
from ..visible import visible_lines

GOOD, WORSE, USAGE, UNKNOWN = 0, 1, 2, 3
"""Exit codes: good, not conformant or worse, wrong usage, could not find out."""


def progress() -> Progress:
    """Progress on standard error."""
    return Progress(lambda line: say(line, error=True))


def say(text: str, *, error: bool = False) -> None:
    """Print a text, with nothing in it that acts on a terminal."""
    print(visible_lines(text), file=sys.stderr if error else sys.stdout, flush=error)


def document(path: Path) -> Any:
    """A YAML or JSON file's content; :class:`UsageProblem` where it is none."""
    try:
        return documents.read_document(path)
    except Unreadable as error:
        advice = "give a YAML or JSON file"
        raise UsageProblem(str(path), "cannot be read", str(error), advice=advice) from error
