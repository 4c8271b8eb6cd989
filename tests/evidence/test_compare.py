"""Two certificates compared in meaning."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_istio_mc import cli
from pytest_istio_mc.errors import MeshError
from pytest_istio_mc.evidence.compare import (
    CONVERGENCE_FACTOR,
    CONVERGENCE_SECONDS,
    Aspect,
    Change,
    Difference,
    compare,
    worse,
)
from pytest_istio_mc.evidence.report import read_document

VERDICTS = ("conformant", "non-conformant", "inconclusive", "not-applicable")


def certificate(**verdicts: str) -> dict[str, Any]:
    """The part of a certificate that is compared."""
    checks = [{"id": id, "verdict": word, "reason": "because"} for id, word in verdicts.items()]
    return {"checks": checks}


def whole(*checks: dict[str, Any], **besides: Any) -> dict[str, Any]:
    """A certificate with everything that is compared."""
    clusters = [
        {"name": name, "network": f"n-{name}", "role": "primary", "versions": {"istio": "1.30.4"}}
        for name in ("east", "west")
    ]
    return {
        "topology": "flat",
        "claim": {"profile": "core", "quickDisruptive": False, "permissions": []},
        "tool": {"version": "1.0"},
        "mesh": {"provider": "attach", "clusters": clusters},
        "checks": list(checks),
        "convergence": [],
    } | besides


def entry(id: str = "A", verdict: str = "conformant", **besides: Any) -> dict[str, Any]:
    """One check of a certificate."""
    usual = {"claimed": True, "ran": True, "reason": "because", "pairs": [], "findings": []}
    return {"id": id, "verdict": verdict, "duration_seconds": 1.0} | usual | besides


def waited(seconds: float, what: str = "endpoints", check: str = "A") -> dict[str, Any]:
    """A figure of a certificate."""
    figures = {"first_seconds": seconds, "stable_seconds": seconds}
    return {"check": check, "what": what, **figures}


def only(old: dict[str, Any], new: dict[str, Any]) -> Difference:
    """The one difference."""
    (difference,) = compare(old, new)
    return difference


def test_the_same_verdicts_are_no_difference() -> None:
    old = certificate(A="conformant", B="non-conformant")

    assert compare(old, certificate(B="non-conformant", A="conformant")) == ()


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        ("conformant", "non-conformant", Change.WORSE),
        ("conformant", "inconclusive", Change.WORSE),
        ("conformant", "not-applicable", Change.WORSE),
        ("not-applicable", "inconclusive", Change.WORSE),
        ("inconclusive", "non-conformant", Change.WORSE),
        ("non-conformant", "conformant", Change.BETTER),
        ("inconclusive", "conformant", Change.BETTER),
        ("not-applicable", "conformant", Change.BETTER),
        # not knowing is better than nothing
        ("non-conformant", "inconclusive", Change.CHANGED),
        ("non-conformant", "not-applicable", Change.CHANGED),
        ("inconclusive", "not-applicable", Change.CHANGED),
    ],
)
def test_verdicts_are_worse_or_better(before: str, now: str, change: Change) -> None:
    difference = only(certificate(A=before), certificate(A=now))

    assert difference.change is change
    assert str(difference) == f"{change.value}: A {before} -> {now}: because"


def test_checks_come_and_go() -> None:
    old = certificate(A="conformant", B="conformant")
    differences = compare(old, certificate(B="non-conformant", C="conformant"))

    found = [(entry.check, entry.change) for entry in differences]
    assert found == [("B", Change.WORSE), ("A", Change.LOST), ("C", Change.NEW)]
    assert [entry.check for entry in worse(differences)] == ["B", "A"]


def test_a_check_that_goes_and_was_never_claimed_is_no_loss() -> None:
    old = whole(entry("A", "not-applicable", claimed=False, ran=False))

    assert only(old, whole()).change is Change.CHANGED


@pytest.mark.parametrize("verdict", ["non-conformant", "inconclusive"])
def test_a_claimed_check_that_does_not_run_any_more_is_worse(verdict: str) -> None:
    now = entry(verdict="inconclusive", ran=False, reason="not run: it was not selected")

    difference = only(whole(entry(verdict=verdict)), whole(now))

    assert (difference.change, difference.aspect) == (Change.WORSE, Aspect.COVERAGE)
    assert str(difference) == ("worse: A coverage ran -> did not run: not run: it was not selected")


def test_a_check_that_did_not_run_before_either_is_no_difference() -> None:
    unrun = entry(verdict="inconclusive", ran=False)

    assert compare(whole(unrun), whole(unrun)) == ()


def _finding(fault: str, *clusters: str) -> dict[str, Any]:
    return {"fault": fault, "clusters": list(clusters), "summary": f"pod-{id(clusters)}"}


def test_other_faults_of_a_failing_check_are_worse_and_fewer_are_better() -> None:
    one = whole(entry(verdict="non-conformant", findings=[_finding("rs-missing", "east")]))
    findings = [_finding("rs-missing", "east"), _finding("rs-missing", "west")]
    two = whole(entry(verdict="non-conformant", findings=findings))

    assert compare(one, copy.deepcopy(one)) == ()
    assert str(only(one, two)) == "worse: A findings 1 -> 2: rs-missing in west"
    assert only(two, one).change is Change.BETTER


def test_pairs_that_are_not_judged_any_more_are_worse() -> None:
    old, new = whole(entry(pairs=["east to west", "west to east"])), whole(entry(pairs=["x"]))

    difference = only(old, new)

    assert (difference.change, difference.aspect) == (Change.WORSE, Aspect.REACH)
    assert "east to west, west to east" in difference.reason
    assert only(old, new | {"tool": {"version": "2.0"}}).change is Change.WORSE
    reworded = whole(entry(pairs=["east-to-west", "west-to-east"]), tool={"version": "2.0"})
    assert compare(old, reworded) == ()


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        (1.0, 1.0 + CONVERGENCE_SECONDS, None),
        (1.0, 1.1 + CONVERGENCE_SECONDS, Change.WORSE),
        (20.0, 20.0 * CONVERGENCE_FACTOR, None),
        (20.0, 20.1 * CONVERGENCE_FACTOR, Change.WORSE),
        (61.0, 20.0, Change.BETTER),
        (0.0, 0.2, None),
    ],
)
def test_waits_are_worse_only_beyond_the_bounds_of_noise(
    before: float, now: float, change: Change | None
) -> None:
    old = whole(entry(), convergence=[waited(before), waited(before / 2)])
    new = whole(entry(), convergence=[waited(now / 2), waited(now)])

    assert [one.change for one in compare(old, new)] == ([change] if change else [])


def test_waits_after_something_was_broken_have_wider_bounds() -> None:
    broken = entry(kind="fault")
    old = whole(broken, convergence=[waited(5)])

    assert compare(old, whole(broken, convergence=[waited(64)])) == ()
    assert only(old, whole(broken, convergence=[waited(66)])).change is Change.WORSE


def test_figures_of_another_provider_or_of_a_failure_are_not_compared() -> None:
    old = whole(entry(), convergence=[waited(1)])
    slow = whole(entry(duration_seconds=900.0), convergence=[waited(100)])
    lab = copy.deepcopy(slow)
    lab["mesh"]["provider"] = "lab"
    failed = whole(entry(verdict="non-conformant"), convergence=[waited(100)])

    assert {one.aspect for one in worse(compare(old, slow))} == {
        Aspect.CONVERGENCE,
        Aspect.DURATION,
    }
    assert [one.aspect for one in compare(old, lab)] == [Aspect.MESH]
    assert [one.aspect for one in compare(old, failed)] == [Aspect.VERDICT]


def test_a_figure_that_is_gone_is_told() -> None:
    old, new = whole(entry(), convergence=[waited(1)]), whole(entry())

    assert only(old, new).change is Change.CHANGED


def test_versions_are_told_and_worse_for_nobody() -> None:
    new = whole(entry())
    new["mesh"]["clusters"][0]["versions"] = {"istio": "1.31.1"}

    difference = only(whole(entry()), new)

    assert str(difference) == "changed: east version 1.30.4 -> 1.31.1: istio"
    assert worse([difference]) == ()


@pytest.mark.parametrize(
    ("besides", "says"),
    [
        ({"topology": "other"}, "of topology flat, not other"),
        ({"claim": {"profile": "extended", "quickDisruptive": False}}, "core, not extended"),
        (
            {"claim": {"profile": "core", "quickDisruptive": True}},
            "of profile core, not core + quick disruptive",
        ),
        ({"mesh": {"clusters": [{"name": "east"}]}}, "of clusters east, west, not east"),
    ],
)
def test_what_is_not_comparable_is_refused_and_named(besides: dict[str, Any], says: str) -> None:
    with pytest.raises(MeshError, match=re.escape(says)):
        compare(whole(entry()), whole(entry(), **besides))


def test_certificates_without_a_claim_are_compared_by_their_options() -> None:
    old = whole(entry(), claim={}, options={"profile": "core"})

    assert compare(old, whole(entry())) == ()


_CHECKS = st.lists(
    st.builds(
        entry,
        st.sampled_from("ABCDEF"),
        st.sampled_from(VERDICTS),
        claimed=st.booleans(),
        ran=st.booleans(),
        pairs=st.lists(st.sampled_from(["a to b", "b to a", "c"])),
        findings=st.lists(
            st.fixed_dictionaries(
                {
                    "fault": st.sampled_from(["", "rs-missing"]),
                    "clusters": st.lists(st.sampled_from(["east", "west"])),
                }
            )
        ),
        duration_seconds=st.floats(0, 1000),
    ),
    unique_by=lambda one: str(one["id"]),
)
_CERTIFICATES = st.builds(
    whole,
    tool=st.fixed_dictionaries({"version": st.sampled_from(["1", "2"])}),
    checks=_CHECKS,
    convergence=st.lists(
        st.builds(waited, st.floats(0, 500), st.just("x"), st.sampled_from("ABCDEF"))
    ),
)


@given(_CERTIFICATES)
def test_nothing_is_different_from_itself(one: dict[str, Any]) -> None:
    assert compare(one, copy.deepcopy(one)) == ()


@given(_CERTIFICATES, _CERTIFICATES)
def test_a_difference_is_told_in_both_directions(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    there, back = compare(one, other), compare(other, one)

    def conformant(document: dict[str, Any]) -> set[str]:
        return {
            check["id"]
            for check in document["checks"]
            if check["verdict"] == "conformant" and check["claimed"] and check["ran"]
        }

    told = {difference.check for difference in worse(there)}
    assert (
        conformant(one)
        - conformant(other)
        - {check["id"] for check in other["checks"] if check["verdict"] == "conformant"}
        <= told
    )
    assert {each.check for each in there if each.aspect is Aspect.VERDICT} == {
        each.check for each in back if each.aspect is Aspect.VERDICT
    } or any(each.aspect is Aspect.COVERAGE for each in (*there, *back))
    for difference in there:
        assert str(difference)
        assert json.dumps(difference.to_dict())


def _written(folder: Path, name: str, **changes: Any) -> Path:
    """A certificate that fits its schema, with changes."""
    from tests.evidence.test_report import certify, healthy

    document = certify(healthy()) | changes
    file = folder / name
    file.write_text(yaml.safe_dump(document))
    return file


def test_keys_of_a_newer_version_are_no_reason_to_refuse(tmp_path: Path) -> None:
    file = _written(tmp_path, "new.yaml", page={"title": "x"})
    document = yaml.safe_load(file.read_text())
    document["checks"][0]["severity"] = "high"
    document["mesh"]["clusters"][0]["zone"] = "z"
    file.write_text(yaml.safe_dump(document))

    assert read_document(file)["page"] == {"title": "x"}


def test_the_command_tells_differences_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = _written(tmp_path, "old.yaml"), _written(tmp_path, "new.yaml")

    assert cli.main(["compare", "--json", str(old), str(new)]) == cli.GOOD
    told = json.loads(capsys.readouterr().out)
    assert told["worse"] is False
    assert list(told["differences"].values()) == [[]]

    document = yaml.safe_load(new.read_text())
    document["checks"][0]["verdict"] = "inconclusive"
    new.write_text(yaml.safe_dump(document))
    assert cli.main(["compare", "--json", str(old), str(new)]) == cli.WORSE
    told = json.loads(capsys.readouterr().out)
    assert told["worse"] is True
    ((difference,),) = told["differences"].values()
    assert (difference["change"], difference["now"]) == ("worse", "inconclusive")


def test_the_command_refuses_what_is_not_comparable_and_names_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = _written(tmp_path, "old.yaml"), _written(tmp_path, "new.yaml", topology="other")
    link = tmp_path / "link.yaml"
    link.symlink_to(old)

    assert cli.main(["compare", str(old), str(new)]) == cli.USAGE
    told = capsys.readouterr().err
    assert all(str(file) in told for file in (old, new))
    assert "not other" in told
    assert cli.main(["compare", str(old), str(link)]) == cli.USAGE
    assert "are the same file" in capsys.readouterr().err
