"""The certificate: a versioned document of a run's findings on every check.

It tells why, and how to repeat it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import documents
from ..checks.catalogue import Check, Profile
from ..checks.diagnosis import RootCause, diagnose
from ..errors import MeshError, UsageProblem
from ..files import Unreadable
from ..mesh import Mesh
from ..plain import place, shown
from ..progress import StepTime
from ..redact import scrub
from ..settings import Settings
from ..spec import API_VERSION, ClusterSpec
from ..tool import newer
from ..verdicts import Evidence, Outcome, Reached, Verdict, Weight
from .writing import write_whole

KIND = "ConformanceReport"
SUMMARY_KIND = "ConformanceSummary"
GATE_KIND = "GateReport"
SCHEMAS = {
    KIND: "conformance-report.schema.json",
    SUMMARY_KIND: "conformance-summary.schema.json",
    GATE_KIND: "gate-report.schema.json",
}
"""The JSON Schema, beside this module, of each kind of document."""
EVIDENCE_CHARACTERS = 4000
"""How much of each piece of evidence a certificate quotes for a check that is not conformant."""

_LONGEST_MESSAGE = 300
"""Characters of a validator's message; it quotes the whole of what does not fit."""

PODS_GONE = (
    "some remedies look into pods of this run, which are gone with it; "
    "--mesh-keep leaves them there"
)


class Result:
    """The words of ``result``; part of the report format."""

    SUCCESS = "success"
    PARTIAL = "partial"
    FAILURE = "failure"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of a run: verdicts and durations by check, figures.

    - ``not_run``: why a claimed check has no verdict, by its id.
    - ``problem``: why the run as a whole could not find out (the mesh could not be built); then
      nothing is conformant.
    - ``run_id``: of this run; a recorded mesh has the id of the run that recorded it.
    """

    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    durations: Mapping[str, float] = field(default_factory=dict)
    not_run: Mapping[str, str] = field(default_factory=dict)
    convergence: Sequence[Mapping[str, Any]] = ()
    steps: Sequence[StepTime] = ()
    began: datetime | None = None
    seconds: float = 0.0
    problem: str = ""
    run_id: str = ""


def build_report(
    settings: Settings,
    checks: Mapping[str, Check],
    outcomes: Outcomes,
    mesh: Mesh | None,
    *,
    version: str,
    picture: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The certificate as plain JSON, without secrets.

    - The same outcomes always give the same document.
    - ``picture``: what its drawing needs of a snapshot (``drawing_facts``); None without one.
    """
    entries = [_entry(check, settings, outcomes) for check in checks.values()]
    causes = diagnose(outcomes.verdicts, checks)
    measured = [dict(entry) for entry in outcomes.convergence]
    document: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "result": _result(entries, outcomes.problem),
        "topology": settings.topology,
        "date": _timestamp(outcomes.began),
        "tool": {"name": "pytest-istio-mc", "version": version, "knownChecks": len(checks)},
        "mesh": _mesh(settings, mesh, causes, outcomes.run_id, picture),
        "claim": {
            "profile": settings.profile.value,
            "quickDisruptive": settings.quick,
            "permissions": [permission.value for permission in settings.permissions],
        },
        "options": settings.to_dict(),
        "overrides": list(settings.overrides),
        "profiles": {
            profile.value: _profile(profile, entries, outcomes.problem)
            for profile in settings.claimed_profiles
        },
        "rootCauses": [cause.to_dict() for cause in causes],
        "reach": _reach(outcomes.verdicts),
        "checks": entries,
        "convergence": sorted(measured, key=lambda entry: (entry["check"], entry["what"])),
        "timing": {
            "seconds": round(outcomes.seconds, 3),
            "steps": [
                {"name": step.name, "beganSeconds": step.began_seconds, "seconds": step.seconds}
                for step in outcomes.steps
            ],
        },
        "reproduce": settings.reproduce(),
    }
    if outcomes.problem:
        document["problem"] = outcomes.problem
    return scrub(document)


def result_sentence(report: Mapping[str, Any]) -> str:
    """The meaning of the result, in one sentence with the figures."""
    claimed = [entry for entry in report["checks"] if entry["claimed"]]
    ran = [entry for entry in claimed if entry["ran"]]
    all_claimed = f"{len(claimed)} claimed checks"
    match report["result"]:
        case Result.SUCCESS:
            return f"all {all_claimed} ran and are conformant"
        case Result.FAILURE:
            wrong = sum(_is(entry, Outcome.NON_CONFORMANT) for entry in claimed)
            causes = len(report["rootCauses"])
            plural, verb = "s" if causes != 1 else "", "is" if wrong == 1 else "are"
            found = f"{wrong} of {all_claimed} {verb} not conformant"
            return f"{found}, from {causes} root cause{plural}"
        case Result.PARTIAL:
            missing = len(claimed) - len(ran)
            return f"{missing} of {all_claimed} did not run; this is no certificate"
    if "problem" in report:
        return f"the mesh could not be provisioned: {report['problem'].splitlines()[0]}"
    if not ran:
        return f"none of the {all_claimed} ran"
    unknown = sum(_is(entry, Outcome.INCONCLUSIVE) for entry in ran)
    return f"{unknown} of {len(claimed)} checks could not find out"


