"""Allure: labels, parameters, steps and attachments for each check. Does nothing, and fails nothing, where Allure is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ..checks.catalogue import AREAS, Check, Profile
from ..errors import Inconclusive, NonConformant
from ..verdicts import Evidence, Finding, Outcome, Verdict

EPIC = "Istio multi-cluster conformance"

SEVERITIES = {Profile.CORE: "critical", Profile.EXTENDED: "normal"}


def label(item: pytest.Item, check: Check, topology: str) -> None:
    """Label the test of a check. Uses the markers that allure-pytest reads, so that ``--allure-features`` and its kin select by them."""
    labels = {
        "epic": EPIC,
        "feature": AREAS[check.area],
        "story": f"{check.id} {check.title}",
        "severity": SEVERITIES[check.profile],
        "parentSuite": topology,
        "suite": AREAS[check.area],
        "subSuite": check.kind.value,
        "tag": check.profile.value,
    }
    for kind, value in labels.items():
        item.add_marker(pytest.mark.allure_label(value, label_type=kind))
    item.add_marker(pytest.mark.allure_link(check.spec_url, name="specification", link_type="link"))
    function = getattr(item, "obj", None)
    if function is not None:
        # what @allure.title sets; braces are its placeholders
        function.__dict__["__allure_display_name__"] = f"{check.id} {check.title}".replace("{", "{{").replace("}", "}}")


def begin(topology: str) -> None:
    """Make the topology a parameter: Allure would otherwise take the same check on two topologies for a retry."""
    import allure

    allure.dynamic.parameter("topology", topology)


def show(verdict: Verdict) -> None:
    """Write the verdict into the running test: a step for each finding or judged pair, and the evidence as attachments."""
    import allure

    with allure.step(f"{verdict.outcome.value}: {verdict.reason}"):
        for pair in verdict.pairs if verdict.outcome is Outcome.CONFORMANT else ():
            with allure.step(pair):
                pass
    for finding in verdict.findings:
        _failed_step(finding)
    if verdict.outcome is Outcome.INCONCLUSIVE:
        try:
            with allure.step("could not find out"):
                raise Inconclusive(verdict.reason)
        except Inconclusive:
            pass
    for evidence in verdict.evidence:
        allure.attach(evidence.text, name=evidence.name, attachment_type=evidence.media_type, extension=_extension(evidence))


def finish(folder: Path, report: Mapping[str, Any], certificate: str) -> None:
    """Write ``environment.properties``, ``categories.json`` and the certificate beside the results.

    Call it once, at the end: ``--clean-alluredir`` empties the folder in every process that starts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "environment.properties").write_text(_properties(report), encoding="utf-8")
    (folder / "categories.json").write_text(json.dumps(categories(report), indent=2) + "\n", encoding="utf-8")
    (folder / "mesh-report.yaml").write_text(certificate, encoding="utf-8")


def categories(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One category a root cause, with everything that it explains; then what could not be found out, then what is left."""
    found: list[dict[str, Any]] = []
    for cause in report["rootCauses"]:
        ids = "|".join([cause["check"], *cause["explains"]])
        found.append(
            {
                "name": f"{cause['check']}: {cause['summary']}",
                "description": cause["remedy"],
                "messageRegex": rf"(?s).*\b({ids})\b.*",
                "matchedStatuses": ["failed", "broken"],
            }
        )
    found.append({"name": "Could not find out", "matchedStatuses": ["broken"]})
    found.append({"name": "Not conformant", "matchedStatuses": ["failed"]})
    found.append({"name": "Not applicable", "matchedStatuses": ["skipped"]})
    return found


def _failed_step(finding: Finding) -> None:
    import allure

    details = {
        name: text
        for name, text in (
            ("clusters", ", ".join(finding.clusters)),
            ("expected", finding.expected),
            ("seen", finding.seen),
            ("remedy", finding.remedy),
        )
        if text
    }
    try:
        with allure.step(finding.summary):
            for name, text in details.items():
                with allure.step(f"{name}: {text}"):
                    pass
            raise NonConformant(finding.summary)
    except NonConformant:
        pass


def _extension(evidence: Evidence) -> str:
    known = {"application/json": "json", "application/yaml": "yaml", "text/html": "html", "text/csv": "csv", "image/svg+xml": "svg"}
    return known.get(evidence.media_type, "txt")


def _properties(report: Mapping[str, Any]) -> str:
    lines = {
        "topology": report["topology"],
        "result": report["result"],
        "provider": report["mesh"]["provider"],
        "run.id": report["mesh"]["runId"],
        "mesh.id": report["mesh"]["meshId"],
        "trust.domain": report["mesh"]["trustDomain"],
        "pytest-istio-mc": report["tool"]["version"],
    }
    for cluster in report["mesh"]["clusters"]:
        lines[f"cluster.{cluster['name']}"] = f"{cluster['role']}, network {cluster['network']}"
        for component, version in cluster["versions"].items():
            lines[f"cluster.{cluster['name']}.{component}"] = version
    return "".join(f"{_escaped(key)}={_escaped(str(value))}\n" for key, value in lines.items())


def _escaped(text: str) -> str:
    """Java's properties format, which Allure reads as ISO 8859-1."""
    for character in "\\:= ":
        text = text.replace(character, "\\" + character)
    return text.encode("ascii", "backslashreplace").decode().replace("\n", "\\n")
