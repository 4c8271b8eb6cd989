"""``istio-mc compare``: two certificates in meaning."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import MeshError, UsageProblem
from .shared import GOOD, WORSE, say

Documents = Mapping[str, Mapping[str, Any]]


def add_parser(commands: Any) -> None:
    """Add the command."""
    told = "compare two certificates in meaning; exit code 1 when the newer one is worse"
    command = commands.add_parser("compare", help=told)
    command.add_argument("old", type=Path, help="the earlier certificate, or summary of several")
    command.add_argument("new", type=Path, help="the one that may be worse")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_compare)


def _compare(parsed: argparse.Namespace) -> int:
    from ..evidence.compare import compare, worse
    from ..evidence.summary import certificates, same_file

    try:
        old, new = certificates(parsed.old), certificates(parsed.new)
    except MeshError as error:
        raise UsageProblem(error.thing, error.step, error.detail, advice=error.advice) from error
    if same_file(parsed.old, parsed.new):
        step, advice = "are the same file", "keep the earlier certificate under another name"
        raise UsageProblem(f"certificates {parsed.old} and {parsed.new}", step, advice=advice)
    pairs = _pairs(parsed, old, new)
    gone = [name for name in old if len(old) + len(new) > 2 and name not in new]
    differences = {name: compare(*pair) for name, pair in pairs.items()}
    is_worse = bool(gone) or any(worse(found) for found in differences.values())
    if parsed.json:
        document = {
            "old": str(parsed.old),
            "new": str(parsed.new),
            "worse": is_worse,
            "gone": gone,
            "differences": {
                name: [one.to_dict() for one in found] for name, found in differences.items()
            },
        }
        print(json.dumps(document, indent=2))
        return WORSE if is_worse else GOOD
    for name, found in differences.items():
        for difference in found:
            say(f"{name}: {difference}" if len(old) + len(new) > 2 else str(difference))
    for topology in gone:
        say(f"{topology}: no longer certified")
    if not gone and not any(differences.values()):
        say("no difference in meaning")
    return WORSE if is_worse else GOOD


def _pairs(
    parsed: argparse.Namespace, old: Documents, new: Documents
) -> dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The certificates to compare, by topology; refused where they are of different things."""
    from ..evidence.compare import scope_of

    def refuse(unlike: list[str]) -> UsageProblem:
        thing, step = f"certificates {parsed.old} and {parsed.new}", "are of different things"
        detail = f"the first is of {'; of '.join(unlike)}"
        return UsageProblem(thing, step, detail, advice="compare what is of the same mesh")

    if len(old) == len(new) == 1:
        (first,), (second,) = old.values(), new.values()
        pairs = {str(first["topology"]): (first, second)}
    else:
        pairs = {name: (old[name], new[name]) for name in old if name in new}
        if not pairs:
            raise refuse([f"{', '.join(old)}, not {', '.join(new)}"])
    for first, second in pairs.values():
        if unlike := scope_of(first).unlike(scope_of(second)):
            raise refuse(unlike)
    return pairs
