"""Reaching: what findings say of who reaches whom, for the matrix of a certificate."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ..observations import Request
from ..verdicts import Finding, Reach, Reached
from .judging import Found, Gap


def reach_of(
    protocol: str, clusters: Sequence[str], requests: Iterable[Request], found: Iterable[Found]
) -> Iterator[Reach]:
    """Who reached whom with requests that any cluster may answer, as the findings judge it.

    - A finding about source and target says that the target is not reached; one about the source
      alone that some requests failed.
    - A target that answered nothing, and of which no finding tells, need not answer.
    """
    sent = list(requests)
    findings = [one for one in found if isinstance(one, Finding)]
    pairs = {one.clusters[:2]: one for one in findings if len(one.clusters) > 1}
    alone = {one.clusters[0]: one for one in findings if len(one.clusters) == 1}
    for source in clusters:
        mine = [request for request in sent if request.source == source]
        answers = Counter(request.answer.cluster for request in mine if request.answer)
        for target in clusters:
            count = f"{answers[target]} of {len(mine)} answered there"
            if wrong := pairs.get((source, target)):
                yield Reach(protocol, source, target, Reached.NO, wrong.summary)
            elif answers[target] and source in alone:
                yield Reach(protocol, source, target, Reached.PARTLY, alone[source].summary)
            elif answers[target]:
                yield Reach(protocol, source, target, Reached.YES, count)
            elif mine and source in alone and not answers:
                yield Reach(protocol, source, target, Reached.NO, alone[source].summary)
            else:
                why = "others answered in its place" if answers else "nothing was answered"
                unknown = f"{why}, which need not be wrong" if mine else "nothing was sent"
                yield Reach(protocol, source, target, Reached.UNKNOWN, unknown)


def reach_of_rest(
    protocol: str, clusters: Sequence[str], found: Sequence[Found]
) -> Iterator[Reach]:
    """Every ordered pair of clusters, from findings whose first cluster is the source.

    A fact that is missing may concern any pair of which no finding tells.
    """
    findings = [one for one in found if isinstance(one, Finding)]
    gaps = [one for one in found if isinstance(one, Gap)]
    for source, target in itertools.permutations(clusters, 2):
        mine = [one for one in findings if one.clusters[:1] == (source,)]
        wrong = next((one for one in mine if target in one.clusters[1:]), None)
        alone = next((one for one in mine if len(one.clusters) == 1), None)
        if wrong:
            yield Reach(protocol, source, target, Reached.NO, wrong.summary)
        elif alone:
            yield Reach(protocol, source, target, Reached.PARTLY, alone.summary)
        elif gaps:
            yield Reach(protocol, source, target, Reached.UNKNOWN, gaps[0].reason)
        else:
            yield Reach(protocol, source, target, Reached.YES)


def reach_of_pair(protocol: str, source: str, target: str, found: Sequence[Found]) -> Reach:
    """Whether one cluster reached another, as all that was found of this pair judges it."""
    for one in found:
        if isinstance(one, Finding):
            return Reach(protocol, source, target, Reached.NO, one.summary)
    for one in found:
        if isinstance(one, Gap):
            return Reach(protocol, source, target, Reached.UNKNOWN, one.reason)
    return Reach(protocol, source, target, Reached.YES)
