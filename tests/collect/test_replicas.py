"""Replicas of an istiod: lasting differences are told from what moves while they are asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_istio_mc.collect.replicas import settled
from pytest_istio_mc.recorded import IstiodFacts
from pytest_istio_mc.snapshot import ClusterSnapshot

Document = dict[str, Any]


def shards(**digests: str) -> Document:
    """Shards of one endpoint each, by host."""
    return {
        host: {"shop": {"Kubernetes/west": {"count": 1, "digest": digest}}}
        for host, digest in digests.items()
    }


def asked(*answers: Sequence[Document]) -> tuple[list[Document], int, float]:
    """What is recorded of two replicas that give these answers one after the other.

    The last ones go on. Also how often they were asked again, and the seconds waited.
    """
    istiods = tuple(
        IstiodFacts(name, debug={"endpointShardz": answer})
        for name, answer in zip("ab", answers[0], strict=True)
    )
    rest: Iterator[Sequence[Document]] = itertools.chain(answers[1:], itertools.repeat(answers[-1]))
    current: list[Document] = []
    waited: list[float] = []
    count = 0

    def read_again(istiod: IstiodFacts) -> Document:
        nonlocal count
        if istiod.pod == "a":
            current[:] = next(rest)
            count += 1
        return current["ab".index(istiod.pod)]

    cluster = settled(ClusterSnapshot("east", istiods=istiods), read_again, 20.0, waited.append)
    return [one.debug["endpointShardz"] for one in cluster.istiods], count, sum(waited)


def test_replicas_that_agree_are_asked_once() -> None:
    assert asked([shards(web="1"), shards(web="1")])[1:] == (0, 0)


def test_pods_that_come_and_go_are_no_disagreement_and_not_polled_for_long() -> None:
    """Each answer differs from the other replica's and from the one before."""
    moving = [[shards(web=f"{n}", db="1"), shards(web=f"{n}x", db="1")] for n in range(40)]

    found, times, _ = asked(*moving)

    assert found == [shards(db="1"), shards(db="1")]
    assert times == 1


def test_a_difference_that_stays_is_kept_among_others_that_move() -> None:
    moving = [[shards(web=f"{n}", db="old"), shards(web=f"{n}x", db="new")] for n in range(40)]

    found, times, waited = asked(*moving)

    assert found == [shards(db="old"), shards(db="new")]
    assert times <= 6
    assert waited == 20.0


def test_a_replica_that_hears_of_it_later_agrees_in_the_end() -> None:
    late = [shards(web="1"), shards(web="0")]

    found, _, waited = asked(late, late, late, [shards(web="1"), shards(web="1")])

    assert found == [shards(web="1"), shards(web="1")]
    assert waited < 20.0


def test_what_only_one_of_them_knows_is_a_difference() -> None:
    found, _, _ = asked([shards(web="1", db="1"), shards(web="1")])

    assert found == [shards(web="1", db="1"), shards(web="1")]


def test_a_shard_without_endpoints_is_as_good_as_none() -> None:
    empty = {"gone": {"shop": {"Kubernetes/west": {"count": 0, "digest": "e3b0"}}}}

    assert asked([shards(web="1") | empty, shards(web="1")])[1] == 0
