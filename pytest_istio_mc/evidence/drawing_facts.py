"""What a drawing of the mesh needs besides its clusters: gateways, and who watches whom.

Facts of a snapshot and no verdicts: what is wrong with them, checks say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..checks.links import Link, accessed, links, may_be_held
from ..checks.oracle import gateways_of
from ..errors import ObservationError
from ..observations import GatewayAddress
from ..snapshot import ClusterSnapshot, Snapshot, name_of, namespace_of

WATCHED, NOT_WATCHED, UNKNOWN = "watched", "not-watched", "unknown"
"""The words of ``watches``; part of the report format."""

_SYNCED = "synced"


def picture_of(snapshot: Snapshot) -> dict[str, Any]:
    """The gateways, the watches and what could not be seen, as plain JSON for the certificate."""
    unseen: list[dict[str, str]] = [
        {"cluster": cluster.name, "what": "the API server", "why": cluster.unreachable}
        for cluster in snapshot
        if cluster.unreachable
    ]
    return {
        "version": 1,
        "recordedAt": snapshot.recorded_at,
        "gateways": list(_gateways(snapshot, unseen)),
        "watches": [_watch(snapshot, link) for link in links(snapshot)],
        "unseen": unseen,
    }


def _gateways(snapshot: Snapshot, unseen: list[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """The east-west gateways of each cluster with the addresses to which istiods lead others."""
    known: dict[GatewayAddress, None] = {}
    for plane in snapshot.spec.control_planes:
        try:
            known |= dict.fromkeys(gateways_of(snapshot, plane))
        except ObservationError as error:
            what = f"the gateways that {plane.name} knows"
            unseen.append({"cluster": plane.name, "what": what, "why": str(error)})
    networks = {cluster.name: cluster.network for cluster in snapshot.spec}
    listed: dict[tuple[str, str], list[str]] = {}
    for cluster in snapshot:
        for name in _services(cluster, unseen):
            listed[cluster.name, name] = []
    for one in known:
        there = listed.setdefault((one.cluster, one.service), [])
        if (place := _place(one.address, one.port)) not in there:
            there.append(place)
    for (where, name), places in listed.items():
        yield {
            "cluster": where,
            "network": networks.get(where, ""),
            "name": name,
            "addresses": places,
        }


def _services(cluster: ClusterSnapshot, unseen: list[dict[str, str]]) -> list[str]:
    if cluster.unreachable:
        return []
    try:
        found = cluster.east_west_services()
    except ObservationError as error:
        unseen.append({"cluster": cluster.name, "what": "its Services", "why": str(error)})
        return []
    return [f"{namespace_of(item)}/{name_of(item)}" for item in found]


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _watch(snapshot: Snapshot, link: Link) -> dict[str, str]:
    state, detail = _watching(snapshot, link)
    return {
        "controlPlane": link.plane,
        "holder": link.holder,
        "cluster": link.target,
        "state": state,
        "detail": detail,
    }


def _watching(snapshot: Snapshot, link: Link) -> tuple[str, str]:
    """Whether every istiod says that it is in sync with the cluster, and its credential works."""
    istiods = snapshot.clusters[link.plane].istiods
    if not istiods:
        return UNKNOWN, f"no istiod of {link.plane} was read"
    for istiod in istiods:
        try:
            said = istiod.clusters.get(link.target)
        except ObservationError as error:
            return UNKNOWN, str(error)
        if said is None:
            return NOT_WATCHED, f"istiod {istiod.pod} does not know it"
        if said != _SYNCED:
            return NOT_WATCHED, f"istiod {istiod.pod} says {said or 'nothing of it'}"
    try:
        access = accessed(snapshot, link)
    except ObservationError as error:
        return UNKNOWN, str(error)
    if access is None:
        return UNKNOWN, "istiod says synced; no credential for it was found to try"
    if access.unprobed:
        return UNKNOWN, f"istiod says synced; its credential was not tried: {access.unprobed}"
    if held_back := may_be_held(snapshot, link, access):
        return UNKNOWN, held_back
    if why := access.connect_error or access.tls_error:
        return NOT_WATCHED, f"istiod says synced; {access.server} cannot be read: {why}"
    return WATCHED, f"synced, by {access.server}"
