"""``istio-mc checks``, ``docs`` and ``schema``: what needs no clusters and no lab."""

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
    told = "print every known check: id, sentence, profile, kind, requirements, documentation"
    command = commands.add_parser("checks", help=told)
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_checks)
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


def _docs(parsed: argparse.Namespace) -> int:
    package = Path(__file__).parent.parent
    shipped, checkout = package / "docs", package.parent / "docs"
    folder = shipped if shipped.is_dir() else checkout
    pages = {file.name: file for file in sorted(folder.iterdir()) if file.suffix != ".svg"}
    if parsed.page is None:
        for name, file in pages.items():
            print(
                f"{name:<24} {file.read_text(encoding='utf-8').partition(chr(10))[0].strip('# ')}"
            )
        say(f"\nin {folder}; istio-mc docs PAGE prints one")
        return GOOD
    if parsed.page not in pages:
        known = ", ".join(pages)
        raise UsageProblem(parsed.page, "is no page of the documentation", advice=f"one of {known}")
    print(pages[parsed.page].read_text(encoding="utf-8"), end="")
    return GOOD


def _checks(parsed: argparse.Namespace) -> int:
    from ..checks.catalogue import known_checks

    checks = known_checks().values()
    if parsed.json:
        rows = [
            {
                "id": check.id,
                "title": check.title,
                "profile": check.profile.value,
                "kind": check.kind.value,
                "requires": [feature.value for feature in check.requires],
                "specUrl": check.spec_url,
                "explainedBy": list(check.explained_by),
                "quick": check.quick,
                "effect": check.effect,
                "permissions": [permission.value for permission in check.permissions],
            }
            for check in checks
        ]
        print(json.dumps(rows, indent=2))
        return GOOD
    for check in checks:
        features = ", ".join(feature.value for feature in check.requires)
        quick = ", quick" if check.quick else ""
        kind = f"{check.profile.value}{quick}, {check.kind.value}"
        say(f"{check.id}  {check.title}")
        say(f"    {kind}{'; needs ' if features else ''}{features}; {check.spec_url}")
    return GOOD
