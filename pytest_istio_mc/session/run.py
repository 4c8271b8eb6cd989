"""Run: what one pytest process knows of the certification of one mesh."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from ..checks.catalogue import Check
from ..errors import GivenUp, MeshError
from ..eventually import eventually
from ..kube.connecting import connected
from ..mesh import Mesh
from ..settings import DEFAULT_PROVIDER, Settings
from ..verdicts import Verdict

if TYPE_CHECKING:
    from ..kube import Kube
    from ..probes.traffic import Traffic
    from ..snapshot import Snapshot


T = TypeVar("T")


SEES = "mesh_sees"
"""The mark of a test that says what it judges: a function that makes the observation on a run."""


TOPOLOGY = "topology"
"""The fixture, and parameter of every test on a mesh, that says which run it belongs to."""


@dataclass
class Run:
    """The certification of one mesh, in one process. The process that provisions fills in what it made; workers are told.

    ``folder`` is shared by all processes of the session, for as long as it goes on. ``problem`` says why there is no mesh, where it
    could not be provisioned. ``among_others`` says whether the session certifies other topologies, too, so that messages have to name
    this one.
    """

    settings: Settings
    checks: Mapping[str, Check]
    run_id: str
    folder: Path
    among_others: bool = False
    mesh: Mesh | None = None
    snapshot_folder: Path | None = None
    no_probes: str = ""
    problem: str = ""
    _ahead: Observations = field(init=False)
    _snapshot: Snapshot | None = None
    _open: ExitStack = field(default_factory=ExitStack)
    _kubes: dict[str, Kube] | None = None
    _traffic: Traffic | None = None
    _gone: MeshError | None = None

    def __post_init__(self) -> None:
        self._ahead = Observations(len(self.settings.spec.data_planes))

    @property
    def topology(self) -> str:
        """The name of its topology."""
        return self.settings.topology

    def require_mesh(self) -> Mesh:
        """The mesh; :class:`MeshError` where none was provisioned, which means that this test was not seen to need one."""
        if self.mesh is None:
            raise MeshError(
                "mesh",
                "was not provisioned",
                advice="mark the test with mesh_check, or use the mesh fixture in its arguments",
            )
        return self.mesh

    @property
    def on_this_machine(self) -> bool:
        """Whether the clusters share the machine that runs the tests."""
        return self.mesh is not None and self.mesh.provider == DEFAULT_PROVIDER

    def read_snapshot(self) -> Snapshot:
        """The snapshot of the mesh, read once a process."""
        from ..snapshot import Snapshot

        self.require_mesh()
        if self._snapshot is None:
            assert self.snapshot_folder is not None
            self._snapshot = Snapshot.load(self.snapshot_folder)
        return self._snapshot

    def kubes(self) -> Mapping[str, Kube]:
        """A connection to each cluster of the mesh, by cluster name, until :meth:`leave`."""
        if self._kubes is None:
            self._kubes = self._open.enter_context(
                connected(self.require_mesh(), self.settings.timeouts)
            )
            self._pass_on()
        return self._kubes

    def traffic(self) -> Traffic:
        """The way to send from the mesh's client pods, until :meth:`leave`."""
        from ..probes.traffic import open_traffic

        if self._traffic is None:
            self._traffic = self._open.enter_context(
                open_traffic(self.require_mesh(), self.kubes(), self.settings.timeouts)
            )
            self._pass_on()
        return self._traffic

    def once(self, name: str, kind: type[T], observe: Callable[[], T]) -> T:
        """What ``observe`` gives, a dataclass; in all processes of a run it is called once, unless it fails.

        Only for the tests of checks that run alone: nobody else comes to it while the first one observes.
        """
        from ..plain import from_plain, to_plain

        file = self.folder / f"{self.topology}-{name}.json"
        if file.exists():
            return from_plain(kind, json.loads(file.read_text()))
        seen = observe()
        file.write_text(json.dumps(to_plain(seen)))
        return seen

    def look_ahead(self, observations: Iterable[Callable[[Run], Any]]) -> None:
        """Start making these observations, side by side."""
        for observe in observations:
            self.traffic()  # opened here, in one thread
            self.read_snapshot()
            self._ahead.begin(observe, lambda observe=observe: observe(self))  # type: ignore[misc]

    def see(self, observe: Callable[[Run], Any]) -> Observed:
        """What this observation gives; made now where nobody looked ahead."""
        return self._ahead.result(observe, lambda: observe(self))

    @property
    def lost(self) -> str:
        """Why the mesh is not to be judged any more, in a line; empty while it is."""
        return str(GivenUp(self._gone)) if self._gone else ""

    def give_up(self, why: MeshError) -> None:
        """The clusters will not come back: whatever waits for them in this process, or asks them from now on, ends with
        :class:`~pytest_istio_mc.errors.GivenUp`. May be called from any thread."""
        self._gone = self._gone or why
        self._pass_on()

    def _pass_on(self) -> None:
        if self._gone is None:
            return
        for kube in (self._kubes or {}).values():
            kube.give_up(self._gone)
        if self._traffic is not None:
            self._traffic.give_up(self._gone)

    def leave(self) -> None:
        """Close what this process opened to the mesh: it has no more tests on it. A second call does nothing."""
        self._ahead.close()
        self._kubes = self._traffic = self._snapshot = None
        self._open.close()

    def publish(self) -> None:
        """Tell the workers of xdist of the mesh, or why there is none, by a file of plain JSON."""
        document = {
            "run_id": self.run_id,
            "mesh": self.mesh.to_dict() if self.mesh else None,
            "snapshot_folder": str(self.snapshot_folder) if self.snapshot_folder else None,
            "no_probes": self.no_probes,
            "problem": self.problem,
        }
        path = self._published
        path.with_suffix(".new").write_text(json.dumps(document))
        path.with_suffix(".new").replace(path)

    def attach(self) -> None:
        """In a worker: take over what :meth:`publish` of the controller tells, when it does."""
        path = self._published
        within = self.settings.timeouts.provisioned
        eventually(
            path.is_file,
            bool,
            within_seconds=within,
            what=f"the mesh of {self.topology} for this worker",
        )
        document = json.loads(path.read_text())
        self.run_id, self.no_probes, self.problem = (
            document["run_id"],
            document["no_probes"],
            document["problem"],
        )
        self.snapshot_folder = (
            Path(document["snapshot_folder"]) if document["snapshot_folder"] else None
        )
        self.mesh = Mesh.from_dict(document["mesh"]) if document["mesh"] else None
        if self.mesh:
            self.settings = replace(self.settings, spec=self.mesh.spec)

    @property
    def _published(self) -> Path:
        return self.folder / f"mesh-{self.topology}.json"


