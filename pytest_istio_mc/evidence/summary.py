"""The summary of the certificates that one session made for several topologies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import MeshError, UsageProblem
from ..plain import shown
from ..settings import Assignment
from ..spec import API_VERSION
from .compare import Difference
from .report import GATE_KIND, SUMMARY_KIND, Result, read_document, result_sentence

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
    if document["kind"] == GATE_KIND:
        advice = f"give one of its certificates: {', '.join(document['certificates'].values())}"
        raise UsageProblem(f"certificate {path}", "is a gate's result", advice=advice)
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

    :class:`MeshError` where the baseline lacks one.
    """
    path = assignment.runs[0].baseline
    if path is None:
        return {}
    found = certificates(path)
    if len(assignment.runs) == len(found) == 1:
        return {assignment.runs[0].topology: next(iter(found.values()))}
    missing = [run.topology for run in assignment.runs if run.topology not in found]
    if missing:
        step, detail = f"is not of {', '.join(missing)}", f"it is of {', '.join(found)}"
        raise MeshError(f"certificate {path}", step, detail)
    return found


def is_notable(
    report: Mapping[str, Any], differences: Sequence[Difference], problems: Sequence[str]
) -> bool:
    """Whether there is more to tell of a certificate than its success."""
    return report["result"] != Result.SUCCESS or bool(differences) or bool(problems)
