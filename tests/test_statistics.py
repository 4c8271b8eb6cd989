"""Shares: bounds as in the binomial distribution, and what passes them."""

from __future__ import annotations

import random
import time
from math import comb

import pytest
from hypothesis import given

from pytest_istio_mc.spec import ClusterSpec, MeshSpec
from pytest_istio_mc.statistics import (
    acceptable,
    least_share,
    most_expected,
    most_likely_share,
    passing,
    sample_size,
)
from tests.specs import meshes


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


@pytest.mark.parametrize(
    ("networks", "share"),
    [("ab", 2), ("aa", 2), ("abc", 3), ("aaa", 3), ("aabb", 6), ("abb", 4)],
    ids=["two-networks", "flat", "three-networks", "three-flat", "two-regions", "one-and-two"],
)
def test_a_gateway_gets_one_share_for_all_the_clusters_behind_it(networks: str, share: int) -> None:
    clusters = tuple(
        ClusterSpec(f"cluster{number}", f"network-{name}") for number, name in enumerate(networks)
    )

    assert least_share(MeshSpec("any", clusters)) == share


@given(meshes())
def test_no_cluster_has_a_smaller_share_than_that(spec: MeshSpec) -> None:
    networks = [cluster.network for cluster in spec.data_planes]
    others = len(set(networks)) - 1
    for source in spec.data_planes:
        ways = networks.count(source.network) + others
        shares = [
            ways * (1 if cluster.network == source.network else networks.count(cluster.network))
            for cluster in spec.data_planes
        ]
        assert max(shares) <= least_share(spec)


def test_a_sample_misses_none_of_its_instances_but_for_the_stated_probability() -> None:
    assert sample_size(1) == 1
    for instances in (2, 3, 6):
        for miss in (1e-2, 1e-6):
            number = sample_size(instances, miss)
            missed = instances * (1 - 1 / instances) ** number
            assert missed <= miss < instances * (1 - 1 / instances) ** (number - 1)


@pytest.mark.parametrize("count", [50, 300, 2000, 100_000])
def test_without_a_loss_the_bound_is_the_rule_of_three(count: int) -> None:
    assert most_likely_share(count, 0) == pytest.approx(3 / count, rel=0.04)


def test_the_bound_with_losses_is_the_exact_one() -> None:
    # Clopper and Pearson, one-sided at 95 %: tables give 0.0757 for 3 of 100
    assert most_likely_share(100, 3) == pytest.approx(0.0757, abs=1e-4)
    assert most_likely_share(10, 10) == 1.0
    assert most_likely_share(0, 0) == 1.0


def test_a_control_run_that_lost_nothing_explains_nothing() -> None:
    assert most_expected(2000, 2000, 0) == 0
    assert most_expected(2000, 0, 0) == 0


@pytest.mark.parametrize(("count", "control", "lost"), [(2000, 2000, 5), (500, 2000, 40)])
def test_what_a_control_run_explains_is_exceeded_by_chance_in_one_of_twenty(
    count: int, control: int, lost: int
) -> None:
    most = most_expected(count, control, lost)

    def as_many(number: int) -> float:
        both, share = number + lost, count / (count + control)
        return passing(both, share, number, both)

    assert as_many(most + 1) < 0.05 <= as_many(most)


def test_many_losses_are_compared_quickly() -> None:
    began = time.monotonic()

    assert 10_000 < most_expected(200_000, 200_000, 10_000) < 10_500
    assert time.monotonic() - began < 5
