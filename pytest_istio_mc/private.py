"""Private files: only their owner reads what a run writes."""

from __future__ import annotations

import os
from pathlib import Path

FILE, FOLDER = 0o600, 0o700
"""The most that a file and a folder may grant; a stricter umask takes more away."""


def write(path: Path, content: str | bytes) -> None:
    """Write a file that nobody else may read; ``OSError`` where the disk refuses it.

    One that was there is replaced, and with it what it granted.
    """
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner alone."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=FOLDER, exist_ok=True)
