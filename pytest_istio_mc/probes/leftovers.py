"""Leftovers: namespaces that runs made and did not live to remove."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import manifests

if TYPE_CHECKING:
    from ..kube import Kube


@dataclass(frozen=True)
class Leftover:
    """A namespace that a run made, or in which it changed something.

    ``owner`` is ``host/pid`` of the run's process; ``started`` is in seconds since the epoch.
    """

    cluster: str
    namespace: str
    run_id: str
    owner: str
    started: float

    @property
    def owner_is_dead(self) -> bool:
        """Whether its process ran on this machine and runs no more.

        Never true for a run of another machine.
        """
        host, _, pid = self.owner.rpartition("/")
        if host != socket.gethostname() or not pid.isdigit():
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def leftovers(kube: Kube) -> tuple[Leftover, ...]:
    """All namespaces that runs made in a cluster, including runs at work."""
    found = kube.list("Namespace", labels=manifests.RUN_LABEL)
    return tuple(leftover_of(kube, item) for item in found)


def leftover_of(kube: Kube, item: Mapping[str, Any]) -> Leftover:
    """What the labels and annotations of a namespace or object say of its run."""
    metadata = item["metadata"]
    notes = metadata.get("annotations") or {}
    started = notes.get(manifests.STARTED_ANNOTATION, "0")
    return Leftover(
        cluster=kube.name,
        namespace=metadata.get("namespace") or metadata["name"],
        run_id=metadata["labels"][manifests.RUN_LABEL],
        owner=notes.get(manifests.OWNER_ANNOTATION, ""),
        started=float(started) if re.fullmatch(r"\d+(\.\d+)?", started) else 0.0,
    )


def ownership() -> dict[str, str]:
    """The annotations for objects of this process, with the time of now."""
    return {
        manifests.OWNER_ANNOTATION: f"{socket.gethostname()}/{os.getpid()}",
        manifests.STARTED_ANNOTATION: f"{time.time():.0f}",
    }
