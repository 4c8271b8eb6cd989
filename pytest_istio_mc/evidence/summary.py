"""The summary of the certificates that one session made for several topologies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import MeshError
from ..settings import Assignment
from ..spec import API_VERSION
from .compare import Difference
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

    - A certificate is itself; a summary names several, which are in its folder.
    - Raises :class:`MeshError` where one cannot be read.
    """
    document = read_document(path)
    if document["kind"] != SUMMARY_KIND:
        return {document["topology"]: document}
    return {
        entry["topology"]: _certificate(path.parent / Path(entry["certificate"]).name)
        for entry in document["topologies"]
    }


def _certificate(path: Path) -> dict[str, Any]:
    """A certificate that a summary names; a summary names no summaries."""
    document = read_document(path)
    if document["kind"] == SUMMARY_KIND:
        raise MeshError(f"certificate {path}", "is a summary", "a summary names certificates")
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
