"""Provisioning of one certification: clusters and mesh, then probes, then the snapshot; undone in reverse."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from .errors import GivenUp, KubeError, MeshError
from .mesh import Mesh
from .progress import Progress
from .run import connected
from .settings import DEFAULT_PROVIDER, REPLAY, Settings

if TYPE_CHECKING:
    from .kube import Kube
    from .probes.strays import Stray
    from .providers import Provider, ProvisionRequest
    from .snapshot import Snapshot

T = TypeVar("T")


@runtime_checkable
class Recorder(Protocol):
    """A provider that brings its own observations: no probes are deployed, and nothing is collected from the clusters."""

    def record(self, mesh: Mesh, progress: Progress) -> Snapshot:
        """What the static checks shall read."""


@dataclass(frozen=True)
class Prepared:
    """A mesh that is ready to be judged, and its snapshot. ``no_probes`` says why there are no probes in it; empty where there are."""

    mesh: Mesh
    snapshot: Snapshot
    no_probes: str = ""


class Losses:
    """Clusters that the provider lost, as it tells of them from any thread. ``first`` is the one to show, None while all is well;
    ``tell_first`` is called with it."""

    def __init__(self, tell_first: Callable[[MeshError], None]) -> None:
        self._tell_first = tell_first
        self._lock = threading.Lock()
        self._watched: tuple[Kube, ...] = ()
        self.first: MeshError | None = None

    def tell(self, error: MeshError) -> None:
        """Note a loss; requests to clusters that :meth:`ends` watches end at once."""
        with self._lock:
            if self.first is not None:
                return
            self.first = error
            for kube in self._watched:
                kube.give_up(error)
        self._tell_first(error)

    @contextmanager
    def ends(self, kubes: Iterable[Kube]) -> Iterator[None]:
        """What is done here ends with the first loss, which is raised, and waits for nothing that cannot come any more."""
        with self._lock:
            if self.first:
                raise self.first
            self._watched = tuple(kubes)
        try:
            yield
        except (MeshError, GivenUp) as error:
            if self.first is None or self.first is error:
                raise
            raise self.first from error
        finally:
            with self._lock:
                self._watched = ()
        if self.first:
            raise self.first


class Undo:
    """An exit stack that never lets a clean-up error hide another error, or keep the rest from being cleaned up."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.problems: list[str] = []

    def enter(self, what: str, manager: AbstractContextManager[T]) -> T:
        """Enter ``manager``; when it is left and fails, ``problems`` says so in the name of ``what``."""
        value = manager.__enter__()

        def leave(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
            try:
                manager.__exit__(kind, error, trace)
            except Exception as problem:
                if problem is not error:
                    self.problems.append(f"{what}: {problem}")

        self._stack.push(leave)
        return value

    def close(self, error: BaseException | None = None) -> None:
        """Undo everything, in reverse."""
        self._stack.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)


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
    """Provide the mesh, deploy the probes, record the snapshot into ``folder``; at the end remove what was made.

    Clean-up errors are added to ``problems``, whether or not there was another error before them. ``tell_loss`` is called, from any thread,
    where the provider loses clusters meanwhile.
    """
    from .providers import ProvisionRequest

    losses = Losses(tell_loss)
    request = ProvisionRequest(
        spec=settings.spec,
        run_id=run_id,
        timeouts=settings.timeouts,
        keep=settings.keep,
        declared=settings.spec_file is not None,
        probe_image=settings.probe_image,
        tell_failure=losses.tell,
    )
    undo = Undo()
    failed: BaseException | None = None
    try:
        mesh = undo.enter("the mesh", provider.provide(request, progress))
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
        raise MeshError(f"snapshot in {folder}", "cannot be written", str(error), advice=advice) from error


def _observed(mesh: Mesh, settings: Settings, undo: Undo, progress: Progress, losses: Losses) -> Prepared:
    """The mesh with probes and its snapshot. Where the probes do not come up, the static checks still say why the mesh is broken, with
    what the probes of the other clusters see of it.

    Where it is the clusters that broke, there is nothing to look at, and that error is raised.
    """
    theirs = mesh.provider != DEFAULT_PROVIDER  # a lab ends with everything in it
    kubes = undo.enter("the connections", connected(mesh, settings.timeouts))
    if theirs:
        sweep_dead_runs(kubes, progress)
    if theirs and settings.keep:
        undo.enter("what is kept", _kept(mesh, kubes, progress))
    with losses.ends(kubes.values()):
        return _probed(mesh, kubes, settings, undo, progress, remove=theirs and not settings.keep)


