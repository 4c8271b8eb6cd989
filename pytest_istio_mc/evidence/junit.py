"""JUnit XML of certificates, for what reads nothing else; pytest's own knows only its tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from ..visible import visible
from .report import result_sentence
from .wording import State, state_of


def junit(reports: Sequence[Mapping[str, Any]]) -> str:
    """One test suite a certificate, one test case a check.

    What could not be found out is an error, what did not run is skipped with its reason.
    """
    root = ET.Element("testsuites")
    for report in reports:
        _suite(root, report)
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _suite(root: ET.Element, report: Mapping[str, Any]) -> None:
    states = [state_of(entry) for entry in report["checks"]]
    skipped = sum(state in _SKIPPED for state in states)
    suite = ET.SubElement(
        root,
        "testsuite",
        name=_line(report["topology"]),
        timestamp=report["date"].removesuffix("Z"),
        time=f"{report['timing']['seconds']:.3f}",
        tests=str(len(states)),
        failures=str(states.count(State.FAILS)),
        errors=str(states.count(State.UNKNOWN)),
        skipped=str(skipped),
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("topology", report["topology"]),
        ("result", report["result"]),
        ("sentence", result_sentence(report)),
        ("run.id", report["mesh"]["runId"]),
        ("pytest-istio-mc", report["tool"]["version"]),
        *(
            (f"cluster.{cluster['name']}.{component}", version)
            for cluster in report["mesh"]["clusters"]
            for component, version in cluster["versions"].items()
        ),
    ):
        ET.SubElement(properties, "property", name=_line(name), value=_line(str(value)))
    for entry, state in zip(report["checks"], states, strict=True):
        _case(suite, report, entry, state)


_SKIPPED = (State.NOT_RUN, State.NOT_APPLICABLE, State.NOT_CLAIMED)


def _case(
    suite: ET.Element,
    report: Mapping[str, Any],
    entry: Mapping[str, Any],
    state: State,
) -> None:
    area = entry["id"].rpartition("-")[0]
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"{_line(report['topology'])}.{area}",
        name=f"{entry['id']} {_line(entry['title'])}",
        time=f"{entry['duration_seconds']:.3f}",
    )
    reason = _line(entry["reason"])
    if state is State.FAILS:
        ET.SubElement(case, "failure", message=reason).text = _findings(entry)
    elif state is State.UNKNOWN:
        ET.SubElement(case, "error", message=reason)
    elif state in _SKIPPED:
        ET.SubElement(case, "skipped", message=f"{state.value}: {reason}")


def _findings(entry: Mapping[str, Any]) -> str:
    lines = []
    for finding in entry["findings"]:
        named = ("expected", "seen", "remedy")
        lines += [finding["summary"]]
        lines += [f"  {name}: {finding[name]}" for name in named if finding[name]]
    lines.append(entry["specUrl"])
    return "\n".join(_line(part) for line in lines for part in line.split("\n"))


def _line(text: str) -> str:
    """A text on one line, without what XML cannot hold."""
    return visible(text)
