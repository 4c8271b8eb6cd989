"""The summary of the certificates that one session made for several topologies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import MeshError, UsageProblem
from ..plain import shown
from ..settings import Assignment
from ..spec import API_VERSION
from .compare import Difference, scope_of, wanted_scope
from .report import SUMMARY_KIND, Result, read_document, result_sentence

WORST_FIRST = (Result.FAILURE, Result.INCONCLUSIVE, Result.PARTIAL, Result.SUCCESS)


def build_summary(
    reports: Mapping[Path, Mapping[str, Any]], *, version: str, reproduce: str
) -> dict[str, Any]:
    """The summary as plain JSON; the certificates' files are beside its own."""
    results = {report["result"] for report in reports.values()}
    return {
        "apiVersion": API_VERSION,
        "kind": SUMMARY_KIND,
        "result": next(result for result in WORST_FIRST if result in results),
        "date": min(report["date"] for report in reports.values()),
        "tool": {"name": "pytest-istio-mc", "version": version},
        "topologies": [
            {
                "topology": report["topology"],
                "result": report["result"],
                "sentence": result_sentence(report),
                "clusters": len(report["mesh"]["clusters"]),
                "rootCauses": [cause["check"] for cause in report["rootCauses"]],
                "seconds": report["timing"]["seconds"],
                "certificate": path.name,
            }
            for path, report in reports.items()
        ],
        "reproduce": reproduce,
    }


def certificates(path: Path) -> dict[str, dict[str, Any]]:
    """The certificates of a file, by topology.

    - A certificate is itself; a summary names several, which are files beside it.
    - Raises :class:`UsageProblem` where one cannot be read, or is not what the summary says.
    """
    document = read_document(path)
    if document["kind"] != SUMMARY_KIND:
        return {document["topology"]: document}
    found: dict[str, dict[str, Any]] = {}
    for entry in document["topologies"]:
        topology = entry["topology"]
        if topology in found:
            raise UsageProblem(f"summary {path}", f"names {shown(topology)} twice")
        found[topology] = _certificate(path, topology, entry["certificate"])
    return found


def _certificate(summary: Path, topology: str, name: str) -> dict[str, Any]:
    """The certificate that a summary names: a file beside it, and no summary again."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise UsageProblem(f"summary {summary}", f"names {shown(name)}, which is no file beside it")
    document = read_document(summary.with_name(name))
    if document["kind"] == SUMMARY_KIND:
        step = f"names {shown(name)} as a certificate, which is a summary itself"
        raise UsageProblem(f"summary {summary}", step)
    if document["topology"] != topology:
        step = f"says that {shown(name)} is of {shown(topology)}"
        raise UsageProblem(f"summary {summary}", step, f"it is of {shown(document['topology'])}")
    return document


def baselines(assignment: Assignment) -> dict[str, dict[str, Any]]:
    """The earlier certificates to compare the runs with, by topology.

    :class:`MeshError` where the baseline lacks one, is of something else, or would be overwritten.
    """
    path = assignment.runs[0].baseline
    if path is None:
        return {}
    _demand_kept(path, assignment)
    found = certificates(path)
    if len(assignment.runs) == len(found) == 1:
        # of another topology it is refused as a whole, with what differs
        found = {assignment.runs[0].topology: next(iter(found.values()))}
    missing = [run.topology for run in assignment.runs if run.topology not in found]
    if missing:
        step, detail = f"is not of {', '.join(missing)}", f"it is of {', '.join(found)}"
        raise MeshError(f"certificate {path}", step, detail)
    for run in assignment.runs:
        if unlike := scope_of(found[run.topology]).unlike(wanted_scope(run)):
            step, detail = "is of something else than this run", f"it is of {'; of '.join(unlike)}"
            advice = "give a certificate of the same mesh and profile; nothing was started"
            raise MeshError(f"certificate {path}", step, detail, advice=advice)
    return found


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, by whatever links."""
    try:
        return one.samefile(other)
    except OSError:
        return one.absolute() == other.absolute()


def _demand_kept(path: Path, assignment: Assignment) -> None:
    """Refuse a baseline that this session overwrites: the next one would be compared with that."""
    written = [run.report for run in assignment.runs]
    written += [assignment.overall] if assignment.overall else []
    document = read_document(path)
    read = [path]
    if document["kind"] == SUMMARY_KIND:
        named = (str(entry["certificate"]) for entry in document["topologies"])
        read += [path.with_name(name) for name in named if name and "/" not in name]
    for file in read:
        for report in written:
            if same_file(file, report):
                step = f"is what this run overwrites with its own certificate, {report}"
                advice = "copy it elsewhere, or give --mesh-report=FILE; nothing was started"
                raise MeshError(f"certificate {file}", step, advice=advice)


def is_notable(
    report: Mapping[str, Any], differences: Sequence[Difference], problems: Sequence[str]
) -> bool:
    """Whether there is more to tell of a certificate than its success."""
    return report["result"] != Result.SUCCESS or bool(differences) or bool(problems)
