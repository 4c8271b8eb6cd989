"""``istio-mc checks`` and ``explain``: what is known of checks, without clusters and lab."""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import UsageProblem
from . import explain_path
from .reading import documentation
from .shared import GOOD, say

if TYPE_CHECKING:
    from ..checks.catalogue import Check

PROFILES = ("core", "extended", "disruptive")
KINDS = ("static", "live", "fault")


def add_parsers(commands: Any) -> None:
    """Add the commands."""
    told = "print checks: id, sentence, profile, kind, requirements, documentation"
    command = commands.add_parser("checks", help=told)
    _add_chosen(command, nargs="*", told="ids or areas, such as MC-TRUST (default: all)")
    command.add_argument("--profile", choices=PROFILES, help="only those of this profile")
    command.add_argument("--kind", choices=KINDS, help="only those of this kind")
    command.add_argument("--topology", metavar="NAME", help="only those that it has to pass")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_checks)
    told = (
        "tell of a check what it means, what makes it fail, and what mends it; or follow a "
        "request of a workload hop by hop, to the object that stops it (--from, --to)"
    )
    command = commands.add_parser("explain", help=told)
    _add_chosen(command, nargs="*", told="ids or areas, such as MC-TRUST-001")
    explain_path.add_path_arguments(command)
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_explain)


def _add_chosen(command: argparse.ArgumentParser, *, nargs: str, told: str) -> None:
    command.add_argument("chosen", nargs=nargs, metavar="ID", help=told)


def _checks(parsed: argparse.Namespace) -> int:
    found = [check for check in _chosen(parsed.chosen) if _is_wanted(check, parsed)]
    if parsed.json:
        print(json.dumps([_row(check) for check in found], indent=2))
        return GOOD
    for check in found:
        say(_wrapped(f"{check.id}  ", check.title, 4))
        say(_wrapped("    ", f"{_claim(check)}{_needs(check)}; {check.spec_url}", 4))
    if not found:
        say("no check is so")
    return GOOD


def _explain(parsed: argparse.Namespace) -> int:
    if parsed.source or parsed.to or parsed.replay:
        if parsed.chosen:
            advice = "give ids, or --from, --to and --replay"
            raise UsageProblem("explain", "takes a check or a request, not both", advice=advice)
        return explain_path.explain_path(parsed)
    if not parsed.chosen:
        advice = "give an id, such as MC-TRUST-001, or --from, --to and --replay"
        raise UsageProblem("explain", "has nothing to explain", advice=advice)
    found = [
        _row(check)
        | {
            "judges": inspect.getdoc(check.judge) or "",
            "explains": _explained(check),
            "mistakes": list(_mistakes(check)),
        }
        for check in _chosen(parsed.chosen)
    ]
    if parsed.json:
        print(json.dumps(found, indent=2))
        return GOOD
    for number, row in enumerate(found):
        say(("\n" if number else "") + _told(row))
    return GOOD


def _told(row: dict[str, Any]) -> str:
    quick = ", quick" if row["quick"] else ""
    judged = (f"it needs {', '.join(row['requires'])}" if row["requires"] else "", row["judges"])
    mended = (
        "by the remedy that the certificate has beside each finding: a command for your contexts "
        "and names (`istio-mc docs certificate.md`, Remedies)"
    )
    first = [f"mend {', '.join(row['explainedBy'])} first, where they fail"]
    seen = [f"{one['mistake']} ({one['name']})" for one in row["mistakes"]]
    parts = (
        ("means", [row["title"], f"{row['profile']}{quick}, {row['kind']}"]),
        ("judged", ["; ".join(filter(None, judged)).replace("\n\n", " ")]),
        ("effect", [row["effect"]]),
        ("allowed", [f"with --mesh-allow={one}" for one in row["permissions"]]),
        (
            "fails",
            ["where this does not hold; seen so far:" if seen else "where this does not hold"],
        ),
        ("", [f"- {one}" for one in seen]),
        ("mended", [*(first if row["explainedBy"] else []), mended]),
        ("explains", [", ".join(row["explains"])]),
        ("alone", [f"pytest --mesh-topology=NAME --mesh-checks={row['id']}"]),
        ("demanded", [row["specUrl"]]),
    )
    lines = [row["id"]]
    for title, texts in parts:
        for place, text in enumerate(filter(None, texts)):
            lines.append(_wrapped(f"  {'' if place else title:<10}", text, 12))
    return "\n".join(lines)


def _chosen(words: Iterable[str]) -> list[Check]:
    """The checks of ids and areas; :class:`UsageProblem` where there is none of a name."""
    from ..checks.catalogue import known_checks
    from ..validation.values import unknown_checks

    names = [word.upper() for word in words]
    if problem := unknown_checks(names, "ID"):
        raise problem
    return [check for check in known_checks().values() if check.among(names)]


def _is_wanted(check: Check, parsed: argparse.Namespace) -> bool:
    if parsed.topology is not None:
        from ..topologies import known
        from ..validation.values import known_topology

        features = known_topology(parsed.topology, known(), "--topology").default_spec().features
        if not all(feature in features for feature in check.requires):
            return False
    return parsed.profile in (None, check.profile.value) and parsed.kind in (None, check.kind.value)


def _row(check: Check) -> dict[str, Any]:
    return {
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


def _claim(check: Check) -> str:
    quick = ", quick" if check.quick else ""
    return f"{check.profile.value}{quick}, {check.kind.value}"


def _needs(check: Check) -> str:
    features = ", ".join(feature.value for feature in check.requires)
    return f"; needs {features}" if features else ""


def _explained(check: Check) -> list[str]:
    from ..checks.catalogue import known_checks

    return [other.id for other in known_checks().values() if check.id in other.explained_by]


def _mistakes(check: Check) -> Iterator[dict[str, str]]:
    """Mistakes of people that the check names, from the documentation's table of them."""
    page = documentation().get("seeded-faults.md")
    for line in page.read_text(encoding="utf-8").splitlines() if page else ():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[2] == check.id:
            yield {"name": cells[1].strip("`"), "topology": cells[0], "mistake": cells[3]}


def _wrapped(title: str, text: str, indent: int) -> str:
    width = max(60, shutil.get_terminal_size((100, 24)).columns)
    shape: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    lines = textwrap.wrap(
        title + " ".join(text.split()), width, subsequent_indent=" " * indent, **shape
    )
    return "\n".join(lines)
