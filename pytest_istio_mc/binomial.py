"""Binomial: how far a share may be off by chance, exactly; the arithmetic behind every statement about weights."""

from __future__ import annotations

import math


def bounds(trials: int, share: float, false_alarm: float) -> tuple[int, int]:
    """The fewest and the most of ``trials`` that a share may get without being suspected.

    Where every trial goes there independently with probability ``share``, a count outside has at most the probability
    ``false_alarm``, half of it on each side (exact binomial tails, no approximation).
    """
    tail, fewest = 0.0, 0
    for count in range(trials + 1):
        tail += probability(trials, share, count)
        if tail > false_alarm / 2:
            fewest = count
            break
    tail, most = 0.0, trials
    for count in range(trials, -1, -1):
        tail += probability(trials, share, count)
        if tail > false_alarm / 2:
            most = count
            break
    return fewest, most


def within(trials: int, share: float, fewest: int, most: int) -> float:
    """The probability that a share gets no fewer and no more than that: how likely another share would pass for the right one."""
    return min(1.0, sum(probability(trials, share, count) for count in range(fewest, most + 1)))


def probability(trials: int, share: float, count: int) -> float:
    """The probability that exactly ``count`` of ``trials`` go to a share."""
    if share <= 0.0 or share >= 1.0:
        return 1.0 if count == (trials if share >= 1.0 else 0) else 0.0
    ways = math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
    return math.exp(ways + count * math.log(share) + (trials - count) * math.log1p(-share))
