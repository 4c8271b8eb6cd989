"""Archive: the probe as the one file that runs in pods, a zip application of this package's agent and what it imports.

Python runs such a file as it is (https://docs.python.org/3/library/zipapp.html); the same sources make the same bytes.
"""

from __future__ import annotations

import functools
import io
import zipfile
from importlib import resources

NAME = "probe.pyz"

FILES = ("agent.py", "operations.py", "handshakes.py", "outcomes.py", "http2.py")
"""The modules of the package ``probe`` inside."""

_MAIN = "from probe.agent import main\n\nmain()\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def sources() -> dict[str, str]:
    """The texts of the modules inside, by name."""
    home = resources.files(__package__)
    return {name: home.joinpath(name).read_text(encoding="utf-8") for name in FILES}


@functools.cache
def archive() -> bytes:
    """The file. Nothing in it is compressed: unpacking would take longer than reading."""
    texts = {"__main__.py": _MAIN, "probe/__init__.py": "", **{f"probe/{name}": text for name, text in sources().items()}}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as file:
        for name, text in texts.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o644 << 16
            file.writestr(entry, text.encode())
    return packed.getvalue()
