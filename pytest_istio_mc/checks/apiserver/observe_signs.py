"""Signs: what control planes say of a cluster while its API server is lost."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ...errors import GivenUp, MeshError
from ...faults import Scene, istiods
from .facts import Sign

_TELLING = re.compile(
    "^(istiod_remote_cluster_sync_status"
    "|remote_cluster_sync_timeouts_total"
    "|controller_sync_errors_total)"
)
_NOTICED = re.compile(
    "watch ended with error|error retrieving resource lock|failed to renew lease"
    "|connection refused|i/o timeout|TLS handshake timeout|failed to sync|timed out"
    "|failed to list|leader election lock lost",
    re.IGNORECASE,
)


class Ears:
    """Asks the control planes elsewhere over and over what they say of a lost cluster.

    Notes what changes, and when.
    """

    def __init__(self, scene: Scene, planes: list[str], lost: str) -> None:
        self._scene = scene
        self._planes = planes
        self._lost = lost
        self._ended = threading.Event()
        self._heard: list[tuple[float, Sign]] = []
        self._said: dict[tuple[str, str], str] = {}
        self._thread = threading.Thread(target=self._listen, name="istiods", daemon=True)

    def start(self) -> None:
        self._look(first=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def statuses(self) -> list[str]:
        """What each replica said last of the cluster's synchronisation."""
        return [
            f"istiod of {plane}: {said or 'not known'}"
            for (plane, what), said in sorted(self._said.items())
            if what == "status"
        ]

    def heard(self, began: float) -> list[Sign]:
        """What has changed since the loss began, and what the logs say of it."""
        found = [replace(sign, after_seconds=round(when - began, 1)) for when, sign in self._heard]
        for plane in self._planes:
            found += _log_signs(self._scene, plane, began, time.time())
        return found

    def _listen(self) -> None:
        while not self._ended.wait(1.0):
            self._look()

    def _look(self, *, first: bool = False) -> None:
        for plane in self._planes:
            try:
                for pod in istiods.replicas(self._scene, plane):
                    status = istiods.sync_status(self._scene, plane, pod, self._lost)
                    self._hear(plane, "status", status, first=first)
                    for name, value in istiods.metrics(self._scene, plane, pod).items():
                        if _TELLING.search(name) and self._lost in name:
                            self._hear(plane, name, f"{value:g}", first=first)
            except (MeshError, GivenUp):
                continue  # it is being restarted, and says nothing

    def _hear(self, plane: str, what: str, said: str, *, first: bool) -> None:
        before = self._said.get((plane, what))
        self._said[plane, what] = said
        if first or said == before or (before is None and said in ("", "0")):
            return
        if what == "status":
            sign = Sign("status", plane, f"{before or 'nothing'} → {said or 'nothing'}", 0.0)
        else:
            sign = Sign("metric", plane, f"{what} {said}", 0.0)
        self._heard.append((time.time(), sign))


@contextmanager
def listening(scene: Scene, planes: list[str], lost: str) -> Iterator[Ears]:
    """Listen for as long as the block goes on."""
    ears = Ears(scene, planes, lost)
    ears.start()
    try:
        yield ears
    finally:
        ears.stop()


def own_signs(scene: Scene, planes: list[str], began: float, ended: float) -> list[Sign]:
    """What the lost cluster's own control plane wrote meanwhile; only readable afterwards."""
    return [
        replace(sign, lost_cluster=True)
        for plane in planes
        for sign in _log_signs(scene, plane, began, ended)
    ]


def _log_signs(scene: Scene, plane: str, began: float, ended: float) -> list[Sign]:
    """The first log line of each kind that tells of the loss."""
    found: dict[str, Sign] = {}
    try:
        for pod in istiods.replicas(scene, plane):
            for when, line in istiods.log(scene, plane, pod, began):
                matched = _NOTICED.search(line)
                if matched and began <= when <= ended and matched[0].lower() not in found:
                    text = " ".join(line.split("\t")[1:] or [line])[:200]
                    found[matched[0].lower()] = Sign("log", plane, text, round(when - began, 1))
    except MeshError:
        pass  # its log cannot be read: then it is no sign to anybody
    return list(found.values())
