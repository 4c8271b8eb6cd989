"""What the terminal says of a run, as lines of text made from the certificate."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..mesh import Mesh
from ..settings import Settings
from ..spec import MeshSpec
from ..verdicts import Outcome
from .compare import Difference
from .report import result_sentence

SLOWEST = 5
FOREMOST = ("istio", "kubernetes", "envoy")
"""The versions that a reader looks for first."""


def header(settings: Settings, run_id: str) -> list[str]:
    """What is about to be certified: topology, clusters, provider, run id, profile."""
    claims = f"profile {settings.profile.value}, provider {settings.provider}, run {run_id}"
    return [
        f"mesh: {settings.topology}, {claims}",
        *(f"  {line}" for line in clusters(settings.spec)),
    ]


def clusters(spec: MeshSpec) -> list[str]:
    """One line a cluster."""
    width = max(len(cluster.name) for cluster in spec)
    return [
        f"{cluster.name:<{width}}  {cluster.role.value}, network {cluster.network}"
        + (
            f", served by {cluster.control_plane}"
            if cluster.control_plane not in ("", cluster.name)
            else ""
        )
        + (f", context {cluster.context}" if cluster.context else "")
        for cluster in spec
    ]


def versions(mesh: Mesh) -> list[str]:
    """The versions that run in each cluster; clusters that run the same ones share a line."""
    same: dict[str, list[str]] = {}
    for cluster, found in mesh.versions.items():
        ordered = sorted(found.items(), key=lambda entry: (entry[0] not in FOREMOST, entry[0]))
        same.setdefault(", ".join(f"{name} {version}" for name, version in ordered), []).append(
            cluster
        )
    return [f"{', '.join(names)}: {text}" for text, names in same.items() if text]


def diagnosis(report: Mapping[str, Any]) -> list[str]:
    """Root causes first, each with its remedy and what it explains; then what could not be found out and nothing explains."""
    lines: list[str] = []
    causes = report["rootCauses"]
    explained = {id for cause in causes for id in cause["explains"]}
    failing = [
        entry for entry in report["checks"] if entry["verdict"] == Outcome.NON_CONFORMANT.value
    ]
    unknown = [
        entry
        for entry in report["checks"]
        if entry["ran"] and entry["verdict"] == Outcome.INCONCLUSIVE.value
    ]
    hidden = [entry for entry in unknown if entry["id"] in explained]
    unknown = [entry for entry in unknown if entry["id"] not in explained]
    if causes:
        verb = "explains" if len(causes) == 1 else "explain"
        more = f", and {len(hidden)} that could not find out" if hidden else ""
        lines += [
            f"{count(len(causes), 'root cause')} {verb} {count(len(failing), 'failing check')}{more}",
            "",
        ]
    for number, cause in enumerate(causes, 1):
        where = f"  [{', '.join(cause['clusters'])}]" if cause["clusters"] else ""
        lines += _wrapped(f"{number}. {cause['check']}  ", [cause["summary"] + where], indent=3)
        lines += _remedy(cause["remedy"])
        if cause["explains"]:
            lines += _wrapped(
                "   explains: ",
                [f"{', '.join(cause['explains'])} ({count(len(cause['explains']), 'check')})"],
            )
        lines.append("")
    if unknown:
        lines.append(f"{count(len(unknown), 'check')} could not find out:")
        for reason, ids in _grouped((entry["id"], entry["reason"]) for entry in unknown):
            lines += _wrapped("   ", [f"{', '.join(ids)}: {reason}"])
        lines.append("")
    looked = any(entry["ran"] for entry in report["checks"])
    return lines or [
        "nothing is wrong with what was looked at" if looked else "nothing was looked at"
    ]


def certificate(
    report: Mapping[str, Any],
    settings: Settings,
    where: str,
    differences: Sequence[Difference] = (),
) -> list[str]:
    """The result with its figures, what did not run and why, what took longest, and how to go on from here."""
    lines = [f"result      {report['result'].upper()}: {result_sentence(report)}"]
    for profile, figures in report["profiles"].items():
        counts = ", ".join(
            f"{count} {word}" for word, count in figures["statistics"].items() if count
        )
        lines.append(f"{profile:<11} {figures['result']}: {counts}")
    lines += _wrapped("override    ", report["overrides"])
    for title, entries in (
        (
            "not run     ",
            [entry for entry in report["checks"] if entry["claimed"] and not entry["ran"]],
        ),
        ("skipped     ", [entry for entry in report["checks"] if not entry["claimed"]]),
    ):
        grouped = _grouped(
            (entry["id"], entry["reason"].removeprefix("not run: ")) for entry in entries
        )
        lines += _wrapped(
            title,
            [f"{count(len(ids), 'check')}: {reason} ({_few(ids)})" for reason, ids in grouped],
        )
    lines += _wrapped("slowest     ", _slowest(report))
    measured = [
        f"{entry['what']}: {entry['first_seconds']:.1f} s ({entry['check']})"
        for entry in report["convergence"]
    ]
    lines += _wrapped("converged   ", measured)
    lines += _hanging(
        "baseline    ",
        [str(entry) for entry in differences]
        or (["no check differs"] if settings.baseline else []),
    )
    lines += _wrapped("note        ", report["mesh"]["notes"])
    failing = [
        entry["id"]
        for entry in report["checks"]
        if entry["verdict"] == Outcome.NON_CONFORMANT.value
    ]
    example = (
        report["rootCauses"][0]["check"]
        if report["rootCauses"]
        else next(iter(failing), report["checks"][0]["id"])
    )
    lines.append(f"one check   {settings.reproduce(checks=example)}")
    lines.append(f"certificate {where or 'above, on this terminal: it could not be written'}")
    return lines


def one_line(report: Mapping[str, Any]) -> str:
    """The result of one of several topologies, as soon as it is known."""
    return f"{report['topology']}: {report['result'].upper()}: {result_sentence(report)} ({report['timing']['seconds']:.1f} s)"


def overview(summary: Mapping[str, Any], where: str) -> list[str]:
    """A line for each topology with its certificate's file, and the result of all."""
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
    return [
        f"result      {summary['result'].upper()}: {good} of {len(entries)} topologies have a certificate of success",
        *(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in table
        ),
        f"all again   {summary['reproduce']}",
        f"summary     {where or 'could not be written'}",
    ]


