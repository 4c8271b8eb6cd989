"""Lease: who holds something in a cluster, for as long as the heartbeat goes on.

All times are by the clock of the cluster's API server, which machines share that know nothing of
each other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from ..errors import GivenUp, KubeError
from .objects import Objects

KIND = "Lease.coordination.k8s.io"

HEARTBEAT_VARIABLE = "ISTIO_MC_HEARTBEAT_SECONDS"
"""The silence after which a holder counts as dead; for tests, which cannot wait two minutes."""

_HEARTBEAT_SECONDS = 120.0
_BEATS = 8
_TRIES = 5


def heartbeat_seconds() -> float:
    """The silence after which a holder counts as dead; it beats eight times in it."""
    try:
        return max(1.0, float(os.environ[HEARTBEAT_VARIABLE]))
    except (KeyError, ValueError):
        return _HEARTBEAT_SECONDS


@dataclass(frozen=True)
class Lease:
    """A Lease as it was read; ``until`` is in seconds since the epoch."""

    holder: str
    renewed: str
    until: float
    uid: str
    resource_version: str


def lease_in(kube: Objects, namespace: str, name: str) -> Lease | None:
    """The Lease of that name; None where there is none."""
    item = kube.read(KIND, name, namespace)
    return _lease_of(item) if item is not None else None


def take(kube: Objects, namespace: str, name: str, holder: str, labels: Mapping[str, str]) -> Lease:
    """Take a Lease that is free or has run out; the Lease as it stands.

    Its holder may take it as often as it likes.
    """
    seconds = heartbeat_seconds()
    for attempt in range(_TRIES):
        now = kube.now()
        found = lease_in(kube, namespace, name)
        if found is not None and found.holder != holder and found.until > now:
            return found
        spec = _spec(holder, now, seconds)
        try:
            if found is None:
                metadata = {"name": name, "namespace": namespace, "labels": dict(labels)}
                body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
                return _lease_of(kube.create({**body, "metadata": metadata, "spec": spec}))
            version = {"resourceVersion": found.resource_version, "labels": dict(labels)}
            return _lease_of(kube.merge(KIND, name, namespace, {"metadata": version, "spec": spec}))
        except KubeError as error:
            if error.status != 409 or attempt == _TRIES - 1:
                raise
    raise AssertionError("the last try returns or raises")


def renew(
    kube: Objects, namespace: str, name: str, holder: str, *, seconds: float | None = None
) -> bool:
    """Beat once; false where the holder has lost the Lease.

    ``seconds`` is the silence that is allowed from now on, by default what it was.
    """
    for _ in range(_TRIES):
        found = lease_in(kube, namespace, name)
        if found is None or found.holder != holder:
            return False
        spec: dict[str, Any] = {"renewTime": _text_of(kube.now())}
        if seconds is not None:
            spec["leaseDurationSeconds"] = round(seconds)
        version = {"resourceVersion": found.resource_version}
        try:
            kube.merge(KIND, name, namespace, {"metadata": version, "spec": spec})
            return True
        except KubeError as error:
            if error.status != 409:
                raise
    return True


def release(kube: Objects, namespace: str, name: str, holder: str) -> None:
    """Give a Lease up, unless somebody else has it by now."""
    found = lease_in(kube, namespace, name)
    if found is not None and found.holder == holder:
        kube.delete(KIND, name, namespace, uid=found.uid)


class Heartbeats:
    """Leases that are renewed until the end, each by a thread of its own."""

    def __init__(self) -> None:
        self._over = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()

    def begin(self, kube: Objects, namespace: str, name: str, holder: str) -> None:
        """Renew a Lease that is held from now on."""
        arguments = (kube, namespace, name, holder)
        threading.Thread(target=self._beat, args=arguments, name="heartbeat", daemon=True).start()

    def _beat(self, kube: Objects, namespace: str, name: str, holder: str) -> None:
        while not self._over.wait(heartbeat_seconds() / _BEATS):
            with suppress(KubeError):  # a lost API server may come back; the next beat tells
                try:
                    if not renew(kube, namespace, name, holder):
                        return
                except GivenUp:
                    return


def _lease_of(item: Mapping[str, Any]) -> Lease:
    spec, metadata = item.get("spec") or {}, item["metadata"]
    renewed = str(spec.get("renewTime") or "")
    seconds = spec.get("leaseDurationSeconds")
    return Lease(
        holder=str(spec.get("holderIdentity") or ""),
        renewed=renewed,
        until=seconds_of(renewed) + (seconds if isinstance(seconds, int) else 0),
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
    )


def _spec(holder: str, now: float, seconds: float) -> dict[str, Any]:
    return {
        "holderIdentity": holder,
        "leaseDurationSeconds": round(seconds),
        "renewTime": _text_of(now),
    }


def seconds_of(time: str) -> float:
    """A time of the Kubernetes API in seconds since the epoch; 0 for what is none."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return 0.0


def _text_of(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