def validate(report: Mapping[str, Any]) -> None:
    """Raise :class:`MeshError` where the document does not fit its JSON Schema."""
    if detail := _misfit(report):
        advice = "report this as a defect"
        raise MeshError("certificate", "does not fit its schema", detail, advice=advice)


def _misfit(report: Mapping[str, Any], *, keys_besides: bool = False) -> str:
    """Where a document first does not fit its JSON Schema, and why; else empty.

    ``keys_besides``: it may have keys that the schema does not know.
    """
    import jsonschema

    wanted = schema(report.get("kind", KIND))
    validator = jsonschema.Draft202012Validator(_opened(wanted) if keys_besides else wanted)
    # places in a document may be numbers and texts, which do not compare
    problems = sorted(validator.iter_errors(report), key=lambda one: str(list(one.absolute_path)))
    if not problems:
        return ""
    first = problems[0]
    words = (
        first.message
        if len(first.message) < _LONGEST_MESSAGE
        else f"breaks its {first.validator!r}"
    )
    return f"{place(list(first.absolute_path))}: {words}"


def _opened(schema: Any) -> Any:
    """A JSON Schema that lets unknown keys pass: later versions of a format may add some."""
    if isinstance(schema, dict):
        return {
            key: _opened(value)
            for key, value in schema.items()
            if (key, value) != ("additionalProperties", False)
        }
    return [_opened(one) for one in schema] if isinstance(schema, list) else schema


def schema(kind: str = KIND) -> dict[str, Any]:
    """The JSON Schema of the certificate, or of another kind of document."""
    text = Path(__file__).with_name(SCHEMAS.get(kind, SCHEMAS[KIND])).read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def to_text(report: Mapping[str, Any], suffix: str = ".yaml") -> str:
    """The certificate as YAML, or as JSON where the suffix is ``.json``."""
    if suffix == ".json":
        return json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes text of several lines as a block, for copying."""

    def represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        style = "|" if "\n" in text else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, represent)
    text: str = yaml.dump(report, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=140)
    return text


def write_document(report: Mapping[str, Any], path: Path) -> None:
    """Validate and write a certificate or a summary, whole or not at all.

    :class:`MeshError` where the disk refuses it.
    """
    validate(report)
    write_whole(path, to_text(report, path.suffix))


def read_document(path: Path) -> dict[str, Any]:
    """A certificate or summary of :func:`write_document`.

    :class:`UsageProblem` where the file is something else, or of a newer version.
    """
    thing, advice = f"certificate {path}", "give a file that --mesh-report wrote"
    try:
        document = documents.read_document(path)
    except Unreadable as error:
        raise UsageProblem(thing, "cannot be read", str(error), advice=advice) from error
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(kind, str) or kind not in SCHEMAS:
        found = f"its kind is {shown(kind)}" if isinstance(document, dict) else shown(document)
        raise UsageProblem(thing, f"is not a {KIND}", found, advice=advice)
    if detail := _misfit(document, keys_besides=True):
        step, advice = newer(_written_by(document), "written") or (
            "does not fit its schema",
            advice,
        )
        raise UsageProblem(thing, step, detail, advice=advice)
    found_document: dict[str, Any] = document
    return found_document


def _written_by(document: Mapping[str, Any]) -> str:
    """The version of the tool that a document names; empty where it names none."""
    tool = document.get("tool")
    return str(tool.get("version", "")) if isinstance(tool, dict) else ""


def _entry(check: Check, settings: Settings, outcomes: Outcomes) -> dict[str, Any]:
    verdict = outcomes.verdicts.get(check.id)
    standing = settings.standing(check)
    if verdict is not None:
        outcome, reason = verdict.outcome, verdict.reason
        claimed = standing.claimed and outcome is not Outcome.NOT_APPLICABLE
    elif standing.obstacle and not standing.claimed:
        outcome, reason, claimed = Outcome.NOT_APPLICABLE, standing.obstacle, False
    else:
        why = standing.obstacle or outcomes.not_run.get(check.id, "it was not selected")
        outcome, reason, claimed = Outcome.INCONCLUSIVE, f"not run: {why}", True
    bad = outcome in (Outcome.NON_CONFORMANT, Outcome.INCONCLUSIVE)
    by = standing.by if claimed else ""
    drawn = [one.to_dict() for one in verdict.outlines] if verdict else []
    return {
        "id": check.id,
        "title": check.title,
        "profile": check.profile.value,
        "kind": check.kind.value,
        "specUrl": check.spec_url,
        "claimed": claimed,
        **({"claimedBy": by} if by else {}),
        "ran": verdict is not None,
        "verdict": outcome.value,
        "reason": reason,
        "duration_seconds": round(outcomes.durations.get(check.id, 0.0), 3),
        "pairs": list(verdict.pairs) if verdict else [],
        "findings": [
            {
                **finding.told,
                "fault": finding.fault,
                **({"weight": finding.weight.value} if finding.weight is not Weight.BROKEN else {}),
            }
            for finding in (verdict.findings if verdict else ())
        ],
        "evidence": [_evidence(item, quote=bad) for item in (verdict.evidence if verdict else ())],
        **({"timelines": drawn} if drawn else {}),
    }


def _reach(verdicts: Mapping[str, Verdict]) -> list[dict[str, Any]]:
    """Who reaches whom: a row for each check, protocol and source."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for check, verdict in sorted(verdicts.items()):
        for cell in verdict.reach:
            key = (check, cell.protocol, cell.source)
            empty = dict(zip(("check", "protocol", "source"), key, strict=True))
            row = rows.setdefault(key, {**empty, "targets": {}, "notes": {}})
            row["targets"][cell.target] = cell.reached.value
            if cell.reached is not Reached.YES and cell.note:
                row["notes"][cell.target] = cell.note
    return list(rows.values())


