"""The folder of Allure's results: what a whole run adds to it.

- Allure 2 takes categories from ``categories.json``, Allure 3 from its configuration: both get the
  same patterns, which Java and JavaScript read alike.
- The certificate is a result of its own, which has the run's result and the page: neither
  generator shows files that belong to nothing, and a share of passed checks is no result.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..private import write
from .allure import EPIC, harmless
from .page import page
from .report import Result, result_sentence, to_text

CONFIGURATION = "allurerc.json"
"""The configuration for Allure 3, which is given to it with ``--config``."""

CERTIFICATE = "Certificate"

_STATUS = {
    Result.SUCCESS: "passed",
    Result.FAILURE: "failed",
    Result.INCONCLUSIVE: "broken",
    Result.PARTIAL: "broken",  # Allure counts what is unknown as nothing: 100 % passed
}


def finish(folder: Path, reports: Sequence[Mapping[str, Any]]) -> None:
    """Add the certificates with their pages, categories, environment and configuration.

    - Claimed checks that did not run become "unknown": Allure leaves skipped ones out of its share.
    - Call it once, at the end: ``--clean-alluredir`` empties the folder in every process that
      starts.
    """
    several = len(reports) > 1
    folder.mkdir(parents=True, exist_ok=True)
    globally: list[dict[str, Any]] = []
    for report in reports:
        name = f"mesh-report-{report['topology']}.yaml" if several else "mesh-report.yaml"
        write(folder / name, to_text(report))
        globally += _certificate(folder, report)
        _mark_not_run(folder, report)
    _write(folder / f"{uuid4()}-globals.json", {"attachments": globally, "errors": []})
    properties = [
        _properties(report, f"{report['topology']}." if several else "") for report in reports
    ]
    write(folder / "environment.properties", "".join(properties))
    found = categories(reports)
    _write(folder / "categories.json", found)
    _write(folder / CONFIGURATION, {"name": title(reports), "categories": {"rules": _rules(found)}})
    executor = folder / "executor.json"
    if not executor.exists():  # a CI system may have written its own
        _write(executor, {"name": "pytest-istio-mc", "type": "local", "reportName": title(reports)})


def title(reports: Sequence[Mapping[str, Any]]) -> str:
    """The headline of the report: each topology with its result."""
    told = (f"{report['topology']}: {str(report['result']).upper()}" for report in reports)
    return harmless(", ".join(told))


def categories(reports: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One category a root cause with all that it explains, then the rest.

    Where there are several reports, messages begin with their topologies.
    """
    found: list[dict[str, Any]] = []
    for report, cause in [(one, cause) for one in reports for cause in one["rootCauses"]]:
        prefix = f"{report['topology']}: " if len(reports) > 1 else ""
        ids = "|".join([cause["check"], *cause["explains"]])
        category = {
            "name": harmless(f"{prefix}{cause['check']}: {cause['summary']}"),
            "description": harmless(cause["remedy"]),
            # Java matches the whole message, JavaScript any part of it; (?s) is Java's alone
            "messageRegex": rf"(^|[\s\S]*[^\w-]){_literally(prefix)}({ids})\b[\s\S]*",
            "matchedStatuses": ["failed", "broken"],
        }
        found.append(category)
    found.append({"name": "Could not find out", "matchedStatuses": ["broken"]})
    found.append({"name": "Not conformant", "matchedStatuses": ["failed"]})
    found.append({"name": "Claimed, and not run", "matchedStatuses": ["unknown"]})
    found.append({"name": "Not applicable", "matchedStatuses": ["skipped"]})
    return found


def _literally(text: str) -> str:
    """A pattern for just this text, which both Java and JavaScript read."""
    return re.sub(r"([\\^$.|?*+()\[\]{}])", r"\\\1", text)


def _rules(found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The categories for Allure 3, which knows no descriptions and wants names on one line."""
    return [
        {
            **{key: value for key, value in one.items() if key != "description"},
            "name": " ".join(one["name"].split()),
        }
        for one in found
    ]


def _certificate(folder: Path, report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Write the certificate as a result; what of it to attach to the whole report."""
    topology, result = report["topology"], report["result"]
    began = int(datetime.fromisoformat(report["date"]).timestamp() * 1000)
    attachments = []
    for name, kind, extension, text in (
        (f"Certificate of {topology}, to look at", "text/html", "html", page([report])),
        (f"Certificate of {topology}", "application/yaml", "yaml", to_text(report)),
    ):
        source = f"{uuid4()}-attachment.{extension}"
        write(folder / source, text.encode("utf-8", "backslashreplace"))
        attachments.append({"name": harmless(name), "source": source, "type": kind})
    labels = {
        "epic": EPIC,
        "feature": CERTIFICATE,
        "story": CERTIFICATE,
        "severity": "blocker",
        "parentSuite": topology,
        "suite": CERTIFICATE,
        "framework": "pytest",
        "language": "python",
    }
    identity = hashlib.md5(f"certificate of {topology}".encode(), usedforsecurity=False).hexdigest()
    stop = began + int(report["timing"]["seconds"] * 1000)
    document = {
        "uuid": str(uuid4()),
        "historyId": identity,
        "testCaseId": identity,
        "fullName": f"pytest_istio_mc#certificate_of_{topology}",
        "name": harmless(f"{CERTIFICATE}: {result.upper()}"),
        "status": _STATUS[result],
        "statusDetails": {"message": harmless(result_sentence(report))},
        "start": began,
        "stop": stop,
        "labels": [{"name": name, "value": value} for name, value in labels.items()],
        "parameters": [{"name": "topology", "value": repr(topology)}],
        "attachments": attachments,
        "steps": [
            {
                "name": harmless(f"{cause['check']}: {cause['summary']}"),
                "status": "failed",
                "start": stop,
                "stop": stop,
            }
            for cause in report["rootCauses"]
        ],
    }
    _write(folder / f"{document['uuid']}-result.json", document)
    yield from ({**one, "timestamp": stop} for one in attachments)


def _mark_not_run(folder: Path, report: Mapping[str, Any]) -> None:
    """Take claimed checks that did not run out of those that Allure calls skipped."""
    missing = {one["id"] for one in report["checks"] if one["claimed"] and not one["ran"]}
    began = int(datetime.fromisoformat(report["date"]).timestamp() * 1000)
    for file in folder.glob("*-result.json") if missing else ():
        try:
            result = json.loads(file.read_text(encoding="utf-8"))
            labels = {one["name"]: one["value"] for one in result["labels"]}
            ours = labels.get("epic") == EPIC and labels.get("parentSuite") == report["topology"]
            check = labels.get("story", "").partition(" ")[0]
            skipped = result["status"] == "skipped" and result["start"] >= began
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # somebody else's
        if ours and skipped and check in missing:
            _write(file, {**result, "status": "unknown"})


def _write(path: Path, document: Any) -> None:
    write(path, json.dumps(document, indent=2) + "\n")


def _properties(report: Mapping[str, Any], prefix: str) -> str:
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
    pairs = (
        (_escaped(harmless(prefix + key)), _escaped(harmless(str(value))))
        for key, value in lines.items()
    )
    return "".join(f"{key}={value}\n" for key, value in pairs)


def _escaped(text: str) -> str:
    """Text in Java's properties format, which Allure reads as ISO 8859-1."""
    for character in "\\:= ":
        text = text.replace(character, "\\" + character)
    return text.encode("ascii", "backslashreplace").decode().replace("\n", "\\n")