def _slowest(report: Mapping[str, Any]) -> list[str]:
    steps = [(entry["seconds"], entry["name"]) for entry in report["timing"]["steps"]]
    checks = [
        (entry["duration_seconds"], entry["id"]) for entry in report["checks"] if entry["ran"]
    ]
    slow = sorted([*steps, *checks], key=lambda entry: -entry[0])[:SLOWEST]
    return (
        [", ".join(f"{name} {seconds:.1f} s" for seconds, name in slow if seconds >= 0.05)]
        if slow
        else []
    )


def _remedy(text: str) -> list[str]:
    """A remedy as it must be typed: never wrapped, and a here-document at the margin, where its end is seen by a shell."""
    if "\n" in text and "<<" in text:
        return ["   remedy:", *text.splitlines()]
    return _hanging("   remedy:   ", text.splitlines())


def _wrapped(title: str, texts: Iterable[str], *, indent: int | None = None) -> list[str]:
    """Prose under a title, wrapped to the terminal; what is longer than a line and has no spaces stays whole."""
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
        lines += [line.replace("\N{NO-BREAK SPACE}", " ") for line in wrapped]
    return lines


def _hanging(title: str, lines: Iterable[str]) -> list[str]:
    return [
        f"{title if number == 0 else ' ' * len(title)}{line}"
        for number, line in enumerate(line for line in lines if line)
    ]


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
