"""``istio-mc docs`` and ``schema``: what needs no clusters and no lab."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..errors import UsageProblem
from .shared import GOOD, say

SCHEMAS = ("mesh-spec", "certificate", "summary")
"""The formats of files that have a JSON Schema."""


def add_parsers(commands: Any) -> None:
    """Add the commands."""
    told = "print the JSON Schema of a file format, for editors and other tools"
    command = commands.add_parser("schema", help=told)
    command.add_argument("format", choices=SCHEMAS, help="the format")
    command.set_defaults(run=_schema)
    told = "list the pages of the documentation, or print one of them"
    command = commands.add_parser("docs", help=told)
    told = "a page, such as attach.md"
    command.add_argument("page", nargs="?", help=told)
    command.set_defaults(run=_docs)


def _schema(parsed: argparse.Namespace) -> int:
    from ..evidence.report import KIND, SUMMARY_KIND, schema
    from ..spec_file import spec_schema

    kinds = {"certificate": KIND, "summary": SUMMARY_KIND}
    found = schema(kinds[parsed.format]) if parsed.format in kinds else spec_schema()
    print(json.dumps(found, indent=2))
    return GOOD


def documentation() -> dict[str, Path]:
    """The pages of the documentation by name, as installed or in the checkout."""
    package = Path(__file__).parent.parent
    shipped, checkout = package / "docs", package.parent / "docs"
    folder = shipped if shipped.is_dir() else checkout
    return {file.name: file for file in sorted(folder.iterdir()) if file.suffix != ".svg"}


def _docs(parsed: argparse.Namespace) -> int:
    pages = documentation()
    if parsed.page is None:
        for name, file in pages.items():
            print(
                f"{name:<24} {file.read_text(encoding='utf-8').partition(chr(10))[0].strip('# ')}"
            )
        say(f"\nin {file.parent}; istio-mc docs PAGE prints one")
        return GOOD
    if parsed.page not in pages:
        known = ", ".join(pages)
        raise UsageProblem(parsed.page, "is no page of the documentation", advice=f"one of {known}")
    print(pages[parsed.page].read_text(encoding="utf-8"), end="")
    return GOOD
