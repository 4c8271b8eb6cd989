"""Statistics: sample sizes and acceptable shares, with exact false-alarm probabilities."""

from __future__ import annotations

import math
from collections import Counter

from .spec import MeshSpec


def acceptable(count: int, share: float, false_alarm: float) -> tuple[int, int]:
    """The fewest and most of ``count`` requests that fit a ``share``.

    - For independent requests; exact, from the binomial distribution.
    - A mesh with that share falls outside with a probability of at most ``false_alarm``, half of
      it on each side.
    - A round robin, which is more even than chance, does so less often.
    """
    if share <= 0 or share >= 1:
        only = 0 if share <= 0 else count
        return only, only
    chances = [math.exp(_log_chance(count, hits, share)) for hits in range(count + 1)]
    return _inside(chances, false_alarm / 2), count - _inside(chances[::-1], false_alarm / 2)


def passing(count: int, share: float, fewest: int, most: int) -> float:
    """The probability that a mesh with ``share`` stays between ``fewest`` and ``most``."""
    return sum(math.exp(_log_chance(count, hits, share)) for hits in range(fewest, most + 1))


def _inside(chances: list[float], allowed: float) -> int:
    """The first number of hits that is likelier than ``allowed``, with all below."""
    below = 0.0
    for hits, chance in enumerate(chances):
        below += chance
        if below > allowed:
            return hits
    return len(chances) - 1


def _log_chance(count: int, hits: int, share: float) -> float:
    ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
    return ways + hits * math.log(share) + (count - hits) * math.log1p(-share)


MISS_PROBABILITY = 1e-6
"""The risk that a reach sample misses an instance with its even share.

With twenty healthy runs a day that is once in a lifetime.
"""


def sample_size(instances: int, miss_probability: float = MISS_PROBABILITY) -> int:
    """The number of requests that see each of evenly shared instances.

    They miss one with a probability of at most ``miss_probability``.
    """
    if instances < 2:
        return 1
    return math.ceil(math.log(miss_probability / instances) / math.log(1 - 1 / instances))


def least_share(spec: MeshSpec) -> int:
    """Every cluster gets at least one in how many requests for a shared service.

    Proxies spread requests over the clusters of their network and the gateways of the others, once
    each, and these over the clusters behind them.
    """
    networks = Counter(cluster.network for cluster in spec.data_planes)
    return max(
        (here + len(networks) - 1)
        * max((behind for other, behind in networks.items() if other != network), default=1)
        for network, here in networks.items()
    )


CONFIDENCE = 0.95
"""Of the bounds that are stated for losses."""


def most_likely_share(count: int, lost: int) -> float:
    """The upper bound at 95 % of the share of requests that are lost.

    - Exact (Clopper and Pearson). With none lost of n it is about 3/n, the rule of three.
    - 1 where nothing was sent.
    """
    if lost >= count:
        return 1.0
    low, high = lost / count, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        seen = sum(math.exp(_log_chance(count, hits, middle)) for hits in range(lost + 1))
        low, high = (middle, high) if seen > 1 - CONFIDENCE else (low, middle)
    return high


def most_expected(count: int, control_count: int, control_lost: int) -> int:
    """The most losses of ``count`` requests that a control run explains, at 95 %.

    - The control lost ``control_lost`` of ``control_count``.
    - The share of all losses that falls to this run is binomial if both lose at one rate.
    - None where the control lost none: then every loss is more.
    """
    if not control_lost or not control_count:
        return 0
    share = count / (count + control_count)

    def is_more(lost: int) -> bool:
        both = control_lost + lost
        fewer = sum(math.exp(_log_chance(both, hits, share)) for hits in range(lost))
        return 1 - fewer < 1 - CONFIDENCE

    low, high = 0, 1
    while not is_more(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_more(middle) else (middle, high)
    return low
