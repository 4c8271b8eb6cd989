"""The terminal's lines of a run, made from its certificate."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..mesh import Mesh
from ..settings import Settings
from ..spec import MeshSpec
from ..verdicts import Outcome, Weight
from ..visible import visible
from .compare import Difference
from .matrix import matrix_lines
from .report import Result, result_sentence

SLOWEST = 5
MOST_RISKS = 10
FOREMOST = ("istio", "kubernetes", "envoy")
"""The versions that a reader looks for first."""


def header(settings: Settings, run_id: str) -> list[str]:
    """The mesh to be certified: topology, clusters, provider, run id, profile."""
    claims = f"profile {settings.claim}, provider {settings.provider}, run {run_id}"
    return [
        visible(f"mesh: {settings.topology}, {claims}"),
        *(f"  {line}" for line in clusters(settings.spec)),
    ]


def clusters(spec: MeshSpec) -> list[str]:
    """One line a cluster."""
    width = max(len(cluster.name) for cluster in spec)
    lines = []
    for cluster in spec:
        line = f"{cluster.name:<{width}}  {cluster.role.value}, network {cluster.network}"
        if cluster.served_from != cluster.name:
            line += f", served by {cluster.served_from}"
        lines.append(visible(line + (f", context {cluster.context}" if cluster.context else "")))
    return lines


def versions(mesh: Mesh) -> list[str]:
    """The versions in each cluster; clusters with the same ones share a line."""
    same: dict[str, list[str]] = {}
    for cluster, found in mesh.versions.items():
        ordered = sorted(found.items(), key=lambda entry: (entry[0] not in FOREMOST, entry[0]))
        text = ", ".join(f"{name} {version}" for name, version in ordered)
        same.setdefault(text, []).append(cluster)
    return [visible(f"{', '.join(names)}: {text}") for text, names in same.items() if text]


def diagnosis(report: Mapping[str, Any]) -> list[str]:
    """The root causes with their remedies, then what could not be found out.

    - A root cause tells what it explains.
    - What could not be found out is left out where a root cause explains it.
    """
    lines: list[str] = []
    causes = report["rootCauses"]
    explained = {id for cause in causes for id in cause["explains"]}
    failing = len(_failing(report))
    inconclusive = Outcome.INCONCLUSIVE.value
    unknown = [one for one in report["checks"] if one["ran"] and one["verdict"] == inconclusive]
    hidden = [entry for entry in unknown if entry["id"] in explained]
    unknown = [entry for entry in unknown if entry["id"] not in explained]
    if causes:
        verb = "explains" if len(causes) == 1 else "explain"
        more = f", and {len(hidden)} that could not find out" if hidden else ""
        what = f"{count(failing, 'failing check')}{more}"
        lines += [f"{count(len(causes), 'root cause')} {verb} {what}", ""]
    for number, cause in enumerate(causes, 1):
        where = f"  [{', '.join(cause['clusters'])}]" if cause["clusters"] else ""
        lines += _wrapped(f"{number}. {cause['check']}  ", [cause["summary"] + where], indent=3)
        # never wrapped: it is to be typed as it stands
        lines += _hanging("   remedy:   ", cause["remedy"].split("\n"))
        if ids := cause["explains"]:
            told = f"{', '.join(ids)} ({count(len(ids), 'check')})"
            lines += _wrapped("   explains: ", [told])
        lines.append("")
    lines += _risks(report)
    if unknown:
        lines.append(f"{count(len(unknown), 'check')} could not find out:")
        for reason, ids in _grouped((entry["id"], entry["reason"]) for entry in unknown):
            lines += _wrapped("   ", [f"{', '.join(ids)}: {reason}"])
        lines.append("")
    if any(entry["ran"] for entry in report["checks"]):
        return lines or ["nothing is wrong with what was looked at"]
    return lines or ["nothing was looked at"]


def _risks(report: Mapping[str, Any]) -> list[str]:
    """What works and is a risk all the same; notes are in the certificate only."""
    found = [
        (entry["id"], finding["summary"], finding["remedy"])
        for entry in report["checks"]
        for finding in entry["findings"]
        if finding.get("weight") == Weight.RISK.value
    ]
    if not found:
        return []
    lines = [f"{count(len(found), 'risk')}, which nothing fails of (--mesh-strict fails):"]
    for id, summary, remedy in found[:MOST_RISKS]:
        lines += _wrapped(f"   {id}  ", [summary])
        lines += _hanging("      remedy: ", remedy.split("\n"))
    if more := len(found) - MOST_RISKS:
        lines += [f"   and {more} more, in the certificate"] if more > 0 else []
    return [*lines, ""]


def certificate(
    report: Mapping[str, Any],
    settings: Settings,
    where: str,
    differences: Sequence[Difference] = (),
) -> list[str]:
    """The result with its figures, all that did not run, the next moves."""
    lines = [f"result      {report['result'].upper()}: {result_sentence(report)}"]
    for profile, figures in report["profiles"].items():
        counts = [f"{number} {word}" for word, number in _counts(figures) if number]
        lines.append(f"{profile:<11} {figures['result']}: {', '.join(counts)}")
    lines += _wrapped("override    ", report["overrides"])
    checks = report["checks"]
    unrun = [entry for entry in checks if entry["claimed"] and not entry["ran"]]
    skipped = [entry for entry in checks if not entry["claimed"]]
    for title, entries in (("not run     ", unrun), ("skipped     ", skipped)):
        reasons = ((entry["id"], entry["reason"].removeprefix("not run: ")) for entry in entries)
        told = [
            f"{count(len(ids), 'check')}: {reason} ({_few(ids)})"
            for reason, ids in _grouped(reasons)
        ]
        lines += _wrapped(title, told)
    lines += matrix_lines(report)
    lines += _wrapped("slowest     ", _slowest(report))
    measured = [
        f"{entry['what']}: {entry['first_seconds']:.1f} s ({entry['check']})"
        for entry in report["convergence"]
    ]
    lines += _wrapped("converged   ", measured)
    same = ["no check differs"] if settings.baseline else []
    lines += _hanging("baseline    ", [str(entry) for entry in differences] or same)
    lines += _wrapped("note        ", report["mesh"]["notes"])
    causes = [cause["check"] for cause in report["rootCauses"]]
    ran = [entry["id"] for entry in checks if entry["ran"]]
    example = [*causes, *_failing(report), *ran, checks[0]["id"]][0]
    lines.append(f"one check   {settings.reproduce(checks=example)}")
    lines.append(f"certificate {where or 'above, on this terminal: it could not be written'}")
    return lines


NOTHING_WRONG = (Result.SUCCESS, Result.PARTIAL)


def brief(
    report: Mapping[str, Any],
    settings: Settings,
    where: str,
    differences: Sequence[Difference] = (),
) -> list[str]:
    """The lines of :func:`certificate` that a quiet run shows: result, changes, where it is."""
    kept: tuple[str, ...] = ("result  ", "baseline", "certificate ")
    kept += () if report["result"] in NOTHING_WRONG else ("one check",)
    shown, lines = False, []
    for line in certificate(report, settings, where, differences):
        shown = line.startswith(kept) or (shown and line.startswith(" "))
        lines += [line] if shown else []
    return lines


def one_line(report: Mapping[str, Any]) -> str:
    """The result of one of several topologies, as soon as it is known."""
    result, seconds = report["result"].upper(), report["timing"]["seconds"]
    return f"{report['topology']}: {result}: {result_sentence(report)} ({seconds:.1f} s)"


def overview(summary: Mapping[str, Any], where: str, page: str = "") -> list[str]:
    """A line for each topology with its certificate, and the result."""
    entries = summary["topologies"]
    good = sum(entry["result"] == "success" for entry in entries)
    table = [
        (
            entry["topology"],
            entry["result"],
            count(entry["clusters"], "cluster"),
            f"{entry['seconds']:.1f} s",
            entry["certificate"],
        )
        for entry in entries
    ]
    widths = [max(len(row[column]) for row in table) for column in range(5)]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in table)
    result = summary["result"].upper()
    return [
        f"result      {result}: {good} of {len(entries)} topologies have a certificate of success",
        *("  ".join(row).rstrip() for row in padded),
        f"all again   {summary['reproduce']}",
        f"summary     {where or 'could not be written'}",
        *([f"page        {page}"] if page else []),
    ]


def _slowest(report: Mapping[str, Any]) -> list[str]:
    steps = [(entry["seconds"], entry["name"]) for entry in report["timing"]["steps"]]
    ran = [entry for entry in report["checks"] if entry["ran"]]
    checks = [(entry["duration_seconds"], entry["id"]) for entry in ran]
    slow = sorted([*steps, *checks], key=lambda entry: -entry[0])[:SLOWEST]
    told = [f"{name} {seconds:.1f} s" for seconds, name in slow if seconds >= 0.05]
    return [", ".join(told)]


def _counts(figures: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    """The figures of a profile, by word; what did not run counts by itself."""
    unrun, unknown = len(figures["notRun"]), Outcome.INCONCLUSIVE.value
    for word, number in figures["statistics"].items():
        yield word, number - unrun if word == unknown else number
    yield "not run", unrun


def _failing(report: Mapping[str, Any]) -> list[str]:
    bad = Outcome.NON_CONFORMANT.value
    return [entry["id"] for entry in report["checks"] if entry["verdict"] == bad]


def _wrapped(title: str, texts: Iterable[str], *, indent: int | None = None) -> list[str]:
    """Prose under a title, wrapped to the terminal; long words stay whole."""
    width = max(60, shutil.get_terminal_size().columns)
    margin = " " * (len(title) if indent is None else indent)
    lines: list[str] = []
    for text in filter(None, texts):
        first = title if not lines else margin
        whole = re.sub(r"(\d) (s\b)", "\\1\N{NO-BREAK SPACE}\\2", text)  # a figure and its unit
        wrapped = textwrap.wrap(
            whole,
            width,
            initial_indent=first,
            subsequent_indent=margin,
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += [visible(line.replace("\N{NO-BREAK SPACE}", " ")) for line in wrapped]
    return lines


def _hanging(title: str, lines: Iterable[str]) -> list[str]:
    margin, there = " " * len(title), [line for line in lines if line]
    return [visible(f"{margin if number else title}{line}") for number, line in enumerate(there)]


def _grouped(entries: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for id, reason in entries:
        groups.setdefault(reason, []).append(id)
    return list(groups.items())


def _few(ids: Sequence[str]) -> str:
    return ", ".join(ids[:4]) + (", …" if len(ids) > 4 else "")


def count(number: int, noun: str) -> str:
    """``1 check``, ``2 checks``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
