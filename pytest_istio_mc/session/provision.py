"""Provisioning: clusters and mesh, then probes, then the snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import KubeError, MeshError
from ..kube.connecting import connected
from ..mesh import Mesh
from ..progress import Progress
from ..providers import Recorder, as_provided
from ..settings import Settings
from .cleanup import Losses, Undo

if TYPE_CHECKING:
    from ..faults.leftovers import LeftoverObject
    from ..kube import Kube
    from ..providers import Provider
    from ..snapshot import Snapshot


T = TypeVar("T")


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
        tell_failure=losses.tell,
        topology=settings.known_topology,
    )
    undo = Undo()
    failed: BaseException | None = None
    try:
        mesh = as_provided(undo.enter("the mesh", provider.provide(request, progress)), provider)
        mesh = replace(mesh, wishes=settings.wishes)
        if isinstance(provider, Recorder):
            prepared = Prepared(mesh, provider.record(mesh, progress))
        else:
            prepared = _observed(mesh, settings, undo, progress, losses)
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
        sweep_dead_runs(kubes, progress)
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
        snapshot = collect(mesh, progress, kubes=kubes, ask=traffic.ask, timeouts=settings.timeouts)
    return Prepared(mesh, snapshot, "; ".join(map(str, missing)))


def sweep_dead_runs(kubes: Mapping[str, Kube], progress: Progress) -> None:
    """Clear what killed runs of this machine left in clusters.

    Where that is not allowed, the checks will say what else is not.
    """
    from ..faults.leftovers import leftover_objects
    from ..probes.leftovers import leftovers

    for kube in kubes.values():
        where = f'in cluster "{kube.name}"'
        with suppress(KubeError):
            for dead in (one for one in leftovers(kube) if one.owner_is_dead):
                name = dead.namespace
                kube.delete("Namespace", name)
                progress.note(f"swept: namespace {name} of dead run {dead.run_id} {where}")
            for item in (one for one in leftover_objects(kube) if one.left.owner_is_dead):
                progress.note(f"swept: {item}, which is dead, {where}{_taken_back(item, kube)}")


def _taken_back(item: LeftoverObject, kube: Kube) -> str:
    """What is to be said where an object was not simply taken back."""
    try:
        item.take_back(kube)
    except MeshError as error:
        return f"; {error}"
    return ""


@contextmanager
def _kept(mesh: Mesh, kubes: Mapping[str, Kube], progress: Progress) -> Iterator[None]:
    yield
    release_kept(mesh, kubes, progress)


def release_kept(mesh: Mesh, kubes: Mapping[str, Kube], progress: Progress) -> None:
    """Give up this run's namespaces, and say how to remove them.

    Else a sweep would take them for those of a killed run.
    """
    from ..probes.leftovers import leftovers
    from ..probes.manifests import OWNER_ANNOTATION, RUN_LABEL
    from ..probes.prepared import removal

    for cluster in mesh.spec.data_planes if mesh.wishes.namespaces else ():
        for name in mesh.wishes.namespaces:
            remove = removal(kubes[cluster.name], name, mesh.run_id)
            progress.note(f"kept: what is in {name}; remove it with: {remove}")
    for cluster in mesh.spec:
        names = [
            entry.namespace
            for entry in leftovers(kubes[cluster.name])
            if entry.run_id == mesh.run_id
        ]
        for name in names:
            kubes[cluster.name].merge(
                "Namespace", name, None, {"metadata": {"annotations": {OWNER_ANNOTATION: None}}}
            )
        if names:
            where = f"--kubeconfig={mesh.spec.kubeconfig} --context={cluster.context}"
            remove = f"kubectl {where} delete namespace -l {RUN_LABEL}={mesh.run_id}"
            progress.note(f"kept: {', '.join(names)}; remove with: {remove}")
