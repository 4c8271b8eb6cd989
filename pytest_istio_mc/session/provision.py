"""Provisioning: clusters and mesh, then probes, then the snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..checks import catalogue
from ..errors import KubeError, MeshError
from ..kube.connecting import connected
from ..mesh import Mesh
from ..progress import Progress
from ..providers import Recorder, as_provided
from ..settings import Settings
from .cleanup import Losses, Undo
from .running import with_running_versions
from .waiting import settled

if TYPE_CHECKING:
    from ..kube import Kube
    from ..providers import Provider
    from ..snapshot import Snapshot


T = TypeVar("T")


NO_PROBES_WANTED = "the checks that --mesh-checks names need none"
"""Why a run has no probes that has nothing for them to do."""


@dataclass(frozen=True)
class Prepared:
    """A mesh ready to be judged, its snapshot, and why probes lack (else empty)."""

    mesh: Mesh
    snapshot: Snapshot
    no_probes: str = ""


@contextmanager
def prepared_mesh(
    provider: Provider,
    settings: Settings,
    run_id: str,
    folder: Path,
    progress: Progress,
    problems: list[str],
    tell_loss: Callable[[MeshError], None] = lambda error: None,
) -> Iterator[Prepared]:
    """Provide the mesh, deploy probes, record the snapshot into ``folder``; undo it at the end.

    - Clean-up errors are added to ``problems``, whether or not another error came before them.
    - ``tell_loss`` is called, from any thread, where the provider loses clusters meanwhile.
    """
    from ..providers import ProvisionRequest

    losses = Losses(tell_loss)
    request = ProvisionRequest(
        spec=settings.spec,
        run_id=run_id,
        timeouts=settings.timeouts,
        keep=settings.keep,
        declared=settings.spec_file is not None,
        probe_image=settings.probe_image,
        istio=settings.istio,
        kubernetes=settings.kubernetes,
        tell_failure=losses.tell,
        topology=settings.known_topology,
    )
    undo = Undo()
    failed: BaseException | None = None
    try:
        mesh = as_provided(undo.enter("the mesh", provider.provide(request, progress)), provider)
        mesh = replace(mesh, wishes=settings.wishes, permissions=settings.permissions)
        if isinstance(provider, Recorder):
            record = partial(provider.record, mesh, progress)
            prepared = Prepared(mesh, settled(record, settings, progress))
        else:
            prepared = _observed(mesh, settings, undo, progress, losses)
        mesh = with_running_versions(prepared.mesh, prepared.snapshot)
        prepared = replace(prepared, mesh=mesh)
        _save(prepared.snapshot, folder)
        yield prepared
    except BaseException as error:
        failed = error
        raise
    finally:
        undo.close(failed)
        problems.extend(undo.problems)


def _save(snapshot: Snapshot, folder: Path) -> None:
    try:
        snapshot.save(folder)
    except OSError as error:
        advice = "make room there, or set TMPDIR (or --mesh-snapshot=DIR) to where there is some"
        raise MeshError(
            f"snapshot in {folder}", "cannot be written", str(error), advice=advice
        ) from error


def _observed(
    mesh: Mesh, settings: Settings, undo: Undo, progress: Progress, losses: Losses
) -> Prepared:
    """The mesh with probes, and its snapshot.

    - Where probes do not come up, static checks say why, with what other clusters' probes see.
    - Where the clusters themselves broke, there is nothing to look at: that error is raised.
    """
    theirs = not mesh.disposable
    kubes = undo.enter("the connections", connected(mesh.spec, settings.timeouts))
    if theirs:
        from ..faults.alone import wait_until_alone

        wait_until_alone(mesh, kubes, progress)
    if settings.reads_only(catalogue.known_checks().values()):
        from ..collect import collect

        with losses.ends(kubes.values()):
            progress.note("no probes: the chosen checks only read, and nothing is written")
            record = partial(collect, mesh, progress, kubes=kubes, timeouts=settings.timeouts)
            snapshot = settled(record, settings, progress)
            return Prepared(mesh, snapshot, NO_PROBES_WANTED)
    if theirs:
        sweep_dead_runs(mesh, kubes, progress)
    if theirs and settings.keep:
        undo.enter("what is kept", _kept(mesh, kubes, progress))
    with losses.ends(kubes.values()):
        return _probed(mesh, kubes, settings, undo, progress, remove=theirs and not settings.keep)


def _probed(
    mesh: Mesh,
    kubes: Mapping[str, Kube],
    settings: Settings,
    undo: Undo,
    progress: Progress,
    *,
    remove: bool,
) -> Prepared:
    from ..collect import collect
    from ..probes.traffic import open_traffic
    from ..probes.workloads import deployed

    missing: list[MeshError] = []
    try:
        probes = deployed(
            mesh, kubes, settings.timeouts, progress, remove=remove, tell_missing=missing.append
        )
        mesh = undo.enter("the probes", probes)
    except MeshError as error:
        progress.note(f"no probes: {error}")
        return Prepared(
            mesh, collect(mesh, progress, kubes=kubes, timeouts=settings.timeouts), str(error)
        )
    for why in missing:
        progress.note(f"no probes: {why}")
    with open_traffic(mesh, kubes, settings.timeouts) as traffic:
        look = partial(collect, mesh, progress, kubes=kubes, ask=traffic.ask)
        record = partial(look, timeouts=settings.timeouts)
        snapshot = settled(record, settings, progress)
    return Prepared(mesh, snapshot, "; ".join(map(str, missing)))


def sweep_dead_runs(mesh: Mesh, kubes: Mapping[str, Kube], progress: Progress) -> None:
    """Undo and remove what dead runs left in clusters; nothing is waited for.

    Where that is not allowed, the checks will say what else is not.
    """
    from ..faults.sweep import Wanted, sweep

    wanted = Wanted((mesh.spec.istio_namespace,), prepared=mesh.wishes.namespaces)
    for swept in sweep(list(kubes.values()), wanted):
        for what in swept.done:
            progress.note(f'swept: {what}, which is dead, in cluster "{swept.cluster}"')
        for problem in swept.problems:
            if not isinstance(problem, KubeError) or problem.status != 403:
                progress.note(f"not swept: {problem}")


@contextmanager
def _kept(mesh: Mesh, kubes: Mapping[str, Kube], progress: Progress) -> Iterator[None]:
    yield
    release_kept(mesh, kubes, progress)


def release_kept(mesh: Mesh, kubes: Mapping[str, Kube], progress: Progress) -> None:
    """Mark this run's namespaces as kept, and say how to remove them.

    Else a sweep would take them for those of a killed run.
    """
    from ..probes import prepared
    from ..probes.leftovers import Standing, leftovers, removal
    from ..probes.manifests import KEPT_ANNOTATION

    kept = {"metadata": {"annotations": {KEPT_ANNOTATION: "true"}}}
    for kube in (kubes[cluster.name] for cluster in mesh.spec.data_planes):
        for name in mesh.wishes.namespaces:
            kube.merge("ConfigMap", prepared.CLAIM, name, kept)
            remove = prepared.removal(kube, name, mesh.run_id)
            progress.note(f"kept: what is in {name}; remove it with: {remove}")
    for kube in (kubes[cluster.name] for cluster in mesh.spec):
        names = [
            entry.namespace
            for entry in leftovers(kube)
            if entry.run_id == mesh.run_id and entry.standing is not Standing.FOREIGN
        ]
        for name in names:
            kube.merge("Namespace", name, None, kept)
        if names:
            progress.note(f"kept: {', '.join(names)}; remove with: {removal(kube, names)}")
