"""Sweep: what dead runs left in clusters, undone and removed, from any machine.

A run is alive as long as its heartbeat goes on: by the Lease ``istio-mc`` in istiod's namespace for
what it changed, by a Lease in its own namespace for the namespaces that it made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..errors import MeshError
from ..kube import lease
from ..probes import prepared
from ..probes.leftovers import Beat, Leftover, Standing, leftovers
from ..together import for_each
from . import journal, steps  # noqa: F401 - steps defines what can be undone
from .alone import LEASE, restore

if TYPE_CHECKING:
    from ..kube import Kube

_RESTORED_SECONDS = 20.0
_LOOK_EVERY_SECONDS = 1.0
_LATE_SECONDS = 5.0
_CLEARED_SECONDS = 60.0


@dataclass(frozen=True)
class Pending:
    """Something of a run that may still be at work."""

    what: str
    run_id: str
    beat: Beat


@dataclass(frozen=True)
class Swept:
    """The outcome in one cluster.

    - ``done`` was undone or removed (or would be, in a dry run).
    - ``pending`` belongs to runs whose heartbeat has not run out.
    - ``told`` is never touched: what was kept, and what only looks like ours.
    """

    cluster: str
    done: tuple[str, ...] = ()
    pending: tuple[Pending, ...] = ()
    told: tuple[str, ...] = ()
    problems: tuple[MeshError, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What to sweep in each cluster.

    - ``run_id`` is empty for what any run left.
    - ``prepared`` are the namespaces of others in which a run may have made objects; None is all.
    """

    istio_namespaces: Sequence[str] = ("istio-system",)
    run_id: str = ""
    dry_run: bool = False
    prepared: Sequence[str] | None = None


def sweep(kubes: Sequence[Kube], wanted: Wanted) -> list[Swept]:
    """Sweep every cluster once, side by side; nothing is waited for."""
    return for_each(lambda kube: _sweep_one(kube, wanted), kubes)


def sweep_patiently(
    kubes: Sequence[Kube], wanted: Wanted, tell: Callable[[str], None]
) -> list[Swept]:
    """Sweep, and wait for runs that may be dead until their heartbeat tells.

    What is ``pending`` at the end belongs to runs that have beaten meanwhile: they are at work.
    """
    results = {kube.name: one for kube, one in zip(kubes, sweep(kubes, wanted), strict=True)}
    first = {entry for one in results.values() for entry in one.pending}
    if not first or wanted.dry_run:
        return list(results.values())
    longest = max(entry.beat.seconds_left for entry in first) + _LATE_SECONDS
    runs = ", ".join(sorted({entry.run_id for entry in first}))
    tell(f"run {runs} may still be at work; waiting up to {longest:.0f} s for its heartbeat")
    stamps = {
        (one.cluster, entry.what): entry.beat.stamp
        for one in results.values()
        for entry in one.pending
    }
    deadline = time.monotonic() + longest

    def is_silent(cluster: str, entry: Pending) -> bool:
        return stamps.get((cluster, entry.what), entry.beat.stamp) == entry.beat.stamp

    while time.monotonic() < deadline:
        waiting = [
            kube
            for kube in kubes
            if any(is_silent(kube.name, entry) for entry in results[kube.name].pending)
        ]
        if not waiting:
            break
        time.sleep(_LOOK_EVERY_SECONDS)
        for kube, again in zip(waiting, sweep(waiting, wanted), strict=True):
            before = results[kube.name]
            results[kube.name] = Swept(
                kube.name, before.done + again.done, again.pending, again.told, again.problems
            )
    return list(results.values())


def _sweep_one(kube: Kube, wanted: Wanted) -> Swept:
    broom = _Broom(kube, wanted)
    for namespace in wanted.istio_namespaces:
        broom.attempt(partial(broom.journals, namespace))
    broom.attempt(broom.namespaces)
    broom.attempt(broom.prepared)
    for namespace in wanted.istio_namespaces:
        broom.attempt(partial(broom.free, namespace))
    return Swept(
        kube.name,
        tuple(broom.done),
        tuple(broom.pending),
        tuple(broom.told),
        tuple(broom.problems),
    )


