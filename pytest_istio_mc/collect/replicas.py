"""Replicas of one istiod: what they differ in for good, told from what moves while they are asked.

They cannot be asked at one moment, and hear of an endpoint one after the other. Where pods come and
go all the time, two answers are hardly ever the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import KubeError
from ..recorded import IstiodFacts
from ..snapshot import ClusterSnapshot

SHARDS = "endpointShardz"
_FIRST_PAUSE_SECONDS = 1.0

_Key = tuple[str, str, str]
"""Host, namespace and shard of some endpoints."""


def settled(
    cluster: ClusterSnapshot,
    read_again: Callable[[IstiodFacts], Any],
    within_seconds: float,
    sleep: Callable[[float], None] = time.sleep,
) -> ClusterSnapshot:
    """The cluster, its istiod replicas given time to agree about endpoints.

    - Only what every replica went on saying, and not all of them the same, stays a difference.
    - What moved meanwhile is left out of all replicas: nothing can be said of it.
    - They are asked again in growing pauses, and no more once nothing can be such a difference.
    """
    replicas = [istiod for istiod in cluster.istiods if SHARDS in istiod.debug]
    if len(replicas) < 2:
        return cluster
    latest = [_flat(istiod.debug[SHARDS]) for istiod in replicas]
    lasting = _differing(latest)
    pause, left = _FIRST_PAUSE_SECONDS, within_seconds
    while lasting and left > 0:
        sleep(min(pause, left))
        left, pause = left - pause, pause * 2
        try:
            now = [_flat(read_again(istiod)) for istiod in replicas]
        except KubeError:
            return cluster  # it answered a moment ago; what was seen then stays
        unmoved = {key for key in lasting if _at(now, key) == _at(latest, key)}
        lasting, latest = unmoved & _differing(now), now
    moved = _differing(latest) - lasting
    kept = {
        istiod.pod: _nested(document, moved)
        for istiod, document in zip(replicas, latest, strict=True)
    }
    istiods = (
        replace(istiod, debug={**istiod.debug, SHARDS: kept[istiod.pod]})
        if istiod.pod in kept
        else istiod
        for istiod in cluster.istiods
    )
    return replace(cluster, istiods=tuple(istiods))


def _flat(document: Mapping[str, Any]) -> dict[_Key, Any]:
    """The entries that hold endpoints; a replica may leave out the others."""
    return {
        key: value
        for key, value in _entries(document)
        if value and not (isinstance(value, dict) and value["count"] == 0)
    }


def _entries(document: Mapping[str, Any]) -> Iterator[tuple[_Key, Any]]:
    for host, by_namespace in document.items():
        for namespace, shards in by_namespace.items():
            for shard, endpoints in shards.items():
                yield (host, namespace, shard), endpoints


def _nested(document: Mapping[_Key, Any], without: set[_Key]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for (host, namespace, shard), endpoints in document.items():
        if (host, namespace, shard) not in without:
            nested.setdefault(host, {}).setdefault(namespace, {})[shard] = endpoints
    return nested


def _at(documents: Sequence[Mapping[_Key, Any]], key: _Key) -> list[Any]:
    return [document.get(key) for document in documents]


def _differing(documents: Sequence[Mapping[_Key, Any]]) -> set[_Key]:
    """The entries that are not the same in all documents."""
    keys = {key for document in documents for key in document}
    return {
        key for key in keys if any(one != _at(documents, key)[0] for one in _at(documents, key))
    }
