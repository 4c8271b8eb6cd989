"""The certificate as text, for any terminal: what a run's summary says, without a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..visible import visible
from .matrix import matrix_lines
from .report import result_sentence
from .terminal import diagnosis
from .wording import MEANINGS, State, state_of


def text(reports: Sequence[Mapping[str, Any]]) -> str:
    """Result, root causes, matrix, and every check that is not simply conformant."""
    return "\n".join(line for report in reports for line in (*_lines(report), ""))


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    mesh = report["mesh"]
    run = f"run {mesh['runId'] or '(none)'}, {report['date']}, provider {mesh['provider']}"
    yield visible(f"{report['topology']}: {run}")
    yield visible(f"result      {report['result'].upper()}: {result_sentence(report)}")
    yield f"            {MEANINGS[report['result']]}"
    for cluster in mesh["clusters"]:
        served = "" if cluster["controlPlane"] == cluster["name"] else ", served by "
        plane = cluster["controlPlane"] if served else ""
        where = f"{cluster['role']}, network {cluster['network']}{served}{plane}"
        yield visible(f"cluster     {cluster['name']}: {where}")
    yield from matrix_lines(report)
    yield ""
    yield from diagnosis(report)
    yield ""
    for state in State:
        mine = [entry for entry in report["checks"] if state_of(entry) is state]
        if not mine:
            continue
        yield f"{state.value} ({len(mine)}):"
        for entry in mine:
            why = "" if state is State.CONFORMANT else f": {entry['reason']}"
            yield visible(f"  {state.sign} {entry['id']} {entry['title']}{why}")
    yield visible(f"again       {report['reproduce']}")
