"""Alone: one run at a time disrupts a mesh.

It holds a Lease in istiod's namespace of every cluster. Whoever takes it first undoes what dead
runs left there: else it would take their changes for the mesh as it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from .. import shell
from ..errors import KubeError, MeshError, NotBroken, ObservationError, ProvisionError
from ..kube import lease
from ..mesh import Mesh
from ..probes import manifests
from ..progress import Progress
from . import journal
from .undo import Work, carry_out

if TYPE_CHECKING:
    from ..kube import Kube

LEASE = "istio-mc"
"""Its name."""

PATIENCE_SECONDS = 15.0
"""How much longer than a heartbeat a run waits for another: a killed one is never in the way."""

_RESTORED_SECONDS = 30.0
_WAIT = "wait for that run; where it was killed, the Lease runs out by itself"

_lock = threading.Lock()
_held: dict[str, int] = {}
_silent: set[tuple[str, str]] = set()
"""Runs and the clusters in which they announced that they will be silent."""


@contextmanager
def alone(mesh: Mesh, kubes: Mapping[str, Kube]) -> Iterator[None]:
    """Keep other runs from disrupting the mesh meanwhile.

    - Inside of itself it does nothing; nor in clusters that end with the run.
    - :class:`ObservationError` says which run is at work, where it does not end in time.
    """
    if mesh.disposable:
        yield
        return
    with ExitStack() as stack:
        with _lock:
            first = not _held.get(mesh.run_id)
            _held[mesh.run_id] = _held.get(mesh.run_id, 0) + 1
        stack.callback(_count_down, mesh.run_id)
        if first:
            beats = stack.enter_context(lease.Heartbeats())
            deadline = time.monotonic() + lease.heartbeat_seconds() + PATIENCE_SECONDS
            for name in sorted(kubes):
                if not _taken(mesh, kubes[name], deadline):
                    continue
                place = (mesh.spec.istio_namespace, LEASE, mesh.run_id)
                stack.callback(_release, kubes[name], *place)
                beats.begin(kubes[name], *place)
            for name in sorted(kubes):
                _recover(mesh, kubes[name])
        yield


def _count_down(run_id: str) -> None:
    with _lock:
        _held[run_id] -= 1


def _taken(mesh: Mesh, kube: Kube, deadline: float) -> bool:
    """Take a cluster's Lease; false where there is no namespace of istiod for it."""
    namespace, labels = mesh.spec.istio_namespace, {manifests.RUN_LABEL: mesh.run_id}
    while True:
        try:
            found = lease.take(kube, namespace, LEASE, mesh.run_id, labels)
        except KubeError as error:
            if error.status == 404:
                return False
            raise
        if found.holder == mesh.run_id:
            return True
        if time.monotonic() >= deadline:
            raise ObservationError(
                f'cluster "{kube.name}"',
                "cannot be disrupted now",
                f"run {found.holder} is at work on it; {_place(mesh)}, renewed {found.renewed}",
                advice=_WAIT,
            )
        time.sleep(1.0)


def _release(kube: Kube, namespace: str, name: str, holder: str) -> None:
    with suppress(MeshError):  # it runs out by itself
        lease.release(kube, namespace, name, holder)


def wait_until_alone(mesh: Mesh, kubes: Mapping[str, Kube], progress: Progress) -> None:
    """Wait while another run disrupts the mesh: its faults are not the mesh's.

    - Nothing is written. Where the Lease cannot be read, nothing is known of others.
    - :class:`ProvisionError` where the other run does not end in time.
    """
    deadline = time.monotonic() + lease.heartbeat_seconds() + PATIENCE_SECONDS
    for name in sorted(kubes):
        told = False
        while (found := _other(mesh, kubes[name])) is not None:
            at_work = (
                f"run {found.holder} is at work on it; {_place(mesh)}, renewed {found.renewed}"
            )
            if time.monotonic() >= deadline:
                thing, step = f'cluster "{name}"', "is being disrupted by another run"
                raise ProvisionError(thing, step, at_work, advice=_WAIT)
            if not told:
                progress.note(f'waiting for cluster "{name}": {at_work}')
            told = True
            time.sleep(1.0)


