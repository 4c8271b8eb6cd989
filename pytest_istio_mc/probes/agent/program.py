"""Program: the one file in probe pods, made of this package's modules.

It is text, so that the ConfigMap shows what runs; the same sources make the same text.
"""

from __future__ import annotations

import functools
from importlib import resources

NAME = "probe.py"

MODULES = (
    *("main", "operations", "handshakes", "outcomes", "bounds", "http2", "hpack", "flows"),
    *("records", "counts", "served"),
)
"""The modules inside, which find each other as the package ``probe``."""


def source(module: str) -> str:
    """The text of a module of this package."""
    return resources.files(__package__).joinpath(f"{module}.py").read_text(encoding="utf-8")


@functools.cache
def program() -> str:
    """The file."""
    texts = "".join(f"    {module!r}: {_literal(source(module))},\n" for module in MODULES)
    install = f'install("probe", {{\n{texts}}})'
    start = "from probe.main import main  # noqa: E402\n\nmain()\n"
    return f"{source('bundle')}\n\n{install}\n\n{start}"


def _literal(text: str) -> str:
    """The text as a literal, readable where that is possible."""
    return f"r'''{text}'''" if "'''" not in text and text.endswith("\n") else repr(text)
