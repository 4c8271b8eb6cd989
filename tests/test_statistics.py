"""Shares: the bounds are those of the binomial distribution, and what passes within them is said right."""

from __future__ import annotations

import random
from math import comb

import pytest

from pytest_istio_mc.statistics import acceptable, passing


def outside(count: int, share: float, fewest: int, most: int) -> float:
    """The exact probability of a count outside, summed with integers of any size."""
    return sum(
        comb(count, hits) * share**hits * (1 - share) ** (count - hits)
        for hits in range(count + 1)
        if not fewest <= hits <= most
    )


@pytest.mark.parametrize(
    ("count", "share"), [(20, 0.5), (200, 0.8), (200, 0.2), (400, 0.01), (1, 0.3)]
)
@pytest.mark.parametrize("false_alarm", [1e-6, 1e-3, 0.1])
def test_no_more_is_suspected_than_is_stated_and_no_less_than_need_be(
    count: int, share: float, false_alarm: float
) -> None:
    fewest, most = acceptable(count, share, false_alarm)

    assert outside(count, share, fewest, most) <= false_alarm
    narrower = min(outside(count, share, fewest + 1, most), outside(count, share, fewest, most - 1))
    assert narrower > false_alarm / 2


def test_what_passes_for_another_share_is_what_lies_within() -> None:
    fewest, most = acceptable(200, 0.8, 1e-6)

    assert passing(200, 0.8, fewest, most) == pytest.approx(1 - outside(200, 0.8, fewest, most))
    assert passing(200, 0.5, fewest, most) == pytest.approx(1 - outside(200, 0.5, fewest, most))
    assert passing(200, 0.5, fewest, most) < 1e-3


def test_shares_that_are_kept_are_never_suspected_in_many_runs() -> None:
    fewest, most = acceptable(200, 0.8, 1e-6)
    dice = random.Random(7)

    assert all(fewest <= sum(dice.random() < 0.8 for _ in range(200)) <= most for _ in range(500))
