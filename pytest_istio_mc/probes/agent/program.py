"""Program: the probe as the one file that runs in pods, put together from this package's agent and the modules that it imports.

It is text, so that whoever looks at the ConfigMap can read what runs; the same sources make the same text.
"""

from __future__ import annotations

import functools
from importlib import resources

NAME = "probe.py"

MODULES = ("main", "operations", "handshakes", "outcomes", "http2", "flows")
"""The modules inside, which find each other as the package ``probe``."""


def source(module: str) -> str:
    """The text of a module of this package."""
    return resources.files(__package__).joinpath(f"{module}.py").read_text(encoding="utf-8")


@functools.cache
def program() -> str:
    """The file."""
    texts = "".join(f"    {module!r}: {_literal(source(module))},\n" for module in MODULES)
    return f'{source("bundle")}\n\ninstall("probe", {{\n{texts}}})\n\nfrom probe.main import main  # noqa: E402\n\nmain()\n'


def _literal(text: str) -> str:
    """The text as a literal that stays readable; as any literal where that is not possible."""
    return f"r'''{text}'''" if "'''" not in text and text.endswith("\n") else repr(text)
