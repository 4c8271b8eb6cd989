"""Writing: a certificate and its page come to disk whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..errors import MeshError


def write_whole(
    path: Path,
    text: str,
    thing: str = "certificate",
    advice: str = "make room, or give --mesh-report=FILE elsewhere",
) -> None:
    """Write a text to a file that its owner alone may read.

    - An older one is replaced.
    - :class:`MeshError` where the disk refuses it; then the older one is as it was.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=".mesh-report.", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        what = f"{thing} {path}"
        raise MeshError(what, "cannot be written", str(error), advice=advice) from error
