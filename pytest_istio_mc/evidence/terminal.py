"""What the terminal says of a run, as lines of text made from the certificate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..compare import Difference
from ..mesh import Mesh
from ..settings import Settings
from ..spec import MeshSpec
from ..verdicts import Outcome
from .report import result_sentence

SLOWEST = 5


def header(settings: Settings, run_id: str) -> list[str]:
    """What is about to be certified: topology, clusters, provider, run id, profile."""
    claims = f"profile {settings.profile.value}, provider {settings.provider}, run {run_id}"
    return [f"mesh: {settings.topology}, {claims}", *(f"  {line}" for line in clusters(settings.spec))]


def clusters(spec: MeshSpec) -> list[str]:
    """One line a cluster."""
    width = max(len(cluster.name) for cluster in spec)
    return [
        f"cluster {cluster.name:<{width}}  {cluster.role.value}, network {cluster.network}"
        + (f", served by {cluster.control_plane}" if cluster.control_plane not in ("", cluster.name) else "")
        + (f", context {cluster.context}" if cluster.context else "")
        for cluster in spec
    ]


def versions(mesh: Mesh) -> list[str]:
    """The versions that run in each cluster; clusters that run the same ones share a line."""
    same: dict[str, list[str]] = {}
    for cluster, found in mesh.versions.items():
        same.setdefault(", ".join(f"{name} {version}" for name, version in sorted(found.items())), []).append(cluster)
    return [f"{', '.join(names)}: {text}" for text, names in same.items() if text]


def diagnosis(report: Mapping[str, Any]) -> list[str]:
    """Root causes first, each with its remedy and what it explains; then what could not be found out."""
    lines: list[str] = []
    causes = report["rootCauses"]
    failing = {entry["id"] for entry in report["checks"] if entry["verdict"] == Outcome.NON_CONFORMANT.value}
    if causes:
        verb = "explains" if len(causes) == 1 else "explain"
        lines += [f"{_count(len(causes), 'root cause')} {verb} {_count(len(failing), 'failing check')}", ""]
    for number, cause in enumerate(causes, 1):
        where = f"  [{', '.join(cause['clusters'])}]" if cause["clusters"] else ""
        lines.append(f"{number}. {cause['check']}  {cause['summary']}{where}")
        lines += _hanging("   remedy:   ", cause["remedy"].splitlines())
        if cause["explains"]:
            lines.append(f"   explains: {', '.join(cause['explains'])} ({_count(len(cause['explains']), 'check')})")
        lines.append("")
    explained = {id for cause in causes for id in cause["explains"]}
    unknown = [entry for entry in report["checks"] if entry["ran"] and entry["verdict"] == Outcome.INCONCLUSIVE.value]
    if unknown:
        hidden = [entry["id"] for entry in unknown if entry["id"] in explained]
        above = f" ({len(hidden)} of them explained by a root cause above)" if hidden else ""
        lines.append(f"{_count(len(unknown), 'check')} could not find out{above}:")
        for reason, ids in _grouped((entry["id"], entry["reason"]) for entry in unknown):
            lines.append(f"   {', '.join(ids)}: {reason}")
        lines.append("")
    looked = any(entry["ran"] for entry in report["checks"])
    return lines or ["nothing is wrong with what was looked at" if looked else "nothing was looked at"]


def certificate(report: Mapping[str, Any], settings: Settings, where: str, differences: Sequence[Difference] = ()) -> list[str]:
    """The result with its figures, what did not run and why, what took longest, and how to go on from here."""
    lines = [f"result      {report['result'].upper()}: {result_sentence(report)}"]
    for profile, figures in report["profiles"].items():
        counts = ", ".join(f"{count} {word}" for word, count in figures["statistics"].items() if count)
        lines.append(f"{profile:<11} {figures['result']}: {counts}")
    lines += _hanging("override    ", report["overrides"])
    for word, entries in (
        ("not run", [entry for entry in report["checks"] if entry["claimed"] and not entry["ran"]]),
        ("does not", [entry for entry in report["checks"] if not entry["claimed"]]),
    ):
        title = "not run     " if word == "not run" else "skipped     "
        grouped = _grouped((entry["id"], entry["reason"].removeprefix("not run: ")) for entry in entries)
        lines += _hanging(title, [f"{_count(len(ids), 'check')}: {reason} ({_few(ids)})" for reason, ids in grouped])
    lines += _hanging("slowest     ", _slowest(report))
    measured = [f"{entry['what']}: {entry['first_seconds']:.1f} s ({entry['check']})" for entry in report["convergence"]]
    lines += _hanging("converged   ", measured)
    lines += _hanging("baseline    ", [str(entry) for entry in differences] or (["no check differs"] if settings.baseline else []))
    lines += _hanging("note        ", report["mesh"]["notes"])
    failing = [entry["id"] for entry in report["checks"] if entry["verdict"] == Outcome.NON_CONFORMANT.value]
    example = report["rootCauses"][0]["check"] if report["rootCauses"] else next(iter(failing), report["checks"][0]["id"])
    lines.append(f"one check   {settings.reproduce(checks=example)}")
    lines.append(f"certificate {where or 'above, on this terminal: it could not be written'}")
    return lines


def _slowest(report: Mapping[str, Any]) -> list[str]:
    steps = [(entry["seconds"], entry["name"]) for entry in report["timing"]["steps"]]
    checks = [(entry["duration_seconds"], entry["id"]) for entry in report["checks"] if entry["ran"]]
    slow = sorted([*steps, *checks], key=lambda entry: -entry[0])[:SLOWEST]
    return [", ".join(f"{name} {seconds:.1f} s" for seconds, name in slow if seconds >= 0.05)] if slow else []


def _hanging(title: str, lines: Iterable[str]) -> list[str]:
    return [f"{title if number == 0 else ' ' * len(title)}{line}" for number, line in enumerate(line for line in lines if line)]


def _grouped(entries: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for id, reason in entries:
        groups.setdefault(reason, []).append(id)
    return list(groups.items())


def _few(ids: Sequence[str]) -> str:
    return ", ".join(ids[:4]) + (", …" if len(ids) > 4 else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
