"""Shares: how far a counted share may be from the one that was asked for, with the exact probability of a false alarm."""

from __future__ import annotations

import math


def acceptable(count: int, share: float, false_alarm: float) -> tuple[int, int]:
    """The fewest and most of ``count`` independent requests that may go where ``share`` of them should.

    A mesh that spreads its requests so falls outside with a probability of at most ``false_alarm``, half of it on each side; exact, from
    the binomial distribution. A round robin, which spreads them more evenly than chance, does so less often.
    """
    if share <= 0 or share >= 1:
        only = 0 if share <= 0 else count
        return only, only
    chances = [math.exp(_log_chance(count, hits, share)) for hits in range(count + 1)]
    return _inside(chances, false_alarm / 2), count - _inside(chances[::-1], false_alarm / 2)


def passing(count: int, share: float, fewest: int, most: int) -> float:
    """How likely it is that another ``share`` passes for one of which no fewer and no more than that are acceptable."""
    return sum(math.exp(_log_chance(count, hits, share)) for hits in range(fewest, most + 1))


def _inside(chances: list[float], allowed: float) -> int:
    """The first number of hits that is not so rare, together with all below it."""
    below = 0.0
    for hits, chance in enumerate(chances):
        below += chance
        if below > allowed:
            return hits
    return len(chances) - 1


def _log_chance(count: int, hits: int, share: float) -> float:
    ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
    return ways + hits * math.log(share) + (count - hits) * math.log1p(-share)