def _probed(mesh: Mesh, kubes: Mapping[str, Kube], settings: Settings, undo: Undo, progress: Progress, *, remove: bool) -> Prepared:
    from .collect import collect
    from .probes import workloads
    from .probes.traffic import open_traffic

    missing: list[MeshError] = []
    try:
        probes = workloads.deployed(mesh, kubes, settings.timeouts, progress, remove=remove, tell_missing=missing.append)
        mesh = undo.enter("the probes", probes)
    except MeshError as error:
        progress.note(f"no probes: {error}")
        return Prepared(mesh, collect(mesh, progress, kubes=kubes, timeouts=settings.timeouts), str(error))
    for why in missing:
        progress.note(f"no probes: {why}")
    with open_traffic(mesh, kubes, settings.timeouts) as traffic:
        snapshot = collect(mesh, progress, kubes=kubes, ask=traffic.ask, timeouts=settings.timeouts)
    return Prepared(mesh, snapshot, "; ".join(map(str, missing)))


def sweep_dead_runs(kubes: Mapping[str, Kube], progress: Progress) -> None:
    """Remove the namespaces of runs of this machine that were killed, and take back what else they did. Where that is not allowed, the
    checks will say what else is not."""
    from .probes import strays, workloads

    for kube in kubes.values():
        with suppress(KubeError):
            for leftover in workloads.leftovers(kube):
                if leftover.owner_is_dead:
                    kube.delete("Namespace", leftover.namespace)
                    progress.note(f'swept: namespace {leftover.namespace} of dead run {leftover.run_id} in cluster "{kube.name}"')
            for stray in strays.strays(kube):
                if stray.left.owner_is_dead:
                    progress.note(f'swept: {stray}, which is dead, in cluster "{kube.name}"{_taken_back(stray, kube)}')


def _taken_back(stray: Stray, kube: Kube) -> str:
    """What is to be said of it, where it was not simply taken back."""
    try:
        stray.take_back(kube)
    except MeshError as error:
        return f"; {error}"
    return ""


@contextmanager
def _kept(mesh: Mesh, kubes: Mapping[str, Kube], progress: Progress) -> Iterator[None]:
    yield
    release_kept(mesh, kubes, progress)


def release_kept(mesh: Mesh, kubes: Mapping[str, Kube], progress: Progress) -> None:
    """Give up this run's namespaces, so that no sweep takes them for those of a run that was killed, and say how to remove them."""
    from .probes import workloads
    from .probes.manifests import OWNER_ANNOTATION, RUN_LABEL

    for cluster in mesh.spec:
        names = [entry.namespace for entry in workloads.leftovers(kubes[cluster.name]) if entry.run_id == mesh.run_id]
        for name in names:
            kubes[cluster.name].merge("Namespace", name, None, {"metadata": {"annotations": {OWNER_ANNOTATION: None}}})
        if names:
            where = f"--kubeconfig={mesh.spec.kubeconfig} --context={cluster.context}"
            progress.note(f"kept: {', '.join(names)}; remove with: kubectl {where} delete namespace -l {RUN_LABEL}={mesh.run_id}")


class Replay:
    """The provider of a run on a recorded snapshot: no cluster, no network."""

    name = REPLAY
    summary = "reads a recorded snapshot; no cluster, no network"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def provide(self, request: ProvisionRequest, progress: Progress) -> Iterator[Mesh]:
        """The mesh that was recorded."""
        snapshot = self.record(None, progress)
        yield Mesh(
            spec=snapshot.spec,
            run_id=snapshot.run_id,
            provider=self.name,
            probe_image=snapshot.probes.image if snapshot.probes else "",
            notes=(f"read from a snapshot recorded at {snapshot.recorded_at}",),
            probes=snapshot.probes,
        )

    def record(self, mesh: Mesh | None, progress: Progress) -> Snapshot:
        """The recorded snapshot."""
        from .snapshot import Snapshot

        return Snapshot.load(self._folder)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM (a cancelled CI job) end the run as Ctrl-C does, so that everything is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(f"ended by signal {signal.Signals(number).name}")

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def finishing(warn: Callable[[str], None]) -> Iterator[None]:
    """Let clean-up finish: the first Ctrl-C (or SIGTERM) meanwhile only says so, the second one gives up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise KeyboardInterrupt
        warn("still cleaning up; interrupt once more to leave things behind (istio-mc sweep removes them)")

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
