"""The certificate as Markdown, for pull requests and the summary of a GitHub job."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..verdicts import Outcome
from ..visible import visible
from .matrix import Matrix, matrix_of
from .report import result_sentence

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable by which GitHub names the file for the summary of a job's step."""

LARGEST_SUMMARY = 1024 * 1024
"""Bytes that GitHub takes for one step; it shows nothing at all of more."""

MOST_NAMED = 40
"""How many checks a list names; it counts the others."""

_SIGNS = {"success": "✅", "partial": "◐", "failure": "❌", "inconclusive": "❔"}
_ACTING = re.compile(r"([\\`*_{}\[\]<>|~$&])")


def cell(text: str) -> str:
    """A text from outside on one line, in which Markdown and HTML see nothing but text."""
    return _ACTING.sub(r"\\\1", visible(text)).replace("\\<", "&lt;").replace("\\&", "&amp;")


def markdown(reports: Sequence[Mapping[str, Any]]) -> str:
    """Result, root causes with remedies, matrix and what was not looked at, of each certificate."""
    return "\n".join(line for report in reports for line in (*_lines(report), ""))


def matrix_markdown(report: Mapping[str, Any]) -> list[str]:
    """The matrix as lines of a Markdown table; nothing where nothing is known."""
    matrix = matrix_of(report)
    if not matrix:
        return []
    head = ["from \\ to", *map(cell, matrix.clusters)]
    rows = [
        [f"**{cell(source)}**", *(_reached(matrix, source, target) for target in matrix.clusters)]
        for source in matrix.clusters
    ]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _reached(matrix: Matrix, source: str, target: str) -> str:
    found = matrix.of(source, target)
    return cell(", ".join(f"{one.sign} {one.protocol}" for one in found)) if found else "·"


def append_step_summary(
    reports: Sequence[Mapping[str, Any]], environment: Mapping[str, str] = os.environ
) -> str:
    """Append the Markdown to the file that ``$GITHUB_STEP_SUMMARY`` names, where it is set.

    The answer is why that failed, which is no error of the run; else empty.
    """
    name = environment.get(STEP_SUMMARY, "")
    if not name or not reports:
        return ""
    # whoever wrote before may have ended in the middle of a line
    text = f"\n{markdown(reports)}\n"
    try:
        path = Path(name)
        there = path.stat().st_size if path.exists() else 0
        if there + len(text.encode("utf-8", "backslashreplace")) > LARGEST_SUMMARY:
            text = "\n" + "".join(f"- {_title(report)}\n" for report in reports)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
    except (OSError, ValueError) as error:
        return f"${STEP_SUMMARY} ({visible(name)}) was not written: {error}"
    return ""


def _title(report: Mapping[str, Any]) -> str:
    sign = _SIGNS[report["result"]]
    return f"{sign} {cell(report['topology'])}: {report['result']}, {cell(result_sentence(report))}"


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {_title(report)}"
    yield ""
    mesh, claim = report["mesh"], report.get("claim", {})
    told = [f"{len(mesh['clusters'])} clusters", f"provider {mesh['provider']}"]
    told += [f"profile {claim['profile']}"] if "profile" in claim else []
    yield cell(f"{', '.join(told)}, run {mesh['runId'] or '(none)'}, {report['date']}")
    if causes := report["rootCauses"]:
        yield from ("", f"### Root causes ({len(causes)})", "")
        for number, cause in enumerate(causes, 1):
            yield from _cause(number, cause)
    if table := matrix_markdown(report):
        yield from ("", "### Who reaches whom", "", *table)
        yield from ("", "✓ reached, ✕ not reached, ! some requests failed, ? not known")
    yield from _problems(report)
    yield from ("", "Again:", "", *_code(report["reproduce"]))


def _cause(number: int, cause: Mapping[str, Any]) -> Iterator[str]:
    where = f" \\[{cell(', '.join(cause['clusters']))}\\]" if cause["clusters"] else ""
    explained = f"; explains {', '.join(cause['explains'])}" if cause["explains"] else ""
    yield f"{number}. **{cause['check']}** {cell(cause['summary'])}{where}{explained}"
    if cause["remedy"]:
        yield ""
        yield from (f"   {line}" for line in _code(cause["remedy"]))


def _code(text: str) -> list[str]:
    """A block of code, with a fence that nothing in the text ends."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}sh", *map(visible, text.split("\n")), fence]


def _problems(report: Mapping[str, Any]) -> Iterator[str]:
    checks = report["checks"]
    causes = {cause["check"] for cause in report["rootCauses"]}
    wrong = [
        one
        for one in checks
        if one["verdict"] == Outcome.NON_CONFORMANT.value and one["id"] not in causes
    ]
    unknown = [one for one in checks if one["ran"] and one["verdict"] == Outcome.INCONCLUSIVE.value]
    not_run = [one for one in checks if one["claimed"] and not one["ran"]]
    for title, entries in (
        ("Not conformant besides", wrong),
        ("Could not find out", unknown),
        ("Claimed, and not run", not_run),
    ):
        if entries:
            yield from ("", f"### {title} ({len(entries)})", "")
            yield from _listed(entries)


def _listed(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each reason, with the checks that have it."""
    reasons: dict[str, list[str]] = {}
    for one in entries:
        reasons.setdefault(one["reason"].removeprefix("not run: "), []).append(one["id"])
    for reason, ids in list(reasons.items())[:MOST_NAMED]:
        yield f"- {', '.join(ids)}: {cell(reason)}"
    if len(reasons) > MOST_NAMED:
        yield f"- and {len(reasons) - MOST_NAMED} more reasons, see the certificate"
