"""The users' own services: every mistake is told by its object, and its twin is not blamed."""

from __future__ import annotations

import pytest

from pytest_istio_mc.verdicts import Finding, Outcome, Weight
from tests.checks.services.mistakes import MISTAKES, Mistake
from tests.checks.services.shop import Shop
from tests.static_checks import judge_all, taken_away, texts


def found(shop: Shop) -> dict[str, list[Finding]]:
    """What the checks of services find, by check, notes left out."""
    verdicts = judge_all(shop.record())
    wrong = [
        f"{one.check} {one.outcome.value}: {one.reason}"
        for one in verdicts.values()
        if one.outcome is Outcome.INCONCLUSIVE
        or (one.outcome is Outcome.NON_CONFORMANT and "SERVICE" not in one.check)
    ]
    assert wrong == []
    return {
        id: [item for item in one.findings if item.weight is not Weight.NOTE]
        for id, one in verdicts.items()
        if "SERVICE" in id
    }


def told(findings: dict[str, list[Finding]]) -> str:
    return "\n".join(
        f"{id} {one.fault} {one.weight.value}: {texts(one)}"
        for id, every in findings.items()
        for one in every
    )


@pytest.mark.parametrize("case", MISTAKES, ids=str)
def test_a_mistake_is_told_by_its_object_and_line(case: Mistake) -> None:
    shop = Shop()
    case.seed(shop)

    findings = found(shop)

    mine = [one for one in findings[case.check] if one.fault == case.fault]
    assert mine, told(findings)
    assert {one.weight for one in mine} == {case.weight}, told(findings)
    assert any(all(name in texts(one) for name in case.names) for one in mine), told(findings)
    assert all(case.remedy in one.remedy for one in mine), told(findings)
    assert all(one.remedy and one.seen and one.expected for one in mine), told(findings)
    assert not any(taken_away(one.remedy) for one in mine), told(findings)


@pytest.mark.parametrize("case", MISTAKES, ids=str)
def test_the_twin_of_a_mistake_is_not_blamed(case: Mistake) -> None:
    shop = Shop()
    case.twin(shop)

    findings = found(shop)

    assert told({case.check: findings[case.check]}) == ""
    broken = [one for every in findings.values() for one in every if one.weight is Weight.BROKEN]
    assert told({"": broken}) == ""


def test_there_are_many_mistakes() -> None:
    assert len(MISTAKES) >= 40
