"""The certificate: its rules, schema and order, and how it is written."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_istio_mc.checks.catalogue import Check, Profile
from pytest_istio_mc.errors import MeshError
from pytest_istio_mc.evidence import report
from pytest_istio_mc.evidence.compare import compare
from pytest_istio_mc.evidence.report import (
    Outcomes,
    build_report,
    read_document,
    result_sentence,
    to_text,
    validate,
    write_document,
)
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.progress import StepTime
from pytest_istio_mc.rights import Permission
from pytest_istio_mc.settings import Settings
from pytest_istio_mc.shell import Remedy
from pytest_istio_mc.verdicts import (
    Evidence,
    Finding,
    Outcome,
    Verdict,
    conformant,
    inconclusive,
    non_conformant,
    not_applicable,
)
from tests.fake_mesh import CHECKS, fake_topology

SPEC = fake_topology("fake-topology").default_spec(2)
SETTINGS = Settings("fake-topology", "lab", SPEC)
VERSIONS = {"cluster1": {"kubernetes": "v1.36.1", "istio": "1.31.1"}}
MESH = Mesh(SPEC, "run1", "lab", "python:1", notes=("a note",), versions=VERSIONS)
BEGAN = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
APPLICABLE = ("MC-TRUST-901", "MC-ACCESS-901", "MC-DISCOVERY-901", "MC-EASTWEST-901")


def certify(
    verdicts: dict[str, Verdict],
    settings: Settings = SETTINGS,
    checks: Mapping[str, Check] = CHECKS,
    **more: Any,
) -> dict[str, Any]:
    """A certificate of these verdicts."""
    stamped = {id: replace(verdict, check=id) for id, verdict in verdicts.items()}
    outcomes = Outcomes(verdicts=stamped, began=BEGAN, **more)
    return build_report(settings, checks, outcomes, MESH, version="0.1.0")


def healthy(**but: Verdict) -> dict[str, Verdict]:
    """All applicable checks conformant, but for some (``access=…``)."""
    wanted = {id: conformant("as it should be") for id in APPLICABLE}
    return wanted | {f"MC-{area.upper()}-901": verdict for area, verdict in but.items()}


def entry(document: dict[str, Any], id: str) -> dict[str, Any]:
    """The entry of one check."""
    return next(found for found in document["checks"] if found["id"] == id)


WRONG = non_conformant(
    [
        Finding(
            "no secret",
            ("cluster1",),
            "one",
            "none",
            Remedy("kubectl apply"),
            "remote-secret-missing",
        )
    ]
)


@pytest.mark.parametrize(
    ("verdicts", "result"),
    [
        (healthy(), "success"),
        (healthy(access=WRONG), "failure"),
        (healthy(access=inconclusive("403")), "inconclusive"),
        (healthy(access=WRONG, discovery=inconclusive("403")), "failure"),
        ({id: verdict for id, verdict in healthy().items() if "TRUST" not in id}, "partial"),
        (healthy(access=not_applicable("makes no sense here")), "success"),
        ({}, "inconclusive"),
        (dict.fromkeys(APPLICABLE, not_applicable("nothing applies")), "inconclusive"),
    ],
    ids=[
        "good",
        "wrong",
        "unknown",
        "wrong-before-unknown",
        "missing",
        "one-not-applicable",
        "nothing-ran",
        "nothing-applies",
    ],
)
def test_the_result_follows_the_rules(verdicts: dict[str, Verdict], result: str) -> None:
    document = certify(verdicts)

    validate(document)
    assert document["result"] == result
    assert document["profiles"]["core"]["result"] == result
    assert result_sentence(document)


def test_a_problem_of_the_whole_run_is_inconclusive() -> None:
    not_run = dict.fromkeys(APPLICABLE, "no mesh")
    document = certify({}, problem="clusters did not start\n  next: doctor", not_run=not_run)

    validate(document)
    assert document["result"] == "inconclusive"
    assert result_sentence(document) == "the mesh could not be provisioned: clusters did not start"


def test_every_known_check_is_listed_in_the_order_of_the_catalogue() -> None:
    document = certify(dict(reversed(healthy().items())))

    assert [found["id"] for found in document["checks"]] == list(CHECKS)
    reason = entry(document, "MC-DISCOVERY-902")["reason"]
    assert reason == "this mesh has not: two or more clusters on one network"
    assert entry(document, "MC-EASTWEST-902")["claimed"] is False


def test_the_same_outcomes_give_the_same_bytes() -> None:
    verdicts = healthy(access=WRONG)

    assert to_text(certify(verdicts)) == to_text(certify(dict(reversed(verdicts.items()))))


def test_the_disruptive_profile_claims_more() -> None:
    disruptive = replace(SETTINGS, profile=Profile.DISRUPTIVE, disposable=True)

    partial = certify(healthy(), disruptive)
    whole = certify(healthy() | {"MC-EASTWEST-902": conformant("healed")}, disruptive)

    assert (partial["result"], partial["profiles"]["core"]["result"]) == ("partial", "success")
    assert partial["profiles"]["disruptive"]["notRun"] == ["MC-EASTWEST-902"]
    assert whole["result"] == "success"
    assert list(whole["profiles"]) == ["core", "extended", "disruptive"]
    assert whole["claim"] == {"profile": "disruptive", "quickDisruptive": False, "permissions": []}
    assert entry(whole, "MC-EASTWEST-902")["claimedBy"] == "disruptive"
    assert "claimedBy" not in entry(certify(healthy()), "MC-EASTWEST-902")


def test_what_was_claimed_without_a_profile_and_what_was_allowed_is_told() -> None:
    quick = CHECKS | {"MC-EASTWEST-902": replace(CHECKS["MC-EASTWEST-902"], quick=True)}
    settings = replace(
        SETTINGS, quick=True, disruptive=True, permissions=(Permission.REMOTE_SECRETS,)
    )
    verdicts = healthy() | {"MC-EASTWEST-902": conformant("healed")}

    document = certify(verdicts, settings, quick)

    claim = {"profile": "core", "quickDisruptive": True, "permissions": ["remote-secrets"]}
    assert (document["result"], document["claim"]) == ("success", claim)
    assert list(document["profiles"]) == ["core", "disruptive"]
    assert entry(document, "MC-EASTWEST-902")["claimedBy"] == "quick"
    assert entry(document, "MC-TRUST-901")["claimedBy"] == "core"
    assert document["options"]["allow"] == "remote-secrets"


def test_certificates_of_earlier_versions_are_read_and_compared() -> None:
    old = certify(healthy())
    del old["claim"]
    for one in old["checks"]:
        one.pop("claimedBy", None)

    validate(old)

    assert compare(old, certify(healthy())) == ()


def test_a_replay_is_never_more_than_partial() -> None:
    static = {id: verdict for id, verdict in healthy().items() if "EASTWEST" not in id}

    document = certify(static, replace(SETTINGS, replay=Path("recorded")))

    assert document["result"] == "partial"
    assert entry(document, "MC-EASTWEST-901")["verdict"] == "inconclusive"
    assert entry(document, "MC-EASTWEST-901")["reason"].startswith("not run: needs a mesh")


def test_evidence_is_quoted_only_where_something_is_wrong_and_only_its_beginning() -> None:
    long = Evidence("dump", "x" * 10_000, "text/plain")

    good, bad = conformant("fine").with_evidence(long), WRONG.with_evidence(long)
    document = certify(healthy(trust=good, access=bad))

    shown = {"name": "dump", "mediaType": "text/plain", "characters": 10_000}
    assert entry(document, "MC-TRUST-901")["evidence"] == [shown]
    quoted = entry(document, "MC-ACCESS-901")["evidence"][0]["text"]
    assert len(quoted) == report.EVIDENCE_CHARACTERS


def test_a_remedy_that_needs_a_pod_of_the_run_says_how_to_have_it() -> None:
    remedy = Remedy("istioctl proxy-config listeners client.istio-mc-run1")
    look = Finding("no answer", ("cluster1",), "one", "none", remedy, "no-answer")
    broken = healthy(discovery=non_conformant([look]))

    assert certify(broken)["mesh"]["notes"] == ["a note", report.PODS_GONE]
    assert certify(broken, replace(SETTINGS, keep=True))["mesh"]["notes"] == ["a note"]
    assert certify(healthy(access=WRONG))["mesh"]["notes"] == ["a note"]


def test_it_says_how_long_things_took_and_what_was_overridden() -> None:
    slow = replace(SETTINGS, timeout_factor=3.0)
    converged = [
        {"check": "MC-TRUST-901", "what": "a", "first_seconds": 0.5, "stable_seconds": 1.0}
    ]

    steps = [StepTime("clusters ready", 0.1, 7.5)]
    document = certify(healthy(), slow, steps=steps, seconds=12.3456, convergence=converged)

    validate(document)
    step = {"name": "clusters ready", "beganSeconds": 0.1, "seconds": 7.5}
    assert document["timing"] == {"seconds": 12.346, "steps": [step]}
    overridden = "every time budget was multiplied by 3 (--mesh-timeout-factor)"
    assert document["overrides"] == [overridden]
    assert document["convergence"] == converged
    assert document["date"] == "2026-11-21T09:00:00Z"


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_it_is_read_back_as_it_was_written(tmp_path: Path, suffix: str) -> None:
    document = certify(healthy(access=WRONG))

    write_document(document, tmp_path / f"r{suffix}")

    assert read_document(tmp_path / f"r{suffix}") == document
    assert [path.name for path in tmp_path.iterdir()] == [f"r{suffix}"]
    text = (tmp_path / f"r{suffix}").read_text()
    assert (json.loads if suffix == ".json" else yaml.safe_load)(text) == document


def test_a_document_that_does_not_fit_its_schema_is_not_written(tmp_path: Path) -> None:
    document = certify(healthy()) | {"result": "fine"}

    with pytest.raises(MeshError, match="result: 'fine' is not one of"):
        write_document(document, tmp_path / "r.yaml")

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.pop("checks"),
        lambda document: document.update(checks=[]),
        lambda document: document.update(surprise=1),
        lambda document: document["checks"][0].update(verdict="passed"),
        lambda document: document["checks"][0].update(ran=False),
        lambda document: document["checks"][0].update(id="TRUST-1"),
        lambda document: entry(document, "MC-ACCESS-901").update(findings=[]),
        lambda document: document["rootCauses"][0].pop("remedy"),
        lambda document: document.update(kind="Report"),
        lambda document: document.update(date="yesterday"),
    ],
)
def test_the_schema_refuses(spoil: Any) -> None:
    document = copy.deepcopy(certify(healthy(access=WRONG)))
    spoil(document)

    with pytest.raises(MeshError, match="does not fit its schema"):
        validate(document)


@pytest.mark.parametrize("content", ["kind: Other", "[1]", "a: [", "\xff\xfe"])
def test_other_files_are_no_certificates(tmp_path: Path, content: str) -> None:
    (tmp_path / "r.yaml").write_bytes(content.encode("latin-1"))

    with pytest.raises(MeshError, match=r"certificate .*r\.yaml"):
        read_document(tmp_path / "r.yaml")


def test_a_folder_that_is_gone_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match=r"cannot be written .*No such file.*\n  next: make room"):
        write_document(certify(healthy()), tmp_path / "gone" / "r.yaml")


VERDICTS = st.sampled_from((conformant("ok"), WRONG, inconclusive("?"), not_applicable("no"), None))


@given(st.fixed_dictionaries(dict.fromkeys(CHECKS, VERDICTS)), st.sampled_from(Profile))
def test_success_means_that_every_claimed_check_ran_and_is_conformant(
    found: dict[str, Verdict | None], profile: Profile
) -> None:
    verdicts = {id: verdict for id, verdict in found.items() if verdict}
    document = certify(verdicts, replace(SETTINGS, profile=profile))

    validate(document)
    claimed = [check for check in document["checks"] if check["claimed"]]
    good = [check["ran"] and check["verdict"] == Outcome.CONFORMANT.value for check in claimed]
    bad = [check["verdict"] == Outcome.NON_CONFORMANT.value for check in claimed]
    assert (document["result"] == "success") == bool(claimed and all(good))
    assert (document["result"] == "failure") == any(bad)