class _Broom:
    """One sweep of one cluster; an error of one thing does not stop it."""

    def __init__(self, kube: Kube, wanted: Wanted) -> None:
        self._kube = kube
        self._wanted = wanted
        self.done: list[str] = []
        self.pending: list[Pending] = []
        self.told: list[str] = []
        self.problems: list[MeshError] = []

    def attempt(self, act: Callable[[], None]) -> None:
        """Do it, and keep its error."""
        try:
            act()
        except MeshError as error:
            self.problems.append(error)

    def journals(self, namespace: str) -> None:
        """Undo what journals demand whose time has come."""
        for found, beat in _journals(self._kube, namespace, self._wanted.run_id):
            name = f"{found} of run {found.run_id}"
            if found.problem:
                what = f"{name} is not honoured: {found.problem}"
                self.told.append(f"{what}; {found.command(self._kube)}")
            elif beat is not None:
                self.pending.append(Pending(name, found.run_id, beat))
            elif self._wanted.dry_run:
                self.done.append(name)
            else:
                error = restore(self._kube, found, patience_seconds=_RESTORED_SECONDS)
                if error is None:
                    self.done.append(name)
                else:
                    self.problems.append(_not_restored(self._kube, found, error))

    def free(self, namespace: str) -> None:
        """Remove the Lease that a dead run held."""
        held = lease.lease_in(self._kube, namespace, LEASE)
        if held is None or self._wanted.run_id not in ("", held.holder):
            return
        name, left = (
            f"Lease {namespace}/{LEASE} of run {held.holder}",
            held.until - self._kube.now(),
        )
        if left > 0:
            self.pending.append(Pending(name, held.holder, Beat(held.renewed, left)))
            return
        if not self._wanted.dry_run:
            version = held.resource_version
            place = (lease.KIND, LEASE, namespace)
            self._kube.delete(*place, uid=held.uid, resource_version=version)
        self.done.append(name)

    def namespaces(self) -> None:
        """Remove the namespaces of dead runs."""
        for left in leftovers(self._kube):
            name, command = (
                f"namespace {left.namespace} of run {left.run_id}",
                left.command(self._kube),
            )
            act = partial(left.remove, self._kube)
            self.attempt(partial(self._judge, left, name, act, command))

    def prepared(self) -> None:
        """Remove what dead runs made in namespaces of others, and nothing else there."""
        for left in prepared.claims(self._kube, self._wanted.prepared):
            name = f"what is in namespace {left.namespace} of run {left.run_id}"
            place = (self._kube, left.namespace, left.run_id)
            act = partial(prepared.cleared, *place, _CLEARED_SECONDS)
            self.attempt(partial(self._judge, left, name, act, prepared.removal(*place)))

    def _judge(self, left: Leftover, name: str, remove: Callable[[], None], command: str) -> None:
        if self._wanted.run_id not in ("", left.run_id):
            return
        match left.standing:
            case Standing.DEAD:
                if not self._wanted.dry_run:
                    remove()
                self.done.append(name)
            case Standing.ALIVE:
                assert left.beat is not None
                self.pending.append(Pending(name, left.run_id, left.beat))
            case Standing.KEPT:
                self.told.append(f"{name} was kept; to remove it: {command}")
            case Standing.FOREIGN:
                bears = f"bears the label of run {left.run_id}, but no run makes such a name"
                self.told.append(f"namespace {left.namespace} {bears}")


def _journals(
    kube: Kube, namespace: str, run_id: str
) -> Iterator[tuple[journal.Found, Beat | None]]:
    """The journals with the heartbeats of their runs; None where it is time to undo them."""
    found = [one for one in journal.journals(kube, namespace) if run_id in ("", one.run_id)]
    if not found:
        return
    now, held = kube.now(), lease.lease_in(kube, namespace, LEASE)
    for one in found:
        alive = held is not None and held.holder == one.run_id and held.until > now
        if held is not None and alive and one.deadline > now:
            until = min(held.until, one.deadline)
            yield one, Beat(held.renewed, until - now)
        else:
            yield one, None


def _not_restored(kube: Kube, found: journal.Found, error: Exception) -> MeshError:
    return MeshError(
        f'cluster "{kube.name}": {found}',
        f"of run {found.run_id} could not be undone",
        str(error),
        advice="it stays there; run the sweep again once that is mended",
    )