def _other(mesh: Mesh, kube: Kube) -> lease.Lease | None:
    try:
        found = lease.lease_in(kube, mesh.spec.istio_namespace, LEASE)
        if found is None or found.holder == mesh.run_id or found.until <= kube.now():
            return None
    except KubeError:
        return None
    return found


def _place(mesh: Mesh) -> str:
    return f"Lease {mesh.spec.istio_namespace}/{LEASE}"


def require_held(mesh: Mesh, kube: Kube) -> None:
    """Beat once; :class:`ObservationError` where another run has taken over.

    That happens where this process did not run for long, as on a machine that was asleep.
    """
    namespace = mesh.spec.istio_namespace
    if not lease.renew(kube, namespace, LEASE, mesh.run_id):
        thing, step = f'cluster "{kube.name}"', "is not held by this run any more"
        raise ObservationError(thing, step, f"Lease {namespace}/{LEASE} ran out or was taken")


def _recover(mesh: Mesh, kube: Kube) -> None:
    """Undo what dead runs left: whoever is alive and has changed something holds the Lease."""
    for found in journal.journals(kube, mesh.spec.istio_namespace):
        if found.run_id == mesh.run_id:
            continue
        thing, step = f'cluster "{kube.name}"', f"may not be as it was before run {found.run_id}"
        if found.problem:
            advice = found.command(kube)
            raise ObservationError(thing, step, f"{found}: {found.problem}", advice=advice)
        error = restore(kube, found, patience_seconds=_RESTORED_SECONDS)
        if error is not None:
            where = [f"--kubeconfig={kube.kubeconfig}", f"--context={kube.context}"]
            there = f"--istio-namespace={mesh.spec.istio_namespace}"
            advice = shell.command("istio-mc sweep", *where, there)
            raise ObservationError(thing, step, f"{found}: {error}", advice=advice)


def restore(kube: Kube, found: journal.Found, *, patience_seconds: float) -> Exception | None:
    """Undo all that a journal demands, and remove it; the error where that cannot be done."""
    work = Work(found.cluster, found.steps, lambda: journal.remove(kube, found.written))
    errors = carry_out({found.cluster: kube}, [work], patience_seconds=patience_seconds)
    return errors.get(found.cluster)


@contextmanager
def silent(mesh: Mesh, kube: Kube, seconds: float) -> Iterator[None]:
    """Let the run count as alive while an API server takes no heartbeat.

    - Inside of itself it does nothing: the API server may not answer by then.
    - :class:`NotBroken` where that cannot be announced.
    """
    ours = (mesh.run_id, kube.name)
    with _lock:
        announced = ours in _silent
        _silent.add(ours)
    if announced:
        yield
        return
    try:
        with _announced(mesh, kube, seconds):
            yield
    finally:
        with _lock:
            _silent.discard(ours)


@contextmanager
def _announced(mesh: Mesh, kube: Kube, seconds: float) -> Iterator[None]:
    held = [(mesh.spec.istio_namespace, LEASE)]
    if mesh.probes is not None:
        held.append((mesh.probes.namespace, manifests.run_lease(mesh.run_id)))
    if mesh.disposable:
        held = []
    allowed = lease.heartbeat_seconds()
    try:
        for place in held:
            lease.renew(kube, *place, mesh.run_id, seconds=allowed + seconds)
    except KubeError as error:
        step = "is not broken: it takes no word of how long it will be silent"
        raise NotBroken(f'cluster "{kube.name}"', step, str(error)) from error
    try:
        yield
    finally:
        for place in held:
            with suppress(KubeError):
                lease.renew(kube, *place, mesh.run_id, seconds=allowed)
