"""Views: those of all control planes of a mesh."""

from __future__ import annotations

from ...snapshot import Snapshot, name_of, namespace_of
from .pods import Pods
from .view import Service, View, is_users


def views(snapshot: Snapshot) -> tuple[View, ...]:
    """The views of all control planes that tell any proxies."""
    pods: dict[str, Pods] = {}  # of a cluster once, whoever asks
    found = (View(snapshot, plane, pods) for plane in snapshot.spec.control_planes)
    return tuple(one for one in found if one.served)


def concerns_users(snapshot: Snapshot) -> bool:
    """Whether the mesh has services of users at all."""
    for cluster in snapshot:
        for item in cluster.listed("Service"):
            one = Service("", namespace_of(item), name_of(item), {cluster.name: item})
            if is_users(snapshot, one):
                return True
    return False