def _evidence(item: Evidence, *, quote: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": item.name,
        "mediaType": item.media_type,
        "characters": len(item.text),
    }
    if quote:
        entry["text"] = item.text[:EVIDENCE_CHARACTERS]
    return entry


def _is(entry: Mapping[str, Any], outcome: Outcome) -> bool:
    return bool(entry["verdict"] == outcome.value)


def _result(entries: Iterable[Mapping[str, Any]], problem: str) -> str:
    claimed = [entry for entry in entries if entry["claimed"]]
    ran = [entry for entry in claimed if entry["ran"]]
    if any(_is(entry, Outcome.NON_CONFORMANT) for entry in ran):
        return Result.FAILURE
    if problem or not ran or any(_is(entry, Outcome.INCONCLUSIVE) for entry in ran):
        return Result.INCONCLUSIVE
    return Result.SUCCESS if len(ran) == len(claimed) else Result.PARTIAL


def _profile(
    profile: Profile, entries: Iterable[Mapping[str, Any]], problem: str
) -> dict[str, Any]:
    mine = [entry for entry in entries if entry["profile"] == profile.value]
    counts: dict[str, Any] = {
        outcome.value: sum(_is(entry, outcome) for entry in mine) for outcome in Outcome
    }
    return {
        "result": _result(mine, problem),
        "statistics": counts,
        "notRun": [entry["id"] for entry in mine if entry["claimed"] and not entry["ran"]],
    }


def _mesh(
    settings: Settings,
    mesh: Mesh | None,
    causes: Iterable[RootCause],
    run_id: str,
    picture: Mapping[str, Any] | None,
) -> dict[str, Any]:
    spec = mesh.spec if mesh else settings.spec
    notes = list(mesh.notes) if mesh else []
    if mesh and not settings.keep and any(mesh.run_id in cause.remedy for cause in causes):
        notes.append(PODS_GONE)
    return {
        "meshId": spec.mesh_id,
        "trustDomain": spec.trust_domain,
        "provider": mesh.provider if mesh else settings.provider,
        "runId": run_id or (mesh.run_id if mesh else ""),
        "notes": notes,
        "clusters": [_cluster(cluster, mesh) for cluster in spec],
        **({"picture": dict(picture)} if picture is not None else {}),
    }


def _cluster(cluster: ClusterSpec, mesh: Mesh | None) -> dict[str, Any]:
    return {
        "name": cluster.name,
        "role": cluster.role.value,
        "network": cluster.network,
        "controlPlane": cluster.served_from,
        "locality": str(cluster.locality),
        "versions": dict(sorted(mesh.versions.get(cluster.name, {}).items())) if mesh else {},
    }


def _timestamp(moment: datetime | None) -> str:
    text = (moment or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
    return text.replace("+00:00", "Z")