class Runs:
    """The runs of a session by topology, in the order in which their meshes are certified."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._runs = {run.topology: run for run in runs}

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs.values())

    def __getitem__(self, topology: str) -> Run:
        return self._runs[topology]

    @property
    def topologies(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._runs)

    def of(self, item: pytest.Item) -> Run | None:
        """The run that a test belongs to; None for a test that needs no mesh."""
        callspec = getattr(item, "callspec", None)
        topology = callspec.params.get(TOPOLOGY) if callspec is not None else None
        return self._runs.get(topology) if isinstance(topology, str) else None


@dataclass
class Recorded:
    """What the test of one check recorded while it ran: its verdicts, how long its waits took, and for how long others had been at work
    for it before."""

    verdicts: list[Verdict] = field(default_factory=list)
    seconds_before: float = 0.0
    convergence: list[dict[str, Any]] = field(default_factory=list)


RUNS: pytest.StashKey[Runs] = pytest.StashKey()
"""The runs, in the stash of pytest's config; absent where no mesh is certified."""


CHECK: pytest.StashKey[Check] = pytest.StashKey()
"""The check that a test judges, in the stash of the item."""


RECORDED: pytest.StashKey[Recorded] = pytest.StashKey()
"""What the test recorded, in the stash of the item."""


def new_run_id() -> str:
    """A short id that names everything that this run creates: eight hexadecimal digits."""
    return uuid.uuid4().hex[:8]


PAIRS_AT_A_TIME = 16
"""Between how many pairs of clusters observations send at a time; more would keep the proxies of a small machine from answering in time."""


@dataclass(frozen=True)
class Observed:
    """What an observation gave, and the seconds that it took."""

    value: Any
    seconds: float


class Observations:
    """The observations of one mesh in one process. An observation is made once, however many tests ask for it."""

    def __init__(self, clusters: int) -> None:
        self._side_by_side = max(1, round(PAIRS_AT_A_TIME / clusters**2))
        self._pool: ThreadPoolExecutor | None = None
        self._made: dict[Hashable, Future[Observed]] = {}

    def begin(self, key: Hashable, observe: Callable[[], Any]) -> None:
        """Start making an observation under a key, after those that were begun before; one that was begun already is left alone."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._side_by_side, thread_name_prefix="ahead")
        if key not in self._made:
            self._made[key] = self._pool.submit(_timed, observe)

    def result(self, key: Hashable, observe: Callable[[], Any]) -> Observed:
        """The observation under this key, made now if it was not begun; raises what it raised."""
        self.begin(key, observe)
        return self._made[key].result()

    def close(self) -> None:
        """Make no more, wait for those at work so that they leave nothing behind, and forget all."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None
        self._made.clear()


def _timed(observe: Callable[[], Any]) -> Observed:
    began = time.monotonic()
    value = observe()
    return Observed(value, time.monotonic() - began)
