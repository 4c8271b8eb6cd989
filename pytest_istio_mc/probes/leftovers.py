"""Leftovers: namespaces that runs made and did not live to remove."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from .. import shell
from ..kube import lease
from . import manifests

if TYPE_CHECKING:
    from ..kube import Kube

_NAME = re.compile(r"istio-mc-([0-9a-f]{8})(-[a-z0-9-]+)?")


class Standing(Enum):
    """What is to be done with a namespace that bears the label of a run."""

    DEAD = "its run is dead: it may be removed"
    ALIVE = "its run may be at work"
    KEPT = "its run has ended and kept it on purpose"
    FOREIGN = "its name says that no run has made it, whatever its label says"


@dataclass(frozen=True)
class Beat:
    """A heartbeat: ``stamp`` changes with every beat."""

    stamp: str
    seconds_left: float


@dataclass(frozen=True)
class Leftover:
    """A namespace with the label of a run; ``beat`` is that of a living one."""

    namespace: str
    run_id: str
    standing: Standing
    uid: str
    resource_version: str
    beat: Beat | None = None

    def remove(self, kube: Kube) -> None:
        """Remove the very namespace that was read, as it was."""
        version = self.resource_version
        kube.delete("Namespace", self.namespace, uid=self.uid, resource_version=version)

    def command(self, kube: Kube) -> str:
        """The command that removes it."""
        return removal(kube, [self.namespace])


def removal(kube: Kube, namespaces: list[str]) -> str:
    """The command that removes namespaces."""
    file = kube.kubeconfig
    return shell.kubectl(kube.context, "delete namespace", *namespaces, file=file)


def leftovers(kube: Kube) -> tuple[Leftover, ...]:
    """All namespaces with the label of a run, but for those that are going."""
    found = kube.list("Namespace", labels=manifests.RUN_LABEL)
    there = [item for item in found if not item["metadata"].get("deletionTimestamp")]
    if not there:
        return ()
    now, beats = kube.now(), dict[str, Beat | None]()
    return tuple(_leftover(kube, item, now, beats) for item in there)


def _leftover(
    kube: Kube, item: Mapping[str, Any], now: float, beats: dict[str, Beat | None]
) -> Leftover:
    metadata = item["metadata"]
    name, run_id = str(metadata["name"]), str(metadata["labels"][manifests.RUN_LABEL])
    named = _NAME.fullmatch(name)
    beat = None
    if named is None or named[1] != run_id:
        standing = Standing.FOREIGN
    else:
        main = manifests.run_namespace(run_id)
        if run_id not in beats:
            beats[run_id] = heartbeat_in(kube, main, run_id, now)
        standing, beat = standing_of(metadata, beats[run_id], now)
    uid, version = metadata["uid"], metadata["resourceVersion"]
    return Leftover(name, run_id, standing, uid, version, beat)


def standing_of(
    metadata: Mapping[str, Any], beat: Beat | None, now: float
) -> tuple[Standing, Beat | None]:
    """What is to be done with an object of a run, and a living one's beat.

    What was made a moment ago gets the benefit of the doubt: the first beat may be yet to come.
    """
    if manifests.KEPT_ANNOTATION in (metadata.get("annotations") or {}):
        return Standing.KEPT, None
    made = str(metadata.get("creationTimestamp", ""))
    left = lease.seconds_of(made) + lease.heartbeat_seconds() - now
    found = beat or (Beat(made, left) if left > 0 else None)
    return Standing.ALIVE if found else Standing.DEAD, found


def heartbeat_in(kube: Kube, namespace: str, run_id: str, now: float) -> Beat | None:
    """The heartbeat of a run beside its probes; None where it has run out."""
    found = lease.lease_in(kube, namespace, manifests.run_lease(run_id))
    return Beat(found.renewed, found.until - now) if found and found.until > now else None


def ownership() -> dict[str, str]:
    """The annotation that tells people who runs it."""
    return {manifests.OWNER_ANNOTATION: owner()}


def owner() -> str:
    """Who runs this, for people: ``user@host``."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return socket.gethostname()
