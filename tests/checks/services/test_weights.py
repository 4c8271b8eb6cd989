"""Weights: risks and notes leave a check conformant; only with --mesh-strict do risks fail."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pytest_istio_mc.checks.catalogue import known_checks
from pytest_istio_mc.checks.diagnosis import diagnose
from pytest_istio_mc.checks.judging import Gap, verdict_from
from pytest_istio_mc.plain import from_plain, to_plain
from pytest_istio_mc.verdicts import Finding, Outcome, Verdict, Weight, judged, strict, worst
from tests.checks.services import mistakes
from tests.checks.services.shop import Shop

BROKEN = Finding("it fails", fault="x")
RISK = Finding("it may fail", fault="y", weight=Weight.RISK)
NOTE = Finding("it is so", fault="z", weight=Weight.NOTE)


def test_risks_and_notes_are_remarks_of_a_conformant_verdict() -> None:
    verdict = judged([NOTE, RISK, RISK], "all is well")

    assert verdict.outcome is Outcome.CONFORMANT
    assert verdict.reason == "all is well; 2 risks and 1 note"
    assert [one.weight for one in verdict.findings] == [Weight.RISK, Weight.RISK, Weight.NOTE]


def test_what_is_broken_comes_first_and_is_counted_alone() -> None:
    verdict = judged([RISK, BROKEN], "all is well")

    assert verdict.outcome is Outcome.NON_CONFORMANT
    assert verdict.reason == "it fails"
    assert verdict.findings == (BROKEN, RISK)


def test_a_missing_fact_is_no_pass_beside_a_risk() -> None:
    verdict = verdict_from([RISK, Gap("nobody knows")], "all is well")

    assert (verdict.outcome, verdict.findings) == (Outcome.INCONCLUSIVE, (RISK,))


def test_strict_makes_risks_fail_and_notes_not() -> None:
    assert strict(judged([RISK], "well")).outcome is Outcome.NON_CONFORMANT
    assert strict(judged([NOTE], "well")).outcome is Outcome.CONFORMANT
    assert strict(verdict_from([RISK, Gap("?")], "well")).outcome is Outcome.INCONCLUSIVE
    assert strict(Verdict(Outcome.NOT_APPLICABLE, "no")).outcome is Outcome.NOT_APPLICABLE


def test_a_risk_is_no_root_cause() -> None:
    checks = known_checks()
    (id,) = [one for one in checks if one == "MC-SERVICE-005"]
    remarked = worst(id, [judged([RISK], "well")])
    failing = worst(id, [judged([RISK, BROKEN], "well")])

    assert remarked is not None
    assert failing is not None
    assert diagnose({id: remarked}, checks) == ()
    assert [one.fault for one in diagnose({id: failing}, checks)] == ["x"]


def test_a_weight_travels() -> None:
    assert from_plain(Finding, to_plain(RISK)) == RISK
    assert Verdict.from_dict(judged([RISK], "well").to_dict()).findings == (RISK,)


@pytest.fixture(scope="module")
def risky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot with a risk."""
    shop = Shop()
    mistakes.a_route_in_one_primary_only(shop)
    folder = tmp_path_factory.mktemp("risky") / "snapshot"
    shop.record().save(folder)
    return folder


@pytest.mark.parametrize(
    ("options", "code", "verdict", "weights"),
    [((), 0, "conformant", ["risk"]), (("--mesh-strict",), 1, "non-conformant", [None])],
)
def test_certificate_terminal_and_exit_code_keep_them_apart(
    pytester: pytest.Pytester,
    risky: Path,
    options: tuple[str, ...],
    code: int,
    verdict: str,
    weights: list[str | None],
) -> None:
    suites = ("--pyargs", "pytest_istio_mc.suites", "--mesh-checks=MC-SERVICE-005")
    result = pytester.runpytest_subprocess(*suites, f"--mesh-replay={risky}", *options)

    assert result.ret == code, result.stdout.str()
    report = yaml.safe_load((pytester.path / "mesh-report.yaml").read_text())
    (entry,) = [one for one in report["checks"] if one["id"] == "MC-SERVICE-005"]
    assert entry["verdict"] == verdict
    assert [one.get("weight") for one in entry["findings"]] == weights
    assert bool(report["rootCauses"]) is bool(options)
    told = "1 risk, which nothing fails of (--mesh-strict fails):"
    assert (told in result.stdout.str()) is not bool(options)
